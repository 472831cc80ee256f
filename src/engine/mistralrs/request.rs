//! The requests of a wave.

use std::sync::{Arc, Mutex};

use mistralrs::{
    Constraint, CustomLogitsProcessor, NormalRequest, Request, RequestMessage, Response, SamplingParams, StopTokens,
};
use tokio::sync::mpsc::{Sender, channel};

use super::force::{Force, SharedRun};
use super::row::ScriptRun;
use crate::script::Token;

/// Limits of the model for requests.
pub(super) struct ModelLimits {
    /// Control tokens, which end requests.
    pub(super) ends: Vec<Token>,
    /// Maximum number of tokens of a sequence.
    pub(super) context: usize,
    /// The size of the vocabulary.
    pub(super) vocabulary: usize,
}

/// The prefill of a wave.
#[derive(Clone, Copy)]
pub(super) struct WavePrefill {
    /// Number of prompt tokens of each sequence; prefill-only ones are prefilled completely.
    pub(super) cut: usize,
    /// Whether several sequences run together.
    pub(super) together: bool,
}

/// Sends a request for each run.
pub(super) fn send(
    engine: &Sender<Request>,
    wave: Vec<ScriptRun>,
    prefill: WavePrefill,
    model: &ModelLimits,
) -> Vec<SharedRun> {
    // All requests are sent before one of them grows: a sequence that grows before others are prefilled would stay
    // longer than they are, and mistral.rs would prefill it again at every step.
    let gate = Arc::new(Mutex::new(()));
    let _held = gate.lock();
    wave.into_iter().map(|run| send_one(engine, run, prefill, model, &gate)).collect()
}

fn send_one(
    engine: &Sender<Request>,
    mut run: ScriptRun,
    prefill: WavePrefill,
    model: &ModelLimits,
    gate: &Arc<Mutex<()>>,
) -> SharedRun {
    let (prompt, rest) = run.begin(prefill.cut, prefill.together);
    let prompt: Vec<u32> = prompt.iter().map(|id| id.cast_unsigned()).collect();
    let end_token = model.ends.iter().find(|end| !rest.contains(end)).map(|end| end.cast_unsigned());
    let room = model.context.saturating_sub(prompt.len());
    // On a GPU, an unknown id may abort the process.
    let foreign = prompt.iter().find(|id| **id as usize >= model.vocabulary).copied();
    // mistral.rs sends one message per token and one at the end; a full channel would block the whole batch.
    let (sender, responses) = channel(room + 8);
    let run = SharedRun::new(run, responses);
    match (foreign, end_token, room) {
        (Some(id), ..) => run.fail(format!("the model has no token {id}")),
        (_, None, _) => run.fail("its prompt contains every token that could end a request".into()),
        (.., 0) => run.fail("its text has more tokens than the context".into()),
        (None, Some(end_token), room) => {
            let force = Force { run: run.clone(), end_token, gate: Arc::clone(gate) };
            let request = normal_request(prompt, force, room, sender);
            // Its queue holds thousands of requests, far more than a wave.
            if engine.try_send(Request::Normal(Box::new(request))).is_err() {
                run.fail("mistral.rs does not accept requests".into());
            }
        }
    }
    run
}

fn normal_request(prompt: Vec<u32>, force: Force, room: usize, sender: Sender<Response>) -> NormalRequest {
    let end_token = force.end_token;
    let force: Arc<dyn CustomLogitsProcessor> = Arc::new(force);
    NormalRequest {
        is_streaming: true,
        logits_processors: Some(vec![force]),
        constraint: Constraint::None,
        ..NormalRequest::new_simple(
            RequestMessage::CompletionTokens(prompt),
            SamplingParams {
                // Greedy, which picks the forced token; the default temperature is 1.
                temperature: Some(0.0),
                stop_toks: Some(StopTokens::Ids(vec![end_token])),
                max_len: Some(room),
                ..SamplingParams::deterministic()
            },
            sender,
            0,
            None,
            None,
        )
    }
}
