//! The requests of a wave, as mistral.rs takes them.

use std::sync::{Arc, Mutex};

use mistralrs::{
    Constraint, CustomLogitsProcessor, NormalRequest, Request, RequestMessage, Response, SamplingParams, StopTokens,
};
use tokio::sync::mpsc::{Sender, channel};

use super::force::{Force, Lent};
use super::row::Row;
use crate::script::Token;

/// What requests have to know of the model.
pub(super) struct Known {
    /// Tokens that no text holds, to end requests with.
    pub(super) ends: Vec<Token>,
    /// The most tokens of a sequence.
    pub(super) context: usize,
    /// The number of tokens there are.
    pub(super) vocabulary: usize,
}

/// How the prompts of a wave are read.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// How many tokens of each; brief rows are read whole.
    pub(super) cut: usize,
    /// Whether there are others beside it.
    pub(super) together: bool,
}

/// Sends a request of each row.
pub(super) fn send(engine: &Sender<Request>, wave: Vec<Row>, reading: Reading, known: &Known) -> Vec<Lent> {
    // All are on their way before one gains a token: who gains one before others are read is longer than these for
    // good, and mistral.rs would read it anew at every step.
    let gate = Arc::new(Mutex::new(()));
    let _held = gate.lock();
    wave.into_iter().map(|row| send_one(engine, row, reading, known, &gate)).collect()
}

fn send_one(engine: &Sender<Request>, mut row: Row, reading: Reading, known: &Known, gate: &Arc<Mutex<()>>) -> Lent {
    let (prompt, rest) = row.begin(reading.cut, reading.together);
    let prompt: Vec<u32> = prompt.iter().map(|id| id.cast_unsigned()).collect();
    let leave = known.ends.iter().find(|end| !rest.contains(end)).map(|end| end.cast_unsigned());
    let room = known.context.saturating_sub(prompt.len());
    // On a GPU an id that the model does not have may take the whole process along.
    let foreign = prompt.iter().find(|id| **id as usize >= known.vocabulary).copied();
    // mistral.rs sends one message a token and one at the end; a full channel would hold up all that run together.
    let (sender, responses) = channel(room + 8);
    let row = Lent::new(row, responses);
    match (foreign, leave, room) {
        (Some(id), ..) => row.fail(format!("the model has no token {id}")),
        (_, None, _) => row.fail("its prompt holds every token that could end a request".into()),
        (.., 0) => row.fail("its text came to more tokens than there is room for".into()),
        (None, Some(leave), room) => {
            let force = Force { row: row.clone(), leave, gate: Arc::clone(gate) };
            let request = normal_request(prompt, force, room, sender);
            // Its queue holds thousands, far more than a wave.
            if engine.try_send(Request::Normal(Box::new(request))).is_err() {
                row.fail("mistral.rs takes no requests".into());
            }
        }
    }
    row
}

fn normal_request(prompt: Vec<u32>, force: Force, room: usize, sender: Sender<Response>) -> NormalRequest {
    let leave = force.leave;
    let force: Arc<dyn CustomLogitsProcessor> = Arc::new(force);
    NormalRequest {
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
    }
}
