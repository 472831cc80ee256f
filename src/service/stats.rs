//! The statistics of a verdict.

use std::sync::Arc;

use super::pictures::{SeenPicture, add_seen};
use crate::domain::{MassKind, Timing, Usage};
use crate::prompts::EscapedMarker;

/// The statistics of a verdict.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunStats {
    /// Tokens of the judgements that were computed for it, not those of the cache or of other requests in flight.
    pub usage: Usage,
    /// The maximum of each stage, and the total.
    pub timing: Timing,
    /// Whether every judgement came from the cache.
    pub cached: bool,
    /// Escaped markers in the judged texts of the first judgement.
    pub neutralized: Arc<[EscapedMarker]>,
    /// How the label masses of its judgements were obtained, the least exact of them.
    pub mass: MassKind,
    /// If samples were taken until they settled: the number of samples, the largest of its runs.
    pub samples_used: Option<u32>,
    /// The pictures that the model saw, those of the first judgement first.
    pub pictures: Arc<[SeenPicture]>,
    /// With pictures, `sha256:<hex>` of the model's eyes.
    pub eyes: Option<String>,
}

impl RunStats {
    /// The statistics of two verdicts together.
    #[must_use]
    pub(super) fn with(mut self, other: &Self) -> Self {
        self.usage += other.usage;
        self.timing = self.timing.longest(other.timing);
        self.cached &= other.cached;
        self.mass = self.mass.worse(other.mass);
        self.samples_used = self.samples_used.max(other.samples_used);
        add_seen(&mut self.pictures, &other.pictures);
        self.eyes = self.eyes.or_else(|| other.eyes.clone());
        self
    }
}
