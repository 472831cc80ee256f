//! The task that decides what runs: it forms waves, hands their requests to mistral.rs, and repairs that.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use mistralrs::{
    Constraint, CustomLogitsProcessor, MistralRs, NormalRequest, Request, RequestMessage, Response, SamplingParams,
    StopTokens,
};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, channel};

use super::force::{Force, Lent};
use super::row::{Outcome, Row};
use crate::engine::Load;
use crate::engine::shared::Shared;
use crate::engine::waves::{Limits, Waiting, pick};
use crate::script::Token;

/// How often mistral.rs may die in a row, without an answer between, before it is given up. A panic can leave one of
/// its locks poisoned for good; then only a new process helps.
const DEATHS: u32 = 3;
/// How long the thread of an engine that has died may take to end, and how often it is looked at.
const ENDING: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// What a worker is sent.
pub(super) enum Submission {
    /// A script to run.
    Row(Box<Row>),
    /// Run no more sequences together than that.
    Limit(usize),
}

/// What it has to know of the model.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// The token that ends a request.
    pub(super) leave: Token,
    /// The most tokens of a sequence.
    pub(super) context: usize,
    /// The number of tokens there are.
    pub(super) vocabulary: usize,
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
}

impl Worker {
    pub(super) fn new(runner: Arc<MistralRs>, known: Known, limits: Limits, shared: Arc<Shared>) -> Self {
        Self { runner, known, limits, waiting: Vec::new(), shared, engine: None, deaths: 0, restarts: 0 }
    }

    /// Serves until the last sender of submissions is gone, or mistral.rs cannot be brought back.
    pub(super) async fn run(mut self, mut inbox: UnboundedReceiver<Submission>) {
        loop {
            if self.waiting.is_empty() {
                match inbox.recv().await {
                    Some(submission) => self.take(submission),
                    None => return,
                }
            }
            while let Ok(submission) = inbox.try_recv() {
                self.take(submission);
            }
            self.waiting.retain(|row| !row.departed());
            let wave = self.next_wave();
            self.show(&wave);
            if !wave.is_empty() && !self.run_wave(wave).await {
                tracing::error!("mistral.rs has died {DEATHS} times in a row and is given up");
                inbox.close();
                while let Ok(submission) = inbox.try_recv() {
                    self.take(submission);
                }
                self.waiting.iter().for_each(|row| row.fail("mistral.rs has died and does not come back"));
                return;
            }
            self.show(&[]);
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
        let mut picked = pick(&waiting, self.limits);
        picked.sort_unstable();
        // From the end, so that indices stay true.
        let mut wave: Vec<Row> = picked.iter().rev().map(|index| self.waiting.remove(*index)).collect();
        wave.reverse();
        wave
    }

    /// Runs a request of each row of a wave, and settles them. False when mistral.rs is given up.
    async fn run_wave(&mut self, wave: Vec<Row>) -> bool {
        let together = wave.len() > 1;
        let cut = wave.iter().map(|row| row.ids().len()).min().unwrap_or(0);
        let rows: Vec<Lent> = wave.into_iter().map(|row| Arc::new(Mutex::new(Some(row)))).collect();
        let engine = self.engine().await;
        match &engine {
            Some(engine) => {
                join_all(rows.iter().map(|row| request(engine, row, cut, self.known))).await;
            }
            None => rows.iter().for_each(|row| fail(row, "mistral.rs takes no requests".into())),
        }
        let died = engine.is_none_or(|engine| engine.is_closed());
        let mut answered = false;
        let mut back = Vec::new();
        for row in rows {
            let Some(mut row) = row.lock().unwrap_or_else(PoisonError::into_inner).take() else { continue };
            match row.settle() {
                Outcome::Over => answered = true,
                Outcome::Goes => {
                    answered = true;
                    back.push(row);
                }
                // What fails beside others may be another's fault: it is tried again alone.
                Outcome::Failed(reason) if together => {
                    tracing::warn!(reason, "a request failed beside others and is tried again alone");
                    row.alone = true;
                    back.push(row);
                }
                Outcome::Failed(reason) => row.fail(&reason),
            }
        }
        back.append(&mut self.waiting);
        self.waiting = back;
        self.deaths = if died {
            self.deaths + 1
        } else if answered {
            0
        } else {
            self.deaths
        };
        self.deaths < DEATHS
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

    fn show(&self, wave: &[Row]) {
        let held: usize = wave.iter().map(|row| row.waiting().reserved).sum();
        self.shared.show(Load {
            waiting: self.waiting.len(),
            running: wave.len(),
            kv_running: held,
            kv_cached: 0,
            kv_free: self.limits.tokens.saturating_sub(held),
            restarts: self.restarts,
        });
    }
}

/// Notes why a row's request cannot go on.
fn fail(row: &Lent, reason: String) {
    if let Some(row) = row.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        row.fail_request(reason);
    }
}

/// Runs one request of a row whose prompt is its first `cut` tokens, and waits until mistral.rs is done with it.
async fn request(engine: &Sender<Request>, row: &Lent, cut: usize, known: Known) {
    let leave = known.leave.cast_unsigned();
    let Some(prompt) = begin(row, cut) else { return };
    let room = known.context.saturating_sub(cut);
    if room == 0 {
        fail(row, "its text came to more tokens than there is room for".into());
        return;
    }
    // On a GPU an id that the model does not have may take the whole process along.
    if let Some(id) = prompt.iter().find(|id| **id as usize >= known.vocabulary) {
        fail(row, format!("the model has no token {id}"));
        return;
    }
    // mistral.rs sends one message a token and one at the end; a full channel would hold up all that run together.
    let (sender, mut responses) = channel(room + 8);
    let force: Arc<dyn CustomLogitsProcessor> = Arc::new(Force { row: Arc::clone(row), leave });
    let request = NormalRequest {
        is_streaming: true,
        logits_processors: Some(vec![force]),
        constraint: Constraint::None,
        ..NormalRequest::new_simple(
            RequestMessage::CompletionTokens(prompt),
            SamplingParams {
                // Greedy, that is the token that was forced; without a temperature it would be 1.
                temperature: Some(0.0),
                stop_toks: Some(StopTokens::Ids(vec![leave])),
                max_len: Some(room),
                ..SamplingParams::deterministic()
            },
            sender,
            0,
            None,
            None,
        )
    };
    if engine.send(Request::Normal(Box::new(request))).await.is_err() {
        fail(row, "mistral.rs takes no requests".into());
        return;
    }
    // The channel closes when the sequence is gone, however it ended.
    while let Some(response) = responses.recv().await {
        if let Some(reason) = failure(response) {
            fail(row, reason);
        }
    }
}

/// Begins a row's request, and gives its prompt.
fn begin(row: &Lent, cut: usize) -> Option<Vec<u32>> {
    let mut row = row.lock().unwrap_or_else(PoisonError::into_inner);
    let row = row.as_mut()?;
    row.begin();
    Some(row.ids()[..cut].iter().map(|id| id.cast_unsigned()).collect())
}

fn failure(response: Response) -> Option<String> {
    match response {
        Response::InternalError(error) | Response::ValidationError(error) => Some(error.to_string()),
        Response::ModelError(reason, _) | Response::CompletionModelError(reason, _) => Some(reason),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::super::{ModelVocabulary, Settings, load};
    use super::*;
    use crate::engine::{Completion, EngineError, Prepared, Run};
    use crate::script::{Prompt, SamplerSettings, Script, Segment, Step};

    const ALONE: Limits = Limits { sequences: 1, spread: 0, tokens: 4096 };

    /// The demo model, which must have been pulled before.
    async fn runner() -> (Arc<MistralRs>, Arc<ModelVocabulary>) {
        let config = crate::config::Config::load(None, &[("offline", "true".into())]).unwrap();
        let path = crate::app::model_store(&config).unwrap().path("smollm2-135m").unwrap();
        let settings = Settings { sequences: 1, spread: 0, kv_tokens: 4096, isq: String::new() };
        let (runner, _) = load::runner(&path, &settings).await.unwrap();
        (runner, Arc::new(ModelVocabulary::load(&path).unwrap()))
    }

    async fn choose(
        inbox: &UnboundedSender<Submission>,
        vocabulary: &Arc<ModelVocabulary>,
    ) -> Result<Completion, EngineError> {
        let options = [" 1", " 2"].map(str::to_owned).to_vec();
        let script = Script(vec![Step::Choose(options)]);
        let prompt = Prompt(vec![Segment::Text("One or two?".into())]);
        let sampling = SamplerSettings { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 };
        let encoded = prompt.encode(&**vocabulary);
        let prompt_tokens = encoded.ids.len();
        let job = crate::engine::Job { prompt, script, sampling, deterministic: false };
        let (events, run) = Run::channel();
        let row = Row::new(Arc::clone(vocabulary) as _, Prepared { job, encoded, prompt_tokens }, events);
        inbox.send(Submission::Row(Box::new(row))).unwrap();
        run.finish(|_| ()).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_death_is_noticed_counted_and_repaired() {
        let (runner, vocabulary) = runner().await;
        let known = Known { leave: vocabulary.end().unwrap(), context: 4096, vocabulary: vocabulary.size() };
        let shared = Arc::new(Shared::default());
        let worker = Worker::new(Arc::clone(&runner), known, ALONE, Arc::clone(&shared));
        let (inbox, submissions) = unbounded_channel();
        let worker = tokio::spawn(worker.run(submissions));
        let before = choose(&inbox, &vocabulary).await.unwrap();
        let engine = runner.get_sender(None).unwrap();
        engine.send(Request::Terminate).await.unwrap();
        engine.closed().await;
        let after = choose(&inbox, &vocabulary).await.unwrap();
        assert_eq!(after.transcript, before.transcript);
        drop(inbox);
        worker.await.unwrap();
        assert_eq!(shared.load().restarts, 1);
    }
}
