//! Runs a script one set of logits at a time.
//!
//! A machine does not run the model. It states which tokens the context must hold ([`Machine::ids`]), gets the logits
//! after the last of them, and returns the next action. The ids equal those of the whole text since the last control
//! token, whatever the boundaries between steps. Known text was tokenised by
//! [`Script::compile`](super::Script::compile).

mod writing;

use std::collections::VecDeque;
use std::sync::Arc;

use self::writing::Writing;
use super::compile::{Choice, CompiledStep};
use super::logits::{highest, is_distribution, log_sum_exp};
use super::prompt::Encoded;
use super::run::{Tail, TextRun};
use super::{CompiledScript, OptionTree, Outcome, Sampler, SamplerSettings, StepError, Token, Transcript, Vocabulary};
use crate::domain::{Finish, TokenLogprob};

/// The next action of an engine for a machine.
pub enum Action {
    /// Bring the context to [`Machine::ids`], and pass the logits after the last id to [`Machine::on_logits`].
    Feed,
    /// Run this number of branches, made by [`Machine::branch`], each from this machine's context; and pass their
    /// transcripts, in order, to [`Machine::on_branches`].
    Fork(usize),
    /// The script has ended.
    Done(Transcript),
    /// The script failed. After [`StepError::BadLogits`] the machine is unchanged, and can continue with valid logits
    /// for the same context; the context itself may be damaged.
    Failed(StepError),
}

/// A script in progress.
pub struct Machine {
    vocabulary: Arc<dyn Vocabulary>,
    script: CompiledScript,
    /// Index of the next step.
    next: usize,
    sampler: Sampler,
    skip_below: f64,
    ids: Vec<Token>,
    /// Start of the last run of text in `ids`, and that run. `ids` has the generated tokens; the run has the tokens
    /// that the tokenizer gives for their text.
    run_start: usize,
    run: TextRun,
    answer_start: usize,
    state: State,
    delta: String,
    transcript: Transcript,
}

enum State {
    Ready,
    Reading(Box<Reading>),
    Generating(Box<Writing>),
    Choosing(Box<Choosing>),
    Forking(Vec<CompiledScript>),
    Forked(Vec<CompiledScript>),
    Broken(StepError),
}

/// The remaining prompt tokens of a `PromptLogprobs` step.
struct Reading {
    rest: Vec<Token>,
    read: usize,
    most: usize,
}

struct Choosing {
    options: Vec<String>,
    tree: OptionTree,
    /// Number of tokens of the run before the option tree.
    keep: usize,
    root: usize,
    probes: VecDeque<usize>,
    log_masses: Vec<f64>,
}

impl Machine {
    /// A machine at the end of the prompt that the script was compiled for. The script must pass
    /// [`Script::check`](super::Script::check).
    #[must_use]
    pub fn new(
        vocabulary: Arc<dyn Vocabulary>,
        prompt: Encoded,
        script: CompiledScript,
        settings: SamplerSettings,
    ) -> Self {
        Self {
            vocabulary,
            script,
            next: 0,
            sampler: Sampler::new(settings),
            skip_below: 0.0,
            answer_start: prompt.run_text.len(),
            run: prompt.run(),
            ids: prompt.ids,
            run_start: prompt.run_start,
            state: State::Ready,
            delta: String::new(),
            transcript: Transcript::default(),
        }
    }

    /// Makes choices skip the inner nodes of an option tree that have less than this share (0 to 1) of the mass of all
    /// options, for engines that need a request for every inner node. The most probable option is never skipped.
    /// [`Transcript::skipped_mass`] is the skipped mass.
    #[must_use]
    pub fn skipping(mut self, share: f64) -> Self {
        self.skip_below = share;
        self
    }

    /// The tokens that the context must hold.
    #[must_use]
    pub fn ids(&self) -> &[Token] {
        &self.ids
    }

    /// The tokens that will follow [`Machine::ids`] whatever the logits are: an engine may compute them together.
    #[must_use]
    pub fn upcoming(&self) -> &[Token] {
        match &self.state {
            State::Reading(reading) => &reading.rest[reading.read..],
            _ => &[],
        }
    }

    /// The first action.
    pub fn start(&mut self) -> Action {
        self.advance()
    }

    /// Text generated since the last call that cannot be taken back.
    pub fn take_delta(&mut self) -> Option<String> {
        (!self.delta.is_empty()).then(|| std::mem::take(&mut self.delta))
    }

    /// Takes the raw logits that follow the last of [`Machine::ids`].
    ///
    /// # Panics
    /// When the last action was not [`Action::Feed`].
    pub fn on_logits(&mut self, logits: &[f32]) -> Action {
        if !is_distribution(logits) {
            return Action::Failed(StepError::BadLogits);
        }
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Reading(reading) => self.read(reading, logits),
            State::Generating(writing) => self.write(writing, logits),
            State::Choosing(choosing) => self.choose(choosing, logits),
            State::Forking(scripts) => {
                let count = scripts.len();
                self.state = State::Forked(scripts);
                Action::Fork(count)
            }
            State::Broken(error) => {
                self.state = State::Broken(error);
                Action::Failed(error)
            }
            State::Ready | State::Forked(_) => unreachable!("logits come only after a Feed"),
        }
    }

    /// The machine of a branch of the last [`Action::Fork`].
    ///
    /// # Panics
    /// When the last action was another, or there are not so many branches.
    #[must_use]
    pub fn branch(&self, index: usize) -> Self {
        let State::Forked(scripts) = &self.state else { unreachable!("branches come only after a Fork") };
        Self {
            vocabulary: Arc::clone(&self.vocabulary),
            script: scripts[index].clone(),
            next: 0,
            sampler: self.sampler.clone(),
            skip_below: self.skip_below,
            ids: self.ids.clone(),
            run_start: self.run_start,
            run: self.run.clone(),
            answer_start: self.run.text().len(),
            state: State::Ready,
            delta: String::new(),
            transcript: Transcript::default(),
        }
    }

    /// Takes the transcripts of the machines of the last [`Action::Fork`], in their order.
    pub fn on_branches(&mut self, transcripts: Vec<Transcript>) -> Action {
        self.state = State::Ready;
        self.transcript.completion_tokens += transcripts.iter().map(|t| t.completion_tokens).sum::<usize>();
        self.transcript.skipped_mass += transcripts.iter().map(|t| t.skipped_mass).sum::<f64>();
        self.transcript.outcomes.push(Outcome::Branched(transcripts));
        self.advance()
    }

    fn advance(&mut self) -> Action {
        let script = self.script.clone();
        while let Some(step) = script.step(self.next) {
            self.next += 1;
            match step {
                CompiledStep::PromptLogprobs(most) => {
                    let rest = self.ids.split_off(1);
                    let bytes = self.vocabulary.piece(self.ids[0]);
                    self.transcript.prompt_logprobs.push(TokenLogprob { bytes, logprob: None, top: Vec::new() });
                    self.transcript.outcomes.push(Outcome::PromptLogprobs);
                    if !rest.is_empty() {
                        self.state = State::Reading(Box::new(Reading { rest, read: 0, most: *most }));
                        return Action::Feed;
                    }
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
                    let mut writing = Writing::new(limits.clone(), drop_space);
                    if let Some(grammar) = &writing.limits.grammar {
                        match self.vocabulary.constrain(grammar) {
                            Ok(constraint) => writing.constraint = Some(constraint),
                            // The engine refused the grammar at compilation; never generate unrestricted text instead.
                            Err(_) => return self.finish(writing, Finish::Length),
                        }
                    }
                    self.state = State::Generating(Box::new(writing));
                    return Action::Feed;
                }
                CompiledStep::Choose(options, known) => return self.begin_choice(options.clone(), known.clone()),
                CompiledStep::Branch(scripts, tail) => {
                    self.tokenize(tail.as_ref());
                    self.state = State::Forking(scripts.clone());
                    return Action::Feed;
                }
            }
        }
        self.transcript.answer = self.run.text()[self.answer_start..].to_owned();
        Action::Done(std::mem::take(&mut self.transcript))
    }

    fn begin_choice(&mut self, options: Vec<String>, known: Option<Choice>) -> Action {
        let choice = match known {
            Some(choice) => {
                choice.apply(&mut self.run);
                choice
            }
            None => match Choice::new(&mut self.run, &options, &*self.vocabulary) {
                Ok(choice) => choice,
                Err(error) => {
                    self.state = State::Broken(error);
                    return Action::Failed(error);
                }
            },
        };
        let Choice { keep, tree, .. } = choice;
        self.hold_run(keep, tree.forced());
        let (root, probes) = (self.ids.len(), tree.probes().into());
        let log_masses = vec![f64::NEG_INFINITY; options.len()];
        self.state = State::Choosing(Box::new(Choosing { options, tree, keep, root, probes, log_masses }));
        Action::Feed
    }

    fn read(&mut self, mut reading: Box<Reading>, logits: &[f32]) -> Action {
        let token = reading.rest[reading.read];
        let told = self.token_logprob(token, self.vocabulary.piece(token), logits, reading.most);
        self.transcript.prompt_logprobs.push(told);
        self.ids.push(token);
        reading.read += 1;
        if reading.read == reading.rest.len() {
            return self.advance();
        }
        self.state = State::Reading(reading);
        Action::Feed
    }

    fn write(&mut self, mut writing: Box<Writing>, logits: &[f32]) -> Action {
        let masked = match writing.constraint.as_mut().map(|constraint| constraint.masked(logits)) {
            Some(None) => return self.finish(*writing, Finish::Length),
            Some(Some(masked)) => Some(masked),
            None => None,
        };
        let allowed = masked.as_deref().unwrap_or(logits);
        let mut banned = Vec::new();
        loop {
            let Some(token) = self.sampler.pick(allowed, &banned) else {
                return self.finish(*writing, Finish::Length);
            };
            let may_stop = writing.tokens >= writing.limits.min_tokens;
            let ends = self.vocabulary.ends_turn(token);
            let mut piece = if ends { Vec::new() } else { self.vocabulary.piece(token) };
            if writing.drop_space && writing.tokens == 0 && piece.first() == Some(&b' ') {
                piece.remove(0);
            }
            let before = (writing.text.len(), writing.tail.clone(), writing.progress.clone());
            writing.push(&piece);
            let stopped = writing.stops.read(&mut writing.progress, &writing.text[before.0..]);
            if (ends || stopped.is_some()) && !may_stop {
                // The minimum length is not reached: take back the token and pick another.
                writing.text.truncate(before.0);
                (writing.tail, writing.progress) = (before.1, before.2);
                banned.push(token);
                continue;
            }
            writing.tokens += 1;
            self.transcript.completion_tokens += 1;
            if let Some(at) = stopped {
                writing.text.truncate(at);
            }
            if let Some(most) = writing.limits.logprobs.filter(|_| !ends || writing.limits.keep_trailing_whitespace) {
                writing.logprobs.push(self.token_logprob(token, piece, logits, most));
            }
            writing.cut = stopped.is_some();
            if ends || stopped.is_some() {
                return self.finish(*writing, Finish::Stop);
            }
            self.ids.push(token);
            if writing.constraint.as_mut().is_some_and(|constraint| constraint.accept(token)) {
                return self.finish(*writing, Finish::Stop);
            }
            if writing.tokens == writing.limits.max_tokens {
                return self.finish(*writing, Finish::Length);
            }
            let safe = writing.stops.safe_len(&writing.progress, &writing.text);
            self.show(&mut writing, safe);
            self.state = State::Generating(writing);
            return Action::Feed;
        }
    }

    /// A token with its log probability and the `most` most probable alternatives.
    fn token_logprob(&self, token: Token, bytes: Vec<u8>, logits: &[f32], most: usize) -> TokenLogprob {
        let normalizer = log_sum_exp(logits);
        let logprob = |token: usize| f64::from(logits[token]) - normalizer;
        let top = highest(logits, most).into_iter().map(|id| (self.vocabulary.piece(id as Token), logprob(id)));
        TokenLogprob { bytes, logprob: Some(logprob(token as usize)), top: top.collect() }
    }

    fn show(&mut self, writing: &mut Writing, until: usize) {
        if until > writing.shown {
            self.delta.push_str(&writing.text[writing.shown..until]);
            writing.shown = until;
        }
    }

    fn finish(&mut self, mut writing: Writing, finish: Finish) -> Action {
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
        self.transcript.outcomes.push(Outcome::Generated { text: writing.text, finish });
        self.advance()
    }

    fn choose(&mut self, mut choosing: Box<Choosing>, logits: &[f32]) -> Action {
        let node = choosing.probes.pop_front().expect("a choice in progress has a node to read");
        choosing.tree.read(node, logits, &mut choosing.log_masses);
        self.ids.truncate(choosing.root);
        let least = self.skip_below * choosing.tree.reach_of_options();
        while let Some(next) = choosing.probes.front() {
            let reach = choosing.tree.reach(*next);
            if reach < least {
                self.transcript.skipped_mass += reach;
                choosing.probes.pop_front();
                continue;
            }
            self.ids.extend_from_slice(choosing.tree.path(*next));
            self.state = State::Choosing(choosing);
            return Action::Feed;
        }
        let Choosing { options, tree, keep, log_masses, .. } = *choosing;
        let index = (1..options.len()).fold(0, |best, i| if log_masses[i] > log_masses[best] { i } else { best });
        self.run.push_tokenized(&options[index], &Tail { keep, ids: tree.tokens(index) });
        self.transcript.completion_tokens += tree.path_len(index);
        self.transcript.outcomes.push(Outcome::Chosen { index, log_masses });
        self.advance()
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

#[cfg(test)]
mod tests;
