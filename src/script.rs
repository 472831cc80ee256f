//! Scripts. Every judging method is a short script that a model runs over one prompt, so that no verdict is parsed out
//! of free text and every verdict has a distribution.
//!
//! A [`Script`] is a list of steps. A [`Machine`] runs it one set of logits at a time, without knowing which engine
//! computes them. A [`Transcript`] is its result. `Say`, `Generate`, `Choose` and `Branch` are guidance's append, `gen`
//! and `select` and SGLang's `fork` (Zheng et al. 2024, arXiv:2312.07104).

mod compile;
mod cursor;
mod grammar;
mod logits;
mod machine;
mod options;
mod prompt;
mod recent;
mod run;
mod sampler;
mod schema;
pub(crate) mod stop;
mod token;
mod vocabulary;
mod walk;
mod writing;

#[cfg(test)]
pub(crate) mod toy;

pub use compile::CompiledScript;
pub use grammar::{Constraint, Grammar, Grammars};
pub use machine::{Action, Machine};
pub use options::OptionTree;
pub use prompt::{Encoded, Look, Prompt, Segment, UnseenPicture};
pub use recent::Remembering;
pub use sampler::Sampler;
pub use schema::SchemaTooLarge;
pub use token::Token;
pub use vocabulary::{Glance, Unseen, Vocabulary};
pub use walk::{Ask, NodeAsk, NodeReading, Walk};

use crate::domain::{Finish, MassKind, TokenLogprob};

/// One step of a script.
#[derive(Debug, Clone, PartialEq, Hash)]
pub enum Step {
    /// Returns the log probability of each prompt token, given the tokens before it, with this number of alternatives.
    /// Only as the first step.
    PromptLogprobs(usize),
    /// Forces text into the answer.
    Say(String),
    /// Lets the model write.
    Generate(Generate),
    /// Reads the probability of each option at this point, and appends the most probable one.
    ///
    /// Options include their leading space (` 4`). There are at least two; all are different and not empty.
    Choose(Vec<String>),
    /// Runs several scripts from this point; none sees the others. The next step continues without their text. Branches
    /// cannot be nested.
    Branch(Vec<Script>),
}

/// The options of a `Generate` step.
#[derive(Debug, Clone, PartialEq, Hash, Default)]
pub struct Generate {
    /// Forced text at the beginning, which is part of the generated text.
    pub begin: String,
    /// Texts that end the step. They are not part of the generated text, nor, unless `keep_trailing_whitespace`, is the
    /// white space before them.
    pub stop: Vec<StopString>,
    /// Keeps white space at the end and, with `logprobs`, the end-of-turn token.
    pub keep_trailing_whitespace: bool,
    /// Restricts the text; `None` allows any text.
    pub grammar: Option<Grammar>,
    /// Number of alternatives for each token's log probability; `None` returns no log probabilities.
    pub logprobs: Option<usize>,
    /// Maximum number of tokens.
    pub max_tokens: usize,
    /// Minimum number of tokens before the model may stop.
    pub min_tokens: usize,
    /// Whether the text is what the model thinks before it answers: it is kept apart, and not streamed.
    pub thoughts: bool,
}

/// A text that ends a `Generate` step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StopString {
    /// The text; an empty one never matches, unless `at_line_start`.
    pub text: String,
    /// Whether it matches in any ASCII case.
    pub case_insensitive: bool,
    /// Whether it matches only after a line break, which is then part of the stop, or at the beginning of the text,
    /// after white space.
    pub at_line_start: bool,
}

impl StopString {
    /// Matches in any ASCII case; a leading line break means the start of a line.
    #[must_use]
    pub fn ignoring_case(text: &str) -> Self {
        let line = text.strip_prefix('\n');
        Self { text: line.unwrap_or(text).to_owned(), case_insensitive: true, at_line_start: line.is_some() }
    }
}

/// Matches exactly this text.
impl From<String> for StopString {
    fn from(text: String) -> Self {
        Self { text, case_insensitive: false, at_line_start: false }
    }
}

impl From<&str> for StopString {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Sampling of `Generate` steps; `Choose` does not use it.
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
    /// An empty or duplicate option.
    #[error("the options of a choice must be different and not empty: {0:?}")]
    BadOption(String),
    /// A branch inside a branch, or one without scripts.
    #[error("a branch needs at least one script, and branches cannot be nested")]
    BadBranch,
    /// A grammar that is invalid, or not supported by the engine.
    #[error("the output format is not supported: {0}")]
    BadGrammar(String),
    /// `PromptLogprobs` is not the first step.
    #[error("prompt log probabilities must be the first step of a script")]
    LatePromptLogprobs,
    /// Invalid token limits of a generation.
    #[error("max_tokens must be at least 1, and at least min_tokens")]
    BadLimit,
}

/// Why a running script fails.
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
    /// The same with at most so many tokens of thoughts.
    #[must_use]
    pub fn thinking_at_most(mut self, tokens: usize) -> Self {
        for step in &mut self.0 {
            if let Step::Generate(generate) = step
                && generate.thoughts
            {
                generate.max_tokens = tokens;
            }
        }
        self
    }

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

    /// An upper bound on the tokens that the script adds to its prompt. Of branches, the longest counts.
    ///
    /// A forced text of n bytes has at most n + 1 tokens, because every vocabulary has tokens for single bytes.
    #[must_use]
    pub fn most_tokens(&self) -> usize {
        self.0
            .iter()
            .map(|step| match step {
                Step::PromptLogprobs(_) => 0,
                Step::Say(text) => text.len() + 1,
                // An empty `begin` forces no token.
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

    /// The same script with its longest `Generate` step shortened by this number of tokens; `None` if that would leave
    /// fewer than its minimum.
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

    /// Maximum number of tokens that the script generates, without forced text.
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

/// The result of one step.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The prompt was read; see [`Transcript::prompt_logprobs`].
    PromptLogprobs,
    /// The text was forced.
    Said,
    /// The model thought before its answer: a `Generate` step with `thoughts`.
    Thought {
        /// The text, without the stop text.
        text: String,
        /// Why it ended.
        finish: Finish,
    },
    /// The model generated text.
    Generated {
        /// The text, without the stop text.
        text: String,
        /// Why it ended.
        finish: Finish,
    },
    /// An option was chosen.
    Chosen {
        /// The most probable option.
        index: usize,
        /// The natural logarithm of each option's probability mass; the masses are disjoint and sum to at most 1.
        log_masses: Vec<f64>,
        /// How the masses were obtained.
        mass: MassKind,
    },
    /// Branches were run.
    Branched(Vec<Transcript>),
}

impl Outcome {
    /// The outcome of a `Generate` step.
    pub(crate) fn written(thoughts: bool, text: String, finish: Finish) -> Self {
        if thoughts { Self::Thought { text, finish } } else { Self::Generated { text, finish } }
    }
}

/// The result of a script.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transcript {
    /// One outcome for each step, in order.
    pub outcomes: Vec<Outcome>,
    /// The whole answer, forced text included.
    pub answer: String,
    /// The prompt tokens, if the script has `PromptLogprobs`.
    pub prompt_logprobs: Vec<TokenLogprob>,
    /// The tokens of `Generate` steps with `logprobs`.
    pub output_logprobs: Vec<TokenLogprob>,
    /// Number of generated or chosen tokens, including branches.
    pub completion_tokens: usize,
    /// The probability mass of option tree nodes that were skipped, including branches; 0 unless the engine skips
    /// improbable ones.
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
