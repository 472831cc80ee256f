//! The thread that owns the context.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use llama_cpp_2::model::LlamaModel;
use tokio::sync::mpsc::UnboundedSender;

use super::Settings;
use super::context::{Context, limits};
use crate::engine::scheduler::{Backend, Row, Scheduler};
use crate::engine::{Event, Load, Prepared};
use crate::script::Vocabulary;

/// A job on its way to the worker.
pub(super) struct Submission {
    pub(super) prepared: Prepared,
    pub(super) events: UnboundedSender<Event>,
}

/// What the worker lets others see.
pub(super) struct Shared {
    pub(super) load: Mutex<Load>,
    /// Jobs sent but not yet received.
    pub(super) queued: AtomicUsize,
    pub(super) restarts: AtomicU64,
}

impl Shared {
    pub(super) fn load(&self) -> Load {
        let load = *self.load.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = load.waiting + self.queued.load(Ordering::Relaxed);
        Load { waiting, restarts: self.restarts.load(Ordering::Relaxed), ..load }
    }
}

/// Serves submissions until their sender is gone. Says on `ready` whether it could start.
///
/// An error or a panic of the engine fails what is in flight, and a new context takes over. An abort of the C++
/// side ends the process: that is the supervisor's part.
pub(super) fn run(
    model: &LlamaModel,
    vocabulary: Arc<dyn Vocabulary>,
    settings: Settings,
    inbox: &mpsc::Receiver<Submission>,
    shared: &Shared,
    ready: &mpsc::Sender<Result<(), String>>,
) {
    let context = Context::new(model, settings).and_then(|mut context| {
        let token = vocabulary.begin().unwrap_or(0);
        context.decode(&[Row { token, position: 0, slot: 0, logits: true }])?;
        context.clear();
        Ok(context)
    });
    let context = match context {
        Ok(context) => context,
        Err(reason) => {
            let _ = ready.send(Err(reason));
            return;
        }
    };
    let mut scheduler = Scheduler::new(context, vocabulary, limits(settings));
    let _ = ready.send(Ok(()));
    loop {
        if scheduler.idle() {
            match inbox.recv() {
                Ok(submission) => submit(&mut scheduler, submission, shared),
                Err(_) => return,
            }
        }
        inbox.try_iter().for_each(|submission| submit(&mut scheduler, submission, shared));
        let step = catch_unwind(AssertUnwindSafe(|| scheduler.step()));
        if let Err(reason) = step.unwrap_or_else(|panic| Err(panic_text(&*panic))) {
            tracing::error!(reason, "the engine failed; what was in flight fails, and it starts over");
            match Context::new(model, settings) {
                Ok(context) => scheduler.recover(context, &reason),
                Err(again) => {
                    tracing::error!(reason = again, "the engine cannot start over");
                    return;
                }
            }
            shared.restarts.fetch_add(1, Ordering::Relaxed);
        }
        *shared.load.lock().unwrap_or_else(PoisonError::into_inner) = scheduler.load();
    }
}

fn submit(scheduler: &mut Scheduler<Context<'_>>, submission: Submission, shared: &Shared) {
    shared.queued.fetch_sub(1, Ordering::Relaxed);
    scheduler.submit(submission.prepared, submission.events);
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".into())
}
