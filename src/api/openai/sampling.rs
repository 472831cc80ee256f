//! Sampling fields and stop texts of the OpenAI-compatible API.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::problem::Problem;
use crate::config::GradingConfig;
use crate::domain::{InvalidRequest, Mode, Options, Sampling};
use crate::script::StopString;
use crate::tasks::MOST_CHOICES;

/// Maximum number of stop texts in one request; OpenAI allows 4.
const MOST_STOPS: usize = 64;
/// Maximum length of a stop text, in bytes.
const LONGEST_STOP: usize = 256;

/// A text, or several.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum StopBody {
    One(String),
    Many(Vec<String>),
}

/// The sampling fields of chat and text completions.
pub(super) struct SamplingFields {
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    /// 0 keeps all tokens, and so does -1, as in vLLM.
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f32>,
    pub(super) n: Option<u32>,
    pub(super) seed: Option<i64>,
    /// Maximum number of tokens, and the name of its field.
    pub(super) most: (Option<u32>, &'static str),
}

impl SamplingFields {
    /// The checked options, with the defaults of grading and, if given, another default temperature.
    pub(super) fn options(self, defaults: &GradingConfig, temperature: Option<f32>) -> Result<Options, Problem> {
        let temperature = self.temperature.or(temperature).unwrap_or(defaults.temperature);
        let wrong = |pointer: &str, reason: &str| Problem::from(InvalidRequest::at(pointer, reason));
        let top_k = match self.top_k {
            None => defaults.top_k,
            Some(-1) => 0,
            Some(top_k) => {
                u32::try_from(top_k).map_err(|_| wrong("/top_k", "top_k is a number of tokens; 0 or -1 keeps all"))?
            }
        };
        let sampling = Sampling {
            temperature,
            top_p: self.top_p.unwrap_or(defaults.top_p),
            top_k,
            min_p: self.min_p.unwrap_or(defaults.min_p),
            // Without a seed, each request gets a new sample.
            seed: match self.seed {
                Some(seed) => seed.cast_unsigned(),
                None if temperature > 0.0 => u64::from(ulid::Ulid::new().random() as u32),
                None => defaults.seed,
            },
            seeded: self.seed.is_some(),
            max_feedback_tokens: self.most.0.unwrap_or(defaults.max_feedback_tokens),
            min_feedback_tokens: 0,
            max_thought_tokens: None,
        };
        let samples = self.n.unwrap_or(1);
        if !(1..=MOST_CHOICES).contains(&samples) {
            return Err(wrong("/n", &format!("n is 1 to {MOST_CHOICES}")));
        }
        if !(0.0..=2.0).contains(&sampling.temperature) {
            return Err(wrong("/temperature", "the temperature is 0 to 2"));
        }
        if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
            return Err(wrong("/top_p", "top_p is above 0 and at most 1"));
        }
        if !(0.0..=1.0).contains(&sampling.min_p) {
            return Err(wrong("/min_p", "min_p is 0 to 1"));
        }
        if sampling.max_feedback_tokens == 0 {
            return Err(wrong(self.most.1, "must be at least 1"));
        }
        let cache = defaults.cache;
        Ok(Options {
            mode: Mode::Feedback,
            samples,
            settle: None,
            sampling,
            prompt: None,
            examples: None,
            cache,
            deterministic: false,
            debug: false,
        })
    }
}

/// The checked stop texts of a request. Their number and length are limited, because each is searched at every token.
pub(super) fn stops(stop: &Option<StopBody>) -> Result<Vec<StopString>, Problem> {
    let stops = match stop {
        Some(StopBody::One(stop)) => std::slice::from_ref(stop),
        Some(StopBody::Many(stops)) => stops,
        None => &[],
    };
    if stops.len() > MOST_STOPS {
        let reason = format!("has {} stop texts; the maximum is {MOST_STOPS}", stops.len());
        return Err(InvalidRequest::at("/stop", reason).into());
    }
    if let Some((index, long)) = stops.iter().enumerate().find(|(_, stop)| stop.len() > LONGEST_STOP) {
        let pointer =
            if matches!(stop, Some(StopBody::One(_))) { "/stop".to_owned() } else { format!("/stop/{index}") };
        let reason = format!("has {} bytes; the maximum for a stop text is {LONGEST_STOP}", long.len());
        return Err(InvalidRequest::at(pointer, reason).into());
    }
    Ok(stops.iter().filter(|stop| !stop.is_empty()).map(|stop| stop.as_str().into()).collect())
}
