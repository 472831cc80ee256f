//! Judging methods. A method is a [`Task`]: it says which runs of a judge it needs, what each of them asks, and how
//! their answers combine into one verdict. Tasks are pure: they know prompts and scripts, and neither engine nor clock.
//!
//! A new method is a file here, a template in a prompt set, and a route.

mod absolute;
mod candidates;
mod checklist;
mod preferences;
pub mod presets;
mod prompted;
mod relative;

use crate::domain::calibration::Calibrator;
use crate::domain::{
    InvalidRequest, InvalidVerdict, Judgement, Kind, NamedDigest, Options, Order, Preference, WeightedRubric,
};
use crate::prompts::{EscapedMarker, PromptError, PromptLibrary, PromptSet, Renderer, Subject};
use crate::script::{Prompt, Script};

pub use absolute::Absolute;
pub use candidates::{Many, Pair, Rank, Ranked, meetings};
pub use checklist::{Checked, Checklist, Listed, Question, QuestionKind, confidence};
pub use preferences::{LeftOut, MakePairs, PairRules, PreferencePair, Preferences, Reason};
pub use prompted::{MOST_CHOICES, Opening, Prompted, TEXT};
pub use relative::Relative;

/// A judging method with all that it is asked about.
pub trait Task: Send + Sync + 'static {
    /// What a caller gets.
    type Verdict: Send + 'static;

    /// The name in metrics, traces and digests; one of a fixed few.
    fn kind(&self) -> &'static str;

    /// Checks what its types alone do not say; what came over HTTP has been checked before.
    ///
    /// # Errors
    /// At the first field that is out of its range or does not go with another.
    fn check(&self) -> Result<(), InvalidRequest>;

    /// How often each run is sampled, and how text is generated.
    fn options(&self) -> &Options;

    /// The runs that it needs, in the order in which [`Task::combine`] gets their answers.
    fn runs(&self) -> Vec<RunKey>;

    /// The prompt and the script of a run.
    ///
    /// # Errors
    /// When the prompt set has no place for something that is asked, or the model's chat template no form for it.
    fn ask(&self, run: RunKey, judge: &JudgeProfile<'_>) -> Result<Ask, TaskError>;

    /// Combines the answers: the samples of each run, run after run. Unless [`Task::allows_failures`], all are there.
    /// Each verdict on a rubric is calibrated; what metrics count of it then is shown to `observe`.
    ///
    /// # Errors
    /// When they make no verdict.
    fn combine(
        &self,
        answers: Vec<Answer>,
        calibrator: Calibrator<'_>,
        observe: Observe<'_>,
    ) -> Result<Self::Verdict, InvalidVerdict>;

    /// Whether runs may fail without failing the task; else the first that fails ends it.
    fn allows_failures(&self) -> bool {
        false
    }

    /// Bytes of text that one of its prompts is made of, about.
    fn text_len(&self) -> usize;

    /// Whether planning it may take seconds: then it waits for its turn before it is planned, not after.
    fn is_long_to_plan(&self) -> bool {
        false
    }

    /// JSON pointer to the longest of its texts: the one to shorten where a prompt does not fit.
    fn longest_text(&self) -> String;

    /// What metrics call the rubric of a run, or what takes a rubric's place.
    fn label(&self, run: RunKey) -> &str;

    /// The rubric behind the verdict, if there is one.
    fn rubric(&self) -> Option<NamedDigest> {
        None
    }

    /// The templates behind its prompts, if they are not the caller's own.
    ///
    /// # Errors
    /// When there is no such prompt set.
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

/// Takes what metrics count.
pub type Observe<'a> = &'a mut dyn FnMut(Observation<'_>);

/// What one run of a task is about; its samples differ in their seeds only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RunKey {
    /// Which part of the task: of several candidates the response or the pair, of several prompts the prompt.
    pub part: usize,
    /// The criterion, in the order of the request.
    pub criterion: usize,
    /// The response, where the two of a pair are graded alone.
    pub response: Option<char>,
    /// The order in which the two of a pair are shown.
    pub order: Option<Order>,
}

/// What a run asks of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// What the model is given.
    pub prompt: Prompt,
    /// What it does.
    pub script: Script,
    /// What was changed in the judged texts so that they cannot forge markers.
    pub neutralized: Vec<EscapedMarker>,
    /// Whether the model may write less than the script allows, where the context has no room for all of it.
    pub may_shorten: bool,
    /// Whether what is written keeps the white space that it begins with.
    pub verbatim: bool,
}

/// What came of one sample of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The run.
    pub run: RunKey,
    /// What the judge said, or which failure of the task's there was.
    pub judgement: Result<Judgement, FailureIndex>,
}

/// Which one of the failures that a task's verdict comes with, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureIndex(pub usize);

/// Something that metrics count.
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
        /// Which one is better.
        preference: Preference,
        /// Whether the two orders disagree.
        flipped: bool,
    },
}

/// What tasks know of the judge that they are asked of.
#[derive(Clone, Copy)]
pub struct JudgeProfile<'a> {
    /// All prompt sets.
    pub prompts: &'a PromptLibrary,
    /// The one of requests that name none.
    pub default_set: &'a str,
    /// Writes prompts in the model's chat format.
    pub renderer: &'a Renderer,
}

/// Why a task cannot be asked of a judge.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TaskError {
    /// There is no such prompt set.
    #[error("there is no prompt set `{name}`; there are: {known}")]
    UnknownPrompt {
        /// The name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The prompt cannot be rendered.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The task makes no sense.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// What was judged makes no verdict.
    #[error(transparent)]
    Verdict(#[from] InvalidVerdict),
}

impl<'a> JudgeProfile<'a> {
    /// The prompt set of that name, or the default one.
    ///
    /// # Errors
    /// [`TaskError::UnknownPrompt`].
    pub fn prompt_set(&self, name: Option<&str>) -> Result<&'a PromptSet, TaskError> {
        let name = name.unwrap_or(self.default_set);
        self.prompts.get(name).ok_or_else(|| TaskError::UnknownPrompt {
            name: name.to_owned(),
            known: self.prompts.names().collect::<Vec<_>>().join(", "),
        })
    }

    /// What a run of absolute or relative grading asks.
    fn grading(&self, subject: &Subject<'_>, options: &Options) -> Result<Ask, TaskError> {
        let set = self.prompt_set(options.prompt.as_deref())?;
        let rendered = self.renderer.render(set, subject, options.mode)?;
        let (kind, scale) = match subject {
            Subject::Absolute { rubric, .. } => (Kind::Absolute, Some(rubric.scale())),
            Subject::Relative { .. } => (Kind::Relative, None),
        };
        let sampling = &options.sampling;
        let (most, least) = (sampling.max_feedback_tokens as usize, sampling.min_feedback_tokens as usize);
        Ok(Ask {
            prompt: rendered.prompt,
            script: set.script(kind, options.mode, scale, most, least),
            neutralized: rendered.neutralized,
            may_shorten: false,
            verbatim: false,
        })
    }

    /// The templates of a kind of grading.
    fn templates(&self, kind: Kind, options: &Options) -> Result<Option<NamedDigest>, TaskError> {
        let set = self.prompt_set(options.prompt.as_deref())?;
        let name = format!("{}/{}", set.name(), kind.name());
        Ok(Some(NamedDigest { name, digest: set.digest(kind).to_owned() }))
    }
}

/// The one rubric of a verdict, or all that it was made of.
fn rubric_of(rubrics: &[WeightedRubric], multi: bool) -> Option<NamedDigest> {
    Some(match rubrics {
        [one] if !multi => NamedDigest::of(&one.rubric),
        many => NamedDigest::of_all(many),
    })
}

/// The judgements of a task that allows no failures, each with its run.
fn judged(answers: Vec<Answer>) -> impl Iterator<Item = (RunKey, Judgement)> {
    answers.into_iter().filter_map(|answer| Some((answer.run, answer.judgement.ok()?)))
}
