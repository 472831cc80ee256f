//! `POST /v1/fine_tuning/alpha/graders/run` and `…/validate`

use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse, web};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::ask::{self, Answered};
use super::messages;
use super::report::{GraderOutcome, GraderReport};
use crate::api::context;
use crate::api::detail::AnswerLimit;
use crate::api::json::{self, parse_lenient};
use crate::api::problem::{OpenAiError, Problem};
use crate::app::App;
use crate::domain::text_metrics::{self, Metric};
use crate::domain::{InvalidRequest, Options, Role, Turn, require_label_mass};
use crate::graders::{self, Operation, Variables};
use crate::script::{Generate, Script, Step, StopString};
use crate::service::RequestContext;
use crate::tasks::{PromptInput, Prompted};

/// Maximum number of graders in a multi grader; they run one after the other.
const GRADERS: usize = 64;
/// Maximum number of labels of a label model, the same as the choices of a decision.
const LABELS: usize = 255;
/// The name of model graders in metrics.
const PURPOSE: &str = "grader";
const SCORE: &str = "Score:";
const LABEL: &str = "Label:";

/// A grader to run on an item. Other fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "grader": {
        "type": "string_check", "name": "is_blue", "operation": "ilike", "input": "{{sample.output_text}}", "reference": "blue",
    },
    "model_sample": "Blue, because air scatters short waves most.",
}))]
pub(in crate::api) struct RunBody {
    #[schema(value_type = Grader)]
    grader: Value,
    /// The output of the model, `{{sample.output_text}}`.
    model_sample: String,
    /// Other values, `{{item.…}}`.
    #[serde(default)]
    item: Value,
}

/// A grader to check.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(example = json!({"grader": {
    "type": "string_check", "name": "is_blue", "operation": "ilike", "input": "{{sample.output_text}}", "reference": "blue",
}}))]
pub(in crate::api) struct ValidateBody {
    #[schema(value_type = Grader)]
    grader: Value,
}

/// A grader. Texts may contain `{{item.…}}` and `{{sample.output_text}}`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Grader {
    /// Compares two strings: 1 or 0.
    StringCheck { name: String, input: String, reference: String, operation: Operation },
    /// The similarity of two texts.
    TextSimilarity { name: String, input: String, reference: String, evaluation_metric: Metric },
    /// A model's score.
    ScoreModel(ScoreModel),
    /// A model's label: 1 if it is a passing one, else 0.
    LabelModel(LabelModel),
    /// Not supported.
    Python { name: String },
    /// A formula over other graders.
    Multi {
        name: String,
        #[schema(value_type = std::collections::BTreeMap<String, Value>)]
        graders: IndexMap<String, Grader>,
        calculate_output: String,
    },
}

/// A model that scores.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ScoreModel {
    name: String,
    /// A name of `GET /v1/models`.
    model: String,
    /// Messages.
    input: Vec<Value>,
    /// Minimum and maximum score; default 0 to 1.
    range: Option<[f64; 2]>,
    sampling_params: Option<SamplingParams>,
}

/// A model that labels.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct LabelModel {
    name: String,
    /// A name of `GET /v1/models`.
    model: String,
    /// Messages.
    input: Vec<Value>,
    labels: Vec<String>,
    passing_labels: Vec<String>,
    sampling_params: Option<SamplingParams>,
}

/// Sampling of the model's explanation.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(super) struct SamplingParams {
    seed: Option<i64>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    /// Maximum number of tokens before the score.
    #[serde(alias = "max_completion_tokens")]
    max_completions_tokens: Option<u32>,
}

/// Runs a grader on an item. A grader that cannot run is an error, never a low reward.
#[utoipa::path(
    post, path = "/v1/fine_tuning/alpha/graders/run", operation_id = "run_grader", tag = "openai", request_body = RunBody,
    responses((status = 200, body = GraderReport), (status = "default", body = OpenAiError))
)]
pub(in crate::api) async fn run(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: RunBody = json::lenient(&http, payload, app.config.limits.body_bytes).await?;
    let grader = check(&body.grader)?;
    let (variables, context) = (Variables::new(&body.item, &body.model_sample), context::of_request(&http, &app)?);
    let started = Instant::now();
    let graded = grade(&app, &grader, &variables, "/grader", &context).await?;
    Ok(HttpResponse::Ok().json(GraderReport::new(grader.name(), grader.kind(), graded, started.elapsed())))
}

/// Checks a grader, and returns it.
#[utoipa::path(
    post, path = "/v1/fine_tuning/alpha/graders/validate", operation_id = "validate_grader", tag = "openai", request_body = ValidateBody,
    responses((status = 200, body = ValidateBody), (status = "default", body = OpenAiError))
)]
pub(in crate::api) async fn validate(
    app: web::Data<App>,
    http: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body: ValidateBody = json::lenient(&http, payload, app.config.limits.body_bytes).await?;
    check(&body.grader)?;
    Ok(HttpResponse::Ok().json(body))
}

fn check(grader: &Value) -> Result<Grader, Problem> {
    let grader: Grader = parse_lenient(grader, "/grader")?;
    grader.check("/grader", true)?;
    Ok(grader)
}

impl Grader {
    fn name(&self) -> &str {
        match self {
            Self::StringCheck { name, .. }
            | Self::TextSimilarity { name, .. }
            | Self::Python { name }
            | Self::Multi { name, .. } => name,
            Self::ScoreModel(ScoreModel { name, .. }) | Self::LabelModel(LabelModel { name, .. }) => name,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::StringCheck { .. } => "string_check",
            Self::TextSimilarity { .. } => "text_similarity",
            Self::ScoreModel(_) => "score_model",
            Self::LabelModel(_) => "label_model",
            Self::Python { .. } => "python",
            Self::Multi { .. } => "multi",
        }
    }

    fn check(&self, at: &str, top: bool) -> Result<(), InvalidRequest> {
        let wrong = |field: &str, reason: String| Err(InvalidRequest::at(format!("{at}{field}"), reason));
        match self {
            Self::Python { .. } => {
                let reason = "python graders are not run here: a server that runs its callers' code is a risk to all \
                              of them; run it yourself and combine the numbers, or use another type";
                wrong("/type", reason.to_owned())
            }
            Self::ScoreModel(ScoreModel { range: Some([lowest, highest]), .. })
                if !(lowest.is_finite() && highest.is_finite() && lowest < highest) =>
            {
                wrong("/range", "a range is two numbers, the lower one first".to_owned())
            }
            Self::ScoreModel(ScoreModel { range: Some([lowest, highest]), .. })
                if !graders::levels(*lowest, *highest).is_sorted_by(|lower, higher| lower < higher) =>
            {
                wrong("/range", "its scores are too close to be distinguished; use a range such as [0, 1]".to_owned())
            }
            Self::ScoreModel(ScoreModel { input, .. }) | Self::LabelModel(LabelModel { input, .. })
                if input.is_empty() =>
            {
                wrong("/input", "there are no messages".to_owned())
            }
            Self::LabelModel(LabelModel { labels, passing_labels, .. }) => {
                let bad = |(index, label): (usize, &String)| label.trim().is_empty() || labels[..index].contains(label);
                if labels.len() > LABELS {
                    return wrong("/labels", format!("{LABELS} labels at most; there are {}", labels.len()));
                }
                if labels.len() < 2 || labels.iter().enumerate().any(bad) {
                    return wrong("/labels", "at least two different labels are needed".to_owned());
                }
                match passing_labels.iter().find(|label| !labels.contains(label)) {
                    Some(label) => wrong("/passing_labels", format!("`{label}` is not one of the labels")),
                    None => Ok(()),
                }
            }
            Self::Multi { .. } if !top => {
                wrong("/type", "a multi grader cannot contain another multi grader".to_owned())
            }
            Self::Multi { graders, .. } if graders.len() > GRADERS => {
                wrong("/graders", format!("{GRADERS} graders at most; there are {}", graders.len()))
            }
            Self::Multi { graders, calculate_output, .. } => {
                for (name, grader) in graders {
                    grader.check(&format!("{at}/graders/{name}"), false)?;
                }
                let formula = graders::check(calculate_output, graders.keys().map(String::as_str));
                formula.or_else(|error| wrong("/calculate_output", error.to_string()))
            }
            _ => Ok(()),
        }
    }
}

async fn grade(
    app: &App,
    grader: &Grader,
    variables: &Variables,
    at: &str,
    context: &RequestContext,
) -> Result<GraderOutcome, Problem> {
    let Grader::Multi { graders, calculate_output, .. } = grader else {
        return single(app, grader, variables, at, context).await;
    };
    let mut all = GraderOutcome::default();
    for (name, grader) in graders {
        // Yield, because each comparison of texts blocks the thread.
        tokio::task::yield_now().await;
        let graded = single(app, grader, variables, &format!("{at}/graders/{name}"), context).await?;
        all.add(name, graded);
    }
    let rewards = all.sub_rewards.iter().map(|(name, reward)| (name.as_str(), *reward)).collect();
    all.reward = graders::evaluate(calculate_output, &rewards)
        .map_err(|error| InvalidRequest::at(format!("{at}/calculate_output"), error.to_string()))?;
    Ok(all)
}

async fn single(
    app: &App,
    grader: &Grader,
    variables: &Variables,
    at: &str,
    context: &RequestContext,
) -> Result<GraderOutcome, Problem> {
    let fill = |field: &str, text: &str| {
        let filled = variables.fill(text, text_metrics::LONGEST_COMPARED);
        filled.map_err(|error| Problem::from(InvalidRequest::at(format!("{at}/{field}"), error.to_string())))
    };
    match grader {
        Grader::StringCheck { input, reference, operation, .. } => {
            let holds = operation.holds(&fill("input", input)?, &fill("reference", reference)?);
            Ok(GraderOutcome::of(f64::from(u8::from(holds))))
        }
        Grader::TextSimilarity { input, reference, evaluation_metric, .. } => {
            let (metric, text, reference) = (*evaluation_metric, fill("input", input)?, fill("reference", reference)?);
            let found =
                app.service.compute(context, move || text_metrics::similarity(metric, &text, &reference)).await?;
            let found = found.ok_or_else(|| InvalidRequest::at(at, "the texts are too long to be aligned"))?;
            Ok(GraderOutcome::of(found))
        }
        Grader::ScoreModel(grader) => {
            let [lowest, highest] = grader.range.unwrap_or([0.0, 1.0]);
            let levels = graders::levels(lowest, highest);
            let options = levels.iter().map(|level| format!(" {level}")).collect();
            let request = format!("Explain, then write \"{SCORE}\" and a number from {lowest} to {highest}.");
            let chat = chat(app, &grader.input, variables, &request, SCORE, options, &grader.sampling_params, at)?;
            let answered = asked(app, &grader.model, chat, at, context).await?;
            let reward = answered.judgements[0].distribution.expectation(levels);
            Ok(GraderOutcome::by_model(reward, &grader.model, &answered))
        }
        Grader::LabelModel(grader) => {
            let options = grader.labels.iter().map(|label| format!(" {label}")).collect();
            let request = format!("Explain, then write \"{LABEL}\" and one of: {}.", grader.labels.join(", "));
            let chat = chat(app, &grader.input, variables, &request, LABEL, options, &grader.sampling_params, at)?;
            let answered = asked(app, &grader.model, chat, at, context).await?;
            let distribution = &answered.judgements[0].distribution;
            let passes = grader.passing_labels.contains(&grader.labels[distribution.argmax()]);
            let mut graded = GraderOutcome::by_model(f64::from(u8::from(passes)), &grader.model, &answered);
            graded.scores = grader.labels.iter().cloned().zip(distribution.probabilities().iter().copied()).collect();
            Ok(graded)
        }
        Grader::Python { .. } | Grader::Multi { .. } => {
            Err(InvalidRequest::at(format!("{at}/type"), "cannot be run here").into())
        }
    }
}

/// Runs the grader's model. A forced guess is not a reward, nor a part of one.
async fn asked(
    app: &App,
    model: &str,
    chat: Prompted,
    at: &str,
    context: &RequestContext,
) -> Result<Answered, Problem> {
    ask::check_options(chat.options(), &format!("{at}/input"))?;
    let limit = AnswerLimit::Field("sampling_params.max_completions_tokens");
    let answered = ask::model(app, Some(model), chat, context).await;
    let answered = answered.map_err(|error| ask::blamed(error, &format!("{at}/input"), limit))?;
    require_label_mass(answered.judgements[0].label_mass, app.config.grading.min_label_mass)
        .map_err(|unscored| Problem::from(unscored).at(at))?;
    Ok(answered)
}

/// The filled-in messages of the grader, and the script: an explanation, then `lead` and an option.
#[allow(clippy::too_many_arguments, reason = "they are what the two model graders have in common")]
fn chat(
    app: &App,
    input: &[Value],
    variables: &Variables,
    request: &str,
    lead: &str,
    options: Vec<String>,
    sampling: &Option<SamplingParams>,
    at: &str,
) -> Result<Prompted, Problem> {
    let input = with_pictures(input, variables, app.config.limits.body_bytes)
        .map_err(|(index, error)| InvalidRequest::at(format!("{at}/input/{index}/content"), error.to_string()))?;
    let mut turns = messages::turns_at(&input, &format!("{at}/input"), &app.config.pictures)?;
    for (index, turn) in turns.iter_mut().enumerate() {
        let fill = |text: &str| variables.fill(text, graders::MAX_TEMPLATE_BYTES);
        turn.content = std::mem::take(&mut turn.content)
            .try_map(fill)
            .map_err(|error| InvalidRequest::at(format!("{at}/input/{index}/content"), error.to_string()))?;
    }
    match turns.last_mut() {
        Some(turn) if turn.role == Role::User => turn.content.push_paragraph(request),
        _ => turns.push(Turn::new(Role::User, request)),
    }
    let Options { mut sampling, .. } = with(app, sampling.clone().unwrap_or_default(), at)?;
    let max_tokens = sampling.max_feedback_tokens.max(1) as usize;
    sampling.min_feedback_tokens = 0;
    let explain = Generate { stop: vec![StopString::ignoring_case(lead)], max_tokens, ..Generate::default() };
    let steps = vec![Step::Generate(explain), Step::Say(format!("\n\n{lead}")), Step::Choose(options)];
    let options = Options { sampling, ..ask::defaults(app) };
    let inputs = vec![PromptInput::Conversation(turns)];
    Ok(Prompted {
        purpose: Some(PURPOSE.to_owned()),
        inputs,
        scripts: vec![Script(steps)],
        options,
        field: format!("{at}/input"),
    })
}

/// The messages with the variables in the addresses of their pictures filled in. On an error, the index of the message.
fn with_pictures(
    input: &[Value],
    variables: &Variables,
    most: usize,
) -> Result<Vec<Value>, (usize, graders::TemplateError)> {
    let fill = |(index, message): (usize, &Value)| {
        let mut message = message.clone();
        let parts = match message.get_mut("content") {
            Some(Value::Array(parts)) => parts.as_mut_slice(),
            Some(part @ Value::Object(_)) => std::slice::from_mut(part),
            _ => return Ok(message),
        };
        for part in parts.iter_mut().filter_map(Value::as_object_mut) {
            let address = match part.get_mut("image_url") {
                Some(Value::Object(image)) => image.get_mut("url"),
                address => address,
            };
            if let Some(Value::String(address)) = address {
                *address = variables.fill(address, most).map_err(|error| (index, error))?;
            }
        }
        Ok(message)
    };
    input.iter().enumerate().map(fill).collect()
}

fn with(app: &App, params: SamplingParams, at: &str) -> Result<Options, InvalidRequest> {
    let mut options = ask::defaults(app);
    let sampling = &mut options.sampling;
    sampling.temperature = params.temperature.unwrap_or(sampling.temperature);
    sampling.top_p = params.top_p.unwrap_or(sampling.top_p);
    sampling.max_feedback_tokens = params.max_completions_tokens.unwrap_or(sampling.max_feedback_tokens);
    if let Some(seed) = params.seed {
        (sampling.seed, sampling.seeded) = (seed.cast_unsigned(), true);
    }
    options.check().map_err(|error| {
        InvalidRequest::at(error.pointer.replace("/sampling/", &format!("{at}/sampling_params/")), error.reason)
    })?;
    Ok(options)
}
