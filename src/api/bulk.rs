//! What the routes share that give rewards: many items, judged alike; each fails alone, and one that the model hardly
//! wanted to answer is unscored.

use actix_web::web;

use super::problem::Problem;
use super::schema::JudgingOptions;
use crate::app::App;
use crate::domain::{
    AbsoluteRequest, Instruction, InvalidRequest, Item, Options, WeightedRubric, is_blank, require_label_mass,
};
use crate::service::{Graded, RequestContext, ServiceError, Session};
use crate::tasks::Absolute;

/// How every item of a request is judged.
pub(super) struct BulkJudging {
    app: web::Data<App>,
    pub(super) session: Session,
    pub(super) rubrics: Vec<WeightedRubric>,
    pub(super) multi: bool,
    pub(super) options: Options,
    min_label_mass: f64,
}

/// An item to judge.
pub(super) struct BulkItem {
    pub(super) item: Item,
    pub(super) response: String,
}

/// What came of an item.
pub(super) struct ItemOutcome<R> {
    /// Its reward on 0..1, or why it has none; pointers are those of the item.
    pub(super) reward: Result<f64, Problem>,
    /// What is kept of its verdict, where there is one.
    pub(super) kept: Option<R>,
}

impl BulkJudging {
    /// Finds the model. `min_label_mass` is the configured one unless given.
    pub(super) async fn begin(
        app: &web::Data<App>,
        judged: JudgingOptions,
        min_label_mass: Option<f64>,
        context: RequestContext,
    ) -> Result<Self, Problem> {
        let min_label_mass = min_label_mass.unwrap_or(app.config.grading.min_label_mass);
        if !(0.0..=1.0).contains(&min_label_mass) {
            return Err(InvalidRequest::at("/min_label_mass", "must be between 0 and 1").into());
        }
        let session = app.service.begin(&context, judged.model.as_deref()).await?;
        session.judge().prompt_set(judged.options.prompt.as_deref()).map_err(ServiceError::from)?;
        let JudgingOptions { rubrics, multi, options, .. } = judged;
        Ok(Self { app: app.clone(), session, rubrics, multi, options, min_label_mass })
    }

    /// Judges every item, some at once, in their order. An item is read when its turn comes; of its verdict, only what
    /// `keep` takes outlives it.
    pub(super) async fn each<T, R>(
        &self,
        items: impl IntoIterator<Item = T>,
        read: impl Fn(usize, T) -> Result<BulkItem, Problem>,
        keep: impl Fn(Graded<Absolute>) -> R,
    ) -> Vec<ItemOutcome<R>> {
        let one = |index, item| {
            let bulk_item = read(index, item);
            let keep = &keep;
            async move {
                // What is refused or known at once never waits by itself, and others are served on this thread.
                tokio::task::yield_now().await;
                let judged = match bulk_item {
                    Ok(bulk_item) => self.one(bulk_item).await,
                    Err(problem) => Err(problem),
                };
                match judged {
                    Ok(graded) => {
                        let reward = self.reward(&graded.verdict);
                        ItemOutcome { reward, kept: Some(keep(graded)) }
                    }
                    Err(problem) => ItemOutcome { reward: Err(problem), kept: None },
                }
            }
        };
        self.app.each(items, one).await
    }

    /// Judges one item.
    pub(super) async fn one(&self, bulk_item: BulkItem) -> Result<Graded<Absolute>, Problem> {
        let BulkItem { item, mut response } = bulk_item;
        // What shows nothing is judged as the empty text that it is: none of its forms may get more than another.
        if is_blank(&response) {
            response.clear();
        }
        if let Instruction::Text(text) = &item.instruction
            && is_blank(text)
        {
            return Err(
                InvalidRequest::at("/instruction", "the instruction is empty; there is nothing to judge").into()
            );
        }
        let (rubrics, options) = (self.rubrics.clone(), self.options.clone());
        let request = AbsoluteRequest { item, response, rubrics, multi: self.multi, options };
        Ok(self.session.run(request, None).await?)
    }

    /// The reward of a verdict.
    ///
    /// # Errors
    /// `low_label_mass`: a forced guess must not become a training signal.
    pub(super) fn reward(&self, verdict: &Absolute) -> Result<f64, Problem> {
        require_label_mass(verdict.label_mass(), self.min_label_mass)?;
        Ok(verdict.reward())
    }
}
