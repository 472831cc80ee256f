//! The worker of this process: reads inputs, and answers lines.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use ulid::Ulid;

use super::output::{LineReply, unanswered};
use super::validate::{self, Fault, Lines};
use super::{DAY, Jobs, Stop, days, milliseconds};
use crate::metrics::Metrics;
use crate::store::{Answered, BatchRow, BatchStatus, ClaimedLine, NewLine, PutLines, Store, StoreError, now};

/// Answers lines, as the routes do.
pub trait Execute: Send + Sync + 'static {
    /// Whether lines may be for this route.
    ///
    /// # Errors
    /// With the reason why not.
    fn accepts(&self, url: &str) -> Result<(), String>;

    /// Whether lines of an API key may begin now; its name is empty if keys were off.
    fn may_begin(&self, owner: &str) -> bool;

    /// Answers a line. Dropping the future stops the work.
    fn execute(&self, line: LineRequest) -> BoxFuture<'static, LineReply>;
}

/// A line as a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineRequest {
    /// The route.
    pub url: String,
    /// The body.
    pub body: String,
    /// The API key of the batch; empty if keys were off.
    pub owner: String,
}

/// Codes of a server that cannot answer now, whatever the line is.
const BUSY: [&str; 5] = ["saturated", "model_loading", "shutting_down", "rate_limited", "upstream_unavailable"];
/// Codes of failures that may not come again.
const PASSING: [&str; 3] = ["engine_failed", "upstream_failed", "internal"];
/// The time between looks at the database: while there are batches to work on, and while there are none.
const SOON: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(5);
/// Lines to write into the database at once, and their bytes.
const LINES: usize = 500;
const BYTES: usize = 4 << 20;
/// How often a line may be begun before it is suspected to end the process: from then on it runs alone, so that it takes no
/// other line with it.
const SUSPECT: i64 = 3;
/// Faults of an input that are told.
const FAULTS: usize = 20;

/// The worker of this process.
pub struct Runner {
    jobs: Arc<Jobs>,
    execute: Arc<dyn Execute>,
    metrics: Arc<Metrics>,
    /// The most bytes of a line.
    longest: usize,
    /// Its name in the database; a new one after it counted as dead.
    worker: String,
    running: JoinSet<Option<Answered>>,
    lines: HashMap<Id, Running>,
    /// Answers that are not in the database yet.
    answers: Vec<Answered>,
    /// The batch that lines were taken from first the last time.
    turn: usize,
    /// Whether a line runs alone, or is to run once those in progress have ended.
    alone: bool,
}

/// A line in progress.
struct Running {
    batch: String,
    number: i64,
    abort: AbortHandle,
}

impl Runner {
    /// A worker that answers lines of up to `longest` bytes by `execute`.
    #[must_use]
    pub fn new(jobs: Arc<Jobs>, execute: Arc<dyn Execute>, metrics: Arc<Metrics>, longest: usize) -> Self {
        let (worker, running) = (format!("worker_{}", Ulid::new()), JoinSet::new());
        let (lines, answers) = (HashMap::new(), Vec::new());
        Self { jobs, execute, metrics, longest, worker, running, lines, answers, turn: 0, alone: false }
    }

    /// Works until [`Jobs::stop`]. Without anything in the database, it waits until something is.
    pub async fn run(mut self) {
        let jobs = Arc::clone(&self.jobs);
        jobs.stop.send_replace(Stop::Running);
        let mut stop = jobs.stop.subscribe();
        // The sender lives as long as the jobs.
        let mut asked = pin!(async move { stop.wait_for(|stop| *stop == Stop::Asked).await.map(drop) });
        let mut wait = if jobs.database.exists() { Duration::ZERO } else { Duration::MAX };
        let mut looked = None;
        loop {
            tokio::select! {
                _ = &mut asked => break,
                Some(ended) = self.running.join_next_with_id() => self.ended(ended),
                () = jobs.wake.notified() => looked = None,
                () = tokio::time::sleep(wait) => {}
            }
            while let Some(ended) = self.running.try_join_next_with_id() {
                self.ended(ended);
            }
            let look = looked.is_none_or(|looked: Instant| looked.elapsed() >= SOON);
            if look {
                looked = Some(Instant::now());
            }
            wait = match self.work(look).await {
                Ok(true) => SOON,
                Ok(false) => IDLE,
                Err(error) => {
                    tracing::warn!(%error, "batches wait for the database");
                    looked = None;
                    SOON
                }
            };
        }
        self.stopped().await;
        jobs.stop.send_replace(Stop::Idle);
    }

    /// Gives back what is not answered.
    async fn stopped(mut self) {
        self.running.abort_all();
        while let Some(ended) = self.running.join_next_with_id().await {
            self.ended(ended);
        }
        let jobs = Arc::clone(&self.jobs);
        let Some(store) = jobs.database.opened() else { return };
        let written = self.write(store).await;
        if let Err(error) = written.and(store.leave(&self.worker).await) {
            tracing::warn!(%error, "lines of batches that this process had begun are begun again when it counts as dead");
        }
    }

    /// A round: writes answers, takes lines, and if `look`, looks after batches. Returns whether there are batches to work on.
    async fn work(&mut self, look: bool) -> Result<bool, StoreError> {
        let jobs = Arc::clone(&self.jobs);
        let store = jobs.store().await?;
        self.write(store).await?;
        let mut busy = false;
        if look {
            self.live(store).await?;
            store.expire_batches().await?;
            store.bury(milliseconds(jobs.lease())).await?;
            busy |= self.read_input(store).await?;
            self.stop_cancelled(store).await?;
        }
        busy |= self.take(store).await?;
        if look || self.lines.is_empty() {
            busy |= self.end_batches(store).await?;
        }
        Ok(busy)
    }

    /// Says that this worker is alive. If it counted as dead, others work on its lines.
    async fn live(&mut self, store: &Store) -> Result<(), StoreError> {
        let lease = milliseconds(self.jobs.lease());
        if store.beat(&self.worker, lease).await? {
            return Ok(());
        }
        self.running.abort_all();
        self.worker = format!("worker_{}", Ulid::new());
        store.join(&self.worker, lease).await?;
        store.purge_batches(days(self.jobs.config.retention_days).map_or(i64::MAX / 4, milliseconds)).await?;
        store.purge_idempotent(milliseconds(DAY)).await?;
        let stale = now().saturating_sub(milliseconds(DAY)).unsigned_abs();
        store.purge_files(&format!("file-{}", Ulid::from_parts(stale, 0))).await.map(drop)
    }

    /// A line has ended.
    fn ended(&mut self, ended: Result<(Id, Option<Answered>), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        self.lines.remove(&id);
        self.metrics.batch_lines_running.set(self.lines.len() as i64);
        match ended {
            Ok((_, answered)) => self.answers.extend(answered),
            Err(error) if error.is_panic() => tracing::error!(%error, "a line of a batch has panicked"),
            Err(_) => {}
        }
    }

    async fn write(&mut self, store: &Store) -> Result<(), StoreError> {
        if self.answers.is_empty() {
            return Ok(());
        }
        self.put(store, &self.answers).await?;
        self.answers.clear();
        Ok(())
    }

    /// Writes answers, and counts those that the database has taken.
    async fn put(&self, store: &Store, answers: &[Answered]) -> Result<(), StoreError> {
        let (ok, failed) = store.answer(&self.worker, answers).await?;
        self.metrics.batch_lines.with_label_values(&["ok"]).inc_by(ok);
        self.metrics.batch_lines.with_label_values(&["failed"]).inc_by(failed);
        Ok(())
    }

    /// Reads the input of a batch into lines, if one waits.
    async fn read_input(&mut self, store: &Store) -> Result<bool, StoreError> {
        let Some(batch) = store.take_input(&self.worker).await? else {
            // One that another process reads will soon have lines for this one, too.
            return Ok(!store.batches_that_are(BatchStatus::Validating).await?.is_empty());
        };
        let (total, faults) = if batch.reads > self.most_begun() {
            // Whoever began it before did not live to end it, or failed.
            let message = format!("the file cannot be read: {} attempts did not come to its end", batch.reads - 1);
            (0, vec![Fault::new("unreadable_file", message, None)])
        } else {
            match self.lines_of(store, &batch).await {
                Ok(read) => read,
                Err(error @ StoreError::Damaged { .. }) => return Err(error),
                Err(error) => {
                    // Other batches do not wait for this one.
                    tracing::warn!(%error, batch = batch.id, attempt = batch.reads, "an input is read again later");
                    return Ok(true);
                }
            }
        };
        let errors = (!faults.is_empty()).then(|| serde_json::json!(faults).to_string());
        store.input_read(&batch.id, &self.worker, total, errors.as_deref()).await?;
        Ok(true)
    }

    /// Writes the lines of an input. Returns how many there are, and what is wrong with them.
    async fn lines_of(&mut self, store: &Store, batch: &BatchRow) -> Result<(i64, Vec<Fault>), StoreError> {
        let most = self.jobs.config.lines;
        let (mut split, mut read) = (Lines::new(self.longest), ReadLines::default());
        for chunk in 0.. {
            let text = store.chunk(&batch.input_file, chunk).await?;
            let execute = Arc::clone(&self.execute);
            let add = |at: i64, line: &str| read.add(line, at, &batch.endpoint, &*execute);
            let split_up = match &text {
                Some(text) => split.add(text, add),
                None => {
                    std::mem::take(&mut split).end(add);
                    Ok(())
                }
            };
            let mut ends = text.is_none();
            if let Err(fault) = split_up {
                read.faults.push(fault);
                ends = true;
            }
            if read.total > most {
                let message = format!("the file has more than {most} lines (jobs.lines)");
                read.faults.push(Fault::new("too_many_lines", message, None));
                ends = true;
            }
            if ends && read.total == 0 && read.faults.is_empty() {
                read.faults.push(Fault::new("empty_file", "the file has no lines", None));
            }
            while read.faults.is_empty() && (read.is_full() || (ends && !read.lines.is_empty())) {
                let (at, lines): (Vec<i64>, Vec<NewLine>) = read.group().into_iter().unzip();
                match store.put_lines(&batch.id, &self.worker, &lines).await? {
                    PutLines::Written => {}
                    PutLines::Twice(twice) => {
                        let message = format!("the custom_id `{}` is there twice", lines[twice].custom_id);
                        read.faults.push(Fault::new("duplicate_custom_id", message, Some(at[twice])));
                        ends = true;
                    }
                    // Another worker reads it now.
                    PutLines::Lost => return Ok((0, Vec::new())),
                }
                // A large input takes longer than a worker may be silent.
                self.live(store).await?;
            }
            if ends || read.faults.len() >= FAULTS {
                break;
            }
        }
        read.faults.truncate(FAULTS);
        Ok((read.total, read.faults))
    }

    /// Ends batches that are answered, and those that were cancelled or are over. Returns whether there were any.
    async fn end_batches(&mut self, store: &Store) -> Result<bool, StoreError> {
        let expires_at = days(self.jobs.config.retention_days).map(|kept| now() + milliseconds(kept));
        let mut any = false;
        for batch in store.batches_that_are(BatchStatus::InProgress).await? {
            if batch.counted.completed + batch.counted.failed == batch.counted.total {
                any |= store.end_batch(&batch, BatchStatus::Completed, expires_at).await?;
            }
        }
        for batch in store.batches_that_are(BatchStatus::Cancelling).await? {
            any |= store.end_batch(&batch, BatchStatus::Cancelled, expires_at).await?;
        }
        for batch in store.batches_that_are(BatchStatus::Expiring).await? {
            any = true;
            let left = store.take_lines(&batch.id, &self.worker, LINES as i64, (i64::MAX, false)).await?;
            if left.is_empty() {
                store.end_batch(&batch, BatchStatus::Expired, expires_at).await?;
                continue;
            }
            let why = "the time of the batch was over before this line was answered";
            let expired: Vec<Answered> = left.iter().map(|line| refused(line, "batch_expired", why)).collect();
            self.put(store, &expired).await?;
        }
        Ok(any)
    }

    /// Stops lines of batches that are cancelled or over.
    async fn stop_cancelled(&mut self, store: &Store) -> Result<(), StoreError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut over = store.batches_that_are(BatchStatus::Cancelling).await?;
        over.extend(store.batches_that_are(BatchStatus::Expiring).await?);
        for line in self.lines.values().filter(|line| over.iter().any(|batch| batch.id == line.batch)) {
            line.abort.abort();
            store.give_back(&self.worker, &line.batch, line.number).await?;
        }
        Ok(())
    }

    /// Takes lines while there is room, from each batch its share. Returns whether there are batches to work on.
    async fn take(&mut self, store: &Store) -> Result<bool, StoreError> {
        let mut batches = store.batches_that_are(BatchStatus::InProgress).await?;
        if self.alone && !self.lines.is_empty() {
            return Ok(true);
        }
        let waiting = !batches.is_empty();
        // A key over its limit of tokens takes no places that others could use.
        batches.retain(|batch| self.execute.may_begin(&batch.owner));
        if std::mem::take(&mut self.alone) {
            self.take_suspect(store, &batches).await?;
        }
        if batches.is_empty() || !self.lines.is_empty() && self.alone {
            return Ok(waiting || !self.lines.is_empty());
        }
        let count = batches.len();
        self.turn = (self.turn + 1) % count;
        batches.rotate_left(self.turn);
        for (index, batch) in batches.iter().enumerate() {
            let room = self.jobs.config.concurrency.saturating_sub(self.lines.len());
            let share = room.div_ceil(count - index);
            if share == 0 {
                break;
            }
            let taken = store.take_lines(&batch.id, &self.worker, share as i64, (SUSPECT, false)).await?;
            if taken.is_empty() && store.has_suspects(&batch.id, SUSPECT).await? {
                // Nothing else begins until it has run, so that other batches do not keep it waiting for ever.
                self.alone = true;
                self.jobs.wake.notify_one();
                break;
            }
            taken.into_iter().for_each(|line| self.begin(line, batch.owner.clone()));
        }
        Ok(true)
    }

    /// Takes a line that may have ended processes. It runs alone.
    async fn take_suspect(&mut self, store: &Store, batches: &[BatchRow]) -> Result<(), StoreError> {
        for batch in batches {
            if let Some(line) = store.take_lines(&batch.id, &self.worker, 1, (SUSPECT, true)).await?.pop() {
                self.alone = true;
                self.begin(line, batch.owner.clone());
                return Ok(());
            }
        }
        Ok(())
    }

    /// How often a line, or the reading of an input, may be begun.
    fn most_begun(&self) -> i64 {
        2 * i64::from(self.jobs.config.attempts)
    }

    fn begin(&mut self, claimed: ClaimedLine, owner: String) {
        // Whoever began it before did not live to answer it.
        if claimed.attempts > self.most_begun() {
            let why = format!("{} processes ended while they worked on this line", claimed.attempts - 1);
            self.answers.push(refused(&claimed, "line_aborted", &why));
            self.jobs.wake.notify_one();
            return;
        }
        let (batch, number) = (claimed.batch.clone(), claimed.line.number);
        let abort = self.running.spawn(answered(Arc::clone(&self.execute), claimed, owner, self.jobs.config.attempts));
        self.lines.insert(abort.id(), Running { batch, number, abort });
        self.metrics.batch_lines_running.set(self.lines.len() as i64);
    }
}

/// The answer to a line; what may not fail again is tried again, and a busy server is waited for.
async fn answered(execute: Arc<dyn Execute>, claimed: ClaimedLine, owner: String, most: u32) -> Option<Answered> {
    let ClaimedLine { batch, line, .. } = claimed;
    let (mut failures, mut pause) = (0, Duration::from_millis(250));
    loop {
        let request = LineRequest { url: line.url.clone(), body: line.body.clone(), owner: owner.clone() };
        let reply = execute.execute(request).await;
        let outcome = reply.outcome();
        let fails = PASSING.contains(&outcome.as_str());
        failures += u32::from(fails);
        if !BUSY.contains(&outcome.as_str()) && (!fails || failures >= most) {
            let answer = reply.line(&batch, line.number, &line.custom_id);
            return Some(Answered { batch, number: line.number, outcome, answer });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

/// The answer to a line that no route has answered.
fn refused(claimed: &ClaimedLine, code: &str, why: &str) -> Answered {
    let (batch, number) = (claimed.batch.clone(), claimed.line.number);
    let answer = unanswered(&batch, number, &claimed.line.custom_id, code, why);
    Answered { batch, number, outcome: code.to_owned(), answer }
}

/// The lines of an input so far.
#[derive(Default)]
struct ReadLines {
    total: i64,
    faults: Vec<Fault>,
    /// Lines to be written, with their numbers in the file.
    lines: Vec<(i64, NewLine)>,
    bytes: usize,
}

impl ReadLines {
    fn add(&mut self, text: &str, at: i64, endpoint: &str, execute: &dyn Execute) {
        match validate::line(text, self.total, at, endpoint, |url| execute.accepts(url)) {
            Ok(line) => {
                self.bytes += line.body.len();
                self.lines.push((at, line));
            }
            Err(fault) => {
                self.faults.push(fault);
                self.lines.clear();
            }
        }
        self.total += 1;
    }

    /// Whether a group of lines is complete.
    fn is_full(&self) -> bool {
        self.lines.len() >= LINES || self.bytes >= BYTES
    }

    /// The next lines to be written at once.
    fn group(&mut self) -> Vec<(i64, NewLine)> {
        let (mut bytes, mut count) = (0, 0);
        for (_, line) in self.lines.iter().take(LINES) {
            bytes += line.body.len();
            count += 1;
            if bytes >= BYTES {
                break;
            }
        }
        self.bytes -= bytes;
        self.lines.drain(..count).collect()
    }
}

impl Jobs {
    /// For how long a process counts as alive after it said so.
    fn lease(&self) -> Duration {
        Duration::from_millis(self.config.lease_ms)
    }
}
