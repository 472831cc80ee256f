//! The position in a script: what a [`Machine`](super::Machine) and a [`Walk`](super::Walk) have in common.
//!
//! The ids equal those of the whole text since the last control token, whatever the boundaries between steps. Known
//! text was tokenised by [`Script::compile`](super::Script::compile).

use std::sync::Arc;

use super::compile::{Choice, CompiledStep};
use super::prompt::Encoded;
use super::run::{Tail, TextRun};
use super::writing::Writing;
use super::{CompiledScript, OptionTree, Outcome, StepError, Token, Transcript, Vocabulary};
use crate::domain::{Finish, MassKind};

/// A position in a script, with the tokens of the context there and the outcomes so far.
pub(super) struct Cursor {
    pub(super) vocabulary: Arc<dyn Vocabulary>,
    script: CompiledScript,
    /// Index of the next step.
    next: usize,
    pub(super) ids: Vec<Token>,
    /// Start of the last run of text in `ids`, and that run. `ids` has the generated tokens; the run has the tokens
    /// that the tokenizer gives for their text.
    run_start: usize,
    run: TextRun,
    answer_start: usize,
    pub(super) delta: String,
    pub(super) transcript: Transcript,
}

/// What the next step needs of the model.
pub(super) enum Need {
    PromptLogprobs(usize),
    Text(Box<Writing>),
    Choice(Box<Choosing>),
    Branches(Vec<CompiledScript>),
    /// Nothing: the script has ended.
    Nothing(Transcript),
    Impossible(StepError),
}

/// A choice in progress.
pub(super) struct Choosing {
    pub(super) options: Vec<String>,
    pub(super) tree: OptionTree,
    /// Number of tokens of the run before the option tree.
    keep: usize,
    /// Number of ids before the paths of the options.
    pub(super) root: usize,
    pub(super) log_masses: Vec<f64>,
}

impl Cursor {
    /// The beginning of a script that was compiled for this prompt.
    pub(super) fn new(vocabulary: Arc<dyn Vocabulary>, prompt: Encoded, script: CompiledScript) -> Self {
        Self {
            vocabulary,
            script,
            next: 0,
            answer_start: prompt.run_text.len(),
            run: prompt.run(),
            ids: prompt.ids,
            run_start: prompt.run_start,
            delta: String::new(),
            transcript: Transcript::default(),
        }
    }

    /// The beginning of a branch at this position.
    pub(super) fn branch(&self, script: CompiledScript) -> Self {
        Self {
            vocabulary: Arc::clone(&self.vocabulary),
            script,
            next: 0,
            ids: self.ids.clone(),
            run_start: self.run_start,
            run: self.run.clone(),
            answer_start: self.run.text().len(),
            delta: String::new(),
            transcript: Transcript::default(),
        }
    }

    /// Text generated since the last call that cannot be taken back.
    pub(super) fn take_delta(&mut self) -> Option<String> {
        (!self.delta.is_empty()).then(|| std::mem::take(&mut self.delta))
    }

    /// The text since the prompt, or since the branching point.
    pub(super) fn answer(&self) -> &str {
        &self.run.text()[self.answer_start..]
    }

    /// The text since the last control token.
    pub(super) fn run_text(&self) -> &str {
        self.run.text()
    }

    /// Goes on to the next step that needs the model, and brings the ids there.
    pub(super) fn advance(&mut self) -> Need {
        let script = self.script.clone();
        while let Some(step) = script.step(self.next) {
            self.next += 1;
            match step {
                CompiledStep::PromptLogprobs(most) => {
                    self.transcript.outcomes.push(Outcome::PromptLogprobs);
                    return Need::PromptLogprobs(*most);
                }
                CompiledStep::Say(text) => {
                    self.run.push(text);
                    self.transcript.outcomes.push(Outcome::Said);
                }
                CompiledStep::Generate(limits, tail) => {
                    self.run.push(&limits.begin);
                    self.delta.push_str(&limits.begin);
                    self.tokenize(tail.as_ref());
                    let drop_space = self.vocabulary.adds_space() && self.begins_text();
                    return Need::Text(Box::new(Writing::new(limits.clone(), drop_space)));
                }
                CompiledStep::Choose(options, known) => return self.choice(options.clone(), known.clone()),
                CompiledStep::Branch(scripts, tail) => {
                    self.tokenize(tail.as_ref());
                    return Need::Branches(scripts.clone());
                }
            }
        }
        self.transcript.answer = self.answer().to_owned();
        Need::Nothing(std::mem::take(&mut self.transcript))
    }

    fn choice(&mut self, options: Vec<String>, known: Option<Choice>) -> Need {
        let choice = match known {
            Some(choice) => {
                choice.apply(&mut self.run);
                choice
            }
            None => match Choice::new(&mut self.run, &options, &*self.vocabulary) {
                Ok(choice) => choice,
                Err(error) => return Need::Impossible(error),
            },
        };
        let Choice { keep, tree, .. } = choice;
        self.hold_run(keep, tree.forced());
        let log_masses = vec![f64::NEG_INFINITY; options.len()];
        Need::Choice(Box::new(Choosing { options, tree, keep, root: self.ids.len(), log_masses }))
    }

    /// Ends a choice: appends the most probable option.
    pub(super) fn chosen(&mut self, choosing: Choosing, mass: MassKind) {
        let Choosing { options, tree, keep, root, log_masses } = choosing;
        self.ids.truncate(root);
        let index = (1..options.len()).fold(0, |best, i| if log_masses[i] > log_masses[best] { i } else { best });
        self.run.push_tokenized(&options[index], &Tail { keep, ids: tree.tokens(index) });
        self.transcript.completion_tokens += tree.path_len(index);
        self.transcript.outcomes.push(Outcome::Chosen { index, log_masses, mass });
    }

    /// Counts a token of a text that was read, and says whether the text ends with it.
    pub(super) fn took(
        &mut self,
        writing: &mut Writing,
        token: Token,
        ends: bool,
        stopped: Option<usize>,
    ) -> Option<Finish> {
        writing.tokens += 1;
        self.transcript.completion_tokens += 1;
        if let Some(at) = stopped {
            writing.text.truncate(at);
        }
        writing.cut = stopped.is_some();
        if ends || stopped.is_some() {
            return Some(Finish::Stop);
        }
        self.ids.push(token);
        (writing.tokens == writing.limits.max_tokens).then_some(Finish::Length)
    }

    /// Makes text visible up to this byte.
    pub(super) fn show(&mut self, writing: &mut Writing, until: usize) {
        if until > writing.shown && !writing.limits.thoughts {
            self.delta.push_str(&writing.text[writing.shown..until]);
            writing.shown = until;
        }
    }

    /// Makes the text visible that can no longer be part of a stop text.
    pub(super) fn show_safe(&mut self, writing: &mut Writing) {
        let safe = writing.stops.safe_len(&writing.progress, &writing.text);
        self.show(writing, safe);
    }

    /// Ends a text.
    pub(super) fn wrote(&mut self, mut writing: Writing, finish: Finish) {
        let keep = writing.limits.keep_trailing_whitespace;
        let end = if keep { writing.text.len() } else { writing.text.trim_end().len() };
        writing.text.truncate(end);
        self.show(&mut writing, end);
        let (mut begins, all) = (0, keep && !writing.cut);
        writing.logprobs.retain(|token| {
            let kept = all || begins < end;
            begins += token.bytes.len();
            kept
        });
        self.transcript.output_logprobs.append(&mut writing.logprobs);
        self.run.push(&writing.text);
        writing.text.insert_str(0, &writing.limits.begin);
        self.transcript.outcomes.push(Outcome::written(writing.limits.thoughts, writing.text, finish));
    }

    /// Ends a branching.
    pub(super) fn branched(&mut self, transcripts: Vec<Transcript>) {
        self.transcript.completion_tokens += transcripts.iter().map(|t| t.completion_tokens).sum::<usize>();
        self.transcript.skipped_mass += transcripts.iter().map(|t| t.skipped_mass).sum::<f64>();
        self.transcript.outcomes.push(Outcome::Branched(transcripts));
    }

    /// Whether the next text begins a new run. A caller's own token ids may end in the middle of a run.
    fn begins_text(&self) -> bool {
        self.run.text().is_empty() && self.ids.last().is_none_or(|last| self.vocabulary.ends_turn(*last))
    }

    /// Sets the ids to those of the whole text of the run, from the compiled script or tokenised now.
    fn tokenize(&mut self, known: Option<&Tail>) {
        match known {
            Some(tail) => self.run.apply(tail),
            None => {
                self.run.tokenize(&*self.vocabulary);
            }
        }
        self.hold_run(self.run.ids().len(), &[]);
    }

    /// Sets the ids to the first `keep` tokens of the run and these tokens.
    fn hold_run(&mut self, keep: usize, more: &[Token]) {
        let run = || self.run.ids()[..keep].iter().chain(more);
        let same = self.ids[self.run_start..].iter().zip(run()).take_while(|(held, wanted)| held == wanted).count();
        self.ids.truncate(self.run_start + same);
        self.ids.extend(run().skip(same));
    }
}
