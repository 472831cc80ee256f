//! Slots for those who have none: which sequence gives way to a newcomer, and which goes on when.

use std::sync::Arc;

use super::sequence::Sequence;
use crate::domain::fair_queue::Flow;

/// A sequence that has begun and waits for a slot, with what its slot held.
pub(super) struct Paused<S> {
    pub(super) sequence: Sequence,
    pub(super) saved: S,
}

/// How many sequences callers and their requests hold.
pub(super) struct Shares(Vec<Flow>);

/// The parts of a step that callers have, however many prompts each of them reads.
pub(super) struct Budgets {
    each: usize,
    used: Vec<(Arc<str>, usize)>,
}

impl Budgets {
    /// How many of its tokens a prompt reads; 0 where too little is left for a batch of some size.
    pub(super) fn take(&mut self, flow: &Flow, tokens: usize, room: usize) -> usize {
        let at = self.used.iter().position(|(caller, _)| *caller == flow.caller).unwrap_or_else(|| {
            self.used.push((Arc::clone(&flow.caller), 0));
            self.used.len() - 1
        });
        let used = &mut self.used[at].1;
        let take = tokens.min(self.each - *used).min(room);
        if take < tokens && take < self.each {
            return 0;
        }
        *used += take;
        take
    }
}

impl Shares {
    pub(super) fn of<'a>(running: impl IntoIterator<Item = &'a Sequence>) -> Self {
        Self(running.into_iter().map(|sequence| sequence.flow.clone()).collect())
    }

    /// What each caller may read of prompts in a step of so many tokens; `None` where nobody holds more than another, and
    /// prompts are read in the order in which they came.
    pub(super) fn budgets(&self, step: usize) -> Option<Budgets> {
        let callers = self.callers();
        let alike = self.0.windows(2).all(|pair| self.held(&pair[0]) == self.held(&pair[1]));
        let each = (step / callers.max(1)).max(1);
        (callers > 1 || !alike).then(|| Budgets { each, used: Vec::new() })
    }

    /// How many callers there are.
    fn callers(&self) -> usize {
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
