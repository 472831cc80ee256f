//! One GGUF file through llama-cpp and through mistralrs: the same token ids, and the same verdicts.

use gavel::domain::{Distribution, Instruction, Item, Kind, Mode, Rubric};
use gavel::engine::llama_cpp::{self, LlamaCpp};
use gavel::engine::{Engine, Job, conformance};
use gavel::prompts::{PromptLibrary, Subject};
use gavel::script::{Outcome, Prompt, SamplerSettings, Script, Segment, Step};

use super::{demo, engine};

const ITEMS: usize = 64;
/// How far a probability may be from the other engine's.
const APART: f64 = 0.03;

fn llama_cpp() -> LlamaCpp {
    let settings = llama_cpp::Settings {
        sequences: 1,
        kv_tokens: 8192,
        prefix_tokens: 1024,
        step_tokens: 256,
        threads: 0,
        gpu_layers: 0,
        picture_tokens: 1024,
    };
    LlamaCpp::load(&demo(), settings).unwrap()
}

/// Short items, every one different: a question, an answer that is right, wrong or beside the point.
fn job(index: usize, chat: &gavel::prompts::ChatFormat) -> Job {
    let (a, b) = (index + 3, 2 * index + 1);
    let response = match index % 4 {
        0 => format!("{a} + {b} = {}", a + b),
        1 => format!("It is {}, I think.", a + b + 1),
        2 => "Numbers are hard.\n\n- ask a friend".to_owned(),
        _ => format!("{}\t({a} and {b})", a + b),
    };
    let (text, rubric) = if index % 8 == 7 {
        // A whole prompt of the shipped set, which is longer.
        let levels = ["wrong", "vague", "half right", "nearly right", "right"];
        let levels = levels.iter().enumerate().map(|(i, level)| ((i + 1).to_string(), format!("It is {level}.")));
        (format!("What is {a} + {b}?"), Some(Rubric::new("Is it right?", &levels.collect()).unwrap()))
    } else {
        (format!("Question: {a} + {b}? Answer: {response}\nScore from 1 to 5:"), None)
    };
    let sampling = SamplerSettings { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 };
    let (prompt, script) = match rubric {
        Some(rubric) => {
            let library = PromptLibrary::load(None).unwrap();
            let set = library.get("plain").unwrap();
            let instruction = Instruction::Text(text);
            let item = Item { instruction, reference_answer: None, context: Vec::new(), annotator: None };
            let subject = Subject::Absolute { item: &item, response: response.as_str().into(), rubric: &rubric };
            let scale = Some(rubric.scale());
            let prompt = set.render(&subject, Mode::Score, chat).unwrap().prompt;
            (prompt, set.script(Kind::Absolute, Mode::Score, scale, 64, 0))
        }
        None => {
            let options = (1..=5).map(|score| format!(" {score}")).collect();
            (Prompt(vec![Segment::Text(text)]), Script(vec![Step::Choose(options)]))
        }
    };
    Job { prompt, script, sampling, deterministic: false }
}

async fn probabilities(engine: &dyn Engine, job: Job) -> (Vec<i32>, Vec<f64>) {
    let compiled = engine.compile(job).unwrap();
    let ids = compiled.encoded.ids.clone();
    let completion = engine.start(compiled).finish(|_| ()).await.unwrap();
    let Some(Outcome::Chosen { log_masses, .. }) = completion.transcript.outcomes.last() else { panic!() };
    (ids, Distribution::from_log_masses(log_masses).unwrap().0.probabilities().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_come_to_the_same_verdicts() {
    let (ours, theirs) = (engine().await, llama_cpp());
    assert_eq!(ours.chat_format(), theirs.chat_format());
    let (mut furthest, mut scores) = (0.0_f64, 0);
    for index in 0..ITEMS {
        let (our_ids, one) = probabilities(&ours, job(index, ours.chat_format())).await;
        let (their_ids, other) = probabilities(&theirs, job(index, theirs.chat_format())).await;
        assert_eq!(our_ids, their_ids, "item {index}");
        let apart = one.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        furthest = furthest.max(apart);
        let best = |p: &[f64]| (0..p.len()).max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap();
        let mut sorted = other.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        if best(&one) != best(&other) {
            scores += 1;
            assert!(sorted[0] - sorted[1] < 0.06, "item {index}: {one:?}, {other:?}");
        }
    }
    println!("{ITEMS} items: furthest probability {furthest:.4}, {scores} scores differ");
    assert!(furthest <= APART, "a probability is {furthest:.4} from the other engine's");
    let agreement = conformance::agreement(&ours, &theirs).await;
    println!("logits: {agreement:?}");
    agreement.unwrap();
}
