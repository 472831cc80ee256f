//! Methods of two stages: what one task finds makes the next one.

use super::pictures::add_seen;
use super::{Graded, RunStats, ServiceError, Session};
use crate::domain::Timing;
use crate::tasks::Task;

impl Session {
    /// Runs a task, and then the one that is made of its verdict. Tokens and times are those of both.
    ///
    /// # Errors
    /// Those of [`Session::run`], of either task.
    pub async fn run_then<A: Task, B: Task>(
        &self,
        first: A,
        then: impl FnOnce(A::Verdict) -> B,
    ) -> Result<Graded<B::Verdict>, ServiceError> {
        let Graded { verdict, stats, .. } = self.run(first, None).await?;
        let second = self.run(then(verdict), None).await?;
        Ok(Graded { stats: stats.then(second.stats), ..second })
    }
}

impl RunStats {
    /// The statistics of this stage and the one after it.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        let mut pictures = self.pictures;
        add_seen(&mut pictures, &next.pictures);
        let mut usage = self.usage;
        usage += next.usage;
        let (before, after) = (self.timing, next.timing);
        let timing = Timing {
            queue: before.queue + after.queue,
            prefill: before.prefill + after.prefill,
            decode: before.decode + after.decode,
            total: before.total + after.total,
        };
        let (cached, mass, eyes) = (self.cached && next.cached, self.mass.worse(next.mass), next.eyes.or(self.eyes));
        Self { usage, timing, cached, mass, eyes, pictures, ..next }
    }
}
