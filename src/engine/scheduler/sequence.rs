//! A script in the batch.

use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use super::Slot;
use crate::engine::{Completion, EngineError, Event, Stages};
use crate::script::{Machine, Token, Transcript};

/// Where what comes of a sequence goes.
pub(super) enum Outlet {
    /// To whoever asked.
    Caller(UnboundedSender<Event>),
    /// To the sequence that it branched from.
    Branch { parent: u64, index: usize },
}

/// A machine, its place in the KV pool and its share of it.
pub(super) struct Sequence {
    pub(super) id: u64,
    pub(super) machine: Machine,
    pub(super) slot: Slot,
    /// What the slot holds, or will hold after the step being planned.
    pub(super) computed: Vec<Token>,
    pub(super) prompt_tokens: usize,
    /// The most tokens it can come to hold; none for a branch, whose parent has reserved for it.
    pub(super) reserved: usize,
    pub(super) alone: bool,
    /// How often one that came later was admitted while this one was first in the queue.
    pub(super) overtaken: usize,
    pub(super) outlet: Outlet,
    pub(super) branches: Vec<Option<Transcript>>,
    pub(super) prompt_read: Option<Instant>,
    cached: usize,
    submitted: Instant,
    begun: Option<Instant>,
}

impl Sequence {
    pub(super) fn new(
        id: u64,
        machine: Machine,
        prompt_tokens: usize,
        reserved: usize,
        alone: bool,
        outlet: Outlet,
    ) -> Self {
        Self {
            id,
            machine,
            slot: -1,
            computed: Vec::new(),
            prompt_tokens,
            reserved,
            alone,
            overtaken: 0,
            outlet,
            branches: Vec::new(),
            prompt_read: None,
            cached: 0,
            submitted: Instant::now(),
            begun: None,
        }
    }

    /// Takes its place in the batch, with the first `reused` tokens already computed.
    pub(super) fn begin(&mut self, slot: Slot, reused: usize) {
        self.slot = slot;
        self.computed = self.machine.ids()[..reused].to_vec();
        self.cached = reused.min(self.prompt_tokens);
        self.begun = Some(Instant::now());
    }

    /// How many tokens must be decoded before its next logits; none while it waits for its branches.
    pub(super) fn needs(&self) -> usize {
        if self.branches.is_empty() { self.machine.ids().len() - self.computed.len() } else { 0 }
    }

    pub(super) fn is_branch(&self) -> bool {
        matches!(self.outlet, Outlet::Branch { .. })
    }

    pub(super) fn is_branch_of(&self, ids: &[u64]) -> bool {
        matches!(self.outlet, Outlet::Branch { parent, .. } if ids.contains(&parent))
    }

    /// Whether nobody waits for it any more.
    pub(super) fn departed(&self) -> bool {
        matches!(&self.outlet, Outlet::Caller(events) if events.is_closed())
    }

    /// Passes generated text on.
    pub(super) fn stream(&mut self) {
        if let (Some(delta), Outlet::Caller(events)) = (self.machine.take_delta(), &self.outlet) {
            // A caller that has gone away is noticed at the next step.
            let _ = events.send(Event::Delta(delta));
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
        if let Outlet::Caller(events) = self.outlet {
            let _ = events.send(event);
        }
    }
}
