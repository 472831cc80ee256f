//! The thread that owns the context.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use llama_cpp_2::model::LlamaModel;
use tokio::sync::mpsc::UnboundedSender;

use super::Settings;
use super::context::{Context, limits};
use crate::engine::scheduler::{Backend, Row, Scheduler};
use crate::engine::shared::Shared;
use crate::engine::{Event, Load, Prepared};
use crate::script::Vocabulary;

/// How often a failed engine is started over before it is given up.
const RESTART_TRIES: u32 = 6;

/// A job on its way to the worker.
pub(super) struct Submission {
    pub(super) prepared: Prepared,
    pub(super) events: UnboundedSender<Event>,
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
    let mut scheduler = match start(model, &vocabulary, settings) {
        Ok(scheduler) => scheduler,
        Err(reason) => {
            let _ = ready.send(Err(reason));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    let mut restarts = 0;
    loop {
        let turn = catch_unwind(AssertUnwindSafe(|| turn(&mut scheduler, inbox, shared)));
        let reason = match turn.unwrap_or_else(|panic| Err(panic_text(&*panic))) {
            Ok(Turn::Go) => {
                shared.show(Load { restarts, ..scheduler.load() });
                continue;
            }
            Ok(Turn::Leave) => return,
            Err(reason) => reason,
        };
        tracing::error!(reason, "the engine failed; what was in flight fails, and it starts over");
        scheduler.fail_all(&reason);
        // Gone before the next one is made: there may not be room for two.
        drop(scheduler);
        restarts += 1;
        let Some(fresh) = start_over(model, &vocabulary, settings) else {
            tracing::error!("the engine cannot start over");
            return;
        };
        scheduler = fresh;
    }
}

enum Turn {
    Go,
    Leave,
}

/// Takes what was submitted, waiting for it when there is nothing else to do, and runs one step.
fn turn(
    scheduler: &mut Scheduler<Context<'_>>,
    inbox: &mpsc::Receiver<Submission>,
    shared: &Shared,
) -> Result<Turn, String> {
    if scheduler.idle() {
        match inbox.recv() {
            Ok(submission) => submit(scheduler, submission, shared),
            Err(_) => return Ok(Turn::Leave),
        }
    }
    inbox.try_iter().for_each(|submission| submit(scheduler, submission, shared));
    scheduler.step().map(|()| Turn::Go)
}

/// A scheduler over a fresh context that has decoded its first token.
fn start<'model>(
    model: &'model LlamaModel,
    vocabulary: &Arc<dyn Vocabulary>,
    settings: Settings,
) -> Result<Scheduler<Context<'model>>, String> {
    let mut context = Context::new(model, settings)?;
    let token = vocabulary.begin().unwrap_or(0);
    context.decode(&[Row { token, position: 0, slot: 0, logits: true }])?;
    context.truncate(0, 0)?;
    Ok(Scheduler::new(context, Arc::clone(vocabulary), limits(settings)))
}

fn start_over<'model>(
    model: &'model LlamaModel,
    vocabulary: &Arc<dyn Vocabulary>,
    settings: Settings,
) -> Option<Scheduler<Context<'model>>> {
    (0..RESTART_TRIES).find_map(|tries| {
        std::thread::sleep(Duration::from_millis(100) * 2_u32.pow(tries) * tries.min(1));
        let started = catch_unwind(AssertUnwindSafe(|| start(model, vocabulary, settings)));
        match started.unwrap_or_else(|panic| Err(panic_text(&*panic))) {
            Ok(scheduler) => Some(scheduler),
            Err(reason) => {
                tracing::error!(reason, tries, "the engine did not start over");
                None
            }
        }
    })
}

fn submit(scheduler: &mut Scheduler<Context<'_>>, submission: Submission, shared: &Shared) {
    shared.received();
    scheduler.submit(submission.prepared, submission.events);
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".into())
}
