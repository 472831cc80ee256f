//! The field `method` of `/v1/rewards`: what judges an item, and what its reward is. Grading by a rubric is one method,
//! others answer questions about the response or check its claims.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::absolute::AbsoluteVerdictBody;
use super::bulk::{BulkItem, BulkJudging, ItemOutcome};
use super::checklist::{self, ChecklistVerdictBody};
use super::claims::{self, ClaimsVerdictBody};
use super::json::{Object, parse_value};
use super::problem::Problem;
use crate::domain::{InvalidRequest, Mode, Options, require_label_mass};
use crate::service::Session;
use crate::tasks::Against;

/// A method's name, or an object with its parameters.
#[derive(ToSchema)]
#[schema(as = RewardMethodChoice)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what `method` reads by hand, for the sake of pointers")]
pub(super) enum MethodChoice {
    Name(MethodName),
    Method(MethodBody),
}

/// What judges an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = RewardMethodName)]
#[serde(rename_all = "snake_case")]
pub(super) enum MethodName {
    /// Grades by the rubric; the reward is that of the verdict.
    Absolute,
    /// Answers `questions`; the reward is that of the checklist.
    Checklist,
    /// Answers one `question`; the reward is the probability of yes.
    YesNo,
    /// Checks claims; the reward is their F1, or without a reference their precision.
    Claims,
}

/// A method with its parameters.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = RewardMethod)]
pub(super) struct MethodBody {
    name: MethodName,
    /// Of `checklist`: 1 to 64 questions, or how to draw them.
    #[schema(value_type = Option<checklist::QuestionsChoice>)]
    #[serde(default)]
    questions: Value,
    /// Of `checklist`: indexes of questions that must have a yes.
    gates: Option<Vec<usize>>,
    /// Of `yes_no`: the question, which a good response answers with yes.
    question: Option<String>,
    /// Of `claims`: default `reference` if there is a `reference_answer`, else `context`.
    against: Option<Against>,
    /// Of `claims`: those of the response of an item; null: the judge writes the list.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default)]
    claims: Value,
}

/// A checked method.
#[derive(Debug, Clone)]
pub(super) enum RewardMethod {
    Absolute,
    Checklist { questions: Value, gates: Vec<usize> },
    YesNo { question: String },
    Claims { against: Option<Against>, claims: Value },
}

/// The verdict behind a reward, in the form of its method.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RewardVerdict)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant, reason = "most are of the largest")]
pub(super) enum RewardVerdict {
    Absolute(AbsoluteVerdictBody),
    Checklist(ChecklistVerdictBody),
    Claims(ClaimsVerdictBody),
}

const AT: &str = "/method";

impl RewardMethod {
    /// Reads the field `method`; `None` for null.
    ///
    /// # Errors
    /// At the field at fault.
    pub(super) fn read(value: &Value) -> Result<Option<Self>, Problem> {
        let body = match value {
            Value::Null => return Ok(None),
            Value::Object(_) => parse_value::<Object<MethodBody>>(value, AT)?.0,
            name => {
                let name = MethodName::deserialize(name).map_err(|_| {
                    let known = "`absolute`, `checklist`, `yes_no` or `claims`, or an object with such a `name`";
                    InvalidRequest::at(AT, format!("a method is {known}"))
                })?;
                MethodBody {
                    name,
                    questions: Value::Null,
                    gates: None,
                    question: None,
                    against: None,
                    claims: Value::Null,
                }
            }
        };
        body.checked().map(Some).map_err(Problem::from)
    }

    /// Whether the items are graded by a rubric.
    pub(super) fn is_absolute(&self) -> bool {
        matches!(self, Self::Absolute)
    }

    /// Judges an item. Pointers of problems are relative to the item; those of parameters are below `/method`.
    pub(super) async fn judged(
        &self,
        judging: &BulkJudging,
        item: BulkItem,
        with_verdict: bool,
    ) -> ItemOutcome<RewardVerdict> {
        let Some(session) = judging.alone() else {
            let reason = "a jury grades by a rubric; with this method, name one `model`";
            return ItemOutcome { reward: Err(InvalidRequest::at(AT, reason).into()), kept: None };
        };
        match self.verdict(session, judging, item).await {
            Ok((label_mass, reward, verdict)) => {
                let enough = require_label_mass(label_mass, judging.min_label_mass).map_err(Problem::from);
                ItemOutcome { reward: enough.map(|()| reward), kept: with_verdict.then_some(verdict) }
            }
            Err(problem) => ItemOutcome { reward: Err(of_parameter(problem)), kept: None },
        }
    }

    /// The label mass, the reward, and the verdict on an item.
    async fn verdict(
        &self,
        session: &Session,
        judging: &BulkJudging,
        item: BulkItem,
    ) -> Result<(f64, f64, RewardVerdict), Problem> {
        let (item, response, rubrics) = judging.prepared(item)?;
        let options =
            Options { mode: Mode::Score, samples: 1, settle: None, examples: None, ..judging.options.clone() };
        let asked = |questions: Value, gates| checklist::Asked { questions, gates, rubric: rubrics };
        let checks = match self {
            Self::Checklist { questions, gates } => asked(questions.clone(), gates.clone()),
            Self::YesNo { question } => asked(Value::Array(vec![question.clone().into()]), Vec::new()),
            Self::Claims { against, claims } => {
                let response = response.as_text().ok_or_else(|| {
                    InvalidRequest::at("/response", "claims are those of a text; send the response as one")
                })?;
                let graded = claims::judged(session, item, response, *against, claims, options).await?;
                let verdict = claims::verdict_body(graded, response, false);
                return Ok((verdict.label_mass, verdict.reward(), RewardVerdict::Claims(verdict)));
            }
            Self::Absolute => return Err(InvalidRequest::at(AT, "grading is not answered by questions").into()),
        };
        let verdict =
            checklist::verdict_body(checklist::judged(session, item, response, checks, options).await?, false);
        Ok((verdict.label_mass, verdict.reward, RewardVerdict::Checklist(verdict)))
    }
}

impl MethodBody {
    fn checked(self) -> Result<RewardMethod, InvalidRequest> {
        let (name, given) = (self.name, self.given());
        let own: &[&str] = match name {
            MethodName::Absolute => &[],
            MethodName::Checklist => &["questions", "gates"],
            MethodName::YesNo => &["question"],
            MethodName::Claims => &["against", "claims"],
        };
        if let Some(field) = given.into_iter().find(|field| !own.contains(field)) {
            let reason = match own {
                [] => "the method `absolute` has no parameters".to_owned(),
                own => format!("is not of this method, whose parameters are {}", own.join(", ")),
            };
            return Err(InvalidRequest::at(format!("{AT}/{field}"), reason));
        }
        let missing = |field: &str, what: &str| InvalidRequest::at(format!("{AT}/{field}"), format!("send {what}"));
        Ok(match name {
            MethodName::Absolute => RewardMethod::Absolute,
            MethodName::Checklist if self.questions.is_null() => {
                return Err(missing("questions", "the questions, or how to draw them"));
            }
            MethodName::Checklist => {
                RewardMethod::Checklist { questions: self.questions, gates: self.gates.unwrap_or_default() }
            }
            MethodName::YesNo => {
                let question = self.question.ok_or_else(|| missing("question", "the question"))?;
                RewardMethod::YesNo { question }
            }
            MethodName::Claims => RewardMethod::Claims { against: self.against, claims: self.claims },
        })
    }

    /// The parameters that are there.
    fn given(&self) -> Vec<&'static str> {
        let all = [
            ("questions", !self.questions.is_null()),
            ("gates", self.gates.is_some()),
            ("question", self.question.is_some()),
            ("against", self.against.is_some()),
            ("claims", !self.claims.is_null()),
        ];
        all.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }
}

/// A problem of a parameter points below the method.
fn of_parameter(problem: Problem) -> Problem {
    const PARAMETERS: [&str; 4] = ["/questions", "/gates", "/against", "/claims"];
    if problem.pointer().is_some_and(|at| PARAMETERS.iter().any(|parameter| at.starts_with(parameter))) {
        return problem.within(AT);
    }
    problem
}
