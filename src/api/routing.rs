//! The field `route` of grading requests: whether a verdict is for people, and the review that then asks them.

use actix_web::HttpRequest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::access;
use super::json::{self, Object, parse_value};
use super::jury::PanelRequest;
use super::of_batch::OfBatch;
use super::problem::Problem;
use super::verdict::NamedDigest;
use crate::app::App;
use crate::domain::routing::{Cut, OutOfRange, Signals, item_key};
use crate::domain::{InvalidRequest, Kind, Provenance};
use crate::service::reviews::{NewReview, check_reviewers};
use crate::service::{Graded, Panel, Progress, RequestContext, RouteSubject, RouteWish, RoutedVerdict};
use crate::tasks::JuryTask;

const AT: &str = "/route";

/// A router's name, or how to route.
#[derive(ToSchema)]
#[schema(as = Route)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what `route` reads by hand, for the sake of pointers")]
pub(super) enum RouteChoice {
    Name(String),
    Inline(RouteBody),
}

/// How to route.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct RouteBody {
    /// A router of the server's configuration, or null to route by the judge's own uncertainty.
    router: Option<String>,
    /// The share of items that people can label, 0 to 1: 0 is none, 1 is all. A larger one takes all items of a smaller one.
    budget: Option<f64>,
    /// The score from which on an item is for people, 0 to 1; either this or `budget`. Default: the router's own, else 0.5.
    threshold: Option<f64>,
    /// Whether an item that is for people enters the review queue; default: as the router has it, else false. The same item
    /// enters once.
    enqueue: Option<bool>,
    /// With `enqueue`, how many people are to label it, 1 to 20; default 1.
    reviewers: Option<u32>,
}

/// Who decides on a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Decider {
    Ai,
    Human,
}

/// Where a verdict was routed to; nothing unless the request has `route`.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = Routed)]
pub(super) struct RoutedBody {
    /// Whether the judge decides (`ai`), or people should (`human`).
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<Decider>,
    /// What this was decided by, 0 to 1: how unsure the judge is, or with a fitted router the probability that people
    /// disagree with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    route_score: Option<f64>,
    /// The fitted router.
    #[serde(skip_serializing_if = "Option::is_none")]
    router: Option<NamedDigest>,
    /// The review in the queue, if the item is for people and was to enter it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) review_id: Option<String>,
}

/// A request as it was read, and as JSON if its verdict is to be routed.
pub(super) struct Asked<B> {
    pub(super) body: B,
    pub(super) json: Option<Value>,
}

/// A body that may have a field `route`.
pub(super) trait Routable {
    /// Whether it has one.
    fn has_route(&self) -> bool;
}

/// Reads a body.
///
/// # Errors
/// Those of [`json::parse`].
pub(super) fn asked<B: DeserializeOwned + Routable>(bytes: &[u8]) -> Result<Asked<B>, Problem> {
    let body: B = json::parse(bytes)?;
    let json = if body.has_route() { Some(json::parse(bytes)?) } else { None };
    Ok(Asked { body, json })
}

/// The name of the key that a review is asked for with: that of a batch for its lines, empty if keys are off.
pub(super) fn asker(http: &HttpRequest) -> String {
    let of_batch = OfBatch::mark(http).map(|batch| batch.owner().to_owned());
    of_batch.or_else(|| access::key_name(http)).unwrap_or_default()
}

/// Checks the field `route`.
///
/// # Errors
/// At what is wrong in it.
pub(super) fn check(app: &App, field: Option<&Value>) -> Result<Option<RouteWish>, Problem> {
    let body = match field {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(name)) => RouteBody { router: Some(name.clone()), ..RouteBody::default() },
        Some(value @ Value::Object(_)) => {
            let Object(body): Object<RouteBody> = parse_value(value, AT)?;
            body
        }
        Some(_) => {
            let reason = "is the name of a router, or an object with `budget`, `threshold`, `router` or `enqueue`";
            return Err(InvalidRequest::at(AT, reason).into());
        }
    };
    let router = body.router.as_deref().map(|name| app.routers.named(name)).transpose();
    let router = router.map_err(|error| InvalidRequest::at(format!("{AT}/router"), error.to_string()))?;
    let wrong = |field: &str| {
        let at = format!("{AT}/{field}");
        move |error: OutOfRange| InvalidRequest::at(at, error.to_string())
    };
    let cut = match (body.budget, body.threshold) {
        (Some(_), Some(_)) => {
            return Err(InvalidRequest::at(format!("{AT}/threshold"), "send one of `budget` and `threshold`").into());
        }
        (Some(budget), None) => Cut::budget(budget).map_err(wrong("budget"))?,
        (None, Some(threshold)) => Cut::threshold(threshold).map_err(wrong("threshold"))?,
        (None, None) => router.as_ref().map_or_else(Cut::default, |router| router.cut),
    };
    let usual = router.as_ref().and_then(|router| router.reviewers);
    let reviewers = body.enqueue.unwrap_or(usual.is_some()).then(|| body.reviewers.or(usual).unwrap_or(1));
    let at = format!("{AT}/reviewers");
    match reviewers {
        Some(reviewers) => check_reviewers(reviewers, &at)?,
        None if body.reviewers.is_some() => {
            return Err(InvalidRequest::at(at, "needs `enqueue`: true").into());
        }
        None => {}
    }
    Ok(Some(RouteWish { router, cut, reviewers }))
}

/// An admitted request, whose verdict may be routed.
pub(super) struct Judging<R> {
    panel: Panel,
    pub(super) request: R,
    pub(super) debug: bool,
    routing: Option<(Routing, RouteSubject)>,
}

/// The routing of one request.
pub(super) struct Routing {
    pub(super) wish: RouteWish,
    kind: Kind,
    /// The request, without its field `route`.
    pub(super) request: Value,
    owner: String,
}

impl<R: JuryTask> Judging<R>
where
    for<'a> RouteSubject: From<&'a R>,
{
    /// Admits a checked request of a caller, who is the `owner` of a review that it asks for; `json` is that of a request to
    /// route.
    ///
    /// # Errors
    /// If it is not admitted, or its router was made for something else.
    pub(super) async fn begin(
        app: &App,
        (kind, checked): (Kind, PanelRequest<R>),
        json: Option<Value>,
        context: &RequestContext,
        owner: String,
    ) -> Result<Self, Problem> {
        let PanelRequest { request, judges, debug, route } = checked;
        let panel = app.service.panel(context, judges).await?;
        let routing = match route {
            None => None,
            Some(wish) => {
                let subject = RouteSubject::from(&request);
                wish.check(&subject, panel.judge())?;
                Some((Routing::new(wish, kind, json, owner), subject))
            }
        };
        Ok(Self { panel, request, debug, routing })
    }

    /// Judges, and routes the verdict if that was asked for. `signals` are those of a verdict of a jury with this spread,
    /// `body` writes the verdict, and `field` is where its route goes.
    ///
    /// # Errors
    /// Those of the judges, of the router and of the review queue.
    pub(super) async fn run<B: Serialize>(
        self,
        app: &App,
        progress: Option<Progress>,
        signals: impl FnOnce(&R::Verdict, Option<f64>) -> Option<Signals>,
        body: impl FnOnce(Graded<R::Verdict>) -> B,
        field: impl Fn(&mut B) -> &mut RoutedBody,
    ) -> Result<B, Problem> {
        let graded = self.panel.run(self.request, progress).await?;
        let Some((routing, subject)) = self.routing else { return Ok(body(graded)) };
        let spread = graded.jury.as_ref().and_then(|report| report.spread);
        let routed = routing.decide(app, &subject, &graded.provenance, signals(&graded.verdict, spread))?;
        let mut body = body(graded);
        *field(&mut body) = routed.clone();
        let verdict = || serde_json::to_string(&body).expect("verdicts are texts, finite numbers and lists of them");
        let review = routing.enqueue(app, &routed, &routing.request, verdict).await?;
        field(&mut body).review_id = review;
        Ok(body)
    }
}

impl Routing {
    /// The routing of a request with such a wish; `json` is the request.
    pub(super) fn new(wish: RouteWish, kind: Kind, json: Option<Value>, owner: String) -> Self {
        let mut request = json.unwrap_or_default();
        if let Some(fields) = request.as_object_mut() {
            fields.shift_remove("route");
        }
        Self { wish, kind, request, owner }
    }

    /// Decides on a verdict, and counts it.
    ///
    /// # Errors
    /// If the router was made for something else than what judged.
    pub(super) fn decide(
        &self,
        app: &App,
        subject: &RouteSubject,
        provenance: &Provenance,
        signals: Option<Signals>,
    ) -> Result<RoutedBody, Problem> {
        let RoutedVerdict { human, score, router } = self.wish.decide(subject, provenance, signals)?;
        app.metrics.count_routed(self.kind, human);
        let route = if human { Decider::Human } else { Decider::Ai };
        let router = router.map(NamedDigest::of);
        Ok(RoutedBody { route: Some(route), route_score: Some(score), router, review_id: None })
    }

    /// Puts the item of a request into the review queue with the verdict on it, if it is for people and was to enter the
    /// queue; gives the id of its review.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn enqueue(
        &self,
        app: &App,
        routed: &RoutedBody,
        request: &Value,
        verdict: impl FnOnce() -> String,
    ) -> Result<Option<String>, Problem> {
        let Some(wanted) = self.wish.reviewers.filter(|_| routed.route == Some(Decider::Human)) else {
            return Ok(None);
        };
        let new = NewReview {
            owner: self.owner.clone(),
            kind: self.kind,
            item: Some(item_key(request)),
            request: request.to_string(),
            verdict: Some(verdict()),
            wanted,
        };
        Ok(Some(app.reviews.ask(new, None).await?.row.id))
    }
}
