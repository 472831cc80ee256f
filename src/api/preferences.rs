//! `POST /v1/preferences`

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::candidates;
use super::comparison_options::ComparisonFields;
use super::context;
use super::json;
use super::jury::{JuryBody, NoiseBody, PanelRequest, jury_of};
use super::messages::ContentBody;
use super::middleware::{base, request_id};
use super::problem::{Problem, ProblemBody};
use super::routing::{self, Asked, Routable, RoutedBody, Routing};
use super::schema::grading_body;
use super::verdict::Produced;
use crate::app::App;
use crate::domain::jury::Combine;
use crate::domain::{Content, Instruction, InvalidRequest, Kind, ManyRequest, Method, Part, Preference};
use crate::service::{self, RequestContext, RouteSubject, ServiceError};
use crate::tasks::{FailureIndex, PairRules, PreferencePair, Preferences, Reason, Skipped};

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
        /// 2 to 64 responses, each a text, or a list of parts with pictures.
        #[schema(value_type = Vec<ContentBody>)]
        responses: Vec<Value>,
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
        /// Several judges in place of `model`: 1 to 16 models, each a name or an object.
        #[schema(value_type = Option<Vec<super::jury::JudgeChoice>>)]
        judges: Option<Vec<serde_json::Value>>,
        /// A jury of the server's configuration in place of `model`.
        jury: Option<String>,
        /// How a jury's verdicts on each response or pair are combined. Default: `weighted` if a juror has a weight, else
        /// `mean`.
        combine: Option<Combine>,
        /// How many jurors must have a verdict on each response or pair; default: more than half.
        quorum: Option<usize>,
        /// Label noise, which mimics how people differ.
        #[serde(default, deserialize_with = "crate::api::json::object_or_null")]
        noise: Option<NoiseBody>,
        /// Whether the verdict on each pair is for people: a router's name, or how to route.
        #[schema(value_type = Option<super::routing::RouteChoice>)]
        route: Option<serde_json::Value>,
    }
}

impl Routable for PreferencesBody {
    fn has_route(&self) -> bool {
        self.route.is_some()
    }
}

jury_of!(PreferencesBody);

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
    /// If the request has `route`, and the two were compared with each other: whether the pair is for people.
    #[serde(flatten)]
    route: RoutedBody,
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
    /// If the request has `route`, of two responses with a verdict: whether the pair is for people.
    #[serde(flatten)]
    route: RoutedBody,
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
    /// If a jury judged: what each juror alone makes of the responses, and how far they agree, as the mean over the
    /// responses or pairs.
    #[serde(flatten)]
    jury: Option<JuryBody<PreferencesAnswer>>,
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
    let asked = json::strict_by(&http, payload, app.config.limits.body_bytes, routing::asked).await?;
    let (context, base, id) = (context::of_request(&http, &app)?, base(&http), request_id(&http));
    let shown = |problem: Problem| problem.body(&base, &id);
    Ok(HttpResponse::Ok().json(made(&app, asked, context, routing::asker(&http), &shown).await?))
}

/// Makes the preference pairs of a body for a caller, who is the `owner` of reviews that it asks for; `shown` writes the
/// problems of jurors.
///
/// # Errors
/// Those of the route.
pub(super) async fn made(
    app: &App,
    Asked { mut body, json }: Asked<PreferencesBody>,
    context: RequestContext,
    owner: String,
    shown: &(dyn Fn(Problem) -> ProblemBody + Sync),
) -> Result<impl Serialize, Problem> {
    let (jury, common) = (body.jury(), body.common());
    let rules = rules(app, &body)?;
    let comparison = ComparisonFields { method: body.method, swap: body.swap, tie_margin: body.tie_margin };
    let wish = routing::check(app, body.route.as_ref())?;
    let PanelRequest { request, judges, .. } = candidates::check(app, common, body.responses, comparison, jury)?;
    let panel = app.service.panel(&context, judges).await?;
    if let Some(wish) = &wish {
        wish.check(&RouteSubject::of_pair(&request, [0, 1]), panel.alone().map(service::Session::judge))?;
    }
    let made = candidates::judged(&panel, request.clone(), rules).await?;
    let routing = wish.map(|wish| Routing::new(wish, Kind::Relative, json, owner));
    let routes = match &routing {
        Some(routing) => routed(app, routing, &request, &made).await?,
        None => Routes::new(),
    };
    let prompt = conversation(&request.item.instruction);
    Ok(answer(&prompt, &request.responses, made, rules, routes, shown))
}

/// Where pairs were routed to, by their indexes, the chosen one first.
type Routes = HashMap<[usize; 2], RoutedBody>;

/// Routes each pair that was judged.
async fn routed(
    app: &App,
    routing: &Routing,
    request: &ManyRequest,
    made: &service::Graded<Preferences<FailureIndex>>,
) -> Result<Routes, Problem> {
    let skipped = made.verdict.skipped.iter().filter_map(|skipped| {
        Some((skipped.pair.as_ref()?, matches!(skipped.reason, Reason::Inconsistent | Reason::Tie)))
    });
    let mut routes = Routes::new();
    for (pair, tied) in made.verdict.pairs.iter().map(|pair| (pair, false)).chain(skipped) {
        let Some(signals) = pair.signals else { continue };
        let indexes = [pair.chosen, pair.rejected];
        let subject = RouteSubject::of_pair(request, indexes);
        let mut routed = routing.decide(app, &subject, &made.provenance, Some(signals))?;
        // Reviewers see the responses in the order of the request, so that it does not tell what the judge says.
        let shown = [pair.chosen.min(pair.rejected), pair.chosen.max(pair.rejected)];
        let asked = of_pair(&routing.request, shown);
        let verdict = || said(&made.id, pair, tied, &routed);
        routed.review_id = routing.enqueue(app, &routed, &asked, verdict).await?;
        routes.insert(indexes, routed);
    }
    Ok(routes)
}

/// A request about several responses as one about two of them.
fn of_pair(request: &Value, indexes: [usize; 2]) -> Value {
    let mut request = request.clone();
    let [a, b] = indexes.map(|index| request["responses"][index].take());
    if let Some(fields) = request.as_object_mut() {
        for field in ["responses", "pairs", "min_margin", "min_label_mass"] {
            fields.shift_remove(field);
        }
        fields.insert("response_a".into(), a);
        fields.insert("response_b".into(), b);
    }
    request
}

/// What the judge says of a pair, for those who compare it with people's labels.
fn said(id: &str, pair: &PreferencePair, tied: bool, routed: &RoutedBody) -> String {
    let first = pair.chosen < pair.rejected;
    let preference = match (tied, first) {
        (true, _) => Preference::Tie,
        (false, true) => Preference::A,
        (false, false) => Preference::B,
    };
    let lean = pair.signals.map(|signals| if first { signals.lean } else { -signals.lean });
    let probability_a = lean.map(|lean| f64::midpoint(lean, 1.0));
    let mut verdict = json!({"id": id, "preference": preference, "probability_a": probability_a});
    if let (Some(verdict), Ok(Value::Object(routed))) = (verdict.as_object_mut(), serde_json::to_value(routed)) {
        verdict.extend(routed);
    }
    verdict.to_string()
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
    responses: &[Content],
    made: service::Graded<Preferences<FailureIndex>>,
    rules: PairRules,
    mut routes: Routes,
    shown: &dyn Fn(Problem) -> ProblemBody,
) -> PreferencesAnswer {
    let service::Graded { id, verdict: made, provenance, stats, failures, jury } = made;
    let jury = jury
        .map(|report| JuryBody::of(*report, |own| answer(prompt, responses, own, rules, Routes::new(), shown), shown));
    let mut route = |pair: &PreferencePair| routes.remove(&[pair.chosen, pair.rejected]);
    let pairs = made.pairs.iter().map(|pair| pair_body(pair, prompt, responses, route(pair))).collect();
    let left_out = made.skipped.into_iter().map(|skipped| {
        let route = skipped.pair.as_ref().and_then(&mut route).unwrap_or_default();
        LeftOutBody { route, ..left_out_body(skipped, &failures, rules) }
    });
    let left_out = left_out.collect();
    PreferencesAnswer {
        id,
        object: "preferences",
        method: made.method,
        pairs,
        left_out,
        jury,
        produced: Produced::new(provenance, &stats, None),
    }
}

fn conversation(instruction: &Instruction) -> Vec<PreferenceMessage> {
    match instruction {
        Instruction::Text(text) => vec![PreferenceMessage { role: "user", content: text.as_str().into() }],
        Instruction::Conversation(turns) => turns
            .iter()
            .map(|turn| PreferenceMessage { role: turn.role.name(), content: content_body(&turn.content) })
            .collect(),
    }
}

/// A content as trainers take it.
fn content_body(content: &Content) -> Value {
    let part = |part: &Part| match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Picture(_) => json!({"type": "image"}),
    };
    match content.as_text() {
        Some(text) => text.into(),
        None => content.parts().iter().map(part).collect(),
    }
}

fn pair_body(
    pair: &PreferencePair,
    prompt: &[PreferenceMessage],
    responses: &[Content],
    route: Option<RoutedBody>,
) -> PairBody {
    let said = |index: usize| vec![PreferenceMessage { role: "assistant", content: content_body(&responses[index]) }];
    PairBody {
        prompt: prompt.to_vec(),
        chosen: said(pair.chosen),
        rejected: said(pair.rejected),
        score_chosen: pair.score_chosen,
        score_rejected: pair.score_rejected,
        margin: pair.margin(),
        consistent: pair.consistent,
        route: route.unwrap_or_default(),
    }
}

fn left_out_body(
    Skipped { responses, reason, .. }: Skipped<FailureIndex>,
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
    LeftOutBody { responses, reason, detail, route: RoutedBody::default() }
}
