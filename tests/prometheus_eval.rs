//! The imported wording of `prometheus-eval` renders byte for byte as that package renders it.
//!
//! Skipped where there is no python, or no registry to install the package from.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use gavel::domain::{Instruction, Item, Kind, Mode, Rubric};
use gavel::prompts::{PromptLibrary, Subject, import_prometheus_eval};
use serde_json::{Value, json};

const PACKAGE: &str = "prometheus-eval==0.1.20";

/// Loads the package's prompts.py alone, and formats each case as the package's judge does.
const ORACLE: &str = r#"
import importlib.util, json, os, sys
path = os.path.join(sys.argv[1], "prometheus_eval", "prompts.py")
spec = importlib.util.spec_from_file_location("prompts", path)
prompts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(prompts)
out = []
for case in json.load(sys.stdin):
    system = prompts.ABS_SYSTEM_PROMPT if case["kind"] == "absolute" else prompts.REL_SYSTEM_PROMPT
    template = prompts.get_prompt_template(case["kind"], case["fields"]["reference_answer"] is not None)
    rubric = prompts.SCORE_RUBRIC_TEMPLATE.format(**case["rubric"])
    if case["kind"] == "relative":
        rubric = rubric.split("\n")[0]
    out.append([system, template.format(rubric=rubric, **case["fields"])])
json.dump(out, sys.stdout)
"#;

#[test]
fn the_imported_set_renders_as_the_package_does() {
    let dir = tempfile::tempdir().unwrap();
    let packages = dir.path().join("packages");
    if !install(&packages) {
        eprintln!("skipped: {PACKAGE} cannot be installed here");
        return;
    }
    let sets = dir.path().join("sets");
    let written = import_prometheus_eval("python3", &sets, Some(&packages)).unwrap();
    assert!(written.iter().all(|path| path.is_file()), "{written:?}");
    // A second import replaces the first.
    assert_eq!(import_prometheus_eval("python3", &sets, Some(&packages)).unwrap(), written);

    let library = PromptLibrary::load(Some(&sets)).unwrap();
    let set = library.get("prometheus-eval").unwrap();
    assert!(set.summary().contains("0.1.20"), "{}", set.summary());
    let cases = cases();
    let expected = oracle(&packages, &cases);
    assert_eq!(cases.len(), expected.len());
    for (case, expected) in cases.iter().zip(&expected) {
        let rubric = case.rubric();
        let item = case.item();
        let subject = match case.kind {
            Kind::Absolute => Subject::Absolute { item: &item, response: case.texts[1].into(), rubric: &rubric },
            Kind::Relative => Subject::Relative {
                item: &item,
                first: case.texts[1].into(),
                second: case.texts[2].into(),
                first_field: "response_a",
                second_field: "response_b",
                rubric: &rubric,
            },
        };
        let (system, user) = set.turns(&subject, Mode::Feedback).unwrap();
        assert_eq!(json!([system, user]), *expected, "{:?}", case.texts);
    }
}

/// On another scale the task names that scale.
#[test]
fn other_scales_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let packages = dir.path().join("packages");
    if !install(&packages) {
        eprintln!("skipped: {PACKAGE} cannot be installed here");
        return;
    }
    let sets = dir.path().join("sets");
    import_prometheus_eval("python3", &sets, Some(&packages)).unwrap();
    let library = PromptLibrary::load(Some(&sets)).unwrap();
    let levels = (0..=10).map(|score| (score.to_string(), "described".to_owned())).collect();
    let rubric = Rubric::new("Is it right?", &levels).unwrap();
    let case = Case { kind: Kind::Absolute, reference: true, texts: ["Why?", "Because.", "", "So."] };
    let item = case.item();
    let subject = Subject::Absolute { item: &item, response: "Because.".into(), rubric: &rubric };
    let (_, user) = library.get("prometheus-eval").unwrap().turns(&subject, Mode::Feedback).unwrap();
    assert!(user.contains("between 0 and 10") && user.contains("(Score 10):"), "{user}");
    assert!(!user.contains("1 and 5") && !user.contains(" 5 "), "{user}");
}

struct Case {
    kind: Kind,
    reference: bool,
    /// Instruction, responses, reference answer.
    texts: [&'static str; 4],
}

impl Case {
    fn item(&self) -> Item {
        Item {
            instruction: Instruction::Text(self.texts[0].to_owned()),
            reference_answer: self.reference.then(|| self.texts[3].to_owned()),
            context: Vec::new(),
            annotator: None,
        }
    }

    /// A rubric on 1 to 5 with the texts in it; those of rubrics have no white space around them.
    fn rubric(&self) -> Rubric {
        let levels = (1..=5).map(|score: usize| (score.to_string(), self.description(score))).collect();
        Rubric::new(&self.criterion(), &levels).unwrap()
    }

    fn criterion(&self) -> String {
        format!("Is {{this}} as {{{{ good }}}} as {}?", self.texts[0].trim().replace('\n', " "))
    }

    fn description(&self, score: usize) -> String {
        format!("Level {score}: {} {{%", self.texts[score % 4].trim())
    }

    fn json(&self) -> Value {
        let [instruction, first, second, reference] = self.texts;
        let mut fields = json!({"instruction": instruction, "reference_answer": self.reference.then_some(reference)});
        match self.kind {
            Kind::Absolute => fields["response"] = json!(first),
            Kind::Relative => (fields["response_A"], fields["response_B"]) = (json!(first), json!(second)),
        }
        let mut rubric = json!({"criteria": self.criterion()});
        for score in 1..=5 {
            rubric[format!("score{score}_description")] = json!(self.description(score));
        }
        json!({"kind": self.kind.name(), "fields": fields, "rubric": rubric})
    }
}

fn cases() -> Vec<Case> {
    let texts = [
        ["Why is the sky blue?", "The sea is blue.", "Light is scattered.", "Rayleigh."],
        ["{instruction} {0} {{x}}", "{{ response }}", "{% raw %}{# note #}", "{{ '{{' }} %} }}"],
        ["Почему? 为什么? 🙂", "\u{200b}\u{202e}é e\u{301}", "\u{feff}x\u{2028}y", "\u{10F0A0}0\u{10F0A1}"],
        ["two\n\nlines\n", "ends in newlines\n\n\n", "\n  begins with them", " \t "],
        ["", "", "", ""],
        ["###Feedback: [RESULT] 5", "[INST]<|im_end|></s>", "\r\n", "\\n \\u0041 \"'"],
    ];
    let kinds = [Kind::Absolute, Kind::Relative];
    let shapes = kinds.into_iter().flat_map(|kind| [(kind, true), (kind, false)]);
    shapes.flat_map(|(kind, reference)| texts.map(|texts| Case { kind, reference, texts })).collect()
}

fn oracle(packages: &Path, cases: &[Case]) -> Vec<Value> {
    let mut python = Command::new("python3")
        .args(["-c", ORACLE])
        .arg(packages)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = serde_json::to_vec(&cases.iter().map(Case::json).collect::<Vec<_>>()).unwrap();
    python.stdin.take().unwrap().write_all(&input).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn install(packages: &Path) -> bool {
    Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", PACKAGE, "--target"])
        .arg(packages)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
