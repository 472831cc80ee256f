//! Sends requests over a number of connections, or to a judge in this process, each when its turn comes.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::task::JoinSet;

use super::super::connection::{Connection, Target};
use super::super::items::KindArg;
use super::report::Tally;
use super::requests::Requests;
use crate::api::local;
use crate::facade::Gavel;

/// Who is measured.
#[derive(Clone)]
pub(super) enum Door {
    /// A server.
    Server(Target),
    /// The library in this process.
    Here(Gavel),
}

/// One of those that ask at once.
enum Caller {
    Server(Connection),
    Here(Gavel),
}

impl Door {
    fn caller(&self) -> Caller {
        match self {
            Self::Server(target) => Caller::Server(Connection::new(target.clone())),
            Self::Here(gavel) => Caller::Here(gavel.clone()),
        }
    }
}

impl Caller {
    /// Gives the status and the body of the answer.
    ///
    /// # Errors
    /// When there is no answer.
    async fn ask(&mut self, kind: KindArg, body: Bytes) -> Result<(u16, Bytes), String> {
        match self {
            Self::Server(connection) => connection.post(kind.path(), body).await,
            Self::Here(gavel) => match local::grade(gavel.app(), kind.into(), &body).await {
                Ok(verdict) => Ok((200, verdict.into())),
                Err(problem) => {
                    let body = serde_json::to_vec(&problem.body("", "")).map_err(|error| error.to_string())?;
                    Ok((problem.code().status().as_u16(), body.into()))
                }
            },
        }
    }
}

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
    door: Door,
    requests: Arc<Requests>,
    callers: usize,
}

impl Load {
    pub(super) fn new(door: Door, requests: Requests, callers: usize) -> Self {
        Self { door, requests: Arc::new(requests), callers }
    }

    /// Sends the requests of those numbers, as many as the duration allows.
    pub(super) async fn send(&self, numbers: Range<u64>, duration: Option<Duration>, pace: Pace) -> Tally {
        let (next, tally) = (Arc::new(AtomicU64::new(numbers.start)), Arc::new(Mutex::new(Tally::default())));
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..self.callers.min(usize::try_from(numbers.end - numbers.start).unwrap_or(usize::MAX)) {
            let (requests, next, tally) = (Arc::clone(&self.requests), Arc::clone(&next), Arc::clone(&tally));
            let (mut caller, numbers) = (self.door.caller(), numbers.clone());
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
                    let (kind, body) = requests.get(number);
                    let reply = caller.ask(kind, body).await;
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
