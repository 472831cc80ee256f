//! `POST /v1/grade/claims`

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::method::{self, MethodFields, method_body};
use super::problem::Problem;
use super::verdict::{self, Debug, Produced};
use super::{context, json, schema};
use crate::app::App;
use crate::domain::{InvalidRequest, Item, Mode, Options};
use crate::service::{Graded, Session};
use crate::tasks::{Against, Checked, ClaimLists, Claims, ClaimsVerdict, Stated};

method_body! {
    /// A response whose claims are checked.
    #[schema(example = json!({
        "instruction": "Why is the sky blue?",
        "reference_answer": "Air scatters short waves most, and blue light has short waves.",
        "response": "Air scatters blue light the most. The sea adds to it.",
    }))]
    ClaimsBody {
        /// The response.
        response: String,
        /// What the claims are checked against: default `reference` if there is a `reference_answer`, else `context` if
        /// there is any, else the `pictures` in `messages`.
        against: Option<Against>,
        /// 1 to 64 claims of the response; null: the judge writes the list.
        #[schema(value_type = Option<Vec<String>>)]
        #[serde(default)]
        claims: Value,
    }
}

/// A claim, and whether it is supported.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Claim)]
struct ClaimBody {
    text: String,
    /// Where the response has these very words: the first character. Missing if it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<usize>,
    /// The character after the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<usize>,
    /// Whether yes is at least as probable as no.
    supported: bool,
    /// The probability that it is supported.
    probability: f64,
    /// Total probability of yes and no before normalising.
    label_mass: f64,
}

/// The checked claims of a response.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClaimsVerdict)]
pub(super) struct ClaimsVerdictBody {
    id: String,
    object: &'static str,
    /// What the claims were checked against.
    against: &'static str,
    claims: Vec<ClaimBody>,
    /// The claims of the reference, each looked for in the response; empty without a reference.
    reference_claims: Vec<ClaimBody>,
    /// The share of the response's claims that are supported.
    precision: f64,
    /// The share of the reference's claims that the response makes; null without a reference.
    recall: Option<f64>,
    /// The harmonic mean of both; null without a reference.
    f1: Option<f64>,
    /// The lowest label mass of the claims.
    pub(super) label_mass: f64,
    #[serde(flatten)]
    produced: Produced,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Debug>,
}

/// Checks what a response claims: each claim against the reference answer, the documents or the pictures, and each claim
/// of the reference against the response.
///
/// The judge first writes the lists of claims, unless `claims` has them. Claims of one text share one prefill, and none
/// sees another.
#[utoipa::path(
    post, path = "/v1/grade/claims", operation_id = "grade_claims", tag = "grading",
    request_body(content = ClaimsBody, examples(
        ("reference" = (summary = "Against a reference", value = json!({
            "instruction": "Why is the sky blue?",
            "reference_answer": "Air scatters short waves most, and blue light has short waves.",
            "response": "Air scatters blue light the most. The sea adds to it.",
        }))),
        ("pictures" = (summary = "Against a picture, for models with eyes", value = json!({
            "messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAECAIAAAA8r+mnAAAAEUlEQVR42mP4z8CAFTFQTwIAWl4f4Q122OMAAAAASUVORK5CYII="}},
                {"type": "text", "text": "Describe the picture."},
            ]}],
            "response": "It is red all over. There is a car.",
            "claims": ["It is red all over.", "There is a car."],
            "against": "pictures",
        }))),
    )),
    responses((status = 200, body = ClaimsVerdictBody), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn grade(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let mut body: ClaimsBody = json::strict(&http, payload, app.config.limits.body_bytes).await?;
    let MethodFields { item, judging, debug } = MethodFields::check(body.common(Value::Null), Mode::Score, &app)?;
    let response = schema::not_empty(body.response, "/response", "the response")?;
    let session = app.service.begin(&context::of_request(&http, &app)?, judging.model.as_deref()).await?;
    let graded = judged(&session, item, &response, body.against, &body.claims, judging.options).await?;
    Ok(HttpResponse::Ok().json(verdict_body(graded, &response, debug)))
}

/// Checks the claims of a response, which the judge may have to list first.
///
/// # Errors
/// At `/claims` or at what they are checked against, and those of the judge.
pub(super) async fn judged(
    session: &Session,
    item: Item,
    response: &str,
    asked: Option<Against>,
    claims: &Value,
    options: Options,
) -> Result<Graded<(Against, ClaimsVerdict)>, Problem> {
    let against = against(asked, &item)?;
    let given = match claims {
        Value::Null => None,
        Value::Array(list) if !list.is_empty() => Some(method::texts(list, "/claims")?),
        Value::Array(_) => {
            let reason = "there are no claims; leave the field out, and the judge lists those of the response";
            return Err(InvalidRequest::at("/claims", reason).into());
        }
        _ => return Err(InvalidRequest::at("/claims", "claims are a list of texts, or null").into()),
    };
    // The texts whose claims the judge has to list.
    let response_too = given.is_none().then(|| Stated::Response(response.to_owned()));
    let texts: Vec<Stated> =
        response_too.into_iter().chain(item.reference_answer.clone().map(Stated::Reference)).collect();
    let task = |given: Option<Vec<String>>, written: Vec<Vec<String>>| {
        let mut lists = given.into_iter().chain(written);
        Claims {
            item: item.clone(),
            response: response.to_owned(),
            against,
            claims: lists.next().unwrap_or_default(),
            reference_claims: lists.next().unwrap_or_default(),
            options: options.clone(),
        }
    };
    let graded = if texts.is_empty() {
        session.run(task(given, Vec::new()), None).await?
    } else {
        let mut alone = Item { reference_answer: None, context: Vec::new(), ..item.clone() };
        if against == Against::Pictures {
            // The lists are of what the texts say.
            alone.instruction = alone.instruction.without_pictures();
        }
        let lists = ClaimLists { item: alone, texts, options: Options { mode: Mode::Feedback, ..options.clone() } };
        session.run_then(lists, |written| task(given, written)).await?
    };
    Ok(graded.map(&|verdict| (against, verdict)))
}

impl ClaimsVerdictBody {
    /// The F1, or without a reference the precision.
    pub(super) fn reward(&self) -> f64 {
        self.f1.unwrap_or(self.precision)
    }
}

/// What claims are checked against.
fn against(asked: Option<Against>, item: &Item) -> Result<Against, Problem> {
    let wrong = |pointer: &str, reason: &str| Err(InvalidRequest::at(pointer, reason).into());
    let pictures = item.instruction.pictures().next().is_some();
    match (asked, item.reference_answer.is_some(), item.context.is_empty()) {
        (Some(Against::Pictures), ..) if !pictures => {
            wrong("/messages", "send the pictures that the claims are checked against, in `messages`")
        }
        (Some(Against::Reference), false, _) => {
            wrong("/reference_answer", "send the reference that the claims are checked against")
        }
        (Some(Against::Context), _, true) => {
            wrong("/context", "send the documents that the claims are checked against")
        }
        (None, false, true) if pictures => Ok(Against::Pictures),
        (None, false, true) => {
            let reason = "send a `reference_answer`, `context`, or pictures in `messages` to check the claims against";
            wrong("/reference_answer", reason)
        }
        (None, true, _) => Ok(Against::Reference),
        (None, false, false) => Ok(Against::Context),
        (Some(against), ..) => Ok(against),
    }
}

pub(super) fn verdict_body(graded: Graded<(Against, ClaimsVerdict)>, response: &str, debug: bool) -> ClaimsVerdictBody {
    let Graded { id, verdict: (against, verdict), provenance, stats, .. } = graded;
    let all = verdict.claims.iter().chain(&verdict.reference_claims);
    let label_mass = method::lowest_mass(all.map(|claim| &claim.choice));
    ClaimsVerdictBody {
        id,
        object: "verdict.claims",
        against: match against {
            Against::Reference => "reference",
            Against::Context => "context",
            Against::Pictures => "pictures",
        },
        claims: verdict.claims.iter().map(|claim| claim_body(claim, response)).collect(),
        reference_claims: verdict.reference_claims.iter().map(|claim| claim_body(claim, response)).collect(),
        precision: verdict.precision,
        recall: verdict.recall,
        f1: verdict.f1(),
        label_mass,
        debug: verdict::debug(debug, Some(&verdict.judgement), &stats),
        produced: Produced::new(provenance, &stats, Some(label_mass)),
    }
}

fn claim_body(claim: &Checked, response: &str) -> ClaimBody {
    let start = response.find(&claim.text).map(|at| response[..at].chars().count());
    ClaimBody {
        text: claim.text.clone(),
        start,
        end: start.map(|start| start + claim.text.chars().count()),
        supported: claim.yes(),
        probability: claim.probability(),
        label_mass: claim.choice.label_mass,
    }
}
