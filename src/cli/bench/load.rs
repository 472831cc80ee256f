//! The load generator: sends requests over several connections, or to a judge in this process.

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

/// What is measured.
#[derive(Clone)]
pub(super) enum Backend {
    /// A server.
    Server(Target),
    /// The library in this process.
    InProcess(Gavel),
}

/// One concurrent caller.
enum Caller {
    Server(Connection),
    InProcess(Gavel),
}

impl Backend {
    fn caller(&self) -> Caller {
        match self {
            Self::Server(target) => Caller::Server(Connection::new(target.clone())),
            Self::InProcess(gavel) => Caller::InProcess(gavel.clone()),
        }
    }
}

impl Caller {
    /// Sends a request, and returns the status and the body of the answer.
    ///
    /// # Errors
    /// When there is no answer.
    async fn ask(&mut self, kind: KindArg, body: Bytes) -> Result<(u16, Bytes), String> {
        match self {
            Self::Server(connection) => connection.post(kind.path(), body).await,
            Self::InProcess(gavel) => match local::grade(gavel.app(), kind.into(), &body).await {
                Ok(verdict) => Ok((200, verdict.into())),
                Err(problem) => {
                    let body = serde_json::to_vec(&problem.body("", "")).map_err(|error| error.to_string())?;
                    Ok((problem.code().status().as_u16(), body.into()))
                }
            },
        }
    }
}

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// Each connection sends its next request when it has the answer to the previous one.
    ClosedLoop,
    /// Fixed number per second. If no connection is free, a request is sent late, and its latency counts from its due
    /// time, so that a stalled server cannot hide latency.
    FixedRate(f64),
}

/// A load: the backend, the requests and the number of callers.
pub(super) struct Load {
    backend: Backend,
    requests: Arc<Requests>,
    callers: usize,
}

impl Load {
    pub(super) fn new(backend: Backend, requests: Requests, callers: usize) -> Self {
        Self { backend, requests: Arc::new(requests), callers }
    }

    /// Sends the requests with these numbers, within the duration.
    pub(super) async fn send(&self, numbers: Range<u64>, duration: Option<Duration>, pace: Pace) -> Tally {
        let (next, tally) = (Arc::new(AtomicU64::new(numbers.start)), Arc::new(Mutex::new(Tally::default())));
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..self.callers.min(usize::try_from(numbers.end - numbers.start).unwrap_or(usize::MAX)) {
            let (requests, next, tally) = (Arc::clone(&self.requests), Arc::clone(&next), Arc::clone(&tally));
            let (mut caller, numbers) = (self.backend.caller(), numbers.clone());
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let due = match pace {
                        Pace::ClosedLoop => Instant::now(),
                        Pace::FixedRate(rate) => {
                            started + Duration::from_secs_f64((number - numbers.start) as f64 / rate)
                        }
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
