//! Runs a script one set of logits at a time.
//!
//! A machine does not run the model. It states which tokens the context must hold ([`Machine::ids`]), gets the logits
//! after the last of them, and returns the next action. The ids equal those of the whole text since the last control
//! token, whatever the boundaries between steps. Known text was tokenised by
//! [`Script::compile`](super::Script::compile).

use std::collections::VecDeque;
use std::sync::Arc;

use super::cursor::{Choosing, Cursor, Need};
use super::logits::{highest, is_distribution, log_sum_exp};
use super::prompt::Encoded;
use super::writing::{Read, Writing};
use super::{CompiledScript, Sampler, SamplerSettings, StepError, Token, Transcript, Vocabulary};
use crate::domain::{Finish, MassKind, TokenLogprob};

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
    cursor: Cursor,
    sampler: Sampler,
    skip_below: f64,
    state: State,
}

enum State {
    Ready,
    Reading(Box<Reading>),
    Generating(Box<Writing>),
    Choosing(Box<Probing>),
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

/// A choice, and the inner nodes of its option tree that are still to be read.
struct Probing {
    choosing: Choosing,
    probes: VecDeque<usize>,
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
            cursor: Cursor::new(vocabulary, prompt, script),
            sampler: Sampler::new(settings),
            skip_below: 0.0,
            state: State::Ready,
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
        &self.cursor.ids
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
        self.cursor.take_delta()
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
            cursor: self.cursor.branch(scripts[index].clone()),
            sampler: self.sampler.clone(),
            skip_below: self.skip_below,
            state: State::Ready,
        }
    }

    /// Takes the transcripts of the machines of the last [`Action::Fork`], in their order.
    pub fn on_branches(&mut self, transcripts: Vec<Transcript>) -> Action {
        self.state = State::Ready;
        self.cursor.branched(transcripts);
        self.advance()
    }

    fn advance(&mut self) -> Action {
        loop {
            match self.cursor.advance() {
                Need::PromptLogprobs(most) => {
                    let rest = self.cursor.ids.split_off(1);
                    let bytes = self.cursor.vocabulary.piece(self.cursor.ids[0]);
                    let first = TokenLogprob { bytes, logprob: None, top: Vec::new() };
                    self.cursor.transcript.prompt_logprobs.push(first);
                    if !rest.is_empty() {
                        self.state = State::Reading(Box::new(Reading { rest, read: 0, most }));
                        return Action::Feed;
                    }
                }
                Need::Text(mut writing) => {
                    if let Some(grammar) = &writing.limits.grammar {
                        match self.cursor.vocabulary.constrain(grammar) {
                            Ok(constraint) => writing.constraint = Some(constraint),
                            // The engine refused the grammar at compilation; never generate unrestricted text instead.
                            Err(_) => {
                                self.cursor.wrote(*writing, Finish::Length);
                                continue;
                            }
                        }
                    }
                    self.state = State::Generating(writing);
                    return Action::Feed;
                }
                Need::Choice(choosing) => {
                    let probes = choosing.tree.probes().into();
                    self.state = State::Choosing(Box::new(Probing { choosing: *choosing, probes }));
                    return Action::Feed;
                }
                Need::Branches(scripts) => {
                    self.state = State::Forking(scripts);
                    return Action::Feed;
                }
                Need::Nothing(transcript) => return Action::Done(transcript),
                Need::Impossible(error) => {
                    self.state = State::Broken(error);
                    return Action::Failed(error);
                }
            }
        }
    }

    fn read(&mut self, mut reading: Box<Reading>, logits: &[f32]) -> Action {
        let token = reading.rest[reading.read];
        let told = self.token_logprob(token, self.cursor.vocabulary.piece(token), logits, reading.most);
        self.cursor.transcript.prompt_logprobs.push(told);
        self.cursor.ids.push(token);
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
            let before = (writing.text.len(), writing.tail.clone(), writing.progress.clone());
            let Read { piece, ends, stopped } = writing.read(token, &*self.cursor.vocabulary);
            if (ends || stopped.is_some()) && !may_stop {
                // The minimum length is not reached: take back the token and pick another.
                writing.text.truncate(before.0);
                (writing.tail, writing.progress) = (before.1, before.2);
                banned.push(token);
                continue;
            }
            if let Some(most) = writing.limits.logprobs.filter(|_| !ends || writing.limits.keep_trailing_whitespace) {
                writing.logprobs.push(self.token_logprob(token, piece, logits, most));
            }
            let mut finish = self.cursor.took(&mut writing, token, ends, stopped);
            if !ends && stopped.is_none() && writing.constraint.as_mut().is_some_and(|c| c.accept(token)) {
                finish = Some(Finish::Stop);
            }
            if let Some(finish) = finish {
                return self.finish(*writing, finish);
            }
            self.cursor.show_safe(&mut writing);
            self.state = State::Generating(writing);
            return Action::Feed;
        }
    }

    /// A token with its log probability and the `most` most probable alternatives.
    fn token_logprob(&self, token: Token, bytes: Vec<u8>, logits: &[f32], most: usize) -> TokenLogprob {
        let normalizer = log_sum_exp(logits);
        let logprob = |token: usize| f64::from(logits[token]) - normalizer;
        let vocabulary = &self.cursor.vocabulary;
        let top = highest(logits, most).into_iter().map(|id| (vocabulary.piece(id as Token), logprob(id)));
        TokenLogprob { bytes, logprob: Some(logprob(token as usize)), top: top.collect() }
    }

    fn finish(&mut self, writing: Writing, finish: Finish) -> Action {
        self.cursor.wrote(writing, finish);
        self.advance()
    }

    fn choose(&mut self, mut probing: Box<Probing>, logits: &[f32]) -> Action {
        let node = probing.probes.pop_front().expect("a choice in progress has a node to read");
        let choosing = &mut probing.choosing;
        let normalizer = log_sum_exp(logits);
        let log_p = |token: Token| f64::from(logits[token as usize]) - normalizer;
        choosing.tree.read(node, log_p, 0.0, &mut choosing.log_masses);
        self.cursor.ids.truncate(choosing.root);
        let least = self.skip_below * choosing.tree.reach_of_options();
        while let Some(next) = probing.probes.front() {
            let reach = choosing.tree.reach(*next);
            if reach < least {
                self.cursor.transcript.skipped_mass += reach;
                probing.probes.pop_front();
                continue;
            }
            self.cursor.ids.extend_from_slice(choosing.tree.path(*next));
            self.state = State::Choosing(probing);
            return Action::Feed;
        }
        self.cursor.chosen(probing.choosing, MassKind::Exact);
        self.advance()
    }
}

#[cfg(test)]
mod tests;
