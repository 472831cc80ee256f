//! `POST /v1/refine`

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::messages::{self, ContentBody};
use super::pictures::PictureReader;
use super::problem::Problem;
use super::relative::{Grade, grade_body};
use super::schema::{self, CheckedFields, grading_body};
use super::verdict::{self, Debug, Produced};
use super::{context, json, stream};
use crate::app::App;
use crate::domain::{InvalidVerdict, Method, Mode, Options, RelativeRequest};
use crate::service::{Graded, Progress, RunStats, ServiceError, Session};
use crate::tasks::{About, Checked, Checks, Refinement, RefinementVerdict, TaskError};

grading_body! {
    /// A response and its refined version.
    #[schema(example = json!({
        "instruction": "Why is the sky blue?",
        "response": "Because the sea is blue.",
        "feedback": "The sea is not the cause; name the scattering in the air.",
        "refined": "Air scatters blue light the most.",
        "rubric": "factual_validity",
        "mode": "score",
    }))]
    RefineBody {
        /// The response: a text, or a list of parts with pictures.
        #[schema(value_type = ContentBody)]
        response: Value,
        /// Its refined version.
        #[schema(value_type = ContentBody)]
        refined: Value,
        /// The feedback that the refinement was made by: then the verdict says whether it takes the feedback up.
        feedback: Option<String>,
    }
}

/// Whether the refined version does what the feedback asks for.
#[derive(Debug, Serialize, ToSchema)]
struct FeedbackTaken {
    /// The probability of yes.
    probability: f64,
    /// Total probability of yes and no before normalising.
    label_mass: f64,
}

/// Both versions, graded alone by the same rubric.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RefineVerdict)]
struct RefineVerdictBody {
    id: String,
    object: &'static str,
    response: Grade,
    refined: Grade,
    /// The reward of the refined version minus that of the response, -1 to 1.
    gain: f64,
    /// The probability that the refined version scores higher, ties counted half.
    probability_better: f64,
    /// Only with `feedback`.
    #[serde(skip_serializing_if = "Option::is_none")]
    feedback_taken: Option<FeedbackTaken>,
    /// The lower label mass of the two.
    label_mass: f64,
    #[serde(flatten)]
    produced: Produced,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Debug>,
}

/// What a refinement comes to.
struct Refined {
    graded: Graded<RefinementVerdict>,
    taken: Option<Checked>,
}

/// Grades a response and its refined version, and says what was gained.
///
/// With `Accept: text/event-stream`, feedback is streamed while it is generated; its `response` is A for the response
/// and B for the refined version. The verdict is the last event.
#[utoipa::path(
    post, path = "/v1/refine", operation_id = "refine", tag = "grading", request_body = RefineBody,
    responses((status = 200, content((RefineVerdictBody = "application/json"), (String = "text/event-stream"))), (status = "default", body = super::problem::ProblemBody, content_type = "application/problem+json"))
)]
pub(super) async fn refine(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let mut body: RefineBody = json::strict(&http, payload, app.config.limits.body_bytes).await?;
    let CheckedFields { item, rubrics, multi, options, model, debug } = body.common().check(&app)?;
    let feedback = body.feedback.map(|text| schema::not_empty(text, "/feedback", "the feedback")).transpose()?;
    let mut pictures = PictureReader::after(&item, &app.config.pictures);
    let request = RelativeRequest {
        response_a: messages::response(&body.response, "/response", "the response", &mut pictures)?,
        response_b: messages::response(&body.refined, "/refined", "the refined version", &mut pictures)?,
        item,
        rubrics,
        multi,
        swap: false,
        tie_margin: 0.0,
        method: Some(Method::Absolute),
        options,
    };
    let context = context::of_request(&http, &app)?;
    let session = app.service.begin(&context, model.as_deref()).await?;
    stream::answer(
        &http,
        |progress| async move { Ok(run(&session, request, feedback, progress).await?) },
        move |refined| verdict_body(refined, debug),
    )
    .await
}

async fn run(
    session: &Session,
    request: RelativeRequest,
    feedback: Option<String>,
    progress: Option<Progress>,
) -> Result<Refined, ServiceError> {
    let check = feedback.map(|feedback| Checks {
        item: request.item.clone(),
        response: request.response_b.clone(),
        about: About::Feedback,
        questions: vec![feedback],
        gates: Vec::new(),
        options: Options { mode: Mode::Score, samples: 1, ..request.options.clone() },
    });
    let graded = session.run(Refinement(request), progress).await?;
    let Some(check) = check else { return Ok(Refined { graded, taken: None }) };
    let Graded { verdict, stats, .. } = session.run(check, None).await?;
    let taken = verdict.items.into_iter().next().ok_or(TaskError::Verdict(InvalidVerdict::Empty))?;
    // The grading stays first in the debug output.
    let neutralized = Arc::clone(&graded.stats.neutralized);
    let stats = RunStats { neutralized, ..graded.stats.clone().then(stats) };
    Ok(Refined { graded: Graded { stats, ..graded }, taken: Some(taken) })
}

fn verdict_body(Refined { graded, taken }: Refined, debug: bool) -> RefineVerdictBody {
    let Graded { id, verdict, provenance, stats, .. } = graded;
    let label_mass = verdict.response.label_mass().min(verdict.refined.label_mass());
    RefineVerdictBody {
        id,
        object: "verdict.refine",
        response: grade_body(&verdict.response),
        refined: grade_body(&verdict.refined),
        gain: verdict.gain,
        probability_better: verdict.probability_better,
        feedback_taken: taken
            .map(|item| FeedbackTaken { probability: item.probability(), label_mass: item.choice.label_mass }),
        label_mass,
        debug: verdict::debug(debug, verdict.response.first_judgement(), &stats),
        produced: Produced::new(provenance, &stats, Some(label_mass)),
    }
}
