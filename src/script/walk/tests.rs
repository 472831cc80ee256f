use proptest::prelude::*;

use super::super::toy::{self, Toy};
use super::super::{Action, Machine, Outcome, Prompt, SamplerSettings, Script, Segment, Step, StopString};
use super::*;

/// The natural logarithm of the probability of a token after a context.
fn logprob(context: &[Token], token: Token) -> f64 {
    let logits: Vec<f64> = toy::logits(context).into_iter().map(f64::from).collect();
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - highest).exp()).sum();
    logits[token as usize] - highest - sum.ln()
}

/// What a greedy server writes after a context.
fn greedy(context: &[Token]) -> Token {
    let logits = toy::logits(context);
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a))).unwrap() as Token
}

/// Answers a walk as a server of the toy model that tells the log probabilities of the `told` most probable tokens.
fn serve(walk: &mut Walk, told: usize, shown: &mut String) -> Transcript {
    let mut ask = walk.advance();
    loop {
        shown.extend(walk.take_delta());
        ask = match ask {
            Ask::Generate => {
                let mut context = walk.ids().to_vec();
                let finish = loop {
                    let token = greedy(&context);
                    context.push(token);
                    if let Some(finish) = walk.on_token(token) {
                        break finish;
                    }
                };
                walk.on_end(finish, 0)
            }
            Ask::Read(nodes) => {
                let readings: Vec<NodeReading> = nodes.iter().map(|node| reading(walk.ids(), node, told)).collect();
                walk.on_readings(&readings)
            }
            Ask::PromptLogprobs(_) => {
                let ids = walk.ids().to_vec();
                let told = |at: usize| TokenLogprob {
                    bytes: Toy.piece(ids[at]),
                    logprob: (at > 0).then(|| logprob(&ids[..at], ids[at])),
                    top: Vec::new(),
                };
                walk.on_prompt_logprobs((0..ids.len()).map(told).collect())
            }
            Ask::Fork(count) => {
                let transcripts = (0..count).map(|index| serve(&mut walk.branch(index), told, &mut String::new()));
                let transcripts = transcripts.collect();
                walk.on_branches(transcripts)
            }
            Ask::Done(transcript) => return transcript,
            Ask::Failed(error) => panic!("{error}"),
        }
    }
}

fn reading(ids: &[Token], node: &NodeAsk, told: usize) -> NodeReading {
    let context = [ids, &node.path].concat();
    let mut all: Vec<f64> = (0..toy::SIZE).map(|token| logprob(&context, token as Token)).collect();
    all.sort_by(|a, b| b.total_cmp(a));
    let least = all[told.min(all.len()) - 1];
    let logprobs = node.children.iter().map(|token| Some(logprob(&context, *token)).filter(|p| *p >= least));
    NodeReading { logprobs: logprobs.collect(), unseen: if told >= toy::SIZE { 0.0 } else { least.exp() } }
}

fn run(machine: &mut Machine, shown: &mut String) -> Transcript {
    let mut action = machine.start();
    loop {
        shown.extend(machine.take_delta());
        action = match action {
            Action::Feed => machine.on_logits(&toy::logits(machine.ids())),
            Action::Fork(count) => {
                let run = |index| run(&mut machine.branch(index), &mut String::new());
                let transcripts = (0..count).map(run).collect();
                machine.on_branches(transcripts)
            }
            Action::Done(transcript) => return transcript,
            Action::Failed(error) => panic!("{error}"),
        };
    }
}

fn prompt(text: &str) -> Encoded {
    Prompt(vec![Segment::Control("<user>".into()), Segment::Text(text.into())]).encode(&Toy)
}

fn walk(text: &str, script: &Script, batches: bool) -> Walk {
    let prompt = prompt(text);
    let compiled = script.compile(&prompt, &Toy).unwrap();
    Walk::new(Arc::new(Toy), prompt, compiled, batches)
}

fn machine(text: &str, script: &Script) -> Machine {
    let prompt = prompt(text);
    let compiled = script.compile(&prompt, &Toy).unwrap();
    let settings = SamplerSettings { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 };
    Machine::new(Arc::new(Toy), prompt, compiled, settings)
}

fn choose(options: &[&str]) -> Step {
    Step::Choose(options.iter().map(|option| (*option).to_owned()).collect())
}

/// Whether all options of some choice are so improbable that skipped ones may be among the most probable: there, a walk
/// may choose another one than a machine, and what follows differs.
fn undecided(found: &Transcript, expected: &Transcript) -> bool {
    found.outcomes.iter().zip(&expected.outcomes).any(|outcomes| match outcomes {
        (Outcome::Chosen { .. }, Outcome::Chosen { log_masses, .. }) => {
            let best = log_masses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            best.exp() <= found.skipped_mass
        }
        (Outcome::Branched(a), Outcome::Branched(b)) => a.iter().zip(b).any(|(a, b)| undecided(a, b)),
        _ => false,
    })
}

/// Compares transcripts; masses up to the skipped mass.
fn same(found: &Transcript, expected: &Transcript) -> Result<(), TestCaseError> {
    prop_assert_eq!(&found.answer, &expected.answer);
    prop_assert_eq!(found.completion_tokens, expected.completion_tokens);
    prop_assert_eq!(found.outcomes.len(), expected.outcomes.len());
    for (mine, theirs) in found.outcomes.iter().zip(&expected.outcomes) {
        match (mine, theirs) {
            (Outcome::Chosen { log_masses: a, .. }, Outcome::Chosen { log_masses: b, .. }) => {
                for (a, b) in a.iter().zip(b) {
                    let missing = b.exp() - a.exp();
                    prop_assert!((-1e-9..=found.skipped_mass + 1e-9).contains(&missing), "{missing}");
                }
            }
            (Outcome::Branched(a), Outcome::Branched(b)) => {
                a.iter().zip(b).try_for_each(|(a, b)| same(a, b))?;
            }
            (mine, theirs) => prop_assert_eq!(mine, theirs),
        }
    }
    for (a, b) in found.prompt_logprobs.iter().zip(&expected.prompt_logprobs) {
        prop_assert_eq!(&a.bytes, &b.bytes);
        prop_assert!((a.logprob.unwrap_or(0.0) - b.logprob.unwrap_or(0.0)).abs() < 1e-6);
    }
    Ok(())
}

fn options() -> impl Strategy<Value = Step> {
    let words = vec![" 1", " 10", " 2", " A", " B", " good", " bad", "1", "10", "100", "good", "x", "xy", "xyz"];
    prop::sample::subsequence(words, 2..10).prop_map(|options| choose(&options))
}

fn generation() -> impl Strategy<Value = Step> {
    ("[ a.]{0,3}", 1usize..12, any::<bool>()).prop_map(|(begin, max_tokens, keep)| {
        Step::Generate(Generate {
            begin,
            stop: vec![StopString::ignoring_case("[result]"), ". [".into()],
            keep_trailing_whitespace: keep,
            max_tokens,
            ..Generate::default()
        })
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let plain = || {
        prop_oneof![
            options(),
            generation(),
            prop::sample::select(vec![" [RESULT]", "good. [", " is", "\n"]).prop_map(|text| Step::Say(text.to_owned())),
        ]
    };
    let branch = prop::collection::vec(prop::collection::vec(plain(), 1..3).prop_map(Script), 1..4);
    let step = prop_oneof![4 => plain(), 1 => branch.prop_map(Step::Branch)];
    (prop::option::of(Just(Step::PromptLogprobs(0))), prop::collection::vec(step, 0..5))
        .prop_map(|(first, rest)| first.into_iter().chain(rest).collect())
}

proptest! {
    /// A walk over a server's answers gives the transcript of a machine over its logits.
    #[test]
    fn a_walk_is_a_machine(text in "[a-c .\\[]{0,12}", steps in steps(), batches in any::<bool>()) {
        let script = Script(steps);
        prop_assert!(script.check().is_ok());
        let (mut shown, mut expected_shown) = (String::new(), String::new());
        let found = serve(&mut walk(&text, &script, batches), toy::SIZE, &mut shown);
        let expected = run(&mut machine(&text, &script), &mut expected_shown);
        if !undecided(&found, &expected) {
            same(&found, &expected)?;
            prop_assert_eq!(shown, expected_shown);
        }
    }

    /// Where only the most probable tokens are told, the masses are lower bounds, and the label mass has an upper one.
    #[test]
    fn what_is_not_told_is_bounded(text in "[a-c .]{0,12}", options in options(), told in 1usize..40) {
        let script = Script(vec![options]);
        let found = serve(&mut walk(&text, &script, true), told, &mut String::new());
        let exact = run(&mut machine(&text, &script), &mut String::new());
        let (
            Some(Outcome::Chosen { log_masses: bounds, mass, .. }),
            Some(Outcome::Chosen { log_masses: masses, .. }),
        ) = (found.outcomes.first(), exact.outcomes.first()) else { panic!("no choice") };
        for (bound, mass) in bounds.iter().zip(masses) {
            prop_assert!(bound.exp() <= mass.exp() + 1e-9, "{bound} {mass}");
        }
        let total: f64 = masses.iter().map(|mass| mass.exp()).sum();
        let lower: f64 = bounds.iter().map(|mass| mass.exp()).sum();
        match mass {
            MassKind::Exact => prop_assert!(total - lower <= found.skipped_mass + 1e-9),
            MassKind::Bounded { unseen } => prop_assert!(total <= lower + unseen + found.skipped_mass + 1e-9),
            MassKind::Sampled { .. } => prop_assert!(false),
        }
    }
}

#[test]
fn few_nodes_are_read_together_where_a_request_reads_several() {
    let check = |options: &[&str], batches: bool, expected: &[usize]| {
        let mut walk = walk("x", &Script(vec![choose(options)]), batches);
        let (mut ask, mut rounds) = (walk.advance(), Vec::new());
        while let Ask::Read(nodes) = ask {
            rounds.push(nodes.len());
            let readings: Vec<NodeReading> = nodes.iter().map(|node| reading(walk.ids(), node, toy::SIZE)).collect();
            ask = walk.on_readings(&readings);
        }
        assert_eq!(rounds, expected, "{options:?}");
    };
    check(&[" A", " B"], true, &[1]);
    check(&["1", "12"], true, &[2]);
    check(&["1", "12"], false, &[1, 1]);
    check(&["ab", "cd", "ef", "gh", "ij", "kl"], true, &[1, 6]);
}

#[test]
fn text_without_tokens_ends_at_its_stop_text() {
    let generate = Generate { stop: vec!["[RESULT]".into()], max_tokens: 9, ..Generate::default() };
    let mut walk = walk("x", &Script(vec![Step::Generate(generate)]), false);
    assert!(matches!(walk.advance(), Ask::Generate));
    assert_eq!(walk.on_text("fine "), None);
    assert_eq!(walk.take_delta().as_deref(), Some("fine"));
    assert_eq!(walk.on_text("[RES"), None);
    assert_eq!(walk.on_text("ULT] 5"), Some(Finish::Stop));
    let Ask::Done(transcript) = walk.on_end(Finish::Stop, 4) else { panic!() };
    assert_eq!((transcript.answer.as_str(), transcript.completion_tokens), ("fine", 4));
}
