//! Which server gets a request: the first one in the order of a hash that is healthy and not overloaded.
//!
//! Rendezvous hashing (Thaler and Ravishankar 1998, doi:10.1109/90.663936) sends a prefix to the same server as long as
//! it is there, and moves no other prefix when a server leaves. The load of each is bounded (Mirrokni et al. 2018,
//! arXiv:1608.01350). A server that fails repeatedly is left out for a time (a circuit breaker).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::settings::hash;

/// A server with more than this times the mean number of requests in flight is passed over.
const MOST_LOAD: f64 = 1.25;
/// The number of failures in a row that open the breaker.
const FAILURES: u32 = 5;
/// How long it stays open before one request tries the server again.
const OPEN: Duration = Duration::from_secs(10);

/// The servers of one model.
pub(super) struct Endpoints {
    urls: Vec<String>,
    states: Mutex<Vec<State>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    in_flight: usize,
    failures: u32,
    /// While the breaker is open: when it lets one request through.
    opens_at: Option<Instant>,
    trying: bool,
    /// Whether it gets no request until it is admitted.
    barred: bool,
}

impl State {
    fn usable(&self, now: Instant) -> bool {
        !self.barred && self.opens_at.is_none_or(|at| now >= at && !self.trying)
    }
}

/// A request in flight at a server.
pub(super) struct Lease<'e> {
    endpoints: &'e Endpoints,
    index: usize,
}

impl Endpoints {
    pub(super) fn new(urls: Vec<String>) -> Self {
        let states = Mutex::new(vec![State::default(); urls.len()]);
        Self { urls, states }
    }

    pub(super) fn urls(&self) -> &[String] {
        &self.urls
    }

    fn states(&self) -> std::sync::MutexGuard<'_, Vec<State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server for requests of this key, other than `not` if there is another; or how long until one may be tried.
    pub(super) fn take(&self, key: u64, not: Option<usize>, now: Instant) -> Result<Lease<'_>, Duration> {
        let mut order: Vec<usize> = (0..self.urls.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(hash(self.urls[*index].bytes().chain(key.to_le_bytes()))));
        order.sort_by_key(|index| Some(*index) == not);
        let mut states = self.states();
        let usable: Vec<usize> = order.into_iter().filter(|index| states[*index].usable(now)).collect();
        let total: usize = usable.iter().map(|index| states[*index].in_flight).sum();
        let most = (MOST_LOAD * (total + 1) as f64 / usable.len().max(1) as f64).ceil() as usize;
        let with_room = usable.iter().copied().find(|index| states[*index].in_flight < most);
        let Some(index) = with_room.or(usable.first().copied()) else {
            let soonest = states.iter().filter_map(|state| state.opens_at).min();
            let wait = soonest.map_or(OPEN, |at| at.saturating_duration_since(now));
            return Err(wait.max(Duration::from_secs(1)));
        };
        let state = &mut states[index];
        state.in_flight += 1;
        state.trying = state.opens_at.is_some();
        Ok(Lease { endpoints: self, index })
    }

    /// This server, whatever its state.
    pub(super) fn lease(&self, index: usize) -> Lease<'_> {
        self.states()[index].in_flight += 1;
        Lease { endpoints: self, index }
    }

    /// Whether any server may be used.
    pub(super) fn available(&self, now: Instant) -> bool {
        self.states().iter().any(|state| !state.barred && (state.usable(now) || state.trying))
    }

    /// Keeps requests from a server that has to be examined first.
    pub(super) fn bar(&self, index: usize) {
        self.states()[index].barred = true;
    }

    /// Lets requests go to a server that was examined.
    pub(super) fn admit(&self, index: usize) {
        let mut states = self.states();
        states[index] = State { in_flight: states[index].in_flight, ..State::default() };
    }

    pub(super) fn is_barred(&self, index: usize) -> bool {
        self.states()[index].barred
    }

    /// Notes that a server answers, or does not, and says whether it is left out.
    pub(super) fn note(&self, index: usize, works: bool, now: Instant) -> bool {
        let mut states = self.states();
        let state = &mut states[index];
        if works {
            (state.failures, state.opens_at) = (0, None);
            return false;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES || state.opens_at.is_some() {
            state.opens_at = Some(now + OPEN);
        }
        state.opens_at.is_some()
    }
}

impl Lease<'_> {
    pub(super) fn url(&self) -> &str {
        &self.endpoints.urls[self.index]
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut states = self.endpoints.states();
        let state = &mut states[self.index];
        state.in_flight -= 1;
        state.trying = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Endpoints {
        Endpoints::new(["http://a", "http://b", "http://c"].map(str::to_owned).to_vec())
    }

    #[test]
    fn a_key_stays_at_its_server_and_keys_are_spread() {
        let endpoints = three();
        let now = Instant::now();
        let mut counts = [0; 3];
        for key in 0..3000 {
            let first = endpoints.take(key, None, now).map(|lease| lease.index()).ok();
            let again = endpoints.take(key, None, now).map(|lease| lease.index()).ok();
            assert_eq!(first, again);
            counts[first.expect("all are healthy")] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_server_with_much_more_than_the_others_is_passed_over() {
        let endpoints = three();
        let now = Instant::now();
        let leases: Vec<_> = (0..30).map(|_| endpoints.take(7, None, now).ok()).collect();
        let mut counts = [0; 3];
        leases.iter().flatten().for_each(|lease| counts[lease.index()] += 1);
        assert!(counts.iter().all(|count| *count <= 13), "{counts:?}");
        drop(leases);
        assert!(endpoints.states().iter().all(|state| state.in_flight == 0));
    }

    #[test]
    fn a_server_that_fails_is_left_out_and_tried_again() {
        let endpoints = Endpoints::new(vec!["http://a".into()]);
        let now = Instant::now();
        for _ in 0..FAILURES {
            endpoints.note(0, false, now);
        }
        assert!(!endpoints.available(now));
        assert!(endpoints.take(1, None, now).is_err_and(|wait| wait <= OPEN));
        let later = now + OPEN;
        let trial = endpoints.take(1, None, later).ok();
        assert!(trial.is_some());
        assert!(endpoints.take(1, None, later).is_err(), "one request tries it");
        drop(trial);
        endpoints.note(0, false, later);
        assert!(endpoints.take(1, None, later).is_err());
        endpoints.note(0, true, later);
        assert!(endpoints.take(1, None, later).is_ok());
    }

    #[test]
    fn a_retry_goes_elsewhere_if_it_can() {
        let endpoints = three();
        let now = Instant::now();
        let first = endpoints.take(5, None, now).map(|lease| lease.index()).ok();
        let second = endpoints.take(5, first, now).map(|lease| lease.index()).ok();
        assert_ne!(first, second);
        let alone = Endpoints::new(vec!["http://a".into()]);
        assert!(alone.take(5, Some(0), now).is_ok());
    }
}
