//! `POST /v1/preferences`

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::candidates;
use super::comparison_options::ComparisonFields;
use super::context;
use super::json;
use super::problem::Problem;
use super::schema::{GradingRequest, grading_body};
use super::verdict::Produced;
use crate::app::App;
use crate::domain::{Content, Instruction, InvalidRequest, Method, Part};
use crate::service::{self, RequestContext, ServiceError};
use crate::tasks::{FailureIndex, MakePairs, PairRules, PreferencePair, Preferences, Reason, Skipped};

const MIN_MARGIN: f64 = 0.2;

grading_body! {
    /// Responses to make preference pairs of.
    #[schema(example = json!({
        "instruction": "Why is the sky blue?",
        "responses": ["It mirrors the sea.", "Sunlight scatters in the air, blue light the most."],
        "rubric": "factual_validity",
        "mode": "score",
    }))]
    PreferencesBody {
        /// 2 to 64 responses.
        responses: Vec<String>,
        /// The best response and the worst, or every pair.
        pairs: Option<Pairs>,
        /// Minimum margin of a pair, 0 to 1; default 0.2.
        min_margin: Option<f64>,
        /// Minimum label mass of a verdict, 0 to 1; a forced guess is not a training signal.
        min_label_mass: Option<f64>,
        /// Compare responses in pairs (`pairwise`), or grade each alone (`absolute`). Default: the model's own, which
        /// `/v1/info` names as `preference_method`.
        method: Option<Method>,
        /// With the method `pairwise`, whether both orders of a pair are judged.
        swap: Option<bool>,
        /// A comparison is a tie if `probability_a` is closer to one half than this, 0 to 0.5; with the method
        /// `absolute`, if the rewards are closer than this.
        tie_margin: Option<f64>,
    }
}

/// Which pairs are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Pairs {
    /// The best response and the worst: at most one pair.
    #[default]
    BestWorst,
    /// Every pair that was judged.
    All,
}

/// A turn of a conversation.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct PreferenceMessage {
    role: &'static str,
    /// A text. For a turn with pictures, parts of the types `text` and `image`, the pictures in the order in which they
    /// were sent.
    content: Value,
}

/// A pair in the conversational preference format of TRL's DPOTrainer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PreferencePair)]
struct PairBody {
    prompt: Vec<PreferenceMessage>,
    chosen: Vec<PreferenceMessage>,
    rejected: Vec<PreferenceMessage>,
    /// The probability that the chosen response is better (method `pairwise`), or its reward (method `absolute`).
    score_chosen: f64,
    score_rejected: f64,
    /// score_chosen - score_rejected
    margin: f64,
    /// Whether both orders agree; null unless both were judged.
    consistent: Option<bool>,
}

/// A skipped response or pair.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LeftOut)]
struct LeftOutBody {
    /// Their indexes in the request: one response without a reward, or two.
    responses: Vec<usize>,
    /// `inconsistent`, `tie`, `small_margin`, `low_label_mass`, or the code of an error.
    reason: &'static str,
    detail: String,
}

/// Preference pairs, and skipped responses.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Preferences)]
struct PreferencesAnswer {
    id: String,
    object: &'static str,
    /// How the responses were compared.
    method: Method,
    pairs: Vec<PairBody>,
    left_out: Vec<LeftOutBody>,
    #[serde(flatten)]
    produced: Produced,
}

/// Makes preference pairs of responses.
///
/// A failed judgement fails alone, unless all fail. Pairs that are inconsistent, tied, too close or below the minimum
/// label mass are skipped, and listed in `left_out`.
#[utoipa::path(
    post, path = "/v1/preferences", operation_id = "preferences", tag = "grading", request_body = PreferencesBody,
    responses((status = 200, body = PreferencesAnswer), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn preferences(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: PreferencesBody = json::strict(&http, payload, app.config.limits.body_bytes).await?;
    Ok(HttpResponse::Ok().json(made(&app, body, context::of_request(&http, &app)?).await?))
}

/// Makes the preference pairs of a body.
///
/// # Errors
/// Those of the route.
pub(super) async fn made(
    app: &App,
    mut body: PreferencesBody,
    context: RequestContext,
) -> Result<impl Serialize, Problem> {
    let common = body.common();
    let rules = rules(app, &body)?;
    let comparison = ComparisonFields { method: body.method, swap: body.swap, tie_margin: body.tie_margin };
    let GradingRequest { request, model, .. } = candidates::check(app, common, body.responses, comparison)?;
    let (prompt, responses) = (conversation(&request.item.instruction), request.responses.clone());
    let made = app.service.run(&context, model.as_deref(), MakePairs::new(request, rules), None).await?;
    Ok(answer(&prompt, &responses, made, rules))
}

fn rules(app: &App, body: &PreferencesBody) -> Result<PairRules, Problem> {
    let share = |pointer: &str, value: f64| {
        let wrong = || InvalidRequest::at(pointer, format!("is {value}; it must be between 0 and 1"));
        if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(wrong()) }
    };
    Ok(PairRules {
        all: body.pairs.unwrap_or_default() == Pairs::All,
        min_margin: share("/min_margin", body.min_margin.unwrap_or(MIN_MARGIN))?,
        min_label_mass: share("/min_label_mass", body.min_label_mass.unwrap_or(app.config.grading.min_label_mass))?,
    })
}

fn answer(
    prompt: &[PreferenceMessage],
    responses: &[String],
    made: service::Graded<Preferences<FailureIndex>>,
    rules: PairRules,
) -> PreferencesAnswer {
    let service::Graded { id, verdict: made, provenance, stats, failures, .. } = made;
    let left_out = made.skipped.into_iter().map(|skipped| left_out_body(skipped, &failures, rules)).collect();
    PreferencesAnswer {
        id,
        object: "preferences",
        method: made.method,
        pairs: made.pairs.iter().map(|pair| pair_body(pair, prompt, responses)).collect(),
        left_out,
        produced: Produced::new(provenance, &stats, None),
    }
}

fn conversation(instruction: &Instruction) -> Vec<PreferenceMessage> {
    match instruction {
        Instruction::Text(text) => vec![PreferenceMessage { role: "user", content: text.as_str().into() }],
        Instruction::Conversation(turns) => turns
            .iter()
            .map(|turn| PreferenceMessage { role: turn.role.name(), content: said(&turn.content) })
            .collect(),
    }
}

/// A content as trainers take it.
fn said(content: &Content) -> Value {
    let part = |part: &Part| match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Picture(_) => json!({"type": "image"}),
    };
    match content.as_text() {
        Some(text) => text.into(),
        None => content.parts().iter().map(part).collect(),
    }
}

fn pair_body(pair: &PreferencePair, prompt: &[PreferenceMessage], responses: &[String]) -> PairBody {
    let said = |index: usize| vec![PreferenceMessage { role: "assistant", content: responses[index].as_str().into() }];
    PairBody {
        prompt: prompt.to_vec(),
        chosen: said(pair.chosen),
        rejected: said(pair.rejected),
        score_chosen: pair.score_chosen,
        score_rejected: pair.score_rejected,
        margin: pair.margin(),
        consistent: pair.consistent,
    }
}

fn left_out_body(
    Skipped { responses, reason }: Skipped<FailureIndex>,
    failures: &[ServiceError],
    rules: PairRules,
) -> LeftOutBody {
    let (reason, detail) = match reason {
        Reason::Failed(FailureIndex(index)) => {
            let problem = Problem::from(failures[index].clone());
            (problem.code().name(), problem.detail().to_owned())
        }
        Reason::LowLabelMass(mass) => {
            ("low_label_mass", format!("the label mass is {mass:.3}, below {}", rules.min_label_mass))
        }
        Reason::Inconsistent => ("inconsistent", "the two orders of the pair disagree".into()),
        Reason::Tie => ("tie", "neither response is better".into()),
        Reason::SmallMargin(margin) => {
            ("small_margin", format!("the margin is {margin:.3}, below {}", rules.min_margin))
        }
    };
    LeftOutBody { responses, reason, detail }
}
