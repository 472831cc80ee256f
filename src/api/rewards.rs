//! `POST /v1/rewards`

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::absolute::verdict_body;
use super::bulk::{BulkItem, BulkJudging, ItemOutcome};
use super::context;
use super::json::{self, Object, object_or_null, parse_value};
use super::jury::{NoiseBody, jury_of};
use super::messages::{self, ContentBody, MessageBody};
use super::middleware::{base, request_id};
use super::pictures::PictureReader;
use super::problem::{Problem, ProblemBody};
use super::reward_method::{MethodChoice, RewardMethod, RewardVerdict};
use super::samples::SamplesBody;
use super::schema::{ContextBody, ItemFields, JudgingFields, RubricChoice, Rubrics, SamplingBody};
use crate::app::App;
use crate::domain::jury::Combine;
use crate::domain::{InvalidRequest, Mode, WeightedRubric, normalized};
use crate::service::RequestContext;

/// Responses to grade with the same settings, for a training job.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "rubric": "helpfulness", "mode": "score", "normalize": "group", "include": ["verdicts"],
    "items": [
        {"id": "a", "group": 0, "instruction": "Why is the sky blue?", "response": "Light scatters."},
        {"id": "b", "group": 0, "instruction": "Why is the sky blue?"},
    ],
}))]
pub(super) struct RewardsBody {
    /// The responses, at most `limits.items`; each one can fail alone.
    #[schema(value_type = Vec<RewardItem>)]
    items: Vec<Value>,
    /// A name of `GET /v1/rubrics`, an inline rubric, or a list of rubrics with weights; for the items that have none.
    #[schema(value_type = Option<RubricChoice>)]
    #[serde(default)]
    rubric: Value,
    /// What judges the items that do not say: `absolute` (default) grades by the rubric; `checklist`, `yes_no` and
    /// `claims` take no mode, no samples, no examples and no jury.
    #[schema(value_type = Option<MethodChoice>)]
    #[serde(default)]
    method: Value,
    /// Feedback and verdict, or only the verdict: one forward pass for each item.
    mode: Option<Mode>,
    /// Number of independent judgements of each item to combine, or a maximum and how settled their majority must be.
    /// More than one needs feedback and a temperature above 0.
    #[schema(value_type = Option<super::samples::SamplesChoice>)]
    samples: Option<SamplesBody>,
    /// Sampling of the feedback.
    #[serde(default, deserialize_with = "object_or_null")]
    sampling: Option<SamplingBody>,
    /// A name of `GET /v1/models`, or null for the default one.
    model: Option<String>,
    /// Several judges in place of `model`: 1 to 16 models, each a name or an object.
    #[schema(value_type = Option<Vec<super::jury::JudgeChoice>>)]
    judges: Option<Vec<Value>>,
    /// A jury of the server's configuration in place of `model`.
    jury: Option<String>,
    /// How a jury's verdicts are combined. Default: `weighted` if a juror has a weight, else `mean`.
    combine: Option<Combine>,
    /// How many jurors must have a verdict; default: more than half.
    quorum: Option<usize>,
    /// Label noise, which mimics how people differ.
    #[serde(default, deserialize_with = "object_or_null")]
    noise: Option<NoiseBody>,
    /// A prompt set, or null for the model's own.
    prompt: Option<String>,
    /// Graded examples that the judge is shown before each item: the name of a set of the server (`/v1/info`), or a
    /// list.
    #[schema(value_type = Option<super::examples::ExamplesChoice>)]
    #[serde(default)]
    examples: Value,
    /// Whether the verdict cache may be used.
    cache: Option<bool>,
    /// Run each item alone and without prefix reuse, which gives the same bytes every time.
    deterministic: Option<bool>,
    /// Return rewards as they are, or relative to their group.
    normalize: Option<Normalize>,
    /// Minimum label mass of a reward, 0 to 1; an item below it is unscored.
    min_label_mass: Option<f64>,
    /// Additional contents of the reply.
    include: Option<Vec<Include>>,
}

/// A response to grade.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct RewardItem {
    /// The caller's id of the item, returned in `ids`.
    #[allow(dead_code, reason = "it is read before the item is, which may be wrong in other ways")]
    id: Option<Name>,
    /// The instruction; use either this or `messages`.
    instruction: Option<String>,
    /// The conversation, which ends with a user turn.
    #[schema(value_type = Option<Vec<MessageBody>>)]
    messages: Option<Vec<Object<MessageBody>>>,
    /// The response to grade: a text, or a list of parts with pictures.
    #[schema(value_type = ContentBody)]
    response: Value,
    /// The rubric of this item: a name, an inline rubric, or a list of rubrics with weights.
    #[schema(value_type = Option<RubricChoice>)]
    #[serde(default)]
    rubric: Value,
    /// An answer that would get the highest score.
    reference_answer: Option<String>,
    /// Documents that the response is judged against.
    #[schema(value_type = Option<Vec<ContextBody>>)]
    context: Option<Vec<Object<ContextBody>>>,
    /// The persona whose judgement is requested: the name of an annotator of the server (`/v1/info`), or a text.
    annotator: Option<String>,
    /// With `normalize: "group"`, the group that its reward is relative to.
    group: Option<Name>,
    /// What judges this item, in place of the method of the request.
    #[schema(value_type = Option<MethodChoice>)]
    #[serde(default)]
    method: Value,
}

/// A text or an integer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "must be a text or an integer")]
enum Name {
    Text(String),
    Number(i64),
}

/// Normalisation of rewards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Normalize {
    /// As they are, on 0..1.
    #[default]
    None,
    /// (reward - mean) / standard deviation within each group, with n - 1; zeros in a group of one or of equal rewards.
    Group,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Include {
    /// The full verdict of every item.
    Verdicts,
}

/// One reward for each item, in order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rewards {
    object: &'static str,
    /// Null if the item has no reward; `errors` has the reason.
    rewards: Vec<Option<f64>>,
    /// Null if the item has a reward.
    errors: Vec<Option<ProblemBody>>,
    /// The ids of the items, if any item has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<Vec<Option<Name>>>,
    /// With `include: ["verdicts"]`; null for failed items.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdicts: Option<Vec<Option<RewardVerdict>>>,
}

/// Grades many responses and returns a reward for each, on 0..1 or relative to its group.
///
/// The reply has the order of the items. A failed item has the reward null and a problem in `errors`; it does not
/// affect the other items.
#[utoipa::path(
    post, path = "/v1/rewards", tag = "rewards", request_body = RewardsBody,
    responses((status = 200, body = Rewards), (status = "default", body = ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn rewards(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: RewardsBody = json::strict_bulk(&http, payload).await?;
    let context = context::of_request(&http, &app)?;
    let (base, id) = (base(&http), request_id(&http));
    Ok(HttpResponse::Ok().json(rewarded(&app, body, context, |problem| problem.body(&base, &id)).await?))
}

/// The rewards of a body; `shown` writes the problems of items.
///
/// # Errors
/// Those of the route.
pub(super) async fn rewarded(
    app: &web::Data<App>,
    mut body: RewardsBody,
    context: RequestContext,
    shown: impl Fn(Problem) -> ProblemBody,
) -> Result<Rewards, Problem> {
    let method = body.method()?;
    let jury = body.jury();
    let mut judged = body.settings().check_of_items(app)?;
    let judges = jury.check(app, judged.model.take())?;
    let judging = BulkJudging::begin_with(app, judged, judges, body.min_label_mass, context).await?;
    let names = |field: &str| body.items.iter().map(|item| name(&item[field])).collect::<Vec<_>>();
    let (ids, groups) = (names("id"), names("group"));
    let grouped = body.normalize.unwrap_or_default() == Normalize::Group;
    let with_verdicts = body.include.iter().flatten().any(|include| *include == Include::Verdicts);
    let kept = |graded, rubrics: &[WeightedRubric]| {
        with_verdicts.then(|| RewardVerdict::Absolute(verdict_body(graded, rubrics, false, &shown)))
    };
    let outcomes = judging.each_by(body.items, |_, item| {
        let read = bulk_item(&item, grouped, app);
        let (judging, method, kept) = (&judging, &method, &kept);
        async move {
            match read {
                Ok((item, own)) => match own.as_ref().unwrap_or(method) {
                    RewardMethod::Absolute => judging.outcome(item, kept).await,
                    other => {
                        let ItemOutcome { reward, kept } = other.judged(judging, item, with_verdicts).await;
                        ItemOutcome { reward, kept: Some(kept) }
                    }
                },
                Err(problem) => ItemOutcome { reward: Err(problem), kept: None },
            }
        }
    });
    let outcomes = outcomes.await;
    let (mut rewards, mut errors, mut verdicts) = (Vec::new(), Vec::new(), Vec::new());
    for (index, ItemOutcome { reward, kept }) in outcomes.into_iter().enumerate() {
        let error = reward.as_ref().err().map(|problem| problem.clone().within(&format!("/items/{index}")));
        errors.push(error.map(&shown));
        rewards.push(reward.ok());
        verdicts.push(kept.flatten());
    }
    let rewards = if grouped { normalized(&rewards, &groups) } else { rewards };
    let ids = ids.iter().any(Option::is_some).then_some(ids);
    let verdicts = with_verdicts.then_some(verdicts);
    Ok(Rewards { object: "rewards", rewards, errors, ids, verdicts })
}

jury_of!(RewardsBody);

impl RewardsBody {
    /// The method of items that have none.
    ///
    /// # Errors
    /// At `/method`, or at a field that another method than grading does not have.
    fn method(&self) -> Result<RewardMethod, Problem> {
        let method = RewardMethod::read(&self.method)?.unwrap_or(RewardMethod::Absolute);
        let of_grading = [
            ("/mode", self.mode.is_some()),
            ("/samples", self.samples.is_some()),
            ("/examples", !self.examples.is_null()),
            ("/judges", self.judges.is_some()),
            ("/jury", self.jury.is_some()),
        ];
        match of_grading.into_iter().find(|(_, given)| *given && !method.is_absolute()) {
            Some((field, _)) => {
                let reason = "is for the method `absolute`; leave it out with this one";
                Err(InvalidRequest::at(field, reason).into())
            }
            None => Ok(method),
        }
    }

    /// The settings of all items.
    fn settings(&mut self) -> JudgingFields {
        JudgingFields {
            rubric: self.rubric.take(),
            mode: self.mode,
            samples: self.samples,
            sampling: self.sampling.take().unwrap_or_default(),
            model: self.model.take(),
            prompt: self.prompt.take(),
            examples: self.examples.take(),
            cache: self.cache,
            deterministic: self.deterministic.unwrap_or(false),
        }
    }
}

/// The id of an item, which may be invalid otherwise.
fn name(value: &Value) -> Option<Name> {
    Name::deserialize(value).ok()
}

/// Checks an item; pointers are relative to it.
fn bulk_item(item: &Value, grouped: bool, app: &App) -> Result<(BulkItem, Option<RewardMethod>), Problem> {
    let item: RewardItem = parse_value(item, "")?;
    if grouped && item.group.is_none() {
        return Err(InvalidRequest::at("/group", "with \"normalize\": \"group\" every item needs `group`").into());
    }
    let about = ItemFields {
        instruction: item.instruction,
        messages: item.messages,
        reference_answer: item.reference_answer,
        context: item.context,
        annotator: item.annotator,
    };
    let method = RewardMethod::read(&item.method)?;
    let rubrics = (!item.rubric.is_null()).then(|| Rubrics::read(&item.rubric, app)).transpose()?;
    let about = about.check(app)?;
    let response =
        messages::content(&item.response, "/response", &mut PictureReader::after(&about, &app.config.pictures))?;
    Ok((BulkItem { response, item: about, rubrics }, method))
}
