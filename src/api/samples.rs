//! The field `samples`: a number, or a maximum and when to stop.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use utoipa::ToSchema;

/// A number of samples, or a maximum and when to stop.
#[derive(ToSchema)]
#[schema(as = Samples)]
#[serde(untagged)]
#[allow(dead_code, reason = "only documents what `SamplesBody` reads by hand, which is a number or an object")]
pub(super) enum SamplesChoice {
    Number(u32),
    Adaptive(AdaptiveSamples),
}

/// Samples are taken until their majority is settled.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct AdaptiveSamples {
    /// Maximum number of samples, 2 to 64.
    max: u32,
    /// Minimum probability, 0.5 to below 1, that the majority is that of all samples; default 0.95.
    settle: Option<f64>,
}

/// The number of samples, unchecked.
#[derive(Debug, Clone, Copy)]
pub(super) struct SamplesBody {
    /// The maximum; without `settle`, the number.
    pub(super) most: u32,
    pub(super) settle: Option<f64>,
}

impl SamplesBody {
    /// One sample.
    pub(super) const ONE: Self = Self { most: 1, settle: None };
}

/// The probability that is common in the literature (Aggarwal et al. 2023, "Let's Sample Step by Step").
const SETTLE: f64 = 0.95;

impl<'de> Deserialize<'de> for SamplesBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrObject;
        impl<'de> Visitor<'de> for NumberOrObject {
            type Value = SamplesBody;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of samples, or an object with `max` and `settle`")
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<SamplesBody, E> {
                let most = u32::try_from(number);
                let most = most.map_err(|_| E::custom(format!("{number} is too large a number of samples")))?;
                Ok(SamplesBody { most, settle: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SamplesBody, A::Error> {
                let AdaptiveSamples { max, settle } = Deserialize::deserialize(MapAccessDeserializer::new(map))?;
                Ok(SamplesBody { most: max, settle: Some(settle.unwrap_or(SETTLE)) })
            }
        }
        deserializer.deserialize_any(NumberOrObject)
    }
}
