//! Text generation with the hosted model, without judging.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse};

use super::chat_request::ChatBody;
use super::messages;
use super::response_events::Envelope;
use super::response_format::AnswerFormat;
use super::schema::{ChatChunk, ChatCompletion, Choice, ChunkChoice, ChunkDelta, Head, Logprobs, data, usage};
use crate::api::context;
use crate::api::detail::AnswerLimit;
use crate::api::problem::Problem;
use crate::api::stream::{self, Events, Shown};
use crate::app::App;
use crate::domain::{Finish, Judgement};
use crate::script::{Generate, Script, Step};
use crate::service::Delta;
use crate::tasks::{PromptInput, Prompted};

/// OpenAI's name of a finish reason.
pub(super) fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

/// Answers with generated text.
///
/// # Errors
/// Those of the request, and those of its run.
pub(super) async fn answer(
    app: &App,
    http: &HttpRequest,
    body: ChatBody,
    envelope: &Envelope,
) -> Result<HttpResponse, Problem> {
    let format = Arc::new(AnswerFormat::of(&body)?);
    let turns = format.with_instruction(messages::turns(&body.messages, &app.config.pictures)?);
    let (mut options, stop) = (body.options(&app.config.grading, Some(1.0))?, body.stop()?);
    options.cache = false;
    let context = context::of_request(http, app)?;
    let session = app.service.begin(&context, app.hosted(body.model.as_deref())).await?;
    let engine = session.judge().engine().clone();
    let logprobs = body.alternatives()?;
    let max_tokens = body.max_tokens().map_or(engine.context, |most| most as usize);
    let grammar = format.grammar();
    let write = Generate { stop, max_tokens, logprobs, grammar, ..Generate::default() };
    let scripts = vec![Script(vec![Step::Generate(write)])];
    let chat = Prompted {
        purpose: None,
        inputs: vec![PromptInput::Conversation(turns)],
        scripts,
        options,
        field: "/messages".to_owned(),
    };
    let asked = body.model.as_deref().unwrap_or(&engine.model);
    let head = Head::new("chatcmpl", "chat.completion", asked, &engine.digest);
    let blamed_format = Arc::clone(&format);
    let limit = body.answer_limit().unwrap_or(AnswerLimit::Context);
    let run = |progress| async move {
        let graded = session.run(chat, progress).await;
        graded.map(|graded| graded.verdict).map_err(|error| blamed_format.blamed(error, limit))
    };
    if body.stream != Some(true) {
        let judgements = run(None).await?;
        let choices = judgements.iter().map(|judgement| choice(judgement, logprobs, &format)).collect();
        return Ok(envelope.whole(&ChatCompletion { head, choices, usage: usage(&judgements), gavel: None }));
    }
    let with_usage = body.stream_options.is_some_and(|options| options.include_usage == Some(true));
    stream::events(http, run, envelope.events(events(head, logprobs, format, with_usage))).await
}

fn choice(judgement: &Judgement, logprobs: Option<usize>, format: &AnswerFormat) -> Choice {
    Choice {
        index: judgement.sample,
        message: format.message(judgement.answer.trim_start()),
        logprobs: logprobs.map(|_| Logprobs::of_tokens(&judgement.output_logprobs)),
        finish_reason: finish_reason(judgement.finish),
    }
}

fn events(head: Head, logprobs: Option<usize>, format: Arc<AnswerFormat>, with_usage: bool) -> Events<Vec<Judgement>> {
    let (head, shown) = (Arc::new(head.of_chunk()), Arc::new(Shown::default()));
    let (seen, of_delta, delta_format) = (Arc::clone(&shown), Arc::clone(&head), Arc::clone(&format));
    Events {
        delta: Arc::new(move |Delta { sample, text, .. }: Delta| {
            let first = seen.add(sample, text.len()) == 0;
            chunk(&of_delta, sample, delta_format.delta(first, text), None, None)
        }),
        last: Box::new(move |judgements| {
            let mut out = String::new();
            for judgement in &judgements {
                let Choice { index, logprobs, finish_reason, .. } = choice(judgement, logprobs, &format);
                let (text, so_far) = (judgement.answer.trim_start(), shown.of(index));
                let rest = text.get(so_far.unwrap_or(0)..).unwrap_or_default().to_owned();
                let delta = if rest.is_empty() && so_far.is_some() {
                    ChunkDelta::default()
                } else {
                    format.delta(so_far.is_none(), rest)
                };
                out += &chunk(&head, index, delta, logprobs, Some(finish_reason));
            }
            if with_usage {
                let usage = Some(usage(&judgements));
                out += &data(&ChatChunk { head: &head, choices: Vec::new(), usage, gavel: None });
            }
            out + "data: [DONE]\n\n"
        }),
        failed: |problem, _, _| data(&problem.openai()),
    }
}

fn chunk(
    head: &Head,
    index: u32,
    delta: ChunkDelta,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
) -> String {
    let choices = vec![ChunkChoice { index, delta, logprobs, finish_reason }];
    data(&ChatChunk { head, choices, usage: None, gavel: None })
}
