//! Compiling scripts: tokenises, on the caller's thread, all text that does not depend on the model, so that the engine
//! thread tokenises as little as possible.
//!
//! That is all text up to the first generated text. From there on, a [`Machine`](super::Machine) tokenises only the
//! text that was added.

use std::sync::Arc;

use super::run::{Tail, TextRun};
use super::{Encoded, Generate, OptionTree, Script, Step, StepError, Vocabulary};

/// A script with its known tokens, for one prompt. Clones share the data.
#[derive(Debug, Clone)]
pub struct CompiledScript(Arc<[CompiledStep]>);

/// A step, with its effect on the run of text at the end of the prompt; `None` if that depends on the model.
#[derive(Debug, Clone)]
pub(super) enum CompiledStep {
    PromptLogprobs(usize),
    Say(String),
    Generate(Generate, Option<Tail>),
    Choose(Vec<String>, Option<Choice>),
    Branch(Vec<CompiledScript>, Option<Tail>),
}

/// A choice with its tokens.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    /// The effect of the text before it on the run.
    before: Tail,
    /// Number of tokens of the run before the option tree.
    pub(super) keep: usize,
    pub(super) tree: OptionTree,
}

impl Default for CompiledScript {
    /// A script without steps.
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl CompiledScript {
    pub(super) fn step(&self, index: usize) -> Option<&CompiledStep> {
        self.0.get(index)
    }
}

impl Choice {
    /// Tokenises the added text of a run, and the options that may follow.
    pub(super) fn new(run: &mut TextRun, options: &[String], vocabulary: &dyn Vocabulary) -> Result<Self, StepError> {
        let before = run.tokenize(vocabulary);
        let (keep, tree) = run.options(vocabulary, options)?;
        Ok(Self { before, keep, tree })
    }

    /// Applies the result of [`Choice::new`] to an equal run.
    pub(super) fn apply(&self, run: &mut TextRun) {
        run.apply(&self.before);
    }
}

impl Encoded {
    /// The run of text at its end.
    pub(super) fn run(&self) -> TextRun {
        TextRun::new(self.run_text.clone(), self.ids[self.run_start..].to_vec())
    }
}

impl Script {
    /// Tokenises the known text of the script after this prompt, which must be of the same vocabulary.
    ///
    /// # Errors
    /// [`StepError::NoTokens`].
    pub fn compile(&self, prompt: &Encoded, vocabulary: &dyn Vocabulary) -> Result<CompiledScript, StepError> {
        compile(self, Some(prompt.run()), vocabulary)
    }
}

/// Compiles a script after a run of text; `None` means that the run is not known.
fn compile(
    script: &Script,
    mut run: Option<TextRun>,
    vocabulary: &dyn Vocabulary,
) -> Result<CompiledScript, StepError> {
    let mut steps = Vec::with_capacity(script.0.len());
    for step in &script.0 {
        steps.push(match step {
            Step::PromptLogprobs(most) => CompiledStep::PromptLogprobs(*most),
            Step::Say(text) => {
                run.iter_mut().for_each(|run| run.push(text));
                CompiledStep::Say(text.clone())
            }
            Step::Generate(generate) => {
                let tail = run.take().map(|mut run| {
                    run.push(&generate.begin);
                    run.tokenize(vocabulary)
                });
                CompiledStep::Generate(generate.clone(), tail)
            }
            Step::Choose(options) => {
                let choice = run.take().map(|mut run| Choice::new(&mut run, options, vocabulary)).transpose()?;
                CompiledStep::Choose(options.clone(), choice)
            }
            Step::Branch(scripts) => {
                let tail = run.as_mut().map(|run| run.tokenize(vocabulary));
                let branch = |script| compile(script, run.clone(), vocabulary);
                CompiledStep::Branch(scripts.iter().map(branch).collect::<Result<_, _>>()?, tail)
            }
        });
    }
    Ok(CompiledScript(steps.into()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::script::toy::{self, Toy};
    use crate::script::{
        Action, Constraint, Grammar, Machine, Outcome, Prompt, SamplerSettings, Segment, Token, Transcript,
    };

    /// The toy, and how many bytes it has tokenised.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Counting {
        fn taken(&self) -> usize {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    impl Vocabulary for Counting {
        fn size(&self) -> usize {
            Toy.size()
        }
        fn tokenize(&self, text: &str) -> Vec<Token> {
            self.0.fetch_add(text.len(), Ordering::Relaxed);
            Toy.tokenize(text)
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
            false
        }
        fn begin(&self) -> Option<Token> {
            None
        }
        fn constrain(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, String> {
            Toy.constrain(grammar)
        }
    }

    fn run(mut machine: Machine) -> Transcript {
        let mut action = machine.start();
        loop {
            action = match action {
                Action::Feed => machine.on_logits(&toy::logits(machine.ids())),
                Action::Fork(count) => {
                    let transcripts = (0..count).map(|index| run(machine.branch(index))).collect();
                    machine.on_branches(transcripts)
                }
                Action::Done(transcript) => return transcript,
                Action::Failed(error) => panic!("{error}"),
            };
        }
    }

    /// A template without control tokens: the whole prompt is one run of text.
    const PROMPT: &str = "[INST] the response is good, the feedback is bad.\n";

    /// What compiling tokenises after a prompt of `repeats` pieces of text, and what running does then.
    fn tokenized(steps: Vec<Step>, repeats: usize) -> (usize, usize, Transcript) {
        let vocabulary = Arc::new(Counting::default());
        let prompt = Prompt(vec![Segment::Text(PROMPT.repeat(repeats))]).encode(&*vocabulary);
        assert_eq!(vocabulary.taken(), repeats * PROMPT.len(), "the prompt is tokenised once");
        let script = Script(steps).compile(&prompt, &*vocabulary).unwrap();
        let compiling = vocabulary.taken();
        let settings = SamplerSettings { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 1 };
        let transcript = run(Machine::new(Arc::clone(&vocabulary) as _, prompt, script, settings));
        (compiling, vocabulary.taken(), transcript)
    }

    fn choose(options: &[&str]) -> Step {
        Step::Choose(options.iter().map(|o| (*o).to_owned()).collect())
    }

    fn question() -> Script {
        Script(vec![Step::Say("Is it good?".into()), choose(&[" good", " bad"])])
    }

    #[test]
    fn what_is_known_beforehand_is_not_tokenised_when_it_runs() {
        for steps in [
            question().0,
            vec![Step::Branch(vec![question(), question()]), Step::Say(" the".into()), choose(&[" A", " B"])],
            vec![Step::PromptLogprobs(0), choose(&[" 1", " 10"])],
            vec![Step::Generate(Generate { begin: "the".into(), max_tokens: 3, ..Generate::default() })],
        ] {
            let (_, running, _) = tokenized(steps.clone(), 30);
            assert_eq!(running, 0, "{steps:?}");
        }
    }

    #[test]
    fn a_long_prompt_is_not_tokenised_again_for_its_options() {
        let feedback = || {
            let generate = Generate { max_tokens: 20, min_tokens: 20, ..Generate::default() };
            let options = [" 1", " 2", " 3", " 4", " 5"];
            vec![Step::Generate(generate), Step::Say("\n[RESULT]".into()), choose(&options)]
        };
        let steps = || [feedback(), question().0].concat();
        let (short, long) = (tokenized(steps(), 20), tokenized(steps(), 200));
        assert!(matches!(long.2.outcomes[2], Outcome::Chosen { .. }), "{:?}", long.2);
        for (compiling, running, transcript) in [short, long] {
            let most = 12 * (2 * PROMPT.len() + transcript.answer.len());
            assert!(compiling + running < most, "{compiling} and {running} bytes, more than {most}");
        }
    }
}
