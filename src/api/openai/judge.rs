//! Judge models: run the caller's own prompt as a judging script.

use std::sync::{Arc, Mutex, PoisonError};

use actix_web::{HttpRequest, HttpResponse};
use indexmap::IndexMap;

use super::ask;
use super::chat_request::ChatBody;
use super::messages;
use super::response_events::Envelope;
use super::response_format;
use super::schema::{
    ChatChunk, ChatCompletion, Choice, ChunkChoice, ChunkDelta, Head, JudgeReport, JudgeVerdict, Logprobs, Message,
    data, usage,
};
use crate::api::context;
use crate::api::detail::AnswerLimit;
use crate::api::problem::Problem;
use crate::api::stream::{self, Events};
use crate::api::verdict::{self, ModelRef, NamedDigest};
use crate::app::App;
use crate::domain::{self, InvalidRequest, Judgement, NamedRubric};
use crate::script::{Script, Step};
use crate::service::Delta;
use crate::tasks::presets::{JudgeModel, PresetLimits};
use crate::tasks::{PromptInput, Prompted};

/// The format of the answers to a request.
struct AnswerWriter {
    judge: String,
    rubric: Option<NamedDigest>,
    model: domain::ModelRef,
    head: Head,
    script: Script,
    labels: Vec<String>,
    alternatives: Option<usize>,
}

/// Answers for a judge model.
///
/// # Errors
/// Those of the request, and those of its run.
pub(super) async fn answer(
    app: &App,
    http: &HttpRequest,
    body: ChatBody,
    (judge, rubric): (&JudgeModel, Option<&str>),
    envelope: &Envelope,
) -> Result<HttpResponse, Problem> {
    response_format::check_judge(&body, judge)?;
    let named = |name| app.rubrics.named(name).map_err(|error| Problem::from(error).at("/model"));
    let rubric: Option<NamedRubric> = rubric.map(named).transpose()?;
    let turns = messages::turns(&body.messages, &app.config.pictures)?;
    let turns = rubric.iter().fold(turns, |turns, rubric| judge.with_rubric(turns, &rubric.rubric));
    let options = body.options(&app.config.grading, None)?;
    let limits =
        PresetLimits { max_tokens: options.sampling.max_feedback_tokens as usize, min_tokens: 0, stop: body.stop()? };
    let script = judge.script(&limits, rubric.as_ref().map(|rubric| &*rubric.rubric));
    let script = script.map_err(|error| InvalidRequest::at("/model", error.to_string()))?;
    let context = context::of_request(http, app)?;
    let session = app.service.begin(&context, judge.model.as_deref()).await?;
    let writer = AnswerWriter {
        judge: judge.name.clone(),
        rubric: rubric.as_ref().map(|rubric| NamedDigest::of(domain::NamedDigest::of(rubric))),
        head: Head::new(
            "chatcmpl",
            "chat.completion",
            body.model.as_deref().unwrap_or_default(),
            &session.judge().engine().digest,
        ),
        model: session.judge().model(),
        labels: labels(&script),
        script: script.clone(),
        alternatives: body.alternatives()?,
    };
    let inputs = vec![PromptInput::Conversation(turns)];
    let request = Prompted {
        purpose: Some(judge.name.clone()),
        inputs,
        scripts: vec![script],
        options,
        field: "/messages".to_owned(),
    };
    // Without the field the answer takes what the context leaves, up to the default.
    let limit = body.answer_limit().unwrap_or(AnswerLimit::Context);
    let run = |progress| async move {
        let graded = session.run(request, progress).await;
        graded.map(|graded| graded.verdict).map_err(|error| ask::blamed(error, "/messages", limit))
    };
    if body.stream != Some(true) {
        let judgements = run(None).await?;
        return Ok(envelope.whole(&writer.completion(&judgements)));
    }
    let usage = body.stream_options.is_some_and(|options| options.include_usage == Some(true));
    stream::events(http, run, envelope.events(writer.events(usage))).await
}

/// The labels of a script's verdict: the options of its last choice, without their leading space.
fn labels(script: &Script) -> Vec<String> {
    let choice = script.0.iter().rev().find_map(|step| match step {
        Step::Choose(options) => Some(options),
        _ => None,
    });
    choice.into_iter().flatten().map(|option| option.trim().to_owned()).collect()
}

impl AnswerWriter {
    /// The text of an answer, without leading white space of generated text.
    fn text(&self, judgement: &Judgement) -> String {
        let opening = self.opening();
        match judgement.answer.strip_prefix(&opening) {
            Some(rest) if opening.is_empty() || self.generates_next() => opening + rest.trim_start(),
            _ => judgement.answer.clone(),
        }
    }

    /// The forced text before generated text.
    fn opening(&self) -> String {
        let said = self.script.0.iter().map_while(|step| match step {
            Step::Say(text) => Some(text.as_str()),
            _ => None,
        });
        said.collect()
    }

    fn generates_next(&self) -> bool {
        matches!(self.script.0.iter().find(|step| !matches!(step, Step::Say(_))), Some(Step::Generate(_)))
    }

    /// Whether generated text can be streamed: only if the script has one `Generate` step.
    fn shows_progress(&self) -> bool {
        self.generates_next() && self.script.0.iter().filter(|step| matches!(step, Step::Generate(_))).count() == 1
    }

    fn logprobs(&self, judgement: &Judgement) -> Option<Logprobs> {
        let distribution = &judgement.distribution;
        let of = |most| Logprobs::of_choice(&self.labels, distribution.probabilities(), distribution.argmax(), most);
        self.alternatives.map(of)
    }

    fn completion(self, judgements: &[Judgement]) -> ChatCompletion {
        let choice = |judgement: &Judgement| Choice {
            index: judgement.sample,
            message: Message::says(self.text(judgement)),
            logprobs: self.logprobs(judgement),
            finish_reason: "stop",
        };
        let choices = judgements.iter().map(choice).collect();
        ChatCompletion { choices, usage: usage(judgements), gavel: Some(self.report(judgements)), head: self.head }
    }

    fn report(&self, judgements: &[Judgement]) -> JudgeReport {
        let numbers: Option<Vec<f64>> = self.labels.iter().map(|label| label.parse().ok()).collect();
        let verdict = |judgement: &Judgement| {
            let (distribution, taken) = (&judgement.distribution, judgement.distribution.argmax());
            JudgeVerdict {
                index: judgement.sample,
                label: self.labels[taken].clone(),
                score: self.labels[taken].parse().ok(),
                expected_score: numbers.as_ref().map(|numbers| distribution.expectation(numbers.iter().copied())),
                distribution: verdict::by_label(self.labels.iter().cloned(), distribution.probabilities()),
                label_mass: judgement.label_mass,
                finish: judgement.finish,
                seed: judgement.seed,
                cached: judgement.cached,
            }
        };
        JudgeReport {
            judge: self.judge.clone(),
            rubric: self.rubric.clone(),
            model: ModelRef::of(self.model.clone()),
            verdicts: judgements.iter().map(verdict).collect(),
        }
    }

    /// The same as a stream. The streamed text of each sample is kept, so that the rest follows with the verdict.
    fn events(mut self, with_usage: bool) -> Events<Vec<Judgement>> {
        self.head = self.head.of_chunk();
        let shown: Arc<Mutex<IndexMap<u32, String>>> = Arc::default();
        let (writer, seen) = (Arc::new(self), Arc::clone(&shown));
        let of_delta = Arc::clone(&writer);
        Events {
            delta: Arc::new(move |Delta { sample, text, .. }: Delta| {
                if !of_delta.shows_progress() {
                    return String::new();
                }
                let mut shown = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let so_far = shown.entry(sample).or_default();
                let (role, text) =
                    if so_far.is_empty() { (Some("assistant"), of_delta.opening() + &text) } else { (None, text) };
                so_far.push_str(&text);
                of_delta.chunk(sample, ChunkDelta { role, content: Some(text), ..ChunkDelta::default() }, None)
            }),
            last: Box::new(move |judgements| {
                let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                let mut out = String::new();
                for judgement in &judgements {
                    let (text, so_far) = (writer.text(judgement), shown.shift_remove(&judgement.sample));
                    let role = so_far.is_none().then_some("assistant");
                    let rest = text[so_far.map_or(0, |so_far| so_far.len().min(text.len()))..].to_owned();
                    out += &writer.chunk(
                        judgement.sample,
                        ChunkDelta { role, content: Some(rest), ..ChunkDelta::default() },
                        None,
                    );
                    out += &writer.chunk(judgement.sample, ChunkDelta::default(), Some(judgement));
                }
                let report = writer.report(&judgements);
                let usage = with_usage.then(|| usage(&judgements));
                let last = ChatChunk { head: &writer.head, choices: Vec::new(), usage, gavel: Some(&report) };
                out + &data(&last) + "data: [DONE]\n\n"
            }),
            failed: |problem, _, _| data(&problem.openai()),
        }
    }

    /// A chunk of one choice; the last one has the verdict's log probabilities.
    fn chunk(&self, index: u32, delta: ChunkDelta, ended: Option<&Judgement>) -> String {
        let choice = ChunkChoice {
            index,
            delta,
            logprobs: ended.and_then(|judgement| self.logprobs(judgement)),
            finish_reason: ended.map(|_| "stop"),
        };
        data(&ChatChunk { head: &self.head, choices: vec![choice], usage: None, gavel: None })
    }
}
