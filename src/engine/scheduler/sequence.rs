//! A script in the batch.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::domain::fair_queue::Flow;
use crate::domain::service_time::Due;
use crate::engine::{Completion, EngineError, Event, Stages};
use crate::script::{Action, Look, Machine, Token, Transcript};

/// A place for a sequence in the model's context.
pub type Slot = i32;

/// A sequence that needs at most this many tokens goes before those that read prompts.
const SHORT: usize = 16;

/// What a sequence needs before its next logits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A few tokens: it generates, or is forced.
    Few,
    /// A prompt, or what is left of it.
    Prompt,
}

/// A script whose branches run, one after the other, in the slot that holds what they share.
struct Forked {
    parent: Machine,
    branches: usize,
    done: Vec<Transcript>,
}

/// A machine and its place in the context.
pub(super) struct Sequence {
    pub(super) id: u64,
    /// Whose it is.
    pub(super) flow: Flow,
    /// What runs now: the script, or one of its branches.
    pub(super) machine: Machine,
    forked: Option<Box<Forked>>,
    pub(super) slot: Slot,
    /// What the slot holds, or will hold after the step being planned.
    pub(super) computed: Vec<Token>,
    pub(super) prompt_tokens: usize,
    /// The most tokens it can come to hold.
    pub(super) reserved: usize,
    /// Whether it begins from nothing and is decoded in batches of its own.
    pub(super) alone: bool,
    /// How often one that came later was admitted while this one was first in the queue.
    pub(super) overtaken: usize,
    events: UnboundedSender<Event>,
    pub(super) prompt_read: Option<Instant>,
    cached: usize,
    submitted: Instant,
    begun: Option<Instant>,
    /// When its caller stops waiting.
    pub(super) due: Due,
    /// The pictures of its prompt.
    pub(super) looks: Vec<Look>,
}

impl Sequence {
    pub(super) fn new(
        id: u64,
        flow: Flow,
        machine: Machine,
        prompt_tokens: usize,
        reserved: usize,
        alone: bool,
        events: UnboundedSender<Event>,
    ) -> Self {
        Self {
            id,
            flow,
            machine,
            forked: None,
            slot: -1,
            computed: Vec::new(),
            prompt_tokens,
            reserved,
            alone,
            overtaken: 0,
            events,
            prompt_read: None,
            cached: 0,
            submitted: Instant::now(),
            begun: None,
            due: Due { at: None, written: 0 },
            looks: Vec::new(),
        }
    }

    /// How long it has run, if it has begun.
    pub(super) fn ran(&self) -> Option<Duration> {
        self.begun.map(|begun| begun.elapsed())
    }

    /// Takes its place in the batch, with the first `reused` tokens already computed.
    pub(super) fn begin(&mut self, slot: Slot, reused: usize) {
        self.slot = slot;
        self.computed = self.machine.ids()[..reused].to_vec();
        self.cached = reused.min(self.prompt_tokens);
        self.begun = Some(Instant::now());
    }

    /// How many tokens it has for the model: those before its next logits, and those that are certain to follow.
    pub(super) fn needs(&self) -> usize {
        self.machine.ids().len() + self.machine.upcoming().len() - self.computed.len()
    }

    /// How many of these come before the next picture; 0 where the picture comes next.
    pub(super) fn readable(&self) -> usize {
        self.ahead().map_or(self.needs(), |look| look.at - self.computed.len())
    }

    /// The next picture, if it comes before everything else.
    pub(super) fn look(&self) -> Option<&Look> {
        self.ahead().filter(|look| look.at == self.computed.len())
    }

    /// The next picture.
    fn ahead(&self) -> Option<&Look> {
        self.looks.iter().find(|look| look.at >= self.computed.len())
    }

    /// Takes the next picture as computed, which comes before everything else.
    pub(super) fn looked(&mut self) {
        if let Some((id, tokens)) = self.look().map(|look| (look.glance.id, look.glance.tokens)) {
            self.computed.extend(std::iter::repeat_n(id, tokens));
        }
    }

    /// The position of the token at an index, which is in no picture.
    pub(super) fn position(&self, index: usize) -> usize {
        let before = self.looks.iter().filter(|look| look.at < index);
        index - before.map(|look| look.glance.tokens - look.glance.positions).sum::<usize>()
    }

    /// The token at an index that is still to be decoded, and whether the logits after it are wanted.
    pub(super) fn token(&self, index: usize) -> (Token, bool) {
        let ids = self.machine.ids();
        let token = ids.get(index).or_else(|| self.machine.upcoming().get(index - ids.len()));
        (*token.expect("it has as many tokens as it needs"), index + 1 >= ids.len())
    }

    /// Whether its machine has come to `len` tokens, all of which the slot holds.
    pub(super) fn holds(&self, len: usize) -> bool {
        let ids = self.machine.ids();
        ids.len() == len && self.computed.starts_with(ids)
    }

    /// What kind of work that is.
    pub(super) fn need(&self) -> Need {
        if self.needs() <= SHORT && self.ahead().is_none() { Need::Few } else { Need::Prompt }
    }

    /// Goes on with the first of so many branches. Each is made when its turn comes: it holds a copy of the ids.
    pub(super) fn fork(&mut self, branches: usize) -> Action {
        let first = self.machine.branch(0);
        let parent = std::mem::replace(&mut self.machine, first);
        self.forked = Some(Box::new(Forked { parent, branches, done: Vec::new() }));
        self.machine.start()
    }

    /// Takes what came of the machine. Goes on with the next branch, or after the last one; or gives it back when
    /// it is what came of the whole script.
    pub(super) fn join(&mut self, transcript: Transcript) -> Result<Action, Transcript> {
        let Some(mut forked) = self.forked.take() else { return Err(transcript) };
        forked.done.push(transcript);
        Ok(if forked.done.len() < forked.branches {
            self.machine = forked.parent.branch(forked.done.len());
            self.forked = Some(forked);
            self.machine.start()
        } else {
            self.machine = forked.parent;
            self.machine.on_branches(forked.done)
        })
    }

    /// Whether nobody waits for it any more.
    pub(super) fn departed(&self) -> bool {
        self.events.is_closed()
    }

    /// Passes generated text on; that of branches is not streamed.
    pub(super) fn stream(&mut self) {
        if let (Some(delta), None) = (self.machine.take_delta(), &self.forked) {
            // A caller that has gone away is noticed at the next step.
            let _ = self.events.send(Event::Delta(delta));
        }
    }

    /// Tells the caller what came of it.
    pub(super) fn report(self, transcript: Transcript) {
        let now = Instant::now();
        let begun = self.begun.unwrap_or(now);
        let read = self.prompt_read.unwrap_or(now);
        let stages = Stages { queue: begun - self.submitted, prefill: read - begun, decode: now - read };
        let completion =
            Completion { transcript, prompt_tokens: self.prompt_tokens, cached_tokens: self.cached, stages };
        self.send(Event::Done(Box::new(completion)));
    }

    /// Tells the caller that it failed.
    pub(super) fn fail(self, error: EngineError) {
        self.send(Event::Failed(error));
    }

    fn send(self, event: Event) {
        let _ = self.events.send(event);
    }
}
