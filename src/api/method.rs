//! What the methods beside grading share: the fields of their requests, labels, and the form of a choice.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::json::{Object, parse_value};
use super::problem::Problem;
use super::schema::{GradingFields, ItemFields, JudgingOptions};
use super::verdict;
use crate::app::App;
use crate::domain::{BranchChoice, InvalidRequest, Item, Label, LabelSet, Mode, NamedRubric, WeightedRubric};

/// Declares a request about a response: its own fields, then those that grading requests have and that make sense for
/// every method.
macro_rules! method_body {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        #[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
        $(#[$doc])*
        pub(super) struct $name {
            $($(#[$field_doc])* $field: $kind,)*
            /// The instruction; use either this or `messages`.
            instruction: Option<String>,
            /// The conversation, which ends with a user turn.
            #[schema(value_type = Option<Vec<$crate::api::messages::MessageBody>>)]
            messages: Option<Vec<$crate::api::json::Object<$crate::api::messages::MessageBody>>>,
            /// A good answer to the instruction.
            reference_answer: Option<String>,
            /// Documents that the response is judged against.
            #[schema(value_type = Option<Vec<$crate::api::schema::ContextBody>>)]
            context: Option<Vec<$crate::api::json::Object<$crate::api::schema::ContextBody>>>,
            /// Sampling of what is written.
            #[serde(default, deserialize_with = "crate::api::json::object_or_null")]
            sampling: Option<$crate::api::schema::SamplingBody>,
            /// A name of `GET /v1/models`, or null for the default one.
            model: Option<String>,
            /// A prompt set; null for the model's own, or `plain` where that has no such prompt.
            prompt: Option<String>,
            /// The persona whose judgement is requested.
            annotator: Option<String>,
            /// Whether the verdict cache may be used.
            cache: Option<bool>,
            /// Run alone and without prefix reuse, which gives the same bytes every time.
            deterministic: Option<bool>,
            /// Return the exact prompt and answer of the model.
            debug: Option<bool>,
        }

        impl $name {
            /// Separates the shared fields from the own ones; `rubric` is null where the method has none.
            fn common(&mut self, rubric: serde_json::Value) -> $crate::api::schema::GradingFields {
                $crate::api::schema::GradingFields {
                    item: $crate::api::schema::ItemFields {
                        instruction: self.instruction.take(),
                        messages: self.messages.take(),
                        reference_answer: self.reference_answer.take(),
                        context: self.context.take(),
                        annotator: self.annotator.take(),
                    },
                    judging: $crate::api::schema::JudgingFields {
                        rubric,
                        // The methods take no samples, whatever the default is.
                        samples: Some($crate::api::samples::SamplesBody::ONE),
                        sampling: self.sampling.take().unwrap_or_default(),
                        model: self.model.take(),
                        prompt: self.prompt.take(),
                        cache: self.cache,
                        deterministic: self.deterministic.unwrap_or(false),
                        ..Default::default()
                    },
                    debug: self.debug.unwrap_or(false),
                }
            }
        }
    };
}
pub(super) use method_body;

/// The checked shared fields of such a request.
pub(super) struct MethodFields {
    pub(super) item: Item,
    pub(super) judging: JudgingOptions,
    pub(super) debug: bool,
}

impl MethodFields {
    /// Checks the shared fields; a null rubric is none. In `Mode::Score`, the method writes nothing.
    ///
    /// # Errors
    /// Those of a grading request.
    pub(super) fn check(fields: GradingFields, mode: Mode, app: &App) -> Result<Self, Problem> {
        Self::check_by(fields, mode, app, ItemFields::check)
    }

    /// The same, with another check of the item.
    ///
    /// # Errors
    /// Those of a grading request, and of the check.
    pub(super) fn check_by(
        fields: GradingFields,
        mode: Mode,
        app: &App,
        check: impl FnOnce(ItemFields, &App) -> Result<Item, Problem>,
    ) -> Result<Self, Problem> {
        let GradingFields { item, mut judging, debug } = fields;
        judging.mode = Some(mode);
        Ok(Self { judging: judging.check_of_items(app)?, item: check(item, app)?, debug })
    }
}

/// What a label is worth, and what it means.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct RewardedLabel {
    reward: f64,
    /// What the label means, in a sentence.
    meaning: Option<String>,
}

/// A set's name, or labels with what each is worth.
#[derive(ToSchema)]
#[schema(as = SegmentLabels)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what `labels` reads by hand, for the sake of pointers")]
pub(super) enum RewardedLabels {
    Name(String),
    Rewards(IndexMap<String, f64>),
    Described(IndexMap<String, RewardedLabel>),
}

/// A set's name, or labels with what each means.
#[derive(ToSchema)]
#[schema(as = Labels)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what `labels` reads by hand, for the sake of pointers")]
pub(super) enum DescribedLabels {
    Name(String),
    Meanings(IndexMap<String, String>),
}

/// Reads the field `labels` of a request whose labels have rewards.
///
/// # Errors
/// At `/labels`, or at the label at fault.
pub(super) fn rewarded_labels(value: &Value, app: &App) -> Result<LabelSet, Problem> {
    labels(value, app, |name, value, at| {
        let name = name.to_owned();
        if let Some(reward) = value.as_f64() {
            return Ok(Label { name, meaning: None, reward: Some(reward) });
        }
        if !value.is_object() {
            let reason = "a label has its reward, a number, or an object with `reward` and `meaning`";
            return Err(InvalidRequest::at(at, reason).into());
        }
        let Object(RewardedLabel { reward, meaning }) = parse_value(value, at)?;
        Ok(Label { name, meaning, reward: Some(reward) })
    })
}

/// Reads the field `labels` of a request whose labels have meanings.
///
/// # Errors
/// At `/labels`, or at the label at fault.
pub(super) fn described_labels(value: &Value, app: &App) -> Result<LabelSet, Problem> {
    labels(value, app, |name, value, at| match value.as_str() {
        Some(meaning) => Ok(Label { name: name.to_owned(), meaning: Some(meaning.to_owned()), reward: None }),
        None => Err(InvalidRequest::at(at, "a label has what it means, a text").into()),
    })
}

fn labels(
    value: &Value,
    app: &App,
    read: impl Fn(&str, &Value, &str) -> Result<Label, Problem>,
) -> Result<LabelSet, Problem> {
    const AT: &str = "/labels";
    match value {
        Value::String(name) => {
            let set = app.labels.named(name).map_err(|unknown| InvalidRequest::at(AT, unknown.to_string()))?;
            Ok(set.clone())
        }
        Value::Object(labels) => {
            let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
            let labels = labels.iter().map(|(name, value)| read(name, value, &format!("{AT}/{}", escaped(name))));
            let set = LabelSet::new("inline", labels.collect::<Result<_, _>>()?);
            Ok(set.map_err(|invalid| InvalidRequest::at(AT, invalid.to_string()))?)
        }
        _ => Err(InvalidRequest::at(AT, "labels are a set's name, or an object with a name for each label").into()),
    }
}

/// A label that was chosen.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChosenLabel {
    /// The most probable label.
    label: String,
    /// The probability of each label.
    distribution: IndexMap<String, f64>,
    /// Total probability of the labels before normalising.
    label_mass: f64,
}

impl ChosenLabel {
    pub(super) fn of(set: &LabelSet, label: usize, choice: &BranchChoice) -> Self {
        let names = || set.labels.iter().map(|label| label.name.clone());
        Self {
            label: names().nth(label).unwrap_or_default(),
            distribution: verdict::by_label(names(), choice.distribution.probabilities()),
            label_mass: choice.label_mass,
        }
    }
}

/// The lowest label mass of several choices.
pub(super) fn lowest_mass<'a>(choices: impl IntoIterator<Item = &'a BranchChoice>) -> f64 {
    choices.into_iter().map(|choice| choice.label_mass).fold(1.0, f64::min)
}

/// The rubric of a method that takes one or none.
///
/// # Errors
/// At `/rubric` if there is a list.
pub(super) fn one_rubric(rubrics: Vec<WeightedRubric>, multi: bool) -> Result<Option<NamedRubric>, Problem> {
    if multi {
        return Err(InvalidRequest::at("/rubric", "this method takes one rubric, not a list").into());
    }
    Ok(rubrics.into_iter().next().map(|weighted| weighted.rubric))
}

/// A list of texts.
///
/// # Errors
/// At the first entry that is no text.
pub(super) fn texts(list: &[Value], at: &str) -> Result<Vec<String>, Problem> {
    let text = |(index, value): (usize, &Value)| match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(InvalidRequest::at(format!("{at}/{index}"), "must be a text").into()),
    };
    list.iter().enumerate().map(text).collect()
}
