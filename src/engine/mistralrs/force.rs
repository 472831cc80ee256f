//! The logits processor: forces every token of a request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use mistralrs::{CustomLogitsProcessor, Device, Response, Tensor};
use tokio::sync::mpsc::Receiver;

use super::row::ScriptRun;
use crate::script::Token;

/// Maximum number of failures of one request. On a GPU, mistral.rs continues a failed sequence, which could fail for
/// ever.
const MAX_FAILURES: u32 = 3;

/// A script run during a request, and mistral.rs's responses to that request. Both are under one lock, so that logits
/// of a failed step, which may be garbage, are never used.
pub(super) struct RunState {
    run: Option<ScriptRun>,
    responses: Receiver<Response>,
    failures: u32,
}

/// A script run, shared by the worker and the logits processor of its request.
#[derive(Clone)]
pub(super) struct SharedRun(Arc<Mutex<RunState>>);

impl SharedRun {
    pub(super) fn new(run: ScriptRun, responses: Receiver<Response>) -> Self {
        Self(Arc::new(Mutex::new(RunState { run: Some(run), responses, failures: 0 })))
    }

    /// Records why the request fails.
    pub(super) fn fail(&self, reason: String) {
        if let Some(run) = self.lock().run.as_mut() {
            run.fail_request(reason);
        }
    }

    /// Waits until mistral.rs has ended the request.
    pub(super) async fn finished(&self) {
        std::future::poll_fn(|context| self.lock().listen(context)).await;
    }

    /// Takes the logits after `context`, and returns the next token; `None` if the request ends.
    pub(super) fn next(&self, logits: &Tensor, context: &[u32]) -> Option<Token> {
        self.lock().next(logits, context)
    }

    /// Takes the run back, because the logits processor may outlive the response channel.
    pub(super) fn take(&self) -> Option<ScriptRun> {
        self.lock().run.take()
    }

    fn lock(&self) -> MutexGuard<'_, RunState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunState {
    /// Handles responses until the channel closes.
    fn listen(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.responses.poll_recv(context) {
                Poll::Ready(Some(response)) => self.handle_response(response),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn handle_response(&mut self, response: Response) {
        let Some(reason) = failure(response) else { return };
        if let Some(run) = self.run.as_mut() {
            run.fail_request(reason);
        }
        self.failures += 1;
        if self.failures >= MAX_FAILURES {
            // The next response makes mistral.rs die, and it is restarted.
            self.responses.close();
        }
    }

    fn next(&mut self, logits: &Tensor, context: &[u32]) -> Option<Token> {
        while let Ok(response) = self.responses.try_recv() {
            self.handle_response(response);
        }
        let run = self.run.as_mut()?;
        let logits: Vec<f32> = match logits.flatten_all().and_then(|logits| logits.to_vec1()) {
            Ok(logits) => logits,
            Err(error) => {
                run.fail_request(error.to_string());
                return None;
            }
        };
        let context: Vec<Token> = context.iter().map(|id| id.cast_signed()).collect();
        run.on_logits(&context, &logits)
    }
}

fn failure(response: Response) -> Option<String> {
    match response {
        Response::InternalError(error) | Response::ValidationError(error) => Some(error.to_string()),
        Response::ModelError(reason, _) | Response::CompletionModelError(reason, _) => Some(reason),
        _ => None,
    }
}

/// The logits processor that forces the tokens of one request.
pub(super) struct Force {
    pub(super) run: SharedRun,
    /// The token that ends the request.
    pub(super) end_token: u32,
    /// Held until all requests of a wave are sent.
    pub(super) gate: Arc<Mutex<()>>,
}

impl CustomLogitsProcessor for Force {
    /// An error here would abort all sequences of the batch, so errors are recorded in the run.
    fn apply(&self, logits: &Tensor, context: &[u32]) -> mistralrs::Result<Tensor> {
        drop(self.gate.lock());
        let token = self.run.next(logits, context).map_or(self.end_token, i32::cast_unsigned);
        let mut forced = vec![0.0_f32; logits.elem_count()];
        if let Some(logit) = forced.get_mut(token as usize) {
            *logit = 1.0;
        }
        Tensor::from_vec(forced, logits.elem_count(), &Device::Cpu)
    }
}
