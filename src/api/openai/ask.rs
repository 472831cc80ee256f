//! What the routes that are no chats share: a model found by name, asked, and its judgements.

use crate::api::problem::{Code, Problem};
use crate::app::App;
use crate::domain::{InvalidRequest, Judgement, Mode, Options, Sampling, Turn};
use crate::prompts::PromptError;
use crate::service::{RequestContext, ServiceError};
use crate::tasks::checklist::{self, Question};
use crate::tasks::{Opening, Prompted, TaskError};

/// The most bytes that are tokenised to tell the options of one request apart. It is the engine that does it, between
/// the steps of everybody else: at a few megabytes a second this much is some tens of seconds, spread over the
/// questions. 64 questions of 26 answers over 8 KB take a fifth of it.
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

/// Checks that a chat's options are not too much work to tell apart.
///
/// # Errors
/// With the numbers, at `field`.
pub(super) fn check_options(chat: &Prompted, field: &str) -> Result<(), InvalidRequest> {
    let (count, bytes) = chat.options();
    if bytes <= MOST_OPTION_BYTES {
        return Ok(());
    }
    let reason = format!(
        "{count} possible answers are to be read, each with the input and its question before it: {bytes} bytes in \
         all, and {MOST_OPTION_BYTES} at most. Send fewer questions in one request, offer fewer answers, or shorten \
         the input"
    );
    Err(InvalidRequest::at(field, reason))
}

/// Answers questions about a conversation that came in `field`, one judgement each.
///
/// # Errors
/// When there are too many for that conversation, and those of [`model`].
pub(super) async fn questions(
    app: &App,
    asked: Option<&str>,
    (turns, field): (Vec<Turn>, &str),
    questions: &[Question],
    purpose: &str,
    context: &RequestContext,
) -> Result<Answered, Problem> {
    let task = Prompted {
        purpose: Some(purpose.to_owned()),
        openings: vec![Opening::Conversation(checklist::conversation(turns))],
        scripts: questions.iter().map(Question::script).collect(),
        options: defaults(app),
        field: field.to_owned(),
    };
    check_options(&task, "/questions")?;
    model(app, asked, task, context).await.map_err(|error| blamed(error, field))
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
