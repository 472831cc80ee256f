//! Shared code of the routes other than chat: finding the model, running a task, and its judgements.

use crate::api::detail::AnswerLimit;
use crate::api::problem::{Code, Problem};
use crate::app::App;
use crate::domain::{InvalidRequest, Judgement, Mode, Options, Sampling, Turn};
use crate::prompts::PromptError;
use crate::service::{RequestContext, ServiceError};
use crate::tasks::{Checklist, ChecklistVerdict, Prompted, Question, TaskError};

/// Maximum number of bytes to tokenise for the options of one request: in the worst case, each option is tokenised with
/// all the text before it.
const MOST_OPTION_BYTES: usize = 64 << 20;

/// Judgements and their model.
pub(super) struct Answered {
    pub(super) judgements: Vec<Judgement>,
    pub(super) model: String,
}

impl Answered {
    /// Tokens of the prompt, cached ones among them, and chosen tokens.
    pub(super) fn tokens(&self) -> (u64, u64, u64) {
        let first = self.judgements.first().map(|judgement| judgement.usage).unwrap_or_default();
        let chosen = self.judgements.iter().map(|judgement| judgement.usage.completion_tokens).sum();
        (first.prompt_tokens, first.cached_tokens, chosen)
    }
}

/// Answers to questions, and their model.
pub(super) struct Decided {
    pub(super) checked: ChecklistVerdict,
    pub(super) model: String,
}

/// Runs a task on a model.
///
/// # Errors
/// If the model does not exist, the prompt does not fit, or the engine fails.
pub(super) async fn model(
    app: &App,
    asked: Option<&str>,
    task: Prompted,
    context: &RequestContext,
) -> Result<Answered, ServiceError> {
    let graded = app.service.run(context, app.hosted(asked), task, None).await?;
    Ok(Answered { judgements: graded.verdict, model: graded.provenance.model.name })
}

/// Checks the number of options, and the bytes to tokenise for them.
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

/// Answers questions about the conversation in `field`.
///
/// # Errors
/// If they have too many answers, the model does not exist, the input does not fit, or the engine fails.
pub(super) async fn questions(
    app: &App,
    asked: Option<&str>,
    (turns, field): (Vec<Turn>, &'static str),
    questions: Vec<Question>,
    purpose: &'static str,
    context: &RequestContext,
) -> Result<Decided, Problem> {
    let options = defaults(app);
    let task = Checklist { purpose: purpose.to_owned(), turns, questions, options, field: field.to_owned() };
    check_options(task.answers(), "/questions")?;
    let graded = app.service.run(context, app.hosted(asked), task, None).await;
    let graded = graded.map_err(|error| blamed(error, field, AnswerLimit::Fixed))?;
    Ok(Decided { checked: graded.verdict, model: graded.provenance.model.name })
}

/// The default options.
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
        max_thought_tokens: None,
    };
    Options {
        mode: Mode::Feedback,
        samples: 1,
        settle: None,
        sampling,
        prompt: None,
        examples: None,
        cache: defaults.cache,
        deterministic: false,
        debug: false,
    }
}

/// Points to the messages, if the model's chat template does not accept them; names what bounds the answer, if the
/// prompt does not fit beside it.
pub(super) fn blamed(error: ServiceError, field: &str, limit: AnswerLimit) -> Problem {
    match &error {
        ServiceError::TooLong { error, longest, .. } => {
            Problem::new(Code::ContextOverflow, limit.overflow(error)).at(longest)
        }
        ServiceError::Task(TaskError::Prompt(PromptError::Conversation(_))) => {
            Problem::new(Code::InvalidRequest, error.to_string()).at(field)
        }
        _ => Problem::from(error),
    }
}
