//! What the routes that are no chats share: a model found by name, asked, and its judgements.

use crate::api::problem::{Code, Problem};
use crate::app::App;
use crate::domain::{InvalidRequest, Judgement, Mode, Options, Sampling, Turn};
use crate::prompts::PromptError;
use crate::service::{RequestContext, ServiceError};
use crate::tasks::{Checked, Checklist, Prompted, Question, TaskError};

/// The most bytes that telling the options of one request apart may take: each is tokenised with some of the text before
/// it, and with all of that in the worst case.
const MOST_OPTION_BYTES: usize = 64 << 20;

/// Judgements, and which model made them.
pub(super) struct Answered {
    pub(super) judgements: Vec<Judgement>,
    pub(super) model: String,
}

impl Answered {
    /// Tokens of the prompt, those of them that were cached, and tokens chosen.
    pub(super) fn tokens(&self) -> (u64, u64, u64) {
        let first = self.judgements.first().map(|judgement| judgement.usage).unwrap_or_default();
        let chosen = self.judgements.iter().map(|judgement| judgement.usage.completion_tokens).sum();
        (first.prompt_tokens, first.cached_tokens, chosen)
    }
}

/// Answers to questions, and which model gave them.
pub(super) struct Decided {
    pub(super) checked: Checked,
    pub(super) model: String,
}

/// The hosted model that a name stands for: an alias's, a judge model's, or its own.
pub(super) fn hosted<'a>(app: &'a App, asked: Option<&'a str>) -> Option<&'a str> {
    let name = app.judge_models.resolve(asked?);
    match app.judge_models.find(name) {
        Some((judge, _)) => judge.model.as_deref(),
        None => Some(name),
    }
}

/// Asks a model.
///
/// # Errors
/// When there is no such model, the prompt does not fit, or the engine fails.
pub(super) async fn model(
    app: &App,
    asked: Option<&str>,
    task: Prompted,
    context: &RequestContext,
) -> Result<Answered, ServiceError> {
    let graded = app.service.run(context, hosted(app, asked), task, None).await?;
    Ok(Answered { judgements: graded.verdict, model: graded.provenance.model.name })
}

/// Checks that so many options, which can take so many bytes to tell apart, are not too much work.
///
/// # Errors
/// With the numbers, at `field`.
pub(super) fn check_options((count, bytes): (usize, usize), field: &str) -> Result<(), InvalidRequest> {
    if bytes <= MOST_OPTION_BYTES {
        return Ok(());
    }
    let reason = format!(
        "{count} possible answers are to be read, each with the text before it: {bytes} bytes in all, and \
         {MOST_OPTION_BYTES} at most. Send fewer questions in one request, offer fewer answers, or shorten the text"
    );
    Err(InvalidRequest::at(field, reason))
}

/// Answers questions about a conversation that came in `field`.
///
/// # Errors
/// When they have too many answers, when there is no such model, the input does not fit, or the engine fails.
pub(super) async fn questions(
    app: &App,
    asked: Option<&str>,
    (turns, field): (Vec<Turn>, &'static str),
    questions: Vec<Question>,
    purpose: &'static str,
    context: &RequestContext,
) -> Result<Decided, Problem> {
    let task = Checklist { purpose, turns, questions, options: defaults(app), field };
    check_options(task.answers(), "/questions")?;
    let graded = app.service.run(context, hosted(app, asked), task, None).await;
    let graded = graded.map_err(|error| blamed(error, field))?;
    Ok(Decided { checked: graded.verdict, model: graded.provenance.model.name })
}

/// What a request does not say.
pub(super) fn defaults(app: &App) -> Options {
    let defaults = &app.config.grading;
    let sampling = Sampling {
        temperature: defaults.temperature,
        top_p: defaults.top_p,
        top_k: defaults.top_k,
        min_p: defaults.min_p,
        seed: defaults.seed,
        seeded: false,
        max_feedback_tokens: defaults.max_feedback_tokens,
        min_feedback_tokens: 0,
    };
    Options { mode: Mode::Feedback, samples: 1, sampling, prompt: None, cache: defaults.cache, deterministic: false }
}

/// Names the field with the messages as what has no form in the model's chat template.
pub(super) fn blamed(error: ServiceError, field: &str) -> Problem {
    match &error {
        ServiceError::Task(TaskError::Prompt(PromptError::Conversation(_))) => {
            Problem::new(Code::InvalidRequest, error.to_string()).at(field)
        }
        _ => Problem::from(error),
    }
}
