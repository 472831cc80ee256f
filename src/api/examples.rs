//! The field `examples`: graded examples that the judge is shown first.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::json::{Object, parse_value};
use super::messages::{ContextBody, MessageBody, instruction};
use super::problem::Problem;
use crate::app::App;
use crate::domain::{Document, Example, ExampleSet, InvalidRequest, JudgedFields, Preference};
use crate::pictures::PictureLimits;

/// The name of a set, or 1 to 64 examples.
#[derive(ToSchema)]
#[schema(as = Examples)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what `examples` reads by hand, for the sake of pointers")]
pub(super) enum ExamplesChoice {
    Name(String),
    List(Vec<ExampleBody>),
}

/// An item with the verdict and the feedback that a judge should give.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = Example)]
pub(super) struct ExampleBody {
    /// The instruction; use either this or `messages`.
    instruction: Option<String>,
    /// The conversation, which ends with a user turn.
    #[schema(value_type = Option<Vec<MessageBody>>)]
    messages: Option<Vec<Object<MessageBody>>>,
    /// An answer that would get the highest score.
    reference_answer: Option<String>,
    /// Documents that the response is judged against.
    #[schema(value_type = Option<Vec<ContextBody>>)]
    context: Option<Vec<Object<ContextBody>>>,
    /// The response, where responses are graded alone.
    response: Option<String>,
    /// Its score on the rubric's scale.
    score: Option<i32>,
    /// The response that is shown as A, where responses are compared.
    response_a: Option<String>,
    /// The response that is shown as B.
    response_b: Option<String>,
    /// The better one: `A` or `B`.
    preference: Option<Preference>,
    /// What the judge writes; needed with `"mode": "feedback"`, and not shown with `score`.
    feedback: Option<String>,
}

/// Reads the field `examples`; null is none.
///
/// # Errors
/// At `/examples`, or at the example at fault.
pub(super) fn examples(value: &Value, app: &App) -> Result<Option<Arc<ExampleSet>>, Problem> {
    const AT: &str = "/examples";
    let set = match value {
        Value::Null => return Ok(None),
        Value::String(name) => app.examples.named(name).map_err(|error| Problem::from(error).at(AT))?,
        Value::Array(list) => {
            let all = list.iter().enumerate().map(|(index, value)| {
                let at = format!("{AT}/{index}");
                let Object(body): Object<ExampleBody> = parse_value(value, &at)?;
                body.example(&app.config.pictures).map_err(|problem| problem.within(&at))
            });
            let set = ExampleSet::inline(all.collect::<Result<_, _>>()?);
            set.map_err(|error| InvalidRequest::at(format!("{AT}{}", error.pointer), error.reason))?
        }
        _ => return Err(InvalidRequest::at(AT, "examples are the name of a set, or a list of examples").into()),
    };
    Ok(Some(Arc::new(set)))
}

impl ExampleBody {
    /// The example; pointers of errors are relative to it.
    fn example(self, pictures: &PictureLimits) -> Result<Example, Problem> {
        let judged = JudgedFields {
            response: self.response,
            score: self.score,
            response_a: self.response_a,
            response_b: self.response_b,
            preference: self.preference,
        };
        Ok(Example {
            instruction: instruction(self.instruction, self.messages, pictures)?,
            reference_answer: self.reference_answer.filter(|text| !text.trim().is_empty()),
            context: self.context.into_iter().flatten().map(|Object(body)| Document::from(body)).collect(),
            judged: judged.example().map_err(|reason| InvalidRequest::at("", reason))?,
            feedback: self.feedback,
        })
    }
}
