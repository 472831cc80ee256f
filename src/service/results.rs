//! The results of the runs of a task, and their statistics.

use std::sync::Arc;

use super::cache::Lookup;
use super::error::ServiceError;
use super::pictures::{SeenPicture, add_seen};
use crate::domain::{Judgement, MassKind, Timing, Usage};
use crate::prompts::EscapedMarker;
use crate::tasks::{Answer, FailureIndex, RunKey};

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

/// The judgement of one sample of a run.
pub(super) struct JudgedSample {
    pub(super) judgement: Judgement,
    pub(super) lookup: Option<Lookup>,
    /// The pictures of its prompt.
    pub(super) pictures: Arc<[SeenPicture]>,
}

/// The answers, failures and statistics of the runs so far.
#[derive(Default)]
pub(super) struct RunResults {
    pub(super) answers: Vec<Answer>,
    pub(super) failures: Vec<ServiceError>,
    pub(super) judged: usize,
    pub(super) stats: RunStats,
    pub(super) lookup: Option<Lookup>,
}

impl RunResults {
    pub(super) fn add(&mut self, (run, answer): (RunKey, Result<JudgedSample, ServiceError>)) {
        let judgement = match answer {
            Ok(JudgedSample { judgement, lookup, pictures }) => {
                add_seen(&mut self.stats.pictures, &pictures);
                // Tokens count once, for the request that computed them.
                if lookup.is_none_or(|lookup| lookup == Lookup::Miss) {
                    self.stats.usage += judgement.usage;
                }
                self.stats.mass = self.stats.mass.worse(judgement.mass);
                self.stats.timing = self.stats.timing.longest(judgement.timing);
                self.stats.cached = judgement.cached && (self.judged == 0 || self.stats.cached);
                self.judged += 1;
                self.lookup = self.lookup.max(lookup);
                Ok(judgement)
            }
            Err(error) => {
                self.failures.push(error);
                Err(FailureIndex(self.failures.len() - 1))
            }
        };
        self.answers.push(Answer { run, judgement });
    }
}
