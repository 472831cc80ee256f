//! Bulk work: many gradings for one caller, a few at a time, so that one caller neither takes the whole server nor
//! is refused halfway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};

use super::{Admitted, App, Deadline, ServiceError, planned};
use crate::grading::{AbsoluteRequest, RelativeRequest};
use crate::judge::JudgeError;
use crate::panel::{Absolute, Account, Panel, Plan, Relative};

impl App {
    /// Does `work` on every item, `limits.bulk_items` at once, and gives what came of each in the order of the items.
    /// An item is taken when its turn comes, and gone when it is done; dropping the future stops what runs and never
    /// begins the rest.
    pub async fn each<T, R, F>(&self, items: impl IntoIterator<Item = T>, work: impl Fn(usize, T) -> F) -> Vec<R>
    where
        F: Future<Output = R>,
    {
        let works = stream::iter(items).enumerate().map(|(index, item)| {
            let work = work(index, item);
            async move { (index, work.await) }
        });
        let mut done: Vec<(usize, R)> = works.buffer_unordered(self.config.limits.bulk_items).collect().await;
        done.sort_unstable_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, result)| result).collect()
    }

    /// Runs an absolute grading that is a part of a request, once its turn comes.
    ///
    /// # Errors
    /// When it can never run, the engine fails, or the deadline passes.
    pub async fn absolute_in_turn(
        &self,
        panel: &Arc<Panel>,
        request: AbsoluteRequest,
        deadline: Deadline,
    ) -> Result<(Absolute, Account), ServiceError> {
        let length = request.text_len();
        self.in_turn(panel, length, move |panel| panel.plan_absolute(request), deadline).await?.run(None).await
    }

    /// Runs a relative grading that is a part of a request, once its turn comes.
    ///
    /// # Errors
    /// When it can never run, the engine fails, or the deadline passes.
    pub async fn relative_in_turn(
        &self,
        panel: &Arc<Panel>,
        request: RelativeRequest,
        deadline: Deadline,
    ) -> Result<(Relative, Account), ServiceError> {
        let length = request.text_len();
        self.in_turn(panel, length, move |panel| panel.plan_relative(request), deadline).await?.run(None).await
    }

    /// Waits first and plans then: what waits costs its text, and no more.
    async fn in_turn<R: Send + 'static>(
        &self,
        panel: &Arc<Panel>,
        text_len: usize,
        plan: impl FnOnce(&Panel) -> Result<Plan<R>, JudgeError> + Send + 'static,
        deadline: Deadline,
    ) -> Result<Admitted<R>, ServiceError> {
        if deadline.left() == Duration::ZERO {
            return Err(ServiceError::Deadline(deadline.allowed));
        }
        let asked = Instant::now();
        let permit = deadline.within(self.admission.enter_in_turn()).await?;
        let waited = asked.elapsed();
        let mut plan = planned(panel, text_len, plan).await?;
        plan.has_waited(waited);
        Ok(Admitted { panel: Arc::clone(panel), plan, _permit: permit, deadline })
    }
}
