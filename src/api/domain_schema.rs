//! OpenAPI schemas of domain types, which do not depend on utoipa.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::domain::{self, text_metrics};
use crate::graders;
use crate::prompts;
use crate::tasks;

/// Documents a type with the schema of a type with the same fields, which exists only for this.
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
    domain::jury::Combine as Combine,
    domain::Order as Order,
    domain::Finish as Finish,
    domain::Usage as Usage,
    domain::Timing as Timing,
    domain::Preference as Preference,
    prompts::EscapedMarker as Neutralized,
    graders::Operation as Operation,
    text_metrics::Metric as Metric,
    domain::segments::Span as Span,
    tasks::Scope as Scope,
    tasks::Against as Against,
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

/// How the verdicts of jurors are combined.
#[derive(serde::Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "only documents")]
enum Combine {
    /// The mean of all jurors.
    Mean,
    /// What most jurors say, and the mean of those.
    Majority,
    /// The mean, with the weights of the jurors.
    Weighted,
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
    /// At a stop text, or because the model ended its turn.
    Stop,
    /// The limit on feedback tokens was reached.
    Length,
}

/// Token counts of a judgement.
#[derive(serde::Serialize, ToSchema)]
#[allow(dead_code, reason = "only documents")]
struct Usage {
    /// Tokens of the prompts.
    prompt_tokens: u64,
    /// Prompt tokens that were reused from the prefix cache.
    cached_tokens: u64,
    /// Tokens of pictures, which are among those of the prompts; missing without pictures.
    image_tokens: Option<u64>,
    /// Generated or chosen tokens, without forced ones.
    completion_tokens: u64,
}

/// Time by stage, in milliseconds.
#[derive(serde::Serialize, ToSchema)]
#[allow(dead_code, reason = "only documents")]
struct Timing {
    /// Waiting for the engine.
    queue: f64,
    /// Prefill of the prompt.
    prefill: f64,
    /// Generating and choosing.
    decode: f64,
    /// From the request's arrival to its verdict.
    total: f64,
}

/// The better response, as the caller named the responses.
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

/// A marker in a text of the request, which was escaped by one space after its first character.
#[derive(serde::Serialize, ToSchema)]
#[allow(dead_code, reason = "only documents")]
struct Neutralized {
    /// The field: `response`, `messages/0`, `context/1`, …
    field: String,
    /// The original text.
    text: String,
    /// Its start in the original field, in characters.
    start: usize,
    /// Its end, exclusive.
    end: usize,
}

/// A comparison of two strings.
#[derive(serde::Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "only documents")]
enum Operation {
    /// They are equal.
    Eq,
    /// They are not equal.
    Ne,
    /// The input contains the reference.
    Like,
    /// The same, ignoring case.
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

/// A part of a text, by its characters (Unicode scalar values).
#[derive(serde::Serialize, ToSchema)]
#[allow(dead_code, reason = "only documents")]
struct Span {
    /// The first character, from 0.
    start: usize,
    /// The character after the last one.
    end: usize,
}

/// How much of the response the judge of a segment sees.
#[derive(serde::Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "only documents")]
enum Scope {
    /// The whole response.
    Own,
    /// The response up to the end of the segment.
    Before,
}

/// What claims are checked against.
#[derive(serde::Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "only documents")]
enum Against {
    /// The reference answer.
    Reference,
    /// The documents of the context.
    Context,
}
