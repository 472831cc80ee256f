//! The task that decides what runs: it forms waves, hands their requests to mistral.rs, and repairs that.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use mistralrs::{MistralRs, Request};
use tokio::sync::mpsc::{Sender, UnboundedReceiver};

use super::force::Lent;
use super::request::{Known, Reading, send};
use super::row::{Outcome, Row};
use crate::engine::Load;
use crate::engine::length_buckets::{Limits, Waiting, join, pick};
use crate::engine::shared::Shared;

/// How often mistral.rs may die in a row, without an answer between, before it is given up. A panic can leave one of
/// its locks poisoned for good; then only a new process helps.
const DEATHS: u32 = 3;
/// How long the thread of an engine that has died may take to end, and how often it is looked at.
const ENDING: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);
/// A wave that would be smaller than the last one waits that long for one more, and so long at most: who has just been
/// answered may be about to ask again, and would else wait for a whole wave.
const QUIET: Duration = Duration::from_millis(5);
const GATHERING: Duration = Duration::from_millis(100);

/// What a worker is sent.
pub(super) enum Submission {
    /// A script to run.
    Row(Box<Row>),
    /// Run no more sequences together than that.
    Limit(usize),
}

/// Runs what is submitted.
pub(super) struct Worker {
    runner: Arc<MistralRs>,
    known: Known,
    limits: Limits,
    /// The ones that wait, the longest first.
    waiting: Vec<Row>,
    shared: Arc<Shared>,
    engine: Option<Sender<Request>>,
    deaths: u32,
    restarts: u64,
    /// How many ran together last.
    last: usize,
}

impl Worker {
    pub(super) fn new(runner: Arc<MistralRs>, known: Known, limits: Limits, shared: Arc<Shared>) -> Self {
        Self { runner, known, limits, waiting: Vec::new(), shared, engine: None, deaths: 0, restarts: 0, last: 0 }
    }

    /// Serves until the last sender of submissions is gone, or mistral.rs cannot be brought back.
    pub(super) async fn run(mut self, mut inbox: UnboundedReceiver<Submission>) {
        loop {
            if self.waiting.is_empty() {
                match inbox.recv().await {
                    Some(submission) => self.take(submission),
                    None => return self.end().await,
                }
            }
            while let Ok(submission) = inbox.try_recv() {
                self.take(submission);
            }
            let missing = self.limits.sequences.min(self.last).saturating_sub(self.waiting.len());
            for submission in gather(&mut inbox, missing).await {
                self.take(submission);
            }
            self.waiting.retain(|row| !row.departed());
            let wave = self.next_wave();
            self.last = wave.len();
            if !wave.is_empty() && !self.run_wave(wave, &mut inbox).await {
                tracing::error!("mistral.rs has died {DEATHS} times in a row and is given up");
                inbox.close();
                while let Ok(submission) = inbox.try_recv() {
                    self.take(submission);
                }
                self.waiting.iter().for_each(|row| row.fail("mistral.rs has died and does not come back"));
                return;
            }
        }
    }

    /// Ends mistral.rs, and waits until its thread lets go of the model.
    async fn end(self) {
        if let Some(engine) = self.engine {
            // One that has died has ended.
            let _ = engine.send(Request::Terminate).await;
            engine.closed().await;
        }
    }

    fn take(&mut self, submission: Submission) {
        match submission {
            Submission::Row(mut row) => {
                self.shared.received();
                if !row.over_at_once() {
                    self.waiting.push(*row);
                }
            }
            Submission::Limit(sequences) => self.limits.sequences = sequences,
        }
    }

    fn next_wave(&mut self) -> Vec<Row> {
        let waiting: Vec<Waiting> = self.waiting.iter().map(Row::waiting).collect();
        self.remove(pick(&waiting, self.limits))
    }

    /// Takes rows out of those that wait.
    fn remove(&mut self, mut picked: Vec<usize>) -> Vec<Row> {
        picked.sort_unstable();
        // From the end, so that indices stay true.
        let mut rows: Vec<Row> = picked.iter().rev().map(|index| self.waiting.remove(*index)).collect();
        rows.reverse();
        rows
    }

    /// Runs a request of each row of a wave, settles each as it ends, and lets brief ones join. False when mistral.rs is
    /// given up.
    async fn run_wave(&mut self, wave: Vec<Row>, inbox: &mut UnboundedReceiver<Submission>) -> bool {
        let Some(engine) = self.engine().await else {
            wave.into_iter().for_each(|row| row.fail("mistral.rs takes no requests"));
            self.deaths += 1;
            return self.deaths < DEATHS;
        };
        let mut reading = Reading { cut: self.cut(&wave), together: wave.len() > 1 };
        let mut joining = if wave.iter().any(|row| row.alone) { 0 } else { self.limits.sequences };
        let mut running = Running::default();
        running.add(wave, |wave| send(&engine, wave, reading, &self.known));
        let mut answered = false;
        loop {
            self.show(&running);
            tokio::select! {
                row = running.next() => match row {
                    Some(row) => answered |= self.settle(row, reading.together),
                    None => break,
                },
                Some(submission) = inbox.recv(), if joining > 0 => self.take(submission),
            }
            let more = self.more(&running, joining);
            if !more.is_empty() {
                joining = joining.saturating_sub(more.len());
                reading.together = true;
                running.add(more, |more| send(&engine, more, reading, &self.known));
            }
        }
        self.deaths = match (engine.is_closed(), answered) {
            (true, _) => self.deaths + 1,
            (false, true) => 0,
            (false, false) => self.deaths,
        };
        self.deaths < DEATHS
    }

    /// Up to where the prompts of a wave are read.
    fn cut(&self, wave: &[Row]) -> usize {
        let lengths = |brief: bool| wave.iter().map(Row::waiting).filter(move |w| w.brief == brief).map(|w| w.prompt);
        lengths(false).min().or(lengths(true).min()).unwrap_or(0)
    }

    /// Rows that may join what runs, `most` of them. Each is read before what runs goes on, so that there are not too many.
    fn more(&mut self, running: &Running, most: usize) -> Vec<Row> {
        let left = Limits {
            sequences: self.limits.sequences.saturating_sub(running.requests.len()).min(most),
            tokens: self.limits.tokens.saturating_sub(running.held),
            ..self.limits
        };
        if running.requests.is_empty() || left.sequences == 0 {
            return Vec::new();
        }
        self.waiting.retain(|row| !row.departed());
        let waiting: Vec<Waiting> = self.waiting.iter().map(Row::waiting).collect();
        self.remove(join(&waiting, left))
    }

    /// Settles a row whose request is over, and says whether mistral.rs has answered it.
    fn settle(&mut self, mut row: Row, together: bool) -> bool {
        match row.settle() {
            Outcome::Over => return true,
            Outcome::Goes => {
                self.waiting.insert(0, row);
                return true;
            }
            // What fails beside others may be another's fault: it is tried again alone.
            Outcome::Failed(reason) if together => {
                tracing::warn!(reason, "a request failed beside others and is tried again alone");
                row.alone = true;
                self.waiting.insert(0, row);
            }
            Outcome::Failed(reason) => row.fail(&reason),
        }
        false
    }

    /// Where requests go; an engine that has died is started again by asking, once its thread has ended.
    async fn engine(&mut self) -> Option<Sender<Request>> {
        let ends = Instant::now() + ENDING;
        let sender = loop {
            let sender = catch_unwind(AssertUnwindSafe(|| self.runner.get_sender(None).ok())).ok().flatten();
            match sender {
                Some(closed) if closed.is_closed() && Instant::now() < ends => tokio::time::sleep(PAUSE).await,
                sender => break sender,
            }
        };
        if let (Some(before), Some(now)) = (&self.engine, &sender)
            && !before.same_channel(now)
        {
            tracing::error!("mistral.rs had died and was started again");
            self.restarts += 1;
        }
        self.engine.clone_from(&sender);
        sender
    }

    fn show(&self, running: &Running) {
        self.shared.show(Load {
            waiting: self.waiting.len(),
            running: running.requests.len(),
            kv_running: running.held,
            kv_cached: 0,
            kv_free: self.limits.tokens.saturating_sub(running.held),
            restarts: self.restarts,
        });
    }
}

/// The requests that run.
#[derive(Default)]
struct Running {
    requests: FuturesUnordered<BoxFuture<'static, (Lent, usize)>>,
    /// Tokens that they may come to hold.
    held: usize,
}

impl Running {
    /// Adds the requests of rows, which `send` sends.
    fn add(&mut self, rows: Vec<Row>, send: impl FnOnce(Vec<Row>) -> Vec<Lent>) {
        let reserved: Vec<usize> = rows.iter().map(|row| row.waiting().reserved).collect();
        self.held += reserved.iter().sum::<usize>();
        for (lent, reserved) in send(rows).into_iter().zip(reserved) {
            self.requests.push(Box::pin(async move {
                lent.over().await;
                (lent, reserved)
            }));
        }
    }

    /// The row of the next request that is over; nothing when none runs.
    async fn next(&mut self) -> Option<Row> {
        loop {
            let (lent, reserved) = self.requests.next().await?;
            self.held -= reserved;
            if let Some(row) = lent.take() {
                return Some(row);
            }
        }
    }
}

/// Up to `missing` further submissions, which come one soon after the other.
pub(super) async fn gather(inbox: &mut UnboundedReceiver<Submission>, missing: usize) -> Vec<Submission> {
    let (mut found, until) = (Vec::new(), Instant::now() + GATHERING);
    while found.len() < missing && Instant::now() < until {
        match tokio::time::timeout(QUIET, inbox.recv()).await {
            Ok(Some(submission)) => found.push(submission),
            Ok(None) | Err(_) => break,
        }
    }
    found
}
