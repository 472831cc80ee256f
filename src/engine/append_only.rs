//! Scripts on engines whose sequences are append-only.
//!
//! A script machine can go back: to the start of a stop text, or from one option to the next. An engine that generates
//! token after token cannot. So a script becomes a series of requests. Within a request, every token is forced or
//! sampled here. Where the script goes back, the request ends, and the prompt of the next request is the text up to
//! that point. Most scripts take one request. In a choice, every inner node of the option tree after the first costs
//! one more request, unless it is too improbable.

use crate::script::{Action, Machine, StepError, Token, Transcript};

/// Inner nodes of option trees with less than this share of the mass of all options are skipped.
pub const RARE: f64 = 1e-4;

/// A script in progress.
pub struct AppendOnlyRun {
    script: Machine,
    /// The running branch, the number of branches, and the transcripts of finished ones.
    branch: Option<Machine>,
    branches: usize,
    transcripts: Vec<Transcript>,
    done: Option<Transcript>,
}

/// The next action of the request that gave the logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Append this token.
    Force(Token),
    /// End the request. Unless the script has ended, another request continues with [`AppendOnlyRun::ids`].
    End,
}

/// Why a script fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendOnlyError {
    /// The logits are for another context than this script's.
    #[error("the engine's context does not match the request")]
    ContextMismatch,
    /// The script failed.
    #[error(transparent)]
    Step(#[from] StepError),
}

impl AppendOnlyRun {
    /// Starts a machine that has not been started.
    #[must_use]
    pub fn new(machine: Machine) -> Self {
        let mut run =
            Self { script: machine.skipping(RARE), branch: None, branches: 0, transcripts: Vec::new(), done: None };
        let action = run.script.start();
        // A script that cannot start fails again at its first logits.
        let _ = run.settle(action);
        run
    }

    /// The required context: the prompt of the next request. A request with a prefix of it is forced to the rest.
    #[must_use]
    pub fn ids(&self) -> &[Token] {
        self.branch.as_ref().unwrap_or(&self.script).ids()
    }

    /// Text generated since the last call that cannot be taken back.
    pub fn take_delta(&mut self) -> Option<String> {
        self.script.take_delta()
    }

    /// The result of the script, after it has ended; returned once.
    pub fn take_done(&mut self) -> Option<Transcript> {
        self.done.take()
    }

    /// Takes the raw logits after `context`, and returns the next action of the request.
    ///
    /// # Errors
    /// [`AppendOnlyError::ContextMismatch`] if the context does not match the script, [`AppendOnlyError::Step`] if the
    /// script fails; after [`StepError::BadLogits`] it can continue with valid logits.
    pub fn on_logits(&mut self, context: &[Token], logits: &[f32]) -> Result<Next, AppendOnlyError> {
        if !self.ids().starts_with(context) {
            return Err(AppendOnlyError::ContextMismatch);
        }
        if self.ids().len() == context.len() {
            let action = self.branch.as_mut().unwrap_or(&mut self.script).on_logits(logits);
            self.settle(action)?;
        }
        match self.ids().strip_prefix(context) {
            Some([next, ..]) if self.done.is_none() => Ok(Next::Force(*next)),
            _ => Ok(Next::End),
        }
    }

    /// Continues until logits are needed or the script has ended.
    fn settle(&mut self, mut action: Action) -> Result<(), StepError> {
        loop {
            action = match action {
                Action::Feed => return Ok(()),
                Action::Failed(error) => return Err(error),
                Action::Fork(branches) => {
                    self.branches = branches;
                    self.next_branch()
                }
                Action::Done(transcript) if self.branch.take().is_some() => {
                    self.transcripts.push(transcript);
                    self.next_branch()
                }
                Action::Done(transcript) => {
                    self.done = Some(transcript);
                    return Ok(());
                }
            }
        }
    }

    fn next_branch(&mut self) -> Action {
        if self.transcripts.len() == self.branches {
            return self.script.on_branches(std::mem::take(&mut self.transcripts));
        }
        let mut branch = self.script.branch(self.transcripts.len());
        let action = branch.start();
        self.branch = Some(branch);
        action
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::script::toy::{self, Toy};
    use crate::script::{Generate, Outcome, Prompt, SamplerSettings, Script, Segment, Step, Vocabulary};

    fn machine(script: Script) -> Machine {
        let prompt = Prompt(vec![Segment::Control("<user>".into()), Segment::Text("say:".into())]).encode(&Toy);
        let settings = SamplerSettings { temperature: 0.7, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 3 };
        let script = script.compile(&prompt, &Toy).unwrap();
        Machine::new(Arc::new(Toy), prompt, script, settings)
    }

    /// Runs it as an engine does, with each prompt shortened by `cut` tokens; also returns the number of requests.
    fn run(mut run: AppendOnlyRun, cut: usize, logits: &dyn Fn(&[Token]) -> Vec<f32>) -> (Transcript, usize, String) {
        let (mut requests, mut text) = (0, String::new());
        loop {
            text.extend(run.take_delta());
            if let Some(transcript) = run.take_done() {
                return (transcript, requests, text);
            }
            requests += 1;
            let mut context = run.ids()[..run.ids().len() - cut].to_vec();
            while let Next::Force(token) = run.on_logits(&context, &logits(&context)).unwrap() {
                context.push(token);
            }
        }
    }

    /// Runs a machine that can go back and skips nothing.
    fn exact(mut machine: Machine, logits: &dyn Fn(&[Token]) -> Vec<f32>) -> Transcript {
        let mut action = machine.start();
        loop {
            action = match action {
                Action::Feed => machine.on_logits(&logits(machine.ids())),
                Action::Fork(count) => {
                    let transcripts = (0..count).map(|index| exact(machine.branch(index), logits)).collect();
                    machine.on_branches(transcripts)
                }
                Action::Done(transcript) => return transcript,
                Action::Failed(error) => panic!("{error}"),
            };
        }
    }

    fn choose(options: &[&str]) -> Step {
        Step::Choose(options.iter().map(|o| (*o).to_owned()).collect())
    }

    fn generate(max_tokens: usize) -> Step {
        Step::Generate(Generate { stop: vec!["[RESULT]".into()], max_tokens, min_tokens: 0, ..Generate::default() })
    }

    /// Logits that write `text` and then end the turn, whatever is forced in between.
    fn writes(text: &str) -> impl Fn(&[Token]) -> Vec<f32> {
        let start = machine(Script::default()).ids().len();
        let text = Toy.tokenize(text);
        move |context| {
            let mut logits = vec![0.0; toy::SIZE];
            logits[*text.get(context.len() - start).unwrap_or(&toy::END) as usize] = 20.0;
            logits
        }
    }

    #[test]
    fn what_a_script_costs() {
        let lead = || Step::Say(" [RESULT]".into());
        let check = |writes_text: &str, steps: Vec<Step>, expected: usize| {
            let (transcript, requests, _) =
                run(AppendOnlyRun::new(machine(Script(steps.clone()))), 0, &writes(writes_text));
            assert_eq!(requests, expected, "{steps:?}: {transcript:?}");
        };
        check("", vec![lead()], 0);
        check("", vec![lead(), choose(&[" A", " B"])], 1);
        check(" good", vec![generate(8), lead(), choose(&[" A", " B"])], 1);
        // The model writes the lead itself: the same tokens, so that nothing is to be taken back.
        check(" good [RESULT]", vec![generate(8), lead(), choose(&[" A", " B"])], 1);
        // `. [` is one token of the toy, which the model's `.` is not the beginning of.
        check("good.", vec![generate(8), lead(), choose(&[" A", " B"])], 2);
        // The first inner node is on the way, the second is not.
        check("", vec![lead(), choose(&[" Ax", " Bx"])], 2);
        let question = || Script(vec![lead(), choose(&[" A", " B"])]);
        check("", vec![Step::Branch(vec![question(), question(), question()])], 3);
    }

    #[test]
    fn rare_nodes_are_left_out_and_their_mass_is_told() {
        let logits = |context: &[Token]| {
            let mut logits = vec![-30.0; toy::SIZE];
            let (a, b) = (Toy.tokenize(" A")[0], Toy.tokenize(" B")[0]);
            (logits[a as usize], logits[b as usize]) =
                if context.last() == Some(&a) { (0.0, 0.0) } else { (0.0, -12.0) };
            logits
        };
        let script = || Script(vec![choose(&[" A A", " A B", " B A", " B B"])]);
        let (transcript, requests, _) = run(AppendOnlyRun::new(machine(script())), 0, &logits);
        assert_eq!(requests, 1, "the node of ` B` is not looked into");
        let rare = (-12.0_f64).exp() / (1.0 + (-12.0_f64).exp());
        assert!((transcript.skipped_mass - rare).abs() < 1e-9, "{transcript:?}");
        let Outcome::Chosen { log_masses, .. } = &transcript.outcomes[0] else { panic!() };
        assert!((log_masses[0].exp() - 0.5 * (1.0 - rare)).abs() < 1e-6);
        assert_eq!(log_masses[2], f64::NEG_INFINITY);
        // However little the model wants to answer at all, something is looked into.
        let elsewhere = |context: &[Token]| {
            let mut logits = logits(context);
            logits[toy::END as usize] = 40.0;
            logits
        };
        let (transcript, ..) = run(AppendOnlyRun::new(machine(script())), 0, &elsewhere);
        let Outcome::Chosen { log_masses, .. } = &transcript.outcomes[0] else { panic!() };
        assert!(log_masses[0].is_finite());
    }

    #[test]
    fn a_foreign_context_is_noticed() {
        let mut run = AppendOnlyRun::new(machine(Script(vec![choose(&[" A", " B"])])));
        let mut context = run.ids().to_vec();
        context[0] += 1;
        assert_eq!(run.on_logits(&context, &[0.0; toy::SIZE]), Err(AppendOnlyError::ContextMismatch));
    }

    #[test]
    fn logits_that_are_no_numbers_are_an_error_that_can_be_mended() {
        let mut run = AppendOnlyRun::new(machine(Script(vec![choose(&[" A", " B"])])));
        let (context, failed) = (run.ids().to_vec(), Err(AppendOnlyError::Step(StepError::BadLogits)));
        assert_eq!(run.on_logits(&context, &[f32::NAN; toy::SIZE]), failed);
        assert!(run.take_done().is_none());
        assert_eq!(run.on_logits(&context, &[0.0; toy::SIZE]), Ok(Next::End), "tried again, it comes out right");
        assert!(run.take_done().is_some());
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let options = prop::sample::subsequence(vec![" 1", " 10", " A", " B", " good", " bad", " Ax"], 2..5);
        let step = prop_oneof![
            "( good|the|\\. \\[| is|x){0,3}".prop_map(Step::Say),
            (1usize..8).prop_map(generate),
            options.prop_map(|options| choose(&options)),
        ];
        let branch = prop::collection::vec(prop::collection::vec(step.clone(), 1..3).prop_map(Script), 1..3);
        prop::collection::vec(prop_oneof![5 => step, 1 => branch.prop_map(Step::Branch)], 1..5)
    }

    /// Compares a result with the exact one, up to the skipped mass.
    fn check(found: &Transcript, exact: &Transcript) -> Result<(), TestCaseError> {
        prop_assert_eq!(&found.answer, &exact.answer);
        for (found_outcome, exact) in found.outcomes.iter().zip(&exact.outcomes) {
            match (found_outcome, exact) {
                (
                    Outcome::Chosen { index, log_masses, .. },
                    Outcome::Chosen { index: best, log_masses: masses, .. },
                ) => {
                    prop_assert_eq!(index, best);
                    for (found_mass, mass) in log_masses.iter().zip(masses) {
                        let missing = mass.exp() - found_mass.exp();
                        prop_assert!((-1e-12..=found.skipped_mass + 1e-12).contains(&missing), "{missing}");
                    }
                }
                (Outcome::Branched(found), Outcome::Branched(exact)) => {
                    found.iter().zip(exact).try_for_each(|(found, exact)| check(found, exact))?;
                }
                (found, exact) => prop_assert_eq!(found, exact),
            }
        }
        Ok(())
    }

    proptest! {
        /// A series of requests gives the same result as a machine that can go back, wherever prompts are cut.
        #[test]
        fn a_row_of_requests_is_the_script(steps in steps(), cut in 0usize..3) {
            let (found, _, text) = run(AppendOnlyRun::new(machine(Script(steps.clone()))), cut, &toy::logits);
            check(&found, &exact(machine(Script(steps)), &toy::logits))?;
            let written: String = found.outcomes.iter().filter_map(|outcome| match outcome {
                Outcome::Generated { text, .. } => Some(text.as_str()),
                _ => None,
            }).collect();
            prop_assert_eq!(text, written, "what is shown is what is kept");
        }
    }
}
