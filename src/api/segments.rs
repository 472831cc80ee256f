//! `POST /v1/grade/segments`

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::json::{self, parse_value};
use super::method::{self, ChosenLabel, MethodFields, method_body};
use super::problem::Problem;
use super::verdict::{self, Debug, Produced};
use super::{context, schema};
use crate::app::App;
use crate::domain::segments::{Span, sentences};
use crate::domain::{InvalidRequest, LabelSet, Mode};
use crate::service;
use crate::tasks::{Scope, Segments, SegmentsVerdict};

method_body! {
    /// A response whose segments are labelled.
    #[schema(example = json!({
        "instruction": "Describe the picture.",
        "reference_answer": "A brown dog asleep on a red sofa.",
        "response": "A dog lies on a sofa. The sofa is blue.",
        "segments": "sentences",
        "labels": "hallucination",
    }))]
    SegmentsBody {
        /// The response.
        response: String,
        /// `sentences`, or 1 to 64 segments in order, which do not overlap.
        #[schema(value_type = SegmentsChoice)]
        segments: Value,
        /// A set's name, or 2 to 26 labels with what each is worth.
        #[schema(value_type = method::RewardedLabels)]
        labels: Value,
        /// What the judge of a segment sees: the whole response (`own`, default), or the response up to the end of the
        /// segment (`before`).
        scope: Option<Scope>,
    }
}

/// `sentences`, or a list of segments.
#[derive(ToSchema)]
#[schema(as = SegmentsChoice)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what `segments` reads by hand, for the sake of pointers")]
enum SegmentsChoice {
    Name(String),
    Spans(Vec<Span>),
}

/// A segment with its label.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Segment)]
struct SegmentBody {
    /// Its first character, from 0.
    start: usize,
    /// The character after its last one.
    end: usize,
    text: String,
    #[serde(flatten)]
    chosen: ChosenLabel,
    /// The mean of the labels' rewards under the distribution.
    reward: f64,
}

/// The labels of a response's segments.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SegmentsVerdict)]
struct SegmentsVerdictBody {
    id: String,
    object: &'static str,
    segments: Vec<SegmentBody>,
    /// The mean of the segments' rewards.
    reward: f64,
    /// The lowest label mass of the segments.
    label_mass: f64,
    #[serde(flatten)]
    produced: Produced,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Debug>,
}

/// Labels the segments of a response, and gives each a reward.
///
/// With the scope `own`, all segments share one prefill, and none sees the label of another. `rubric` in the reply is
/// the label set.
#[utoipa::path(
    post, path = "/v1/grade/segments", operation_id = "grade_segments", tag = "grading", request_body = SegmentsBody,
    responses((status = 200, body = SegmentsVerdictBody), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn grade(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let mut body: SegmentsBody = json::strict(&http, payload, app.config.limits.body_bytes).await?;
    let MethodFields { item, judging, debug } = MethodFields::check(body.common(Value::Null), Mode::Score, &app)?;
    let labels = method::rewarded_labels(&body.labels, &app)?;
    let response = schema::not_empty(body.response, "/response", "the response")?;
    let spans = spans(&body.segments, &response)?;
    let (set, scope) = (labels.clone(), body.scope.unwrap_or_default());
    let task = Segments { item, response, spans, labels, scope, options: judging.options };
    let context = context::of_request(&http, &app)?;
    let graded = app.service.run(&context, judging.model.as_deref(), task, None).await?;
    Ok(HttpResponse::Ok().json(verdict_body(graded, &set, debug)))
}

fn spans(value: &Value, response: &str) -> Result<Vec<Span>, Problem> {
    const AT: &str = "/segments";
    match value {
        Value::String(name) if name == "sentences" => Ok(sentences(response)),
        Value::Array(spans) => {
            Segments::check_count(spans.len())?;
            spans.iter().enumerate().map(|(index, span)| parse_value(span, &format!("{AT}/{index}"))).collect()
        }
        _ => {
            let reason = "segments are \"sentences\", or a list of objects with `start` and `end`";
            Err(InvalidRequest::at(AT, reason).into())
        }
    }
}

fn verdict_body(graded: service::Graded<SegmentsVerdict>, set: &LabelSet, debug: bool) -> SegmentsVerdictBody {
    let service::Graded { id, verdict, provenance, stats, .. } = graded;
    let label_mass = method::lowest_mass(verdict.segments.iter().map(|segment| &segment.chosen.choice));
    let debug = verdict::debug(debug, Some(&verdict.judgement), &stats);
    let segments = verdict.segments.into_iter().map(|segment| SegmentBody {
        start: segment.span.start,
        end: segment.span.end,
        text: segment.text,
        chosen: ChosenLabel::of(set, segment.chosen.label, &segment.chosen.choice),
        reward: segment.reward,
    });
    SegmentsVerdictBody {
        id,
        object: "verdict.segments",
        segments: segments.collect(),
        reward: verdict.reward,
        label_mass,
        debug,
        produced: Produced::new(provenance, &stats, Some(label_mass)),
    }
}
