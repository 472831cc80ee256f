//! The judges of a request: one model or a jury, and what a jury adds to a verdict.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::json::{Object, parse_value};
use super::problem::{Problem, ProblemBody};
use super::schema::annotator;
use crate::app::App;
use crate::domain::InvalidRequest;
use crate::domain::jury::{Combine, Judges, Juror, JurorSettings, Jury, JuryRules, Noise};
use crate::domain::spelling::suggestion;
use crate::service::{Graded, JurorVerdict, JuryReport, RouteWish, ServiceError};
use crate::tasks::prompt_set;

/// A model's name, or a juror with its own prompt set, annotator or weight.
#[derive(ToSchema)]
#[schema(as = Judge)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what `judges` reads by hand, for the sake of pointers")]
pub(super) enum JudgeChoice {
    Model(String),
    Juror(JurorBody),
}

/// A juror.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct JurorBody {
    /// A name of `GET /v1/models`, or null for the default one.
    model: Option<String>,
    /// A prompt set, in place of that of the request.
    prompt: Option<String>,
    /// The persona whose judgement is requested, a name or a text, in place of that of the request.
    annotator: Option<String>,
    /// With `combine: "weighted"`, 0.000001 to 1000000; default 1.
    weight: Option<f64>,
}

/// Label noise.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct NoiseBody {
    /// The probability, 0 to 1, that a juror's verdict is turned around: A and B exchanged, or the score mirrored on its
    /// scale.
    flip: f64,
    /// The same seed turns around the same verdicts.
    #[serde(default)]
    seed: u64,
}

/// The fields of a request that name its judges, unchecked.
pub(super) struct JuryFields {
    /// Whether the request names a model.
    pub(super) model: bool,
    pub(super) judges: Option<Vec<Value>>,
    pub(super) jury: Option<String>,
    pub(super) combine: Option<Combine>,
    pub(super) quorum: Option<usize>,
    pub(super) noise: Option<NoiseBody>,
}

/// Gives a request body with the fields of a jury a function that takes them out.
macro_rules! jury_of {
    ($name:ident) => {
        impl $name {
            /// The fields that name the judges.
            fn jury(&mut self) -> $crate::api::jury::JuryFields {
                $crate::api::jury::JuryFields {
                    model: self.model.is_some(),
                    judges: self.judges.take(),
                    jury: self.jury.take(),
                    combine: self.combine,
                    quorum: self.quorum,
                    noise: self.noise.take(),
                }
            }
        }
    };
}
pub(super) use jury_of;

/// A checked request for a task, its judges, and whether it asks for debug output.
pub(super) struct PanelRequest<R> {
    pub(super) request: R,
    pub(super) judges: Judges,
    pub(super) debug: bool,
    /// Whether its verdict is to be routed.
    pub(super) route: Option<RouteWish>,
}

impl JuryFields {
    /// The judges, of which `model` is the only one if the request names no jury.
    ///
    /// # Errors
    /// If several fields name judges, one of them does not exist, or the jury cannot decide.
    pub(super) fn check(self, app: &App, model: Option<String>) -> Result<Judges, Problem> {
        if self.judges.is_some() && self.jury.is_some() || self.model && (self.judges.is_some() || self.jury.is_some())
        {
            let pointer = if self.model { "/model" } else { "/jury" };
            return Err(InvalidRequest::at(pointer, "send one of `model`, `judges` and `jury`").into());
        }
        let rules = JuryRules {
            combine: self.combine,
            quorum: self.quorum,
            noise: self.noise.map(|NoiseBody { flip, seed }| Noise { flip, seed }),
        };
        match (self.judges, self.jury) {
            (None, None) => match rules {
                JuryRules { combine: Some(_), .. } => Err(alone("/combine")),
                JuryRules { quorum: Some(_), .. } => Err(alone("/quorum")),
                JuryRules { noise: Some(_), .. } => Err(alone("/noise")),
                _ => Ok(Judges::One(model)),
            },
            (Some(judges), _) => {
                let jurors = judges.iter().enumerate().map(|(index, value)| {
                    let at = format!("/judges/{index}");
                    juror(app, settings(value, &at)?, &at)
                });
                Ok(Judges::Jury(Jury::new(None, jurors.collect::<Result<_, _>>()?, rules)?))
            }
            (None, Some(name)) => Ok(Judges::Jury(configured(app, &name)?.with(rules)?)),
        }
    }
}

fn alone(pointer: &str) -> Problem {
    InvalidRequest::at(pointer, "is for a jury; name its members in `judges`, or a configured one in `jury`").into()
}

/// Reads a member of `judges`.
fn settings(value: &Value, at: &str) -> Result<JurorSettings, Problem> {
    match value {
        Value::String(model) => Ok(JurorSettings { model: Some(model.clone()), ..JurorSettings::default() }),
        Value::Object(_) => {
            let Object(JurorBody { model, prompt, annotator, weight }) = parse_value(value, at)?;
            Ok(JurorSettings { model, prompt, annotator, weight })
        }
        _ => {
            let reason = "a judge is the name of a model, or an object with `model`, `prompt`, `annotator` or `weight`";
            Err(InvalidRequest::at(at, reason).into())
        }
    }
}

/// A juror on a hosted model.
fn juror(app: &App, settings: JurorSettings, at: &str) -> Result<Juror, Problem> {
    let hosted = app.hosted(settings.model.as_deref());
    let known = app.models().check_name(hosted).map_err(ServiceError::from);
    known.map_err(|error| Problem::from(error).at(format!("{at}/model")))?;
    let model = hosted.map_or_else(|| app.models().default_name(), str::to_owned);
    if let Some(prompt) = &settings.prompt {
        let known = prompt_set(app.prompts(), prompt).map_err(ServiceError::from);
        known.map_err(|error| Problem::from(error).at(format!("{at}/prompt")))?;
    }
    let annotator = annotator(settings.annotator.clone(), app, &format!("{at}/annotator"))?;
    settings.seated(model, annotator).map_err(|error| Problem::from(error).within(at))
}

/// The jury of this name.
fn configured(app: &App, name: &str) -> Result<Jury, Problem> {
    let juries = &app.config.juries;
    let Some(jury) = juries.get(name) else {
        let names = || juries.keys().map(String::as_str);
        let known = match juries.len() {
            0 => "the server has none; send its members in `judges`".to_owned(),
            _ => format!("there are: {}", names().collect::<Vec<_>>().join(", ")),
        };
        let reason = format!("there is no jury `{name}`{}; {known}", suggestion(name, names()));
        return Err(InvalidRequest::at("/jury", reason).into());
    };
    let jurors = jury.judges.iter().cloned().enumerate();
    let jurors = jurors.map(|(index, settings)| juror(app, settings, &format!("/jury/judges/{index}")));
    Ok(Jury::new(Some(name.to_owned()), jurors.collect::<Result<_, _>>()?, jury.rules())?)
}

/// What a jury adds to its verdict.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JuryBody<V> {
    /// How the verdicts were combined: `mean`, `majority` or `weighted`.
    combine: &'static str,
    /// The number of jurors that had to have a verdict.
    quorum: usize,
    /// The label noise that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    noise: Option<NoiseBody>,
    /// The verdict of each juror, or its error.
    jurors: Vec<JurorVerdictBody<V>>,
    /// The standard deviation of the jurors' rewards, or of their `probability_a`, with n - 1; null for fewer than two.
    spread: Option<f64>,
    /// Chance-corrected agreement of their scores or preferences (free-marginal kappa); null for fewer than two.
    kappa: Option<f64>,
}

/// The verdict of a juror, or its error.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JurorVerdictBody<V> {
    /// Its name: the model, `/` and the prompt set, `@` and the annotator, as far as it has its own.
    judge: String,
    /// With `combine: "weighted"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
    /// Whether label noise turned the verdict around before it was counted; only with `noise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    flipped: Option<bool>,
    /// The verdict as the juror gave it.
    #[schema(no_recursion)]
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<V>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ProblemBody>,
}

impl<B> JuryBody<B> {
    /// The report of a jury; `body` writes the verdict of a juror, `shown` its problem.
    pub(super) fn of<V>(
        report: JuryReport<V>,
        body: impl Fn(Graded<V>) -> B,
        shown: &dyn Fn(Problem) -> ProblemBody,
    ) -> Self {
        let JuryReport { jury, jurors, spread, kappa } = report;
        let members = jury.jurors.iter().zip(jurors).map(|(juror, JurorVerdict { name, flipped, graded })| {
            let (verdict, error) = match graded {
                Ok(graded) => (Some(body(graded)), None),
                Err(error) => (None, Some(shown(error.into()))),
            };
            JurorVerdictBody {
                judge: name,
                weight: (jury.combine == Combine::Weighted).then(|| jury.weight(juror)),
                flipped: jury.noise.map(|_| flipped),
                verdict,
                error,
            }
        });
        Self {
            combine: jury.combine.name(),
            quorum: jury.quorum,
            noise: jury.noise.map(|Noise { flip, seed }| NoiseBody { flip, seed }),
            jurors: members.collect(),
            spread,
            kappa,
        }
    }
}
