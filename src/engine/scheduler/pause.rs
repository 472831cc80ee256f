//! Slots for those who have none: a sequence of who holds several is paused.

use super::sequence::{Sequence, Slot};
use super::{Backend, Chosen, Scheduler};
use crate::domain::fair_queue::Flow;

/// A sequence that has begun and waits for a slot, with what its slot held.
pub(super) struct Paused<S> {
    pub(super) sequence: Sequence,
    saved: S,
}

/// How many sequences callers and their requests hold.
pub(super) struct Shares(Vec<Flow>);

impl Shares {
    pub(super) fn of<'a>(flows: impl Iterator<Item = &'a Flow>) -> Self {
        Self(flows.cloned().collect())
    }

    /// How many callers there are.
    pub(super) fn callers(&self) -> usize {
        let first = |(at, flow): (usize, &Flow)| self.0[..at].iter().all(|other| other.caller != flow.caller);
        self.0.iter().enumerate().filter(|entry| first(*entry)).count()
    }

    /// How many sequences a flow's caller holds, and how many of these its request.
    pub(super) fn held(&self, flow: &Flow) -> (usize, usize) {
        let of_caller = self.0.iter().filter(|held| held.caller == flow.caller);
        (of_caller.clone().count(), of_caller.filter(|held| held.request == flow.request).count())
    }

    /// Whether one of `from` gives way to a newcomer: its caller then still holds `kept` and the newcomer's holds none. The
    /// same between two requests of one caller.
    fn gives_way(&self, from: &Flow, to: &Flow, kept: usize) -> bool {
        let ((caller, request), (callers, requests)) = (self.held(from), self.held(to));
        if from.caller == to.caller { request >= kept && requests == 0 } else { caller >= kept && callers == 0 }
    }
}

impl<B: Backend> Scheduler<B> {
    /// Pauses a sequence of who holds most for one whose turn it is and who holds nothing; says whether a slot came
    /// free.
    pub(super) fn make_room(&mut self) -> Result<bool, String> {
        // Without prefixes a state may lack what it needs to go on.
        if self.limits.prefix_tokens == 0 || self.waiting.is_empty() {
            return Ok(false);
        }
        let Some(next) = self.next().and_then(|Chosen { ticket, .. }| self.waiting.get(ticket)) else {
            return Ok(false);
        };
        let shares = Shares::of(self.running.iter().map(|s| &s.flow));
        let may = self.running.iter().enumerate().filter(|(_, s)| !s.alone && shares.gives_way(&s.flow, &next.flow, 2));
        // Of those who hold most, the one that has begun last and so has least to copy.
        let Some((at, _)) = may.max_by_key(|(at, s)| (shares.held(&s.flow), *at)) else { return Ok(false) };
        let slot = self.running[at].slot;
        let saved = self.backend.save(slot)?;
        self.backend.truncate(slot, 0)?;
        self.paused.push(Paused { sequence: self.running.remove(at), saved });
        Ok(true)
    }

    /// Lets a paused sequence go on in a free slot, unless one waits whose turn it is and who holds nothing.
    pub(super) fn resume(&mut self, slot: Slot) -> Result<bool, String> {
        if self.paused.is_empty() || self.runs_out() {
            return Ok(false);
        }
        let shares = Shares::of(self.running.iter().map(|s| &s.flow));
        let next = self.next().and_then(|Chosen { ticket, .. }| self.waiting.get(ticket));
        let first = &self.paused[0].sequence.flow;
        // Who was paused and holds nothing any more goes on before any newcomer.
        if next.is_some_and(|next| shares.gives_way(first, &next.flow, 1)) {
            return Ok(false);
        }
        let Paused { mut sequence, saved } = self.paused.remove(0);
        self.backend.restore(&saved, slot, sequence.computed.len())?;
        sequence.slot = slot;
        self.running.push(sequence);
        Ok(true)
    }
}
