//! Token boundaries: the ids that a script runs are those of the whole text.

use std::sync::Arc;

use gavel::engine::llama_cpp::load_vocabulary;
use gavel::script::{
    Action, Encoded, Generate, Machine, Outcome, Prompt, Remembering, SamplerSettings, Script, Segment, Step, Token,
    Vocabulary,
};
use proptest::prelude::*;

use super::{demo, vocabulary_file};

fn spm() -> Arc<dyn Vocabulary> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spm.gguf");
    vocabulary_file::write(&path);
    load_vocabulary(&path).unwrap()
}

/// Runs a script with a model that writes the tokens of `writes` and then ends its turn, and gives every context
/// that it asks for, and the outcomes.
fn run(
    vocabulary: &Arc<dyn Vocabulary>,
    prompt: Encoded,
    writes: &str,
    script: Script,
) -> (Vec<Vec<Token>>, Vec<Outcome>) {
    let size = 60_000;
    let target = [prompt.ids.clone(), vocabulary.tokenize(writes)].concat();
    let end = (0..size).find(|token| vocabulary.ends_turn(*token)).unwrap();
    let settings = SamplerSettings { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 };
    let script = script.compile(&prompt, &**vocabulary).unwrap();
    let mut machine = Machine::new(Arc::clone(vocabulary), prompt, script, settings);
    let (mut seen, mut action) = (Vec::new(), machine.start());
    loop {
        action = match action {
            Action::Feed => {
                seen.push(machine.ids().to_vec());
                let mut logits = vec![0.0; size as usize];
                let next = if target.starts_with(machine.ids()) { target.get(machine.ids().len()) } else { None };
                logits[*next.unwrap_or(&end) as usize] = 10.0;
                machine.on_logits(&logits)
            }
            Action::Fork(_) | Action::Failed(_) => unreachable!("no branches here, and sound logits"),
            Action::Done(transcript) => return (seen, transcript.outcomes),
        };
    }
}

fn judging(options: &[&str]) -> Script {
    Script(vec![
        Step::Generate(Generate {
            stop: vec!["[RESULT]".into()],
            max_tokens: 50,
            min_tokens: 0,
            ..Generate::default()
        }),
        Step::Say(" [RESULT]".into()),
        Step::Choose(options.iter().map(|o| (*o).to_owned()).collect()),
    ])
}

fn check(vocabulary: &Arc<dyn Vocabulary>, prompt: &Prompt) {
    for options in [[" 4", " 5"], [" A", " B"], [" 1", " 10"]] {
        let encoded = prompt.encode(&**vocabulary);
        let whole = |text: &str| {
            let mut ids = encoded.ids[..encoded.run_start].to_vec();
            ids.extend(vocabulary.tokenize(&format!("{}{text}", encoded.run_text)));
            ids
        };
        let generated = 1 + vocabulary.tokenize("x.").len();
        let (seen, outcomes) = run(vocabulary, encoded.clone(), "x.", judging(&options));
        let Outcome::Generated { text, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
        assert_eq!(text.trim_start(), "x.");
        // After the generation, every context is the beginning of a whole text with an option.
        assert!(seen.len() > generated);
        for context in &seen[generated..] {
            let fits = options.iter().any(|option| whole(&format!("{text} [RESULT]{option}")).starts_with(context));
            assert!(fits, "{context:?} is not how `{text} [RESULT]{}` begins", options[0]);
        }
    }
}

#[test]
fn a_script_runs_the_ids_of_the_whole_text_bpe() {
    let vocabulary = load_vocabulary(&demo().path).unwrap();
    let turn =
        |role: &str, text: &str| [Segment::Control("<|im_start|>".into()), Segment::Text(format!("{role}\n{text}"))];
    check(&vocabulary, &Prompt([turn("user", "judge"), turn("assistant", "")].concat()));
    check(&vocabulary, &Prompt(vec![Segment::Text("judge: ".into())]));
}

#[test]
fn a_script_runs_the_ids_of_the_whole_text_spm() {
    let vocabulary = spm();
    assert!(vocabulary.adds_space());
    let begin = Segment::Control("<s>".into());
    check(&vocabulary, &Prompt(vec![begin.clone(), Segment::Text("[INST] the x [/INST]".into())]));
    check(&vocabulary, &Prompt(vec![begin]));
}

#[test]
fn newlines_survive_an_spm_vocabulary() {
    let vocabulary = spm();
    let text = "the x\n\nA é\t.";
    let bytes: Vec<u8> = vocabulary.tokenize(text).into_iter().flat_map(|token| vocabulary.piece(token)).collect();
    assert_eq!(String::from_utf8(bytes).unwrap().trim_start(), text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Over random option sets, on the real tokenizer.
    #[test]
    fn choices_are_disjoint_paths_of_the_whole_text(
        before in "[a-zA-Z .,\\[\\]\\n]{0,20}",
        options in prop::collection::btree_set(" ?(1|10|100|A|AB|yes|no|not helpful|[a-z]{1,8})", 2..8),
    ) {
        thread_local! {
            static VOCABULARY: Arc<dyn Vocabulary> = load_vocabulary(&demo().path).unwrap();
        }
        let vocabulary = VOCABULARY.with(Arc::clone);
        let options: Vec<String> = options.into_iter().collect();
        let prompt = Prompt(vec![Segment::Control("<|im_start|>".into()), Segment::Text("assistant\n".into())]);
        let script = Script(vec![Step::Say(before.clone()), Step::Choose(options.clone())]);
        let (seen, outcomes) = run(&vocabulary, prompt.encode(&*vocabulary), "", script);
        let Outcome::Chosen { log_masses, .. } = &outcomes[1] else { panic!() };
        prop_assert!(log_masses.iter().map(|m| m.exp()).sum::<f64>() <= 1.0 + 1e-9);
        for context in seen {
            let fits = options.iter().any(|option| {
                let text = Prompt(vec![
                    Segment::Control("<|im_start|>".into()),
                    Segment::Text(format!("assistant\n{before}{option}")),
                ]);
                text.encode(&*vocabulary).ids.starts_with(&context)
            });
            prop_assert!(fits, "{:?}", context);
        }
    }
}

/// What texts have in common is taken from the last one, and nothing changes by it.
#[test]
fn remembered_texts_have_the_tokens_of_the_whole_text() {
    let words = [
        "the",
        " response",
        " is",
        "\n",
        "\n\n",
        "###Score 3: ",
        "don't",
        " 12345",
        "über",
        " 北京",
        "\u{1f469}",
        "  ",
        "1.",
    ];
    let begins: Vec<String> = (0..4)
        .map(|seed: usize| (0..400).map(|at: usize| words[(at * 7 + seed * 5 + at / 11) % words.len()]).collect())
        .collect();
    for vocabulary in [load_vocabulary(&demo().path).unwrap(), spm()] {
        let remembering = Remembering::new(Arc::clone(&vocabulary));
        for round in 0..60_usize {
            let begin = &begins[round % begins.len()];
            let cut = begin.char_indices().nth(1200 - 17 * (round % 40)).map_or(begin.len(), |(at, _)| at);
            let end: String = (0..40).map(|at: usize| words[(at * 3 + round) % words.len()]).collect();
            let text = format!("{}{end}", &begin[..cut]);
            assert_eq!(remembering.tokenize(&text), vocabulary.tokenize(&text), "{round}");
        }
    }
}
