//! `POST /v1/grade/checklist`

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::context;
use super::json::{self, Object, parse_value};
use super::messages::{self, ContentBody};
use super::method::{self, MethodFields, method_body, one_rubric};
use super::pictures::PictureReader;
use super::problem::Problem;
use super::schema::RubricChoice;
use super::verdict::{self, Debug, Produced};
use crate::app::App;
use crate::domain::{Content, InvalidRequest, Item, Mode, NamedRubric, Options};
use crate::service::{Graded, Session};
use crate::tasks::{About, Checked, Checks, ChecksVerdict, Questions};

method_body! {
    /// A response and questions about it.
    #[schema(example = json!({
        "instruction": "Why is the sky blue?",
        "response": "Air scatters blue light the most.",
        "questions": ["Does it name the air?", "Is it at most two sentences long?"],
        "gates": [0],
    }))]
    ChecklistBody {
        /// The response: a text, or a list of parts with pictures.
        #[schema(value_type = ContentBody)]
        response: Value,
        /// 1 to 64 questions, which a good response answers with yes; or how to draw them.
        #[schema(value_type = QuestionsChoice)]
        questions: Value,
        /// Indexes of questions that must have a yes: else the reward is 0.
        gates: Option<Vec<usize>>,
        /// The rubric that questions are drawn from.
        #[schema(value_type = Option<RubricChoice>)]
        #[serde(default)]
        rubric: Value,
    }
}

/// Questions, or how to draw them.
#[derive(ToSchema)]
#[schema(as = ChecklistQuestions)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what `questions` reads by hand, for the sake of pointers")]
pub(super) enum QuestionsChoice {
    Given(Vec<String>),
    Drawn(DrawnBody),
}

/// Questions that the judge writes before it answers them.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct DrawnBody {
    #[schema(value_type = DrawBody)]
    draw: Object<DrawBody>,
}

/// What questions are drawn from, and how many.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct DrawBody {
    from: DrawFrom,
    /// 1 to 32.
    count: usize,
}

/// What questions are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DrawFrom {
    /// The rubric, for this instruction.
    Rubric,
    /// The instruction alone.
    Instruction,
}

/// An answered question.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChecklistItem)]
struct ItemBody {
    question: String,
    /// `yes` or `no`, the more probable one.
    answer: &'static str,
    /// The probability of yes.
    probability: f64,
    /// Total probability of yes and no before normalising.
    label_mass: f64,
}

/// The answers to questions about a response.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChecklistVerdict)]
pub(super) struct ChecklistVerdictBody {
    id: String,
    object: &'static str,
    items: Vec<ItemBody>,
    /// Whether every gate has a yes.
    passed: bool,
    /// The mean probability of yes; 0 if a gate has a no.
    pub(super) reward: f64,
    /// The lowest label mass of the items.
    pub(super) label_mass: f64,
    #[serde(flatten)]
    produced: Produced,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Debug>,
}

/// Answers questions about a response with yes or no. All share one prefill, and none sees another.
///
/// Questions can be drawn from the instruction or a rubric: the judge writes them first. They do not depend on the
/// response, so with the cache the responses to one instruction get the same ones.
#[utoipa::path(
    post, path = "/v1/grade/checklist", operation_id = "grade_checklist", tag = "grading", request_body = ChecklistBody,
    responses((status = 200, body = ChecklistVerdictBody), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn grade(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let mut body: ChecklistBody = json::strict(&http, payload, app.config.limits.body_bytes).await?;
    let rubric = body.rubric.take();
    let fields = MethodFields::check(body.common(rubric), Mode::Score, &app)?;
    let MethodFields { item, judging, debug } = fields;
    let mut pictures = PictureReader::after(&item, &app.config.pictures);
    let response = messages::response(&body.response, "/response", "the response", &mut pictures)?;
    let (model, options) = (judging.model, judging.options);
    let rubric = one_rubric(judging.rubrics, judging.multi)?;
    let asked = Asked { questions: body.questions, gates: body.gates.unwrap_or_default(), rubric };
    let session = app.service.begin(&context::of_request(&http, &app)?, model.as_deref()).await?;
    let graded = judged(&session, item, response, asked, options).await?;
    Ok(HttpResponse::Ok().json(verdict_body(graded, debug)))
}

/// What is asked about a response.
pub(super) struct Asked {
    /// The questions, or how to draw them.
    pub(super) questions: Value,
    pub(super) gates: Vec<usize>,
    /// The rubric that questions are drawn from.
    pub(super) rubric: Option<NamedRubric>,
}

/// Answers the questions, which the judge may have to write first.
///
/// # Errors
/// At `/questions`, `/gates` or `/rubric`, and those of the judge.
pub(super) async fn judged(
    session: &Session,
    item: Item,
    response: Content,
    Asked { questions, gates, rubric }: Asked,
    options: Options,
) -> Result<Graded<ChecksVerdict>, Problem> {
    let task_options = options.clone();
    let checks = |item, questions, gates| {
        let about = About::Question;
        Checks { item, response, about, questions, gates, options: task_options }
    };
    Ok(match draw(&questions)? {
        None => session.run(checks(item, given(&questions)?, gates), None).await?,
        Some(DrawBody { from, count }) => {
            let rubric = match (from, rubric) {
                (DrawFrom::Rubric, None) => {
                    return Err(
                        InvalidRequest::at("/rubric", "send the rubric that the questions are drawn from").into()
                    );
                }
                (DrawFrom::Rubric, rubric) => rubric,
                (DrawFrom::Instruction, _) => None,
            };
            if let Some(gate) = gates.iter().position(|gate| *gate >= count) {
                let reason = format!("is {}, but {count} questions are drawn, counted from 0", gates[gate]);
                return Err(InvalidRequest::at(format!("/gates/{gate}"), reason).into());
            }
            let draw =
                Questions { item: item.clone(), rubric, count, options: Options { mode: Mode::Feedback, ..options } };
            session.run_then(draw, |questions| checks(item, questions, gates)).await?
        }
    })
}

/// How to draw the questions, if they are to be drawn.
fn draw(questions: &Value) -> Result<Option<DrawBody>, Problem> {
    if !questions.is_object() {
        return Ok(None);
    }
    let DrawnBody { draw: Object(draw) } = parse_value(questions, "/questions")?;
    Ok(Some(draw))
}

/// The questions of the request.
fn given(questions: &Value) -> Result<Vec<String>, Problem> {
    let Some(list) = questions.as_array() else {
        let reason = "questions are a list of texts, or {\"draw\": {\"from\": \"instruction\", \"count\": 8}}";
        return Err(InvalidRequest::at("/questions", reason).into());
    };
    method::texts(list, "/questions")
}

pub(super) fn verdict_body(graded: Graded<ChecksVerdict>, debug: bool) -> ChecklistVerdictBody {
    let Graded { id, verdict, provenance, stats, .. } = graded;
    let label_mass = method::lowest_mass(verdict.items.iter().map(|item| &item.choice));
    ChecklistVerdictBody {
        id,
        object: "verdict.checklist",
        items: verdict.items.iter().map(item_body).collect(),
        passed: verdict.passed,
        reward: verdict.reward,
        label_mass,
        debug: verdict::debug(debug, Some(&verdict.judgement), &stats),
        produced: Produced::new(provenance, &stats, Some(label_mass)),
    }
}

fn item_body(item: &Checked) -> ItemBody {
    ItemBody {
        question: item.text.clone(),
        answer: if item.yes() { "yes" } else { "no" },
        probability: item.probability(),
        label_mass: item.choice.label_mass,
    }
}
