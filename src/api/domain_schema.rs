//! The OpenAPI schemas of types that live below this room, and know nothing of OpenAPI.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::domain::{self, text_metrics};
use crate::graders;
use crate::prompts;

/// Documents a type as another one with the same fields, which exists for that only.
macro_rules! documented {
    ($($type:path as $mirror:ident),* $(,)?) => {
        $(
            impl PartialSchema for $type {
                fn schema() -> RefOr<Schema> {
                    $mirror::schema()
                }
            }

            impl ToSchema for $type {
                fn name() -> Cow<'static, str> {
                    $mirror::name()
                }

                fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                    $mirror::schemas(schemas);
                }
            }
        )*
    };
}

documented! {
    domain::Mode as Mode,
    domain::Method as Method,
    domain::Order as Order,
    domain::Finish as Finish,
    domain::Usage as Usage,
    domain::Timing as Timing,
    domain::Preference as Preference,
    prompts::EscapedMarker as Neutralized,
    graders::Operation as Operation,
    text_metrics::Metric as Metric,
}

/// Whether feedback is written before the verdict.
#[derive(serde::Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "only documents")]
enum Mode {
    /// Feedback, then the verdict.
    Feedback,
    /// The verdict alone, in one forward pass.
    Score,
}

/// How two responses are compared.
#[derive(serde::Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "only documents")]
enum Method {
    /// Both are shown together, in both orders unless `swap` is false.
    Pairwise,
    /// Each is graded alone; the higher reward is preferred.
    Absolute,
}

/// The order in which the caller's two responses were shown.
#[derive(serde::Serialize, ToSchema)]
#[allow(dead_code, reason = "only documents")]
enum Order {
    /// The caller's A first.
    AB,
    /// The caller's B first.
    BA,
}

/// Why feedback ended.
#[derive(serde::Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "only documents")]
enum Finish {
    /// The model came to its verdict, or ended its turn.
    Stop,
    /// The limit on feedback tokens was reached.
    Length,
}

/// Tokens that a judgement took.
#[derive(serde::Serialize, ToSchema)]
#[allow(dead_code, reason = "only documents")]
struct Usage {
    /// Tokens of the prompts.
    prompt_tokens: u64,
    /// Those of them that were not computed again.
    cached_tokens: u64,
    /// Tokens that were generated or chosen; forced ones are not counted.
    completion_tokens: u64,
}

/// Where the time went, in milliseconds.
#[derive(serde::Serialize, ToSchema)]
#[allow(dead_code, reason = "only documents")]
struct Timing {
    /// Waiting for the engine.
    queue: f64,
    /// Reading the prompt.
    prefill: f64,
    /// Writing and choosing.
    decode: f64,
    /// From the request's arrival to its verdict.
    total: f64,
}

/// Which response is better, in the caller's terms.
#[derive(serde::Serialize, ToSchema)]
#[allow(dead_code, reason = "only documents")]
enum Preference {
    /// The caller's A.
    A,
    /// The caller's B.
    B,
    /// Neither.
    #[serde(rename = "tie")]
    Tie,
}

/// A marker that stood in a text of the request and was broken by one space after its first character.
#[derive(serde::Serialize, ToSchema)]
#[allow(dead_code, reason = "only documents")]
struct Neutralized {
    /// The field: `response`, `messages/0`, `context/1`, …
    field: String,
    /// What stood there.
    text: String,
    /// Where it began, in characters of the original field.
    start: usize,
    /// Where it ended.
    end: usize,
}

/// How two strings are compared.
#[derive(serde::Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "only documents")]
enum Operation {
    /// They are equal.
    Eq,
    /// They are not equal.
    Ne,
    /// The input holds the reference.
    Like,
    /// The same, whatever the case.
    Ilike,
}

/// A measure of similarity.
#[derive(serde::Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "only documents")]
enum Metric {
    Cosine,
    FuzzyMatch,
    Bleu,
    Gleu,
    Meteor,
    #[serde(rename = "rouge_1")]
    Rouge1,
    #[serde(rename = "rouge_2")]
    Rouge2,
    #[serde(rename = "rouge_3")]
    Rouge3,
    #[serde(rename = "rouge_4")]
    Rouge4,
    #[serde(rename = "rouge_5")]
    Rouge5,
    RougeL,
}
