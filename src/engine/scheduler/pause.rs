//! Slots for those who have none: which sequence gives way to a newcomer, and which goes on when.

use super::sequence::Sequence;
use crate::domain::fair_queue::Flow;

/// A sequence that has begun and waits for a slot, with what its slot held.
pub(super) struct Paused<S> {
    pub(super) sequence: Sequence,
    pub(super) saved: S,
}

/// How many sequences callers and their requests hold.
pub(super) struct Shares(Vec<Flow>);

impl Shares {
    pub(super) fn of<'a>(running: impl IntoIterator<Item = &'a Sequence>) -> Self {
        Self(running.into_iter().map(|sequence| sequence.flow.clone()).collect())
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

    /// Whether a sequence of `from` gives way to a newcomer: its caller holds `least` or more and the newcomer's none, or
    /// the same holds for two requests of one caller.
    fn gives_way(&self, from: &Flow, to: &Flow, least: usize) -> bool {
        let ((caller, request), (callers, requests)) = (self.held(from), self.held(to));
        if from.caller == to.caller { request >= least && requests == 0 } else { caller >= least && callers == 0 }
    }

    /// Which of the running sequences is paused for a newcomer: of those who hold most, the one that has begun last and so
    /// has least to copy.
    pub(super) fn paused_for(&self, newcomer: &Flow, running: &[Sequence]) -> Option<usize> {
        let may = running.iter().enumerate().filter(|(_, s)| !s.alone && self.gives_way(&s.flow, newcomer, 2));
        may.max_by_key(|(at, s)| (self.held(&s.flow), *at)).map(|(at, _)| at)
    }

    /// Whether a paused sequence goes on before a newcomer begins: who was paused and holds nothing any more does.
    pub(super) fn goes_on(&self, paused: &Flow, newcomer: Option<&Flow>) -> bool {
        newcomer.is_none_or(|newcomer| !self.gives_way(paused, newcomer, 1))
    }
}
