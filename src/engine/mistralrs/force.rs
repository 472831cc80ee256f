//! The logits processor: forces every token of a request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use mistralrs::{CustomLogitsProcessor, Device, Response, Tensor};
use tokio::sync::mpsc::Receiver;

use super::row::Row;
use crate::script::Token;

/// How often mistral.rs may fail at one request. On a GPU it goes on with a sequence that it failed at; where each step
/// fails, that would have no end.
const FAILURES: u32 = 3;

/// A row while its request runs, and what mistral.rs says of that request. Both are under one lock, so that no logits
/// are taken from a step that mistral.rs has said to have failed: what they were computed from may be garbage.
pub(super) struct Loan {
    row: Option<Row>,
    responses: Receiver<Response>,
    failures: u32,
}

/// What the worker and a request's processor share.
#[derive(Clone)]
pub(super) struct Lent(Arc<Mutex<Loan>>);

impl Lent {
    pub(super) fn new(row: Row, responses: Receiver<Response>) -> Self {
        Self(Arc::new(Mutex::new(Loan { row: Some(row), responses, failures: 0 })))
    }

    /// Notes why the request cannot go on.
    pub(super) fn fail(&self, reason: String) {
        if let Some(row) = self.lock().row.as_mut() {
            row.fail_request(reason);
        }
    }

    /// Waits until mistral.rs is done with the request, however it ended.
    pub(super) async fn over(&self) {
        std::future::poll_fn(|context| self.lock().listen(context)).await;
    }

    /// Takes the logits that follow `context`, and gives the next token; nothing when the request ends here.
    pub(super) fn next(&self, logits: &Tensor, context: &[u32]) -> Option<Token> {
        self.lock().next(logits, context)
    }

    /// Takes the row back, since a sequence's processor may outlive the channel that says it is over.
    pub(super) fn take(&self) -> Option<Row> {
        self.lock().row.take()
    }

    fn lock(&self) -> MutexGuard<'_, Loan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loan {
    /// Takes what mistral.rs has said, until it says no more.
    fn listen(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.responses.poll_recv(context) {
                Poll::Ready(Some(response)) => self.hear(response),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn hear(&mut self, response: Response) {
        let Some(reason) = failure(response) else { return };
        if let Some(row) = self.row.as_mut() {
            row.fail_request(reason);
        }
        self.failures += 1;
        if self.failures >= FAILURES {
            // Saying it once more now makes mistral.rs die, and it is started again.
            self.responses.close();
        }
    }

    fn next(&mut self, logits: &Tensor, context: &[u32]) -> Option<Token> {
        while let Ok(response) = self.responses.try_recv() {
            self.hear(response);
        }
        let row = self.row.as_mut()?;
        let logits: Vec<f32> = match logits.flatten_all().and_then(|logits| logits.to_vec1()) {
            Ok(logits) => logits,
            Err(error) => {
                row.fail_request(error.to_string());
                return None;
            }
        };
        let context: Vec<Token> = context.iter().map(|id| id.cast_signed()).collect();
        row.on_logits(&context, &logits)
    }
}

fn failure(response: Response) -> Option<String> {
    match response {
        Response::InternalError(error) | Response::ValidationError(error) => Some(error.to_string()),
        Response::ModelError(reason, _) | Response::CompletionModelError(reason, _) => Some(reason),
        _ => None,
    }
}

/// Forces the tokens of one request of a row.
pub(super) struct Force {
    pub(super) row: Lent,
    /// The token that ends the request.
    pub(super) leave: u32,
    /// Held until all requests of a wave are on their way.
    pub(super) gate: Arc<Mutex<()>>,
}

impl CustomLogitsProcessor for Force {
    /// An error here would abort all that run together, so what goes wrong is noted in the row.
    fn apply(&self, logits: &Tensor, context: &[u32]) -> mistralrs::Result<Tensor> {
        drop(self.gate.lock());
        let token = self.row.next(logits, context).map_or(self.leave, i32::cast_unsigned);
        let mut forced = vec![0.0_f32; logits.elem_count()];
        if let Some(logit) = forced.get_mut(token as usize) {
            *logit = 1.0;
        }
        Tensor::from_vec(forced, logits.elem_count(), &Device::Cpu)
    }
}
