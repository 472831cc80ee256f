//! Scripts: the one idea of the house. Every judging method is a short script that a model runs over one
//! prompt, so that no verdict is parsed out of free text and every verdict comes with a distribution.
//!
//! [`Script`] says what to do, a [`Machine`] does it one set of logits at a time without knowing which engine
//! computes them, and a [`Transcript`] says what came of it. The steps are those of guidance's `gen` and
//! `select` and of SGLang's `fork` (Zheng et al. 2024, arXiv:2312.07104).

mod compile;
mod grammar;
mod logits;
mod machine;
mod options;
mod prompt;
mod run;
mod sampler;
mod schema;
pub(crate) mod stop;
mod token;
mod vocabulary;

#[cfg(test)]
pub(crate) mod toy;

pub use compile::CompiledScript;
pub use grammar::{Constraint, Grammar, Grammars};
pub use machine::{Action, Machine};
pub use options::OptionTree;
pub use prompt::{Encoded, Prompt, Segment};
pub use sampler::Sampler;
pub use schema::SchemaTooLarge;
pub use token::Token;
pub use vocabulary::Vocabulary;

use crate::domain::{Finish, TokenLogprob};

/// One step of a script.
#[derive(Debug, Clone, PartialEq, Hash)]
pub enum Step {
    /// Tells how probable each token of the prompt is after those before it, with so many alternatives; the first step
    /// of a script or none.
    PromptLogprobs(usize),
    /// Forces text into the answer.
    Say(String),
    /// Lets the model write.
    Generate(Generate),
    /// Reads the probability of each option at this point, and takes the most probable.
    ///
    /// Options carry the space that stands before them (` 4`); there are at least two, all different and not empty.
    Choose(Vec<String>),
    /// Runs several scripts from this point, each blind to the others; then goes on as if there had been none.
    /// Branches hold no branches.
    Branch(Vec<Script>),
}

/// What a `Generate` step may write, and when it ends.
#[derive(Debug, Clone, PartialEq, Hash, Default)]
pub struct Generate {
    /// What it begins with: forced, and yet a part of what is written.
    pub begin: String,
    /// Texts that end it; neither they nor, unless `keep_trailing_whitespace`, the white space before them belong to what
    /// is written.
    pub stop: Vec<String>,
    /// Texts that end it as well, found just as they stand.
    pub exact_stop: Vec<String>,
    /// Whether the texts of `stop` are found in any ASCII case, and those that begin with a line break at the start, too.
    pub ignore_case: bool,
    /// Whether all is kept as it comes: white space at the end, and, where probabilities are told, the token that ends
    /// the turn.
    pub keep_trailing_whitespace: bool,
    /// What may be written; `None` for anything.
    pub grammar: Option<Grammar>,
    /// How many alternatives of each token are told; `None` where no probabilities are.
    pub logprobs: Option<usize>,
    /// The most tokens to write.
    pub max_tokens: usize,
    /// The fewest tokens to write before the model may stop.
    pub min_tokens: usize,
}

/// How `Generate` steps sample; `Choose` never looks at it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerSettings {
    /// 0 is greedy.
    pub temperature: f32,
    /// In (0, 1].
    pub top_p: f32,
    /// 0 keeps all tokens.
    pub top_k: usize,
    /// In [0, 1].
    pub min_p: f32,
    /// The same seed gives the same text from the same logits.
    pub seed: u64,
}

/// A list of steps.
#[derive(Debug, Clone, PartialEq, Hash, Default)]
pub struct Script(pub Vec<Step>);

/// Why a script cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScript {
    /// A choice of fewer than two options.
    #[error("a choice needs at least two options")]
    TooFewOptions,
    /// An empty option, or one that is there twice.
    #[error("the options of a choice must be different and not empty: {0:?}")]
    BadOption(String),
    /// A branch inside a branch, or one without scripts.
    #[error("a branch holds at least one script, and none with a branch in it")]
    BadBranch,
    /// A grammar that cannot be understood, or that the engine has no means for.
    #[error("what is asked for cannot be written: {0}")]
    BadGrammar(String),
    /// A prompt is told where it is no longer all there is.
    #[error("the probabilities of a prompt are told before anything else is done with it")]
    LatePromptLogprobs,
    /// A generation that may not write anything.
    #[error("a generation needs max_tokens of at least 1 and no less than min_tokens")]
    BadLimit,
}

/// Why a script cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Logits that are NaN or +∞, or that make every token impossible.
    #[error(
        "the model's output for this input is not a number; its weights may be damaged, or its number format too small"
    )]
    BadLogits,
    /// An option of a choice that the vocabulary has no tokens for.
    #[error("the model's vocabulary has no tokens for an option of the choice")]
    NoTokens,
}

impl Script {
    /// Checks that every step can be run.
    ///
    /// # Errors
    /// At the first step that cannot.
    pub fn check(&self) -> Result<(), InvalidScript> {
        self.check_at(true)
    }

    fn check_at(&self, top: bool) -> Result<(), InvalidScript> {
        self.0.iter().enumerate().try_for_each(|(at, step)| match step {
            Step::PromptLogprobs(_) if at > 0 || !top => Err(InvalidScript::LatePromptLogprobs),
            Step::PromptLogprobs(_) | Step::Say(_) => Ok(()),
            Step::Generate(g) if g.max_tokens == 0 || g.min_tokens > g.max_tokens => Err(InvalidScript::BadLimit),
            Step::Generate(_) => Ok(()),
            Step::Choose(options) if options.len() < 2 => Err(InvalidScript::TooFewOptions),
            Step::Choose(options) => {
                match options.iter().enumerate().find(|(i, o)| o.is_empty() || options[..*i].contains(o)) {
                    Some((_, bad)) => Err(InvalidScript::BadOption(bad.clone())),
                    None => Ok(()),
                }
            }
            Step::Branch(scripts) if !top || scripts.is_empty() => Err(InvalidScript::BadBranch),
            Step::Branch(scripts) => scripts.iter().try_for_each(|script| script.check_at(false)),
        })
    }

    /// An upper bound on the tokens that the script adds to its prompt. Branches are not there together.
    ///
    /// A forced text of n bytes has at most n + 1 tokens, since every vocabulary can spell single bytes.
    #[must_use]
    pub fn most_tokens(&self) -> usize {
        self.0
            .iter()
            .map(|step| match step {
                Step::PromptLogprobs(_) => 0,
                Step::Say(text) => text.len() + 1,
                // Nothing is forced where there is nothing to begin with.
                Step::Generate(generate) => {
                    let forced = generate.begin.len() + usize::from(!generate.begin.is_empty());
                    generate.max_tokens.saturating_add(forced)
                }
                Step::Choose(options) => options.iter().map(|o| o.len() + 1).max().unwrap_or(0),
                Step::Branch(scripts) => scripts.iter().map(Script::most_tokens).max().unwrap_or(0),
            })
            .fold(0, usize::saturating_add)
    }

    /// The grammars of its `Generate` steps.
    pub fn grammars(&self) -> impl Iterator<Item = &Grammar> {
        self.0.iter().filter_map(|step| match step {
            Step::Generate(generate) => generate.grammar.as_ref(),
            _ => None,
        })
    }

    /// The same script with its longest `Generate` step shortened by so many tokens; `None` where nothing would be
    /// left of it.
    #[must_use]
    pub fn shortened(mut self, tokens: usize) -> Option<Self> {
        let writes = self.0.iter_mut().filter_map(|step| match step {
            Step::Generate(generate) => Some(generate),
            _ => None,
        });
        let longest = writes.max_by_key(|generate| generate.max_tokens)?;
        longest.max_tokens =
            longest.max_tokens.checked_sub(tokens).filter(|left| *left >= longest.min_tokens.max(1))?;
        Some(self)
    }

    /// The tokens that the script may generate, without forced text.
    #[must_use]
    pub fn most_generated(&self) -> usize {
        self.0
            .iter()
            .map(|step| match step {
                Step::Generate(generate) => generate.max_tokens,
                Step::Branch(scripts) => scripts.iter().map(Script::most_generated).max().unwrap_or(0),
                Step::PromptLogprobs(_) | Step::Say(_) | Step::Choose(_) => 0,
            })
            .fold(0, usize::saturating_add)
    }
}

/// What came of one step.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The prompt was read: [`Transcript::prompt_logprobs`].
    PromptLogprobs,
    /// The text was forced.
    Said,
    /// The model wrote.
    Generated {
        /// What it wrote, without stop text.
        text: String,
        /// Why it ended.
        finish: Finish,
    },
    /// An option was taken.
    Chosen {
        /// The most probable option.
        index: usize,
        /// The natural logarithm of each option's probability mass; the masses are disjoint and sum to at most 1.
        log_masses: Vec<f64>,
    },
    /// Branches were run.
    Branched(Vec<Transcript>),
}

/// What came of a script: an outcome a step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transcript {
    /// One outcome for each step, in order.
    pub outcomes: Vec<Outcome>,
    /// The whole answer, forced text included.
    pub answer: String,
    /// The tokens of the prompt, where it was told.
    pub prompt_logprobs: Vec<TokenLogprob>,
    /// The tokens of `Generate` steps that tell probabilities.
    pub output_logprobs: Vec<TokenLogprob>,
    /// Tokens generated or chosen, branches included.
    pub completion_tokens: usize,
    /// The probability mass of option tree nodes that were not looked into, branches included; 0 unless the engine
    /// leaves out rare ones.
    pub skipped_mass: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_that_cannot_run_are_refused() {
        let choose = |options: &[&str]| Step::Choose(options.iter().map(|o| (*o).to_owned()).collect());
        let check = |steps: Vec<Step>, expected: Result<(), InvalidScript>| {
            assert_eq!(Script(steps.clone()).check(), expected, "{steps:?}");
        };
        check(vec![choose(&[" A", " B"])], Ok(()));
        check(vec![choose(&[" A"])], Err(InvalidScript::TooFewOptions));
        check(vec![choose(&[" A", " A"])], Err(InvalidScript::BadOption(" A".into())));
        check(vec![choose(&[" A", ""])], Err(InvalidScript::BadOption(String::new())));
        check(vec![Step::Generate(Generate::default())], Err(InvalidScript::BadLimit));
        check(vec![Step::PromptLogprobs(0), choose(&[" A", " B"])], Ok(()));
        check(vec![choose(&[" A", " B"]), Step::PromptLogprobs(0)], Err(InvalidScript::LatePromptLogprobs));
        check(vec![Step::Branch(vec![Script(vec![Step::PromptLogprobs(0)])])], Err(InvalidScript::LatePromptLogprobs));
        check(vec![Step::Branch(vec![])], Err(InvalidScript::BadBranch));
        let inner = Script(vec![Step::Branch(vec![Script::default()])]);
        check(vec![Step::Branch(vec![inner])], Err(InvalidScript::BadBranch));
    }
}
