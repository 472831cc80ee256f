use proptest::prelude::*;

use super::super::toy::{self, Toy};
use super::super::{Generate, Outcome, Prompt, Script, Segment, Step};
use super::*;

fn settings(temperature: f32) -> SamplerSettings {
    SamplerSettings { temperature, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 3 }
}

fn prompt(text: &str) -> Encoded {
    Prompt(vec![Segment::Control("<user>".into()), Segment::Text(text.into())]).encode(&Toy)
}

fn compiled(prompt: Encoded, script: Script, settings: SamplerSettings) -> Machine {
    let script = script.compile(&prompt, &Toy).unwrap();
    Machine::new(Arc::new(Toy), prompt, script, settings)
}

/// Runs a machine by itself, noting every context whose logits it asked for.
fn run(machine: &mut Machine, logits: &dyn Fn(&[Token]) -> Vec<f32>) -> (Transcript, Vec<Vec<Token>>, String) {
    let (mut seen, mut deltas) = (Vec::<Vec<Token>>::new(), String::new());
    let mut action = machine.start();
    loop {
        deltas.extend(machine.take_delta());
        action = match action {
            Action::Feed => {
                seen.push(machine.ids().to_vec());
                machine.on_logits(&logits(machine.ids()))
            }
            Action::Fork(count) => {
                let transcripts = (0..count).map(|index| run(&mut machine.branch(index), logits).0).collect();
                machine.on_branches(transcripts)
            }
            Action::Done(transcript) => return (transcript, seen, deltas),
            Action::Failed(error) => panic!("{error}"),
        };
    }
}

fn generate(max_tokens: usize, min_tokens: usize) -> Step {
    Step::Generate(Generate { stop: vec!["[RESULT]".into()], max_tokens, min_tokens, ..Generate::default() })
}

fn choose(options: &[&str]) -> Step {
    Step::Choose(options.iter().map(|o| (*o).to_owned()).collect())
}

/// Logits that write `text` token by token after a context of `start` tokens, then end the turn.
fn writes(text: &str, start: usize) -> impl Fn(&[Token]) -> Vec<f32> {
    let mut script = Toy.tokenize(text);
    script.push(toy::END);
    move |context: &[Token]| {
        let mut logits = vec![0.0; toy::SIZE];
        if let Some(next) = script.get(context.len().saturating_sub(start)) {
            logits[*next as usize] = 20.0;
        }
        logits
    }
}

#[test]
fn lead_and_options_are_tokenised_with_the_text_before_them() {
    // `good. [RESULT] 1`: the toy joins `. [` into one token, which a lead tokenised alone would miss.
    let start = prompt("say:").ids.len();
    let script = Script(vec![generate(20, 0), Step::Say(" [RESULT]".into()), choose(&[" 1", " 10", " 2"])]);
    let mut machine = compiled(prompt("say:"), script, settings(0.0));
    let (transcript, seen, deltas) = run(&mut machine, &writes("good.", start));
    let whole = |text: &str| [prompt("").ids, Toy.tokenize(&format!("say:{text}"))].concat();
    assert!(seen.contains(&whole("good. [RESULT]")), "the root, with `. [` as one token");
    assert_eq!(seen.last(), Some(&whole("good. [RESULT] ")), "the probe on the way to ` 2`");
    assert_eq!(transcript.outcomes[0], Outcome::Generated { text: "good.".into(), finish: Finish::Stop });
    assert_eq!(deltas, "good.");
    assert!(transcript.answer.starts_with("good. [RESULT]"), "{}", transcript.answer);
}

#[test]
fn generation_ends_where_it_should() {
    let check = |writes_text: &str, max: usize, min: usize, text: &str, finish: Finish| {
        let start = prompt("x").ids.len();
        let script = Script(vec![generate(max, min), Step::Say(" [RESULT]".into())]);
        let mut machine = compiled(prompt("x"), script, settings(0.0));
        let (transcript, _, deltas) = run(&mut machine, &writes(writes_text, start));
        assert_eq!(transcript.outcomes[0], Outcome::Generated { text: text.into(), finish }, "{writes_text:?}");
        assert_eq!(transcript.answer, format!("{text} [RESULT]"));
        assert_eq!(deltas, text, "what is shown is what is kept");
    };
    check(" good the", 10, 0, " good the", Finish::Stop);
    check(" good [RESULT] 10", 10, 0, " good", Finish::Stop);
    check(" good \n", 20, 0, " good", Finish::Stop);
    check("[RESULT]", 10, 0, "", Finish::Stop);
    check("", 10, 0, "", Finish::Stop);
    check(" good good good", 2, 0, " good good", Finish::Length);
    check("é é", 20, 0, "é é", Finish::Stop);
}

#[test]
fn a_prompt_is_told_token_by_token() {
    let whole = prompt("say: the good");
    let script = Script(vec![Step::PromptLogprobs(3), choose(&[" A", " B"])]);
    let mut machine = compiled(whole.clone(), script, settings(0.0));
    let Action::Feed = machine.start() else { panic!() };
    assert_eq!([machine.ids(), machine.upcoming()].concat(), whole.ids, "what is to come is known");
    let (transcript, seen, _) = {
        let script = Script(vec![Step::PromptLogprobs(3), choose(&[" A", " B"])]);
        run(&mut compiled(whole.clone(), script, settings(0.0)), &toy::logits)
    };
    assert_eq!(seen.len(), whole.ids.len(), "a context for each token, the last for the choice");
    assert_eq!((transcript.prompt_logprobs.len(), transcript.prompt_logprobs[0].logprob), (whole.ids.len(), None));
    for (at, token) in transcript.prompt_logprobs.iter().enumerate().skip(1) {
        let logits = toy::logits(&whole.ids[..at]);
        let expected = f64::from(logits[whole.ids[at] as usize]) - log_sum_exp(&logits);
        assert!((token.logprob.unwrap() - expected).abs() < 1e-9 && token.top.len() == 3, "{token:?}");
        assert_eq!(token.bytes, Toy.piece(whole.ids[at]));
    }
    assert!(matches!(transcript.outcomes[..], [Outcome::PromptLogprobs, Outcome::Chosen { .. }]));
}

/// A caller that counts tokens must find every one that was generated.
#[test]
fn what_is_kept_verbatim_tells_every_token() {
    let check = |writes_text: &str, stop: &[&str], text: &str, told: &[&str]| {
        let start = prompt("x").ids.len();
        let stop = stop.iter().map(|stop| (*stop).into()).collect();
        let step =
            Generate { stop, max_tokens: 3, keep_trailing_whitespace: true, logprobs: Some(0), ..Generate::default() };
        let script = Script(vec![Step::Generate(step)]);
        let mut machine = compiled(prompt("x"), script, settings(0.0));
        let (transcript, _, deltas) = run(&mut machine, &writes(writes_text, start));
        let written = transcript.output_logprobs.iter().map(|token| String::from_utf8_lossy(&token.bytes).into_owned());
        assert_eq!(
            (transcript.answer.as_str(), written.collect::<Vec<_>>()),
            (text, told.iter().map(|t| (*t).to_owned()).collect())
        );
        assert_eq!(deltas, text);
    };
    check("the ", &[], "the ", &["the", " ", ""]);
    check("", &[], "", &[""]);
    check("a€", &[], "a", &["a", "\u{fffd}", "\u{fffd}"]);
    check("the [", &[" ["], "the", &["the"]);
}

#[test]
fn a_character_cut_by_the_limit_is_left_out() {
    let start = prompt("x").ids.len();
    let script = Script(vec![generate(3, 0)]);
    let mut machine = compiled(prompt("x"), script, settings(0.0));
    let (transcript, ..) = run(&mut machine, &writes("a€", start));
    assert_eq!(transcript.answer, "a", "the euro sign has three bytes, of which two were written");
}

#[test]
fn a_minimum_keeps_the_model_from_stopping_at_once() {
    for text in ["", "[RESULT]"] {
        let start = prompt("x").ids.len();
        let mut machine = compiled(prompt("x"), Script(vec![generate(10, 3)]), settings(0.0));
        let (transcript, ..) = run(&mut machine, &writes(text, start));
        assert!(transcript.completion_tokens >= 3, "{transcript:?}");
        assert!(!transcript.answer.contains("[RESULT]"));
    }
}

#[test]
fn branches_are_blind_to_each_other() {
    let question = |options: &[&str]| Script(vec![Step::Say(" [RESULT]".into()), choose(options)]);
    let scripts = vec![question(&[" A", " B"]), question(&[" 1", " 10"])];
    let joint = Script(vec![Step::Say("the".into()), Step::Branch(scripts.clone()), choose(&[" good", " bad"])]);
    let mut machine = compiled(prompt("x"), joint, settings(0.0));
    let (transcript, ..) = run(&mut machine, &toy::logits);
    let alone = |script: Script| {
        let steps = [vec![Step::Say("the".into())], script.0].concat();
        let mut machine = compiled(prompt("x"), Script(steps), settings(0.0));
        run(&mut machine, &toy::logits).0.outcomes.pop()
    };
    let Outcome::Branched(branches) = &transcript.outcomes[1] else { panic!("{transcript:?}") };
    for (branch, script) in branches.iter().zip(scripts) {
        assert_eq!(branch.outcomes.last(), alone(script).as_ref());
    }
    assert_eq!(transcript.outcomes.last(), alone(Script(vec![choose(&[" good", " bad"])])).as_ref());
}

/// The toy with a space of its own before every run of text, as SPM vocabularies have.
struct Spaced;

impl Vocabulary for Spaced {
    fn size(&self) -> usize {
        Toy.size()
    }
    fn tokenize(&self, text: &str) -> Vec<Token> {
        Toy.tokenize(&format!(" {text}"))
    }
    fn control(&self, text: &str) -> Option<Token> {
        Toy.control(text)
    }
    fn piece(&self, token: Token) -> Vec<u8> {
        Toy.piece(token)
    }
    fn longest_piece(&self) -> usize {
        Toy.longest_piece()
    }
    fn ends_turn(&self, token: Token) -> bool {
        Toy.ends_turn(token)
    }
    fn adds_space(&self) -> bool {
        true
    }
    fn begin(&self) -> Option<Token> {
        Toy.begin()
    }
}

/// A first token's space is the vocabulary's own only where a run of text begins.
#[test]
fn the_first_space_is_kept_after_token_ids_of_text() {
    let check = |prompt: Vec<Segment>, answer: &str| {
        let encoded = Prompt(prompt).encode(&Spaced);
        let start = encoded.ids.len();
        let script = Script(vec![generate(4, 0)]).compile(&encoded, &Spaced).unwrap();
        let mut machine = Machine::new(Arc::new(Spaced), encoded, script, settings(0.0));
        let (transcript, _, deltas) = run(&mut machine, &writes(" good", start));
        assert_eq!((transcript.answer.as_str(), deltas.as_str()), (answer, answer));
    };
    check(vec![Segment::Control("<user>".into())], "good");
    check(vec![Segment::Text("the".into())], " good");
    check(vec![Segment::Tokens(Toy.tokenize("the"))], " good");
    check(vec![Segment::Tokens([Toy.tokenize("the"), vec![toy::END]].concat())], "good");
}

#[test]
fn logits_that_are_no_numbers_fail_the_step() {
    let with = |value: f32| {
        let mut logits = vec![0.0; toy::SIZE];
        logits[100] = value;
        logits
    };
    let tell = || vec![Step::PromptLogprobs(2), choose(&[" A", " B"])];
    for logits in [with(f32::NAN), with(f32::INFINITY), vec![f32::NAN; toy::SIZE], vec![f32::NEG_INFINITY; toy::SIZE]] {
        for steps in [
            vec![generate(4, 0)],
            vec![choose(&[" A", " B"])],
            tell(),
            vec![Step::Branch(vec![Script(tell().split_off(1))])],
        ] {
            for temperature in [0.0, 1.0] {
                let mut machine = compiled(prompt("x"), Script(steps.clone()), settings(temperature));
                assert!(matches!(machine.start(), Action::Feed));
                let action = machine.on_logits(&logits);
                assert!(matches!(action, Action::Failed(StepError::BadLogits)), "{steps:?}");
            }
        }
    }
    let mut machine = compiled(prompt("x"), Script(vec![generate(1, 0)]), settings(0.0));
    machine.start();
    let action = machine.on_logits(&with(f32::NEG_INFINITY));
    assert!(matches!(action, Action::Done(_)), "a token may be impossible");
}

#[test]
fn text_ends_where_nothing_may_be_written() {
    let mut logits = vec![f32::NEG_INFINITY; toy::SIZE];
    logits[toy::END as usize] = 0.0;
    let mut machine = compiled(prompt("x"), Script(vec![generate(5, 3)]), settings(1.0));
    let (transcript, ..) = run(&mut machine, &|_: &[Token]| logits.clone());
    assert_eq!(transcript.outcomes[0], Outcome::Generated { text: String::new(), finish: Finish::Length });
}

proptest! {
    /// Whatever is said before and whatever the options are, the contexts that a choice asks for are those of
    /// the whole text, and the masses are disjoint.
    #[test]
    fn choices_run_the_ids_of_the_whole_text(
        before in "(good|the| is|\\.|\\n| \\[|[a-z ]){0,6}",
        options in prop::collection::btree_set(" ?(A|B|1|10|101|good|bad| x)", 2..6),
        temperature in prop::sample::select(vec![0.0f32, 1.5]),
    ) {
        let options: Vec<String> = options.into_iter().collect();
        let script = Script(vec![Step::Say(before.clone()), Step::Choose(options.clone())]);
        let mut machine = compiled(prompt("x"), script, settings(temperature));
        let (transcript, seen, _) = run(&mut machine, &toy::logits);
        let Outcome::Chosen { index, log_masses, .. } = &transcript.outcomes[1] else { panic!() };
        prop_assert!(log_masses.iter().map(|m| m.exp()).sum::<f64>() <= 1.0 + 1e-9);
        prop_assert!(log_masses.iter().all(|m| m <= &log_masses[*index]));
        let wholes: Vec<Vec<Token>> = options.iter()
            .map(|o| [prompt("").ids, Toy.tokenize(&format!("x{before}{o}"))].concat()).collect();
        for context in &seen {
            prop_assert!(wholes.iter().any(|whole| whole.starts_with(context)), "{context:?}");
        }
        prop_assert_eq!(transcript.answer, format!("{before}{}", options[*index]));
    }
}
