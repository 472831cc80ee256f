//! Judging methods. A method is a [`Task`]: it defines the runs that it needs, the prompt and script of each run, and
//! how the answers combine into one verdict. Tasks are pure: they use prompts and scripts, but no engine and no clock.
//!
//! A new method needs a file here, a template in a prompt set, and a route.

mod absolute;
mod candidates;
mod checklist;
mod checks;
mod claims;
mod critique;
mod jury;
mod label;
mod lists;
mod parts;
mod preferences;
pub mod presets;
mod prompted;
mod refine;
mod relative;
mod segments;
mod signals;

use crate::domain::calibration::Calibrator;
use crate::domain::spelling::suggestion;
use crate::domain::{
    Annotator, InvalidRequest, InvalidVerdict, Judgement, Kind, Method, NamedDigest, Options, Order, Preference, Turn,
    WeightedRubric,
};
use crate::prompts::{
    EscapedMarker, Form, PromptError, PromptLibrary, PromptSet, Reading, Rendered, Renderer, Subject,
};
use crate::script::{Prompt, Script};

pub use absolute::Absolute;
pub use candidates::{
    ByMethod, CandidateGoal, CandidateVerdicts, Candidates, Ranked, Ranking, ResponsePair, parts_to_judge,
};
pub use checklist::{AnswerOption, Checklist, ChecklistVerdict, Question, QuestionKind, confidence};
pub use checks::{About, Checked, Checks, ChecksVerdict};
pub use claims::{Against, Claims, ClaimsVerdict};
pub use critique::Critique;
pub use jury::{Deliberation, JuryTask, Vote};
pub use label::{Chosen, Labelling, LabelsVerdict};
pub use lists::{ClaimLists, Questions, Stated};
pub use parts::{JudgeParts, Parts};
pub use preferences::{PairRules, PreferencePair, Preferences, Reason, Skipped};
pub use prompted::{MOST_CHOICES, PromptInput, Prompted, TEXT};
pub use refine::{Refinement, RefinementVerdict};
pub use relative::Relative;
pub use segments::{LabelledSegment, Scope, Segments, SegmentsVerdict};

/// A judging method with its inputs.
pub trait Task: Send + Sync + 'static {
    /// The result for the caller.
    type Verdict: Send + 'static;

    /// The name in metrics, traces and digests; one of a fixed few.
    fn kind(&self) -> &'static str;

    /// The task with the judge's defaults for what the request left open. Called once, before everything else.
    #[must_use]
    fn settled(self, _judge: &JudgeProfile<'_>) -> Self
    where
        Self: Sized,
    {
        self
    }

    /// Checks what the types do not guarantee. Requests over HTTP have been checked before.
    ///
    /// # Errors
    /// At the first field that is out of range or conflicts with another.
    fn check(&self) -> Result<(), InvalidRequest>;

    /// Number of samples, sampling and other options.
    fn options(&self) -> &Options;

    /// The runs that it needs, in the order in which [`Task::combine`] gets their answers.
    fn runs(&self) -> Vec<RunKey>;

    /// The prompt and the script of a run.
    ///
    /// # Errors
    /// If the prompt set does not support a field of the request, or the model's chat template the conversation.
    fn ask(&self, run: RunKey, judge: &JudgeProfile<'_>) -> Result<Ask, TaskError>;

    /// The turns of a run's prompt before the chat template, for methods whose judgements a judge can be trained on.
    ///
    /// # Errors
    /// Those of [`Task::ask`].
    fn messages(&self, _run: RunKey, _judge: &JudgeProfile<'_>) -> Result<Vec<Turn>, TaskError> {
        Ok(Vec::new())
    }

    /// Combines the answers: the samples of each run, run after run. Unless [`Task::allows_failures`], all are present.
    /// Verdicts on a rubric are calibrated; `observe` gets what metrics count.
    ///
    /// # Errors
    /// If the answers cannot be combined.
    fn combine(
        &self,
        answers: Vec<Answer>,
        calibrator: Calibrator<'_>,
        observe: Observe<'_>,
    ) -> Result<Self::Verdict, InvalidVerdict>;

    /// Whether runs may fail without failing the task. Otherwise the first failed run ends the task.
    fn allows_failures(&self) -> bool {
        false
    }

    /// Approximate number of bytes of text in one of its prompts.
    fn text_len(&self) -> usize;

    /// Whether planning it may take seconds. Such a task waits for admission before it is planned, not after.
    fn is_long_to_plan(&self) -> bool {
        false
    }

    /// JSON pointer to its longest text, for the error if a prompt does not fit.
    fn longest_text(&self) -> String;

    /// The rubric label of a run in metrics, or its replacement.
    fn label(&self, run: RunKey) -> &str;

    /// The rubric behind the verdict, if there is one.
    fn rubric(&self) -> Option<NamedDigest> {
        None
    }

    /// The persona whose judgement it requests, if any.
    fn annotator(&self) -> Option<&Annotator> {
        None
    }

    /// The templates of its prompts, unless they are the caller's own.
    ///
    /// # Errors
    /// If the prompt set does not exist.
    fn prompt(&self, _judge: &JudgeProfile<'_>) -> Result<Option<NamedDigest>, TaskError> {
        Ok(None)
    }
}

/// The rubrics that verdicts are made by, and what calibrates them.
#[derive(Clone, Copy)]
struct Criteria<'a> {
    rubrics: &'a [WeightedRubric],
    /// Whether a verdict is a multi-criteria one.
    multi: bool,
    calibrator: Calibrator<'a>,
}

/// Receives what metrics count.
pub type Observe<'a> = &'a mut dyn FnMut(Observation<'_>);

/// Identifies one run of a task; its samples differ only in their seeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RunKey {
    /// The part of the task: the index of the response, the pair or the prompt.
    pub part: usize,
    /// Index of the criterion.
    pub criterion: usize,
    /// The response, if the responses of a pair are graded alone.
    pub response: Option<char>,
    /// The order in which a pair is shown.
    pub order: Option<Order>,
}

/// The prompt and script of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The prompt.
    pub prompt: Prompt,
    /// The script.
    pub script: Script,
    /// The escaped markers in the judged texts.
    pub neutralized: Vec<EscapedMarker>,
    /// Whether the token limit of the script may be lowered to fit the context.
    pub may_shorten: bool,
    /// Whether the generated text keeps its leading white space.
    pub verbatim: bool,
}

/// The result of one sample of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The run.
    pub run: RunKey,
    /// The judgement, or the index of the failure.
    pub judgement: Result<Judgement, FailureIndex>,
}

/// Index of a failure of the task, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureIndex(pub usize);

/// An event that metrics count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Observation<'a> {
    /// A reward, 0..1.
    Reward {
        /// The rubric's name.
        rubric: &'a str,
        /// The reward.
        reward: f64,
    },
    /// A preference.
    Preference {
        /// The rubric's name.
        rubric: &'a str,
        /// The preference.
        preference: Preference,
        /// Whether the two orders disagree.
        flipped: bool,
    },
}

/// What tasks know about a judge.
#[derive(Clone, Copy)]
pub struct JudgeProfile<'a> {
    /// All prompt sets.
    pub prompts: &'a PromptLibrary,
    /// The prompt set of requests that name none.
    pub default_set: &'a str,
    /// How responses are compared if the request does not say.
    pub preference_method: Method,
    /// Renders prompts in the model's chat format.
    pub renderer: &'a Renderer,
}

/// The prompt set of a name.
///
/// # Errors
/// [`TaskError::UnknownPrompt`].
pub fn prompt_set<'a>(prompts: &'a PromptLibrary, name: &str) -> Result<&'a PromptSet, TaskError> {
    let known = || prompts.names().collect::<Vec<_>>().join(", ");
    prompts.get(name).ok_or_else(|| TaskError::UnknownPrompt { name: name.to_owned(), known: known() })
}

/// Why a task cannot run on a judge.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TaskError {
    /// The prompt set does not exist.
    #[error("there is no prompt set `{name}`{}; there are: {known}", suggestion(name, known.split(", ")))]
    UnknownPrompt {
        /// The name.
        name: String,
        /// The known names.
        known: String,
    },
    /// The prompt cannot be rendered.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The task is invalid.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// The judgements cannot be combined.
    #[error(transparent)]
    Verdict(#[from] InvalidVerdict),
}

impl<'a> JudgeProfile<'a> {
    /// The prompt set of this name, or the default one.
    ///
    /// # Errors
    /// [`TaskError::UnknownPrompt`].
    pub fn prompt_set(&self, name: Option<&str>) -> Result<&'a PromptSet, TaskError> {
        prompt_set(self.prompts, name.unwrap_or(self.default_set))
    }

    /// The prompt and script of a run of absolute or relative grading.
    fn grading(&self, subject: &Subject<'_>, options: &Options) -> Result<Ask, TaskError> {
        let set = self.prompt_set(options.prompt.as_deref())?;
        let rendered = self.renderer.render_after(set, subject, options.mode, options.examples.as_deref())?;
        let (kind, scale) = match subject {
            Subject::Absolute { rubric, .. } => (Kind::Absolute, Some(rubric.scale())),
            Subject::Relative { .. } | Subject::Reading(_) => (Kind::Relative, None),
        };
        let sampling = &options.sampling;
        if let (Some(_), false) = (sampling.max_thought_tokens, set.reasons()) {
            let reason =
                format!("the prompt set `{}` has no thoughts; name one that reasons, or leave it out", set.name());
            return Err(InvalidRequest::at("/sampling/max_thought_tokens", reason).into());
        }
        let (most, least) = (sampling.max_feedback_tokens as usize, sampling.min_feedback_tokens as usize);
        Ok(Ask {
            prompt: rendered.prompt,
            script: match sampling.max_thought_tokens {
                Some(tokens) => set.script(kind, options.mode, scale, most, least).thinking_at_most(tokens as usize),
                None => set.script(kind, options.mode, scale, most, least),
            },
            neutralized: rendered.neutralized,
            may_shorten: false,
            verbatim: false,
        })
    }

    /// The turns of the prompt of a run of absolute or relative grading.
    fn messages(&self, subject: &Subject<'_>, options: &Options) -> Result<Vec<Turn>, TaskError> {
        let set = self.prompt_set(options.prompt.as_deref())?;
        Ok(self.renderer.messages(set, subject, options.mode, options.examples.as_deref())?)
    }

    /// The templates of a kind of grading.
    fn templates(&self, kind: Kind, options: &Options) -> Result<Option<NamedDigest>, TaskError> {
        Ok(Some(digest_of(self.prompt_set(options.prompt.as_deref())?, kind.into())))
    }

    /// The prompt of a method without a score, and the set that it is from.
    fn reading(&self, reading: Reading<'_>, options: &Options) -> Result<(Rendered, &'a PromptSet), TaskError> {
        let set = self.reading_set(reading.form, options)?;
        Ok((self.renderer.render(set, &Subject::Reading(reading), options.mode)?, set))
    }

    /// The templates of a method without a score.
    fn reading_templates(&self, form: Form, options: &Options) -> Result<Option<NamedDigest>, TaskError> {
        Ok(Some(digest_of(self.reading_set(form, options)?, form)))
    }

    /// The prompt set that the request names. Without a name, the model's own, or [`GENERAL_SET`] where that has no such
    /// templates: sets for models that were trained to grade have none.
    fn reading_set(&self, form: Form, options: &Options) -> Result<&'a PromptSet, TaskError> {
        let own = self.prompt_set(options.prompt.as_deref())?;
        if options.prompt.is_some() || own.has(form) {
            return Ok(own);
        }
        Ok(self.prompts.get(GENERAL_SET).filter(|set| set.has(form)).unwrap_or(own))
    }
}

/// The prompt set with templates of every form.
const GENERAL_SET: &str = "plain";

fn digest_of(set: &PromptSet, form: Form) -> NamedDigest {
    NamedDigest { name: format!("{}/{}", set.name(), form.name()), digest: set.digest(form).to_owned() }
}

/// The options of a task that samples nothing.
fn check_unsampled(options: &Options) -> Result<(), InvalidRequest> {
    if options.samples != 1 {
        return Err(InvalidRequest::at("", "this method takes no samples; samples must be 1"));
    }
    options.sampling.check()
}

/// The rubric of a verdict, or all its rubrics.
#[must_use]
pub fn rubric_of(rubrics: &[WeightedRubric], multi: bool) -> Option<NamedDigest> {
    Some(match rubrics {
        [one] if !multi => NamedDigest::of(&one.rubric),
        many => NamedDigest::of_all(many),
    })
}

/// The judgements with their runs, for a task that allows no failures.
fn judged(answers: Vec<Answer>) -> impl Iterator<Item = (RunKey, Judgement)> {
    answers.into_iter().filter_map(|answer| Some((answer.run, answer.judgement.ok()?)))
}

#[cfg(test)]
mod tests;
