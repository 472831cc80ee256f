//! Admission: how many judgements are worked on, how many requests may wait, and when no more are taken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::shutdown::Shutdown;
use crate::domain::fair_queue::{FairQueue, Flow, Ticket};
use crate::domain::service_time::{Due, ServiceTime};

/// Lets a bounded number of judgements run. Those that wait are let in fairly: callers take turns, and so do the
/// requests of one caller, however many judgements each of them asks for.
///
/// A caller that has nothing running does not wait for the first judgement of others to end: a quarter more than the
/// bound may run for such callers, and for such requests beside a large one of their own caller.
pub struct Admission {
    state: Arc<Mutex<State>>,
    queue: usize,
    /// How far the shutdown of the server is.
    pub shutdown: Shutdown,
}

struct State {
    in_flight: usize,
    running: usize,
    /// Who runs how many.
    held: HashMap<Arc<str>, Held>,
    waiting: FairQueue<Waiting>,
    /// How many of those that wait have gone away and are still in the queue.
    departed: usize,
}

struct Waiting {
    flow: Flow,
    timed: Option<Timed>,
    sender: oneshot::Sender<Result<(), TooLate>>,
}

/// How long the judgements of one model take, as admission sees it, and how many of each kind run.
#[derive(Clone, Default)]
pub struct Pace(Arc<Mutex<PaceState>>);

#[derive(Default)]
struct PaceState {
    typical: ServiceTime,
    running: [usize; 2],
}

/// A judgement of a model, with its deadline.
type Timed = (Due, Pace);

impl Pace {
    fn lock(&self) -> MutexGuard<'_, PaceState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a judgement could not end in time if it began now. Where none of its kind runs, it shows how long it takes.
    fn is_late(&self, due: Due, now: Instant) -> bool {
        let pace = self.lock();
        pace.running[due.kind()] > 0 && pace.typical.is_late(due, now)
    }
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

impl Held {
    /// Whether one of its requests has several judgements.
    fn is_large(&self) -> bool {
        self.judgements > self.requests.len()
    }
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// As many requests wait as may.
    #[error("the server's queue is full ({0} requests); retry later")]
    Saturated(usize),
    /// The server shuts down.
    #[error("the server is shutting down; retry later or on another server")]
    ShuttingDown,
}

/// The right of a judgement to run; dropping it lets the next one in.
pub struct Permit {
    state: Arc<Mutex<State>>,
    flow: Flow,
    timed: Option<Timed>,
    since: Instant,
    ended: bool,
}

impl Permit {
    fn new(state: &Arc<Mutex<State>>, flow: Flow, timed: Option<Timed>) -> Self {
        if let Some((due, pace)) = &timed {
            pace.lock().running[due.kind()] += 1;
        }
        Self { state: Arc::clone(state), flow, timed, since: Instant::now(), ended: false }
    }

    /// Gives it back after the judgement has come to its end, so that how long it took counts.
    pub fn ended(mut self) {
        self.ended = true;
    }
}

impl Admission {
    /// Lets `in_flight` judgements run at once, and `queue` requests wait.
    #[must_use]
    pub fn new(in_flight: usize, queue: usize) -> Self {
        let state = State { in_flight, running: 0, held: HashMap::new(), waiting: FairQueue::default(), departed: 0 };
        Self { state: Arc::new(Mutex::new(state)), queue, shutdown: Shutdown::default() }
    }

    /// Says at once whether a new request would be turned away.
    ///
    /// # Errors
    /// When the queue is full or the server is shutting down.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.shutdown.closing() {
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
    /// [`Admission::check`] refuses requests before they begin. Other work than judgements has no `timed`.
    ///
    /// # Errors
    /// When it waits until it could not end before its deadline any more, by what others of its model took lately: under
    /// more load than there is time for, the time goes to those that can still be answered.
    pub async fn enter(&self, flow: Flow, timed: Option<Timed>) -> Result<Permit, TooLate> {
        let receiver = {
            let mut state = lock(&self.state);
            // Who waits and may go first does so before one that has just come.
            if state.running < state.in_flight || (state.goes_first(&flow) && state.next_beyond().is_none()) {
                state.hold(&flow);
                return Ok(Permit::new(&self.state, flow, timed));
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push(&flow, Waiting { flow: flow.clone(), timed: timed.clone(), sender });
            receiver
        };
        let mut place = QueueSlot { state: &self.state, flow: &flow, receiver: Some(receiver) };
        let let_in = match &mut place.receiver {
            Some(receiver) => receiver.await.expect("a sender is dropped only after its receiver"),
            None => Ok(()),
        };
        place.receiver = None;
        drop(place);
        let_in.map(|()| Permit::new(&self.state, flow, timed))
    }

    /// How many judgements wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let state = lock(&self.state);
        state.waiting.len() - state.departed
    }
}

impl State {
    /// Whether a judgement of that flow runs beyond the bound: its caller has nothing running, or a large request beside
    /// it.
    fn goes_first(&self, flow: &Flow) -> bool {
        let has_none = |held: &Held| !held.requests.contains_key(&flow.request);
        self.has_room_beyond() && self.held.get(&flow.caller).is_none_or(|held| held.is_large() && has_none(held))
    }

    fn has_room_beyond(&self) -> bool {
        self.running < self.in_flight + self.in_flight / 4
    }

    /// The first of those that wait and may run beyond the bound.
    fn next_beyond(&self) -> Option<Ticket> {
        if self.waiting.is_empty() || !self.has_room_beyond() {
            return None;
        }
        // Most callers have single requests, and none of them has to be looked at.
        let may = |caller: &str| self.held.get(caller).is_none_or(Held::is_large);
        self.waiting.heads(may).find(|(_, waiting)| self.goes_first(&waiting.flow)).map(|(ticket, _)| ticket)
    }

    fn next(&mut self) -> Option<Waiting> {
        if self.running < self.in_flight {
            return self.waiting.pop(1);
        }
        let next = self.next_beyond()?;
        self.waiting.take(next, 1)
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
        while let Some(Waiting { flow, timed, sender }) = self.next() {
            let late = timed.is_some_and(|(due, pace)| pace.is_late(due, now));
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
        if let Some((due, pace)) = &self.timed {
            let (mut pace, took) = (pace.lock(), self.since.elapsed());
            pace.running[due.kind()] -= 1;
            match self.ended {
                true => pace.typical.ended(*due, took),
                false => pace.typical.given_up(*due, took),
            }
        }
        lock(&self.state).release(&self.flow);
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
        Flow::new(caller, request)
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_requests() {
        let admission = Admission::new(1, 1);
        let first = admission.enter(flow("a", 1), None).await.unwrap();
        assert_eq!(admission.check(), Ok(()));
        let mut second = Box::pin(admission.enter(flow("a", 2), None));
        let mut of_the_same = Box::pin(admission.enter(flow("a", 2), None));
        assert!(futures::poll!(&mut second).is_pending() && futures::poll!(&mut of_the_same).is_pending());
        assert_eq!((admission.check(), admission.waiting()), (Err(Refusal::Saturated(1)), 2));
        drop(of_the_same);
        assert_eq!((admission.check(), admission.waiting()), (Err(Refusal::Saturated(1)), 1));
        drop(first);
        let second = second.await.unwrap();
        assert_eq!((admission.check(), admission.waiting()), (Ok(()), 0));
        drop(second);
        admission.shutdown.close();
        assert_eq!(admission.check(), Err(Refusal::ShuttingDown));
    }

    #[tokio::test]
    async fn one_judgement_of_another_caller_waits_for_one_of_a_large_request_and_not_for_all() {
        let admission = Admission::new(1, 8);
        let mut running = admission.enter(flow("a", 1), None).await.unwrap();
        let mut large: Vec<_> = (0..50).map(|_| Box::pin(admission.enter(flow("a", 1), None))).collect();
        for judgement in &mut large {
            assert!(futures::poll!(judgement).is_pending());
        }
        let mut small = Box::pin(admission.enter(flow("b", 2), None));
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
            large.push(admission.enter(flow("a", 1), None).await.unwrap());
        }
        let other = admission.enter(flow("b", 2), None).await.unwrap();
        let mut beyond = Box::pin(admission.enter(flow("c", 3), None));
        assert!(futures::poll!(&mut beyond).is_pending(), "a quarter of four is one");
        let mut more = Box::pin(admission.enter(flow("a", 1), None));
        assert!(futures::poll!(&mut more).is_pending());
        drop(other);
        let mut back = Box::pin(admission.enter(flow("b", 4), None));
        assert!(futures::poll!(&mut back).is_pending(), "who has waited goes before who comes again");
        drop(beyond.await.unwrap());
        drop(back.await.unwrap());
        drop(admission.enter(flow("a", 5), None).await.unwrap());
        assert!(futures::poll!(&mut more).is_pending(), "what is large waits for its turn");
        drop(large);
        drop(more.await.unwrap());
        let state = lock(&admission.state);
        assert!(state.running == 0 && state.held.is_empty());
    }

    #[tokio::test]
    async fn who_could_not_end_in_time_is_told_and_not_let_in() {
        let (admission, pace, other_model) = (Admission::new(2, 8), Pace::default(), Pace::default());
        let due = |seconds, written| Due { at: Instant::now().checked_add(Duration::from_secs(seconds)), written };
        let timed = |seconds, written| Some((due(seconds, written), pace.clone()));
        let first = admission.enter(flow("a", 1), timed(0, 8)).await.unwrap();
        let second = admission.enter(flow("a", 2), timed(0, 8)).await.unwrap();
        pace.lock().typical.ended(due(0, 8), Duration::from_secs(60));
        let mut late = Box::pin(admission.enter(flow("a", 3), timed(60, 8)));
        let mut early = Box::pin(admission.enter(flow("a", 4), timed(3600, 8)));
        let mut choice = Box::pin(admission.enter(flow("a", 5), timed(60, 0)));
        let mut other = Box::pin(admission.enter(flow("a", 6), Some((due(60, 8), other_model.clone()))));
        for waits in [&mut late, &mut early, &mut choice, &mut other] {
            assert!(futures::poll!(waits).is_pending());
        }
        drop(second);
        assert_eq!(late.await.err(), Some(TooLate));
        drop(early.await.unwrap());
        drop(choice.await.unwrap());
        drop(other.await.unwrap());
        first.ended();
        assert_eq!((lock(&admission.state).running, pace.lock().running), (0, [0, 0]));
    }

    #[tokio::test]
    async fn a_permit_that_reaches_one_that_has_gone_is_passed_on() {
        let admission = Admission::new(1, 8);
        let first = admission.enter(flow("a", 1), None).await.unwrap();
        let mut gone = Box::pin(admission.enter(flow("a", 2), None));
        let mut next = Box::pin(admission.enter(flow("a", 3), None));
        let mut left = Box::pin(admission.enter(flow("a", 4), None));
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
        drop(admission.enter(flow("a", 5), None).await.unwrap());
    }
}
