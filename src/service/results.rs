//! The results of the runs of a task.

use std::sync::Arc;

use super::cache::Lookup;
use super::error::ServiceError;
use super::pictures::{SeenPicture, add_seen};
use super::stats::RunStats;
use crate::domain::Judgement;
use crate::tasks::{Answer, FailureIndex, RunKey};

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
