//! Sends requests over a number of connections, each when its turn comes.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::super::connection::{Connection, Target};
use super::report::Tally;
use super::requests::Requests;

/// When a request is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// As soon as a connection has its answer to the one before.
    AsAnswered,
    /// At so many a second, whatever comes back. A request that no connection is free for goes out late, and its
    /// latency counts from when it was due, so that a server that stalls cannot hide it.
    Fixed(f64),
}

/// Everything a load is made of.
pub(super) struct Load {
    target: Target,
    requests: Arc<Requests>,
    connections: usize,
}

impl Load {
    pub(super) fn new(target: Target, requests: Requests, connections: usize) -> Self {
        Self { target, requests: Arc::new(requests), connections }
    }

    /// Sends the requests of those numbers, as many as the duration allows.
    pub(super) async fn send(&self, numbers: Range<u64>, duration: Option<Duration>, pace: Pace) -> Tally {
        let (next, tally) = (Arc::new(AtomicU64::new(numbers.start)), Arc::new(Mutex::new(Tally::default())));
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections.min(usize::try_from(numbers.end - numbers.start).unwrap_or(usize::MAX)) {
            let (requests, next, tally) = (Arc::clone(&self.requests), Arc::clone(&next), Arc::clone(&tally));
            let (mut connection, numbers) = (Connection::new(self.target.clone()), numbers.clone());
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let due = match pace {
                        Pace::AsAnswered => Instant::now(),
                        Pace::Fixed(rate) => started + Duration::from_secs_f64((number - numbers.start) as f64 / rate),
                    };
                    if number >= numbers.end || duration.is_some_and(|duration| due >= started + duration) {
                        return;
                    }
                    if due > Instant::now() {
                        tokio::time::sleep_until(due.into()).await;
                    }
                    let (path, body) = requests.get(number);
                    let reply = connection.post(path, body).await;
                    tally.lock().unwrap_or_else(PoisonError::into_inner).add(reply, due.elapsed());
                }
            });
        }
        while tasks.join_next().await.is_some() {}
        let mut tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
        tally.took = started.elapsed();
        tally
    }
}
