//! Engines for tests: the scripted one, and two around it that a test steers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gavel::engine::scripted::{Answer, Scripted};
use gavel::engine::{Compiled, Engine, EngineError, EngineInfo, Event, Job, Load, Run};
use gavel::prompts::ChatFormat;
use tokio::sync::watch;

/// The distribution of the example in the contract, on a model that means it with 97 %.
pub(crate) const EXAMPLE: [f64; 5] = [0.18, 0.47, 0.23, 0.10, 0.02];

/// Says `text` and gives each option its mass.
pub(crate) fn says(text: &str, masses: &[f64]) -> Answer {
    Answer { say: Some(text.to_owned()), masses: Some(masses.to_vec()), ..Answer::default() }
}

/// The same answer to everything.
pub(crate) fn always(answer: Answer) -> Arc<dyn Engine> {
    Arc::new(Scripted::new(move |_| answer.clone()))
}

/// The example of the contract.
pub(crate) fn example() -> Arc<dyn Engine> {
    always(says("The response gives a misconception.", &EXAMPLE.map(|p| p * 0.97)))
}

/// Writes a word and then waits until its caller goes away.
pub(crate) fn holding() -> Arc<dyn Engine> {
    always(Answer { hold: true, ..Answer::default() })
}

/// A closure as an engine.
pub(crate) fn asking(answers: impl Fn(&Job) -> Answer + Send + Sync + 'static) -> Arc<dyn Engine> {
    Arc::new(Scripted::new(answers))
}

/// Counts the jobs that were started.
pub(crate) fn counting(
    answers: impl Fn(usize, &Job) -> Answer + Send + Sync + 'static,
) -> (Arc<dyn Engine>, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    (asking(move |job| answers(counter.fetch_add(1, Ordering::SeqCst), job)), count)
}

/// A number in 0..1 that depends on every byte of a text.
pub(crate) fn fraction_of(text: &str) -> f64 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// Prefers, in a pair, the response with the word `GOOD`, wherever it is shown.
pub(crate) fn prefers_good(job: &Job) -> Answer {
    let prompt = job.prompt.text();
    let good_first = prompt.rfind("GOOD").unwrap() < prompt.rfind("BAD").unwrap();
    says("One is better.", if good_first { &[0.6, 0.2] } else { &[0.1, 0.7] })
}

/// Answers as the scripted engine does, once the gate is open; what then has less than ten seconds left is too late.
pub(crate) struct Gated {
    inner: Scripted,
    gate: watch::Sender<bool>,
    started: AtomicUsize,
    running: Arc<AtomicUsize>,
}

impl Gated {
    pub(crate) fn new(inner: Scripted) -> Arc<Self> {
        Arc::new(Self { inner, gate: watch::Sender::new(false), started: AtomicUsize::new(0), running: Arc::default() })
    }

    pub(crate) fn open(&self) {
        self.gate.send_replace(true);
    }

    pub(crate) fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }
}

struct Leaves(Arc<AtomicUsize>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Engine for Gated {
    fn info(&self) -> &EngineInfo {
        self.inner.info()
    }

    fn chat_format(&self) -> &ChatFormat {
        self.inner.chat_format()
    }

    fn compile(&self, job: Job) -> Result<Compiled, EngineError> {
        self.inner.compile(job)
    }

    fn start(&self, compiled: Compiled) -> Run {
        let (events, run) = Run::channel();
        let deadline = compiled.deadline;
        let (inner, mut gate) = (self.inner.start(compiled), self.gate.subscribe());
        self.started.fetch_add(1, Ordering::SeqCst);
        self.running.fetch_add(1, Ordering::SeqCst);
        let leaves = Leaves(Arc::clone(&self.running));
        tokio::spawn(async move {
            let _leaves = leaves;
            tokio::select! {
                _ = gate.wait_for(|open| *open) => {}
                () = events.closed() => return,
            }
            if deadline.is_some_and(|deadline| deadline < Instant::now() + Duration::from_secs(10)) {
                drop(events.send(Event::Failed(EngineError::TooLate)));
                return;
            }
            let result = inner.finish(|delta| drop(events.send(Event::Delta(delta)))).await;
            let last = result.map_or_else(Event::Failed, |completion| Event::Done(Box::new(completion)));
            drop(events.send(last));
        });
        run
    }

    fn load(&self) -> Load {
        Load { running: self.running.load(Ordering::SeqCst), ..Load::default() }
    }
}

/// The scripted engine with another chat template.
pub(crate) struct Speaking {
    inner: Scripted,
    chat: ChatFormat,
}

impl Speaking {
    pub(crate) fn new(template: &str) -> Arc<Self> {
        let inner = Scripted::fixed(Duration::ZERO);
        let chat = ChatFormat { template: Some(template.to_owned()), ..inner.chat_format().clone() };
        Arc::new(Self { inner, chat })
    }
}

impl Engine for Speaking {
    fn info(&self) -> &EngineInfo {
        self.inner.info()
    }

    fn chat_format(&self) -> &ChatFormat {
        &self.chat
    }

    fn compile(&self, job: Job) -> Result<Compiled, EngineError> {
        self.inner.compile(job)
    }

    fn start(&self, compiled: Compiled) -> Run {
        self.inner.start(compiled)
    }

    fn load(&self) -> Load {
        self.inner.load()
    }
}

/// Writes a word at once, and then fails, or waits until its caller goes away.
pub(crate) struct Breaking {
    inner: Scripted,
    fails: bool,
}

impl Breaking {
    pub(crate) fn new(fails: bool) -> Arc<Self> {
        Arc::new(Self { inner: Scripted::fixed(Duration::ZERO), fails })
    }
}

impl Engine for Breaking {
    fn info(&self) -> &EngineInfo {
        self.inner.info()
    }

    fn chat_format(&self) -> &ChatFormat {
        self.inner.chat_format()
    }

    fn compile(&self, job: Job) -> Result<Compiled, EngineError> {
        self.inner.compile(job)
    }

    fn start(&self, _: Compiled) -> Run {
        let (events, run) = Run::channel();
        events.send(Event::Delta("It".into())).unwrap();
        if self.fails {
            events.send(Event::Failed(EngineError::Failed("the device went away".into()))).unwrap();
        } else {
            tokio::spawn(async move { events.closed().await });
        }
        run
    }

    fn load(&self) -> Load {
        self.inner.load()
    }
}
