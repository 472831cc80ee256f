//! The worker task: forms waves, sends their requests to mistral.rs, and recovers from failures.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use mistralrs::{MistralRs, Request};
use tokio::sync::mpsc::{Sender, UnboundedReceiver};

use super::force::SharedRun;
use super::request::{ModelLimits, WavePrefill, send};
use super::row::{RequestOutcome, ScriptRun};
use crate::engine::Load;
use crate::engine::length_buckets::{Limits, Waiting, join, pick};
use crate::engine::shared::Shared;

/// Maximum number of deaths of mistral.rs in a row, without an answer in between. A panic can leave one of its locks
/// poisoned; then only a new process helps.
const MAX_DEATHS: u32 = 3;
// Time for the thread of a dead engine to end, and the polling interval.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
// A wave that would be smaller than the last one waits for more requests, because callers that just got an answer often
// send the next request. Maximum gap between two requests, and maximum time in all.
const GATHER_GAP: Duration = Duration::from_millis(5);
const GATHER_TIMEOUT: Duration = Duration::from_millis(100);

/// A message to the worker.
pub(super) enum Submission {
    /// A script to run.
    Run(Box<ScriptRun>),
    /// Run at most this number of sequences together.
    Limit(usize),
}

/// The worker.
pub(super) struct Worker {
    runner: Arc<MistralRs>,
    model: ModelLimits,
    limits: Limits,
    /// Waiting runs, the longest-waiting first.
    waiting: Vec<ScriptRun>,
    shared: Arc<Shared>,
    engine: Option<Sender<Request>>,
    deaths: u32,
    restarts: u64,
    /// Size of the last wave.
    last: usize,
}

impl Worker {
    pub(super) fn new(runner: Arc<MistralRs>, model: ModelLimits, limits: Limits, shared: Arc<Shared>) -> Self {
        Self { runner, model, limits, waiting: Vec::new(), shared, engine: None, deaths: 0, restarts: 0, last: 0 }
    }

    /// Serves until all senders are dropped, or mistral.rs cannot be restarted.
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
            self.waiting.retain(|run| !run.departed());
            let wave = self.next_wave();
            self.last = wave.len();
            if !wave.is_empty() && !self.run_wave(wave, &mut inbox).await {
                tracing::error!("mistral.rs stopped {MAX_DEATHS} times in a row; giving up");
                inbox.close();
                while let Ok(submission) = inbox.try_recv() {
                    self.take(submission);
                }
                self.waiting.iter().for_each(|run| run.fail("mistral.rs has stopped and cannot be restarted"));
                return;
            }
        }
    }

    /// Stops mistral.rs, and waits until its thread has freed the model.
    async fn end(self) {
        if let Some(engine) = self.engine {
            // An engine that has died does not receive it.
            let _ = engine.send(Request::Terminate).await;
            engine.closed().await;
        }
    }

    fn take(&mut self, submission: Submission) {
        match submission {
            Submission::Run(mut run) => {
                self.shared.received();
                if !run.is_done_at_once() {
                    self.waiting.push(*run);
                }
            }
            Submission::Limit(sequences) => self.limits.sequences = sequences,
        }
    }

    fn next_wave(&mut self) -> Vec<ScriptRun> {
        let waiting: Vec<Waiting> = self.waiting.iter().map(ScriptRun::waiting).collect();
        self.remove(pick(&waiting, self.limits))
    }

    /// Removes runs from the waiting ones.
    fn remove(&mut self, mut picked: Vec<usize>) -> Vec<ScriptRun> {
        picked.sort_unstable();
        // From the end, so that indexes stay valid.
        let mut runs: Vec<ScriptRun> = picked.iter().rev().map(|index| self.waiting.remove(*index)).collect();
        runs.reverse();
        runs
    }

    /// Runs a request for each run of a wave, evaluates each at its end, and lets prefill-only runs join. Returns false
    /// if mistral.rs is given up.
    async fn run_wave(&mut self, wave: Vec<ScriptRun>, inbox: &mut UnboundedReceiver<Submission>) -> bool {
        let Some(engine) = self.engine().await else {
            wave.into_iter().for_each(|run| run.fail("mistral.rs does not accept requests"));
            self.deaths += 1;
            return self.deaths < MAX_DEATHS;
        };
        let mut prefill = WavePrefill { cut: self.cut(&wave), together: wave.len() > 1 };
        let mut joining = if wave.iter().any(|run| run.alone) { 0 } else { self.limits.sequences };
        let mut running = Running::default();
        running.add(wave, |wave| send(&engine, wave, prefill, &self.model));
        let mut answered = false;
        loop {
            self.show(&running);
            tokio::select! {
                run = running.next() => match run {
                    Some(run) => answered |= self.settle(run, prefill.together),
                    None => break,
                },
                Some(submission) = inbox.recv(), if joining > 0 => self.take(submission),
            }
            let more = self.more(&running, joining);
            if !more.is_empty() {
                joining = joining.saturating_sub(more.len());
                prefill.together = true;
                running.add(more, |more| send(&engine, more, prefill, &self.model));
            }
        }
        self.deaths = match (engine.is_closed(), answered) {
            (true, _) => self.deaths + 1,
            (false, true) => 0,
            (false, false) => self.deaths,
        };
        self.deaths < MAX_DEATHS
    }

    /// Number of tokens to which the prompts of a wave are prefilled.
    fn cut(&self, wave: &[ScriptRun]) -> usize {
        let lengths = |prefill_only: bool| {
            wave.iter().map(ScriptRun::waiting).filter(move |w| w.prefill_only == prefill_only).map(|w| w.prompt)
        };
        lengths(false).min().or(lengths(true).min()).unwrap_or(0)
    }

    /// Up to `most` runs that may join the running wave. The wave waits for the prefill of each, so their number is
    /// limited.
    fn more(&mut self, running: &Running, most: usize) -> Vec<ScriptRun> {
        let left = Limits {
            sequences: self.limits.sequences.saturating_sub(running.requests.len()).min(most),
            tokens: self.limits.tokens.saturating_sub(running.held),
            ..self.limits
        };
        if running.requests.is_empty() || left.sequences == 0 {
            return Vec::new();
        }
        self.waiting.retain(|run| !run.departed());
        let waiting: Vec<Waiting> = self.waiting.iter().map(ScriptRun::waiting).collect();
        self.remove(join(&waiting, left))
    }

    /// Evaluates a run whose request has ended, and returns whether mistral.rs answered it.
    fn settle(&mut self, mut run: ScriptRun, together: bool) -> bool {
        match run.settle() {
            RequestOutcome::Done => return true,
            RequestOutcome::Continues => {
                self.waiting.insert(0, run);
                return true;
            }
            // A failure in a batch may be caused by another request, so it is retried alone.
            RequestOutcome::Failed(reason) if together => {
                tracing::warn!(reason, "a request failed in a batch; retrying it alone");
                run.alone = true;
                self.waiting.insert(0, run);
            }
            RequestOutcome::Failed(reason) => run.fail(&reason),
        }
        false
    }

    /// The request channel. Asking for it restarts an engine that has died, once its thread has ended.
    async fn engine(&mut self) -> Option<Sender<Request>> {
        let ends = Instant::now() + SHUTDOWN_TIMEOUT;
        let sender = loop {
            let sender = catch_unwind(AssertUnwindSafe(|| self.runner.get_sender(None).ok())).ok().flatten();
            match sender {
                Some(closed) if closed.is_closed() && Instant::now() < ends => tokio::time::sleep(POLL_INTERVAL).await,
                sender => break sender,
            }
        };
        if let (Some(before), Some(now)) = (&self.engine, &sender)
            && !before.same_channel(now)
        {
            tracing::error!("mistral.rs had stopped and was restarted");
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

/// The running requests.
#[derive(Default)]
struct Running {
    requests: FuturesUnordered<BoxFuture<'static, (SharedRun, usize)>>,
    /// Maximum number of tokens of all of them.
    held: usize,
}

impl Running {
    /// Adds the requests of runs, which `send` sends.
    fn add(&mut self, runs: Vec<ScriptRun>, send: impl FnOnce(Vec<ScriptRun>) -> Vec<SharedRun>) {
        let reserved: Vec<usize> = runs.iter().map(|run| run.waiting().reserved).collect();
        self.held += reserved.iter().sum::<usize>();
        for (shared_run, reserved) in send(runs).into_iter().zip(reserved) {
            self.requests.push(Box::pin(async move {
                shared_run.finished().await;
                (shared_run, reserved)
            }));
        }
    }

    /// The run of the next finished request; `None` if none is running.
    async fn next(&mut self) -> Option<ScriptRun> {
        loop {
            let (shared_run, reserved) = self.requests.next().await?;
            self.held -= reserved;
            if let Some(run) = shared_run.take() {
                return Some(run);
            }
        }
    }
}

/// Up to `missing` further submissions, which arrive shortly after each other.
pub(super) async fn gather(inbox: &mut UnboundedReceiver<Submission>, missing: usize) -> Vec<Submission> {
    let (mut found, until) = (Vec::new(), Instant::now() + GATHER_TIMEOUT);
    while found.len() < missing && Instant::now() < until {
        match tokio::time::timeout(GATHER_GAP, inbox.recv()).await {
            Ok(Some(submission)) => found.push(submission),
            Ok(None) | Err(_) => break,
        }
    }
    found
}
