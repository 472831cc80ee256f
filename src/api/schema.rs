//! The fields that grading requests share, and their checks.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::examples::examples;
use super::json::{Object, parse_value};
pub(super) use super::messages::ContextBody;
use super::messages::{MessageBody, instruction};
use super::problem::Problem;
use super::samples::SamplesBody;
use crate::app::App;
use crate::domain::{
    Annotator, Instruction, InvalidRequest, Item, Mode, NamedRubric, Options, Rubric, Sampling, Weight, WeightedRubric,
    check_text,
};
use crate::service::ServiceError;

/// Maximum number of rubrics in one request: each one needs a judgement.
const MOST_RUBRICS: usize = 32;

/// Sampling of generated text. Verdicts are always read at temperature 1.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct SamplingBody {
    /// Sampling temperature: 0 (greedy) to 2.
    temperature: Option<f32>,
    /// Nucleus sampling: above 0, at most 1.
    top_p: Option<f32>,
    /// Samples from the k most probable tokens; 0 keeps all tokens.
    top_k: Option<u32>,
    /// Minimum probability relative to the most probable token: 0 to 1.
    min_p: Option<f32>,
    /// Seed of the first sample. With a seed, a request is cached at any temperature.
    seed: Option<u64>,
    /// Maximum number of tokens of feedback.
    max_feedback_tokens: Option<u32>,
    /// Minimum number of tokens of feedback.
    min_feedback_tokens: Option<u32>,
    /// Maximum number of tokens of thoughts, for prompt sets that reason; default: the set's own.
    max_thought_tokens: Option<u32>,
}

impl SamplingBody {
    /// The defaults with another maximum of feedback tokens.
    pub(super) fn of_at_most(max_feedback_tokens: Option<u32>) -> Self {
        Self { max_feedback_tokens, ..Self::default() }
    }
}

/// An inline rubric, also the body of `PUT /v1/rubrics/{name}`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(example = json!({
    "criterion": "Is the response polite?",
    "descriptions": {"0": "It is rude, or cold.", "1": "It is polite."},
}))]
pub(super) struct RubricBody {
    /// The question by which the response is judged.
    pub(super) criterion: String,
    /// A description for each score; 2 to 11 consecutive integers.
    pub(super) descriptions: BTreeMap<String, String>,
}

/// A rubric of a list, with its weight and its gate.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct WeightedBody {
    #[schema(value_type = NameOrRubric)]
    rubric: serde_json::Value,
    /// 0.000001 to 1000000; default 1.
    weight: Option<f64>,
    /// A score of the rubric, but not the highest: with this score or a lower one, the whole reward is 0.
    gate: Option<i32>,
}

/// A rubric's name, or an inline rubric.
#[derive(ToSchema)]
#[schema(as = NameOrRubric)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what `rubric` reads by hand, for the sake of pointers")]
enum NameOrRubric {
    Name(String),
    Inline(RubricBody),
}

/// A rubric's name, an inline rubric, or a list of rubrics with weights.
#[derive(ToSchema)]
#[schema(as = RubricChoice)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what `rubric` reads by hand, for the sake of pointers")]
pub(super) enum RubricChoice {
    Name(String),
    Inline(RubricBody),
    List(Vec<WeightedBody>),
}

/// Declares a grading request: its own fields, then the shared ones.
macro_rules! grading_body {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        #[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
        $(#[$doc])*
        pub(super) struct $name {
            $($(#[$field_doc])* pub(super) $field: $kind,)*
            /// The instruction; use either this or `messages`.
            instruction: Option<String>,
            /// The conversation, which ends with a user turn.
            #[schema(value_type = Option<Vec<$crate::api::messages::MessageBody>>)]
            messages: Option<Vec<$crate::api::json::Object<$crate::api::messages::MessageBody>>>,
            /// An answer that would get the highest score.
            reference_answer: Option<String>,
            /// Documents that the response is judged against.
            #[schema(value_type = Option<Vec<$crate::api::schema::ContextBody>>)]
            context: Option<Vec<$crate::api::json::Object<$crate::api::schema::ContextBody>>>,
            /// A name of `GET /v1/rubrics`, an inline rubric, or a list of rubrics with weights.
            #[schema(value_type = $crate::api::schema::RubricChoice)]
            rubric: serde_json::Value,
            /// Feedback and verdict, or only the verdict.
            mode: Option<$crate::domain::Mode>,
            /// Number of independent judgements to combine, or a maximum and how settled their majority must be. More than
            /// one needs feedback and a temperature above 0.
            #[schema(value_type = Option<$crate::api::samples::SamplesChoice>)]
            samples: Option<$crate::api::samples::SamplesBody>,
            /// Sampling of the feedback.
            #[serde(default, deserialize_with = "crate::api::json::object_or_null")]
            sampling: Option<$crate::api::schema::SamplingBody>,
            /// A name of `GET /v1/models`, or null for the default one.
            model: Option<String>,
            /// A prompt set, or null for the model's own.
            prompt: Option<String>,
            /// The persona whose judgement is requested: the name of an annotator of the server (`/v1/info`), or a text.
            annotator: Option<String>,
            /// Graded examples that the judge is shown first: the name of a set of the server (`/v1/info`), or a list.
            #[schema(value_type = Option<$crate::api::examples::ExamplesChoice>)]
            #[serde(default)]
            examples: serde_json::Value,
            /// Whether the verdict cache may be used.
            cache: Option<bool>,
            /// Run alone and without prefix reuse, which gives the same bytes every time.
            deterministic: Option<bool>,
            /// Return the exact prompt and answer of the model.
            debug: Option<bool>,
        }

        impl $name {
            /// Separates the shared fields from the own ones.
            fn common(&mut self) -> $crate::api::schema::GradingFields {
                $crate::api::schema::GradingFields {
                    item: $crate::api::schema::ItemFields {
                        instruction: self.instruction.take(),
                        messages: self.messages.take(),
                        reference_answer: self.reference_answer.take(),
                        context: self.context.take(),
                        annotator: self.annotator.take(),
                    },
                    judging: $crate::api::schema::JudgingFields {
                        rubric: self.rubric.take(),
                        mode: self.mode,
                        samples: self.samples,
                        sampling: self.sampling.take().unwrap_or_default(),
                        model: self.model.take(),
                        prompt: self.prompt.take(),
                        examples: self.examples.take(),
                        cache: self.cache,
                        deterministic: self.deterministic.unwrap_or(false),
                    },
                    debug: self.debug.unwrap_or(false),
                }
            }
        }
    };
}
pub(super) use grading_body;

/// The fields that grading requests share, unchecked.
pub(super) struct GradingFields {
    pub(super) item: ItemFields,
    pub(super) judging: JudgingFields,
    pub(super) debug: bool,
}

/// The fields of the item to judge, without its response.
#[derive(Default)]
pub(super) struct ItemFields {
    pub(super) instruction: Option<String>,
    pub(super) messages: Option<Vec<Object<MessageBody>>>,
    pub(super) reference_answer: Option<String>,
    pub(super) context: Option<Vec<Object<ContextBody>>>,
    pub(super) annotator: Option<String>,
}

/// The options of judging, and the model.
#[derive(Default)]
pub(super) struct JudgingFields {
    pub(super) rubric: serde_json::Value,
    pub(super) mode: Option<Mode>,
    pub(super) samples: Option<SamplesBody>,
    pub(super) sampling: SamplingBody,
    pub(super) model: Option<String>,
    pub(super) prompt: Option<String>,
    pub(super) examples: serde_json::Value,
    pub(super) cache: Option<bool>,
    pub(super) deterministic: bool,
}

/// The rubrics of a request or of an item, and whether they came as a list.
pub(super) struct Rubrics {
    pub(super) list: Vec<WeightedRubric>,
    pub(super) multi: bool,
}

/// The checked options of judging, with the configured defaults.
pub(super) struct JudgingOptions {
    pub(super) rubrics: Vec<WeightedRubric>,
    pub(super) multi: bool,
    pub(super) options: Options,
    pub(super) model: Option<String>,
}

/// The checked shared fields of a request, with the configured defaults.
pub(super) struct CheckedFields {
    pub(super) item: Item,
    pub(super) rubrics: Vec<WeightedRubric>,
    pub(super) multi: bool,
    pub(super) options: Options,
    pub(super) model: Option<String>,
    pub(super) debug: bool,
}

impl GradingFields {
    pub(super) fn check(self, app: &App) -> Result<CheckedFields, Problem> {
        let JudgingOptions { rubrics, multi, mut options, model } = self.judging.check(app)?;
        options.debug = self.debug;
        Ok(CheckedFields { item: self.item.check(app)?, rubrics, multi, options, model, debug: self.debug })
    }
}

impl JudgingFields {
    pub(super) fn check(self, app: &App) -> Result<JudgingOptions, Problem> {
        self.check_by(app, Rubrics::read)
    }

    /// The same for requests whose items may have rubrics of their own.
    pub(super) fn check_of_items(self, app: &App) -> Result<JudgingOptions, Problem> {
        self.check_by(app, |value, app| match value {
            serde_json::Value::Null => Ok(Rubrics { list: Vec::new(), multi: false }),
            value => Rubrics::read(value, app),
        })
    }

    fn check_by(
        self,
        app: &App,
        read: impl Fn(&serde_json::Value, &App) -> Result<Rubrics, Problem>,
    ) -> Result<JudgingOptions, Problem> {
        let Options { sampling: defaults, samples, cache, .. } = app.default_options();
        let model = app.hosted(self.model.as_deref());
        app.models().check_name(model).map_err(ServiceError::from)?;
        let model = model.map(str::to_owned);
        let Rubrics { list: rubrics, multi } = read(&self.rubric, app)?;
        let sampling = Sampling {
            temperature: self.sampling.temperature.unwrap_or(defaults.temperature),
            top_p: self.sampling.top_p.unwrap_or(defaults.top_p),
            top_k: self.sampling.top_k.unwrap_or(defaults.top_k),
            min_p: self.sampling.min_p.unwrap_or(defaults.min_p),
            seed: self.sampling.seed.unwrap_or(defaults.seed),
            seeded: self.sampling.seed.is_some(),
            max_feedback_tokens: self.sampling.max_feedback_tokens.unwrap_or(defaults.max_feedback_tokens),
            min_feedback_tokens: self.sampling.min_feedback_tokens.unwrap_or(defaults.min_feedback_tokens),
            max_thought_tokens: self.sampling.max_thought_tokens,
        };
        let SamplesBody { most: samples, settle } = self.samples.unwrap_or(SamplesBody { most: samples, settle: None });
        let options = Options {
            mode: self.mode.unwrap_or_default(),
            samples,
            settle,
            sampling,
            prompt: self.prompt,
            examples: examples(&self.examples, app)?,
            cache: self.cache.unwrap_or(cache),
            deterministic: self.deterministic,
            debug: false,
        };
        options.check()?;
        Ok(JudgingOptions { rubrics, multi, options, model })
    }
}

impl ItemFields {
    pub(super) fn check(mut self, app: &App) -> Result<Item, Problem> {
        let instruction = instruction(self.instruction.take(), self.messages.take(), &app.config.pictures)?;
        self.about(instruction, app)
    }

    /// The item of an instruction that has been checked.
    pub(super) fn about(self, instruction: Instruction, app: &App) -> Result<Item, Problem> {
        Ok(Item {
            annotator: annotator(self.annotator, app, "/annotator")?,
            instruction,
            reference_answer: self.reference_answer.filter(|text| !text.trim().is_empty()),
            context: self.context.into_iter().flatten().map(|Object(body)| body.into()).collect(),
        })
    }
}

/// The annotator of this name, or the one that the text describes.
pub(super) fn annotator(text: Option<String>, app: &App, at: &str) -> Result<Option<Annotator>, Problem> {
    let text = text.filter(|text| !text.trim().is_empty());
    text.map(|text| app.annotators.find(&text)).transpose().map_err(|error| Problem::from(error).at(at))
}

/// A text that must not be blank.
pub(super) fn not_empty(text: String, pointer: &str, what: &str) -> Result<String, Problem> {
    check_text(&text, pointer, what)?;
    Ok(text)
}

impl Rubrics {
    /// Reads the field `rubric`.
    pub(super) fn read(value: &serde_json::Value, app: &App) -> Result<Self, Problem> {
        let Some(list) = value.as_array() else {
            let only = WeightedRubric { rubric: rubric(value, "/rubric", app)?, weight: Weight::ONE, gate: None };
            return Ok(Self { list: vec![only], multi: false });
        };
        Ok(Self { list: weighted(list, app)?, multi: true })
    }
}

fn weighted(list: &[serde_json::Value], app: &App) -> Result<Vec<WeightedRubric>, Problem> {
    if list.is_empty() {
        return Err(InvalidRequest::at("/rubric", "the list of rubrics is empty").into());
    }
    if list.len() > MOST_RUBRICS {
        let reason = format!("a request takes at most {MOST_RUBRICS} rubrics, this one has {}", list.len());
        return Err(InvalidRequest::at("/rubric", reason).into());
    }
    let weighted = list.iter().enumerate().map(|(index, value)| {
        let at = format!("/rubric/{index}");
        let body: WeightedBody = parse_value(value, &at)?;
        let weight = body.weight.map_or(Ok(Weight::ONE), Weight::new);
        let weight = weight.map_err(|error| InvalidRequest::at(format!("{at}/weight"), error.to_string()))?;
        let rubric = rubric(&body.rubric, &format!("{at}/rubric"), app)?;
        Ok(WeightedRubric { rubric, weight, gate: body.gate })
    });
    weighted.collect()
}

fn rubric(value: &serde_json::Value, at: &str, app: &App) -> Result<NamedRubric, Problem> {
    match value {
        serde_json::Value::String(name) => app.rubrics.named(name).map_err(|error| Problem::from(error).at(at)),
        serde_json::Value::Object(_) => {
            let Object(body): Object<RubricBody> = parse_value(value, at)?;
            let rubric = Rubric::new(&body.criterion, &body.descriptions).map_err(|e| Problem::from(e).at(at))?;
            Ok(NamedRubric { name: "inline".into(), rubric: Arc::new(rubric) })
        }
        _ => {
            Err(InvalidRequest::at(at, "a rubric is a name, an object with criterion and descriptions, or a list")
                .into())
        }
    }
}
