//! Admission: how many judgements are worked on, how many requests may wait, and when no more are taken.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::domain::fair_queue::{FairQueue, Flow};
use crate::domain::service_time::{Due, ServiceTime};

/// Lets a bounded number of judgements run. Those that wait are let in fairly: callers take turns, and so do the
/// requests of one caller, however many judgements each of them asks for.
///
/// A caller that has nothing running does not wait for the first judgement of others to end: a quarter more than the
/// bound may run for such callers, and for such requests beside a large one of their own caller.
pub struct Admission {
    state: Arc<Mutex<State>>,
    queue: usize,
    closing: AtomicBool,
}

struct State {
    in_flight: usize,
    running: usize,
    /// Who runs how many.
    held: HashMap<Arc<str>, Held>,
    waiting: FairQueue<Waiting>,
    /// How many of those that wait have gone away and are still in the queue.
    departed: usize,
    /// How long judgements ran lately.
    typical: ServiceTime,
}

struct Waiting {
    flow: Flow,
    due: Due,
    sender: oneshot::Sender<Result<(), TooLate>>,
}

/// It waited until too little time was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLate;

/// What runs of a caller.
#[derive(Default)]
struct Held {
    judgements: usize,
    /// Judgements by request.
    requests: HashMap<u64, usize>,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// As many requests wait as may.
    #[error("the server is busy, and all {0} places in its queue are taken; try again later")]
    Saturated(usize),
    /// The server shuts down.
    #[error("the server is shutting down; try another one, or again later")]
    ShuttingDown,
}

/// The right of a judgement to run; dropping it lets the next one in.
pub struct Permit {
    state: Arc<Mutex<State>>,
    flow: Flow,
    due: Due,
    since: Instant,
    ended: bool,
}

impl Permit {
    /// Gives it back after the judgement has come to its end, so that how long it took counts.
    pub fn ended(mut self) {
        self.ended = true;
    }
}

impl Admission {
    /// Lets `in_flight` judgements run at once, and `queue` requests wait.
    #[must_use]
    pub fn new(in_flight: usize, queue: usize) -> Self {
        let state = State {
            in_flight,
            running: 0,
            held: HashMap::new(),
            waiting: FairQueue::default(),
            departed: 0,
            typical: ServiceTime::default(),
        };
        Self { state: Arc::new(Mutex::new(state)), queue, closing: AtomicBool::new(false) }
    }

    /// Says at once whether a new request would be turned away.
    ///
    /// # Errors
    /// When the queue is full or the server is shutting down.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.closing() {
            return Err(Refusal::ShuttingDown);
        }
        let mut state = lock(&self.state);
        if state.running < state.in_flight || state.waiting.requests() < self.queue {
            return Ok(());
        }
        state.forget_departed();
        if state.waiting.requests() < self.queue { Ok(()) } else { Err(Refusal::Saturated(self.queue)) }
    }

    /// Waits until a judgement of that flow may run. It is never refused for the length of the queue:
    /// [`Admission::check`] refuses requests before they begin.
    ///
    /// # Errors
    /// When it waits until it could not end before its deadline any more, by what others took lately: under more load
    /// than there is time for, the time goes to those that can still be answered.
    pub async fn enter(&self, flow: Flow, due: Due) -> Result<Permit, TooLate> {
        let permit = |flow| Permit { state: Arc::clone(&self.state), flow, due, since: Instant::now(), ended: false };
        let receiver = {
            let mut state = lock(&self.state);
            if state.running < state.in_flight || state.goes_first(&flow) {
                state.hold(&flow);
                return Ok(permit(flow));
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push(&flow, Waiting { flow: flow.clone(), due, sender });
            receiver
        };
        let mut place = QueueSlot { state: &self.state, flow: &flow, receiver: Some(receiver) };
        let let_in = match &mut place.receiver {
            Some(receiver) => receiver.await.expect("a sender is dropped only after its receiver"),
            None => Ok(()),
        };
        place.receiver = None;
        drop(place);
        let_in.map(|()| permit(flow))
    }

    /// How many judgements wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let state = lock(&self.state);
        state.waiting.len() - state.departed
    }

    /// Takes no more requests; judgements that wait are still let in.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Whether no more requests are taken.
    #[must_use]
    pub fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

impl State {
    /// Whether a judgement of that flow runs beyond the bound.
    fn goes_first(&self, flow: &Flow) -> bool {
        let room = self.running < self.in_flight + self.in_flight / 4;
        room && self.held.get(&flow.caller).is_none_or(|held| {
            let large_beside_it = held.judgements > held.requests.len();
            large_beside_it && !held.requests.contains_key(&flow.request)
        })
    }

    fn hold(&mut self, flow: &Flow) {
        self.running += 1;
        let held = self.held.entry(Arc::clone(&flow.caller)).or_default();
        held.judgements += 1;
        *held.requests.entry(flow.request).or_default() += 1;
    }

    /// Takes a permit back, and passes it on.
    fn release(&mut self, flow: &Flow) {
        self.running -= 1;
        if let Some(held) = self.held.get_mut(&flow.caller) {
            held.judgements -= 1;
            if let Some(count) = held.requests.get_mut(&flow.request) {
                *count -= 1;
                if *count == 0 {
                    held.requests.remove(&flow.request);
                }
            }
            if held.judgements == 0 {
                self.held.remove(&flow.caller);
            }
        }
        let now = Instant::now();
        while self.running < self.in_flight
            && let Some(Waiting { flow, due, sender }) = self.waiting.pop(1)
        {
            let late = self.running > 0 && self.typical.is_late(due, now);
            if sender.send(if late { Err(TooLate) } else { Ok(()) }).is_err() {
                self.departed -= 1;
            } else if !late {
                self.hold(&flow);
            }
        }
    }

    fn forget_departed(&mut self) {
        self.waiting.retain(|waiting| !waiting.sender.is_closed());
        self.departed = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        let took = self.since.elapsed();
        // What has no deadline is other work, such as compiling a schema, or that of a caller who waits for ever.
        match (self.due.at, self.ended) {
            (None, _) => {}
            (_, true) => state.typical.ended(self.due.writes, took),
            (_, false) => state.typical.given_up(self.due.writes, took),
        }
        state.release(&self.flow);
    }
}

/// A judgement in the queue, which leaves it when it is let in or goes away.
struct QueueSlot<'a> {
    state: &'a Mutex<State>,
    flow: &'a Flow,
    receiver: Option<oneshot::Receiver<Result<(), TooLate>>>,
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        let Some(receiver) = &mut self.receiver else { return };
        let mut state = lock(self.state);
        receiver.close();
        if let Ok(let_in) = receiver.try_recv() {
            // It was let in, or was told that it is late, just before it went away.
            if let_in.is_ok() {
                state.release(self.flow);
            }
            return;
        }
        state.departed += 1;
        // Looking through the queue for each that goes would take too long when a large request is given up.
        if state.departed > state.waiting.len() / 2 {
            state.forget_departed();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing panics between two changes that belong together.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn flow(caller: &str, request: u64) -> Flow {
        Flow { caller: caller.into(), request }
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_requests() {
        let admission = Admission::new(1, 1);
        let first = admission.enter(flow("a", 1), Due::default()).await.unwrap();
        assert_eq!(admission.check(), Ok(()));
        let mut second = Box::pin(admission.enter(flow("a", 2), Due::default()));
        let mut of_the_same = Box::pin(admission.enter(flow("a", 2), Due::default()));
        assert!(futures::poll!(&mut second).is_pending() && futures::poll!(&mut of_the_same).is_pending());
        assert_eq!((admission.check(), admission.waiting()), (Err(Refusal::Saturated(1)), 2));
        drop(of_the_same);
        assert_eq!((admission.check(), admission.waiting()), (Err(Refusal::Saturated(1)), 1));
        drop(first);
        let second = second.await.unwrap();
        assert_eq!((admission.check(), admission.waiting()), (Ok(()), 0));
        drop(second);
        admission.close();
        assert_eq!(admission.check(), Err(Refusal::ShuttingDown));
    }

    #[tokio::test]
    async fn one_judgement_of_another_caller_waits_for_one_of_a_large_request_and_not_for_all() {
        let admission = Admission::new(1, 8);
        let mut running = admission.enter(flow("a", 1), Due::default()).await.unwrap();
        let mut large: Vec<_> = (0..50).map(|_| Box::pin(admission.enter(flow("a", 1), Due::default()))).collect();
        for judgement in &mut large {
            assert!(futures::poll!(judgement).is_pending());
        }
        let mut small = Box::pin(admission.enter(flow("b", 2), Due::default()));
        assert!(futures::poll!(&mut small).is_pending());
        let mut turns = 0;
        while futures::poll!(&mut small).is_pending() {
            drop(running);
            turns += 1;
            let Some(next) = large.first_mut() else { break };
            match futures::poll!(next) {
                std::task::Poll::Ready(permit) => running = permit.unwrap(),
                std::task::Poll::Pending => break,
            }
            drop(large.remove(0));
        }
        assert!(turns <= 2, "{turns}");
        drop(small.await.unwrap());
    }

    #[tokio::test]
    async fn who_has_nothing_running_does_not_wait_for_a_large_request() {
        let admission = Admission::new(4, 8);
        let mut large = Vec::new();
        for _ in 0..4 {
            large.push(admission.enter(flow("a", 1), Due::default()).await.unwrap());
        }
        let mut fifth = Box::pin(admission.enter(flow("a", 1), Due::default()));
        assert!(futures::poll!(&mut fifth).is_pending());
        let other = admission.enter(flow("b", 2), Due::default()).await.unwrap();
        let mut beyond = Box::pin(admission.enter(flow("c", 3), Due::default()));
        assert!(futures::poll!(&mut beyond).is_pending(), "a quarter of four is one");
        drop(other);
        assert!(futures::poll!(&mut beyond).is_pending() && futures::poll!(&mut fifth).is_pending());
        let same_caller = admission.enter(flow("a", 4), Due::default()).await.unwrap();
        drop(same_caller);
        drop(large);
        drop((fifth.await.unwrap(), beyond.await.unwrap()));
        let state = lock(&admission.state);
        assert!(state.running == 0 && state.held.is_empty());
    }

    #[tokio::test]
    async fn who_could_not_end_in_time_is_told_and_not_let_in() {
        let admission = Admission::new(2, 8);
        let due = |seconds| Due { at: Instant::now().checked_add(Duration::from_secs(seconds)), writes: true };
        lock(&admission.state).typical.ended(true, Duration::from_secs(60));
        let first = admission.enter(flow("a", 1), due(0)).await.unwrap();
        let second = admission.enter(flow("a", 2), due(0)).await.unwrap();
        let mut late = Box::pin(admission.enter(flow("a", 3), due(60)));
        let mut early = Box::pin(admission.enter(flow("a", 4), due(3600)));
        let mut choice = Box::pin(admission.enter(flow("a", 5), Due { writes: false, ..due(60) }));
        for waits in [&mut late, &mut early, &mut choice] {
            assert!(futures::poll!(waits).is_pending());
        }
        first.ended();
        assert_eq!(late.await.err(), Some(TooLate));
        drop(early.await.unwrap());
        drop(choice.await.unwrap());
        drop(second);
        assert_eq!(lock(&admission.state).running, 0);
    }

    #[tokio::test]
    async fn a_permit_that_reaches_one_that_has_gone_is_passed_on() {
        let admission = Admission::new(1, 8);
        let first = admission.enter(flow("a", 1), Due::default()).await.unwrap();
        let mut gone = Box::pin(admission.enter(flow("a", 2), Due::default()));
        let mut next = Box::pin(admission.enter(flow("a", 3), Due::default()));
        let mut left = Box::pin(admission.enter(flow("a", 4), Due::default()));
        assert!(futures::poll!(&mut gone).is_pending());
        assert!(futures::poll!(&mut next).is_pending());
        assert!(futures::poll!(&mut left).is_pending());
        drop(left);
        assert_eq!(admission.waiting(), 2);
        // The permit is on its way to one that never looks.
        drop(first);
        drop(gone);
        drop(next.await.unwrap());
        assert_eq!(admission.waiting(), 0);
        drop(admission.enter(flow("a", 5), Due::default()).await.unwrap());
    }
}
