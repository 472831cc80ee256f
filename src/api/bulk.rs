//! Shared code of the routes for rewards: many items with the same settings. Each item fails alone, and one with a low
//! label mass is unscored.

use actix_web::web;

use super::problem::Problem;
use super::schema::{JudgingOptions, Rubrics};
use crate::app::App;
use crate::domain::jury::Judges;
use crate::domain::{
    AbsoluteRequest, Instruction, InvalidRequest, Item, Options, WeightedRubric, is_blank, require_label_mass,
};
use crate::service::{Graded, Panel, RequestContext, ServiceError};
use crate::tasks::{Absolute, prompt_set};

/// The settings of all items of a request.
pub(super) struct BulkJudging {
    app: web::Data<App>,
    panel: Panel,
    pub(super) rubrics: Vec<WeightedRubric>,
    pub(super) multi: bool,
    pub(super) options: Options,
    min_label_mass: f64,
}

/// An item to judge.
pub(super) struct BulkItem {
    pub(super) item: Item,
    pub(super) response: String,
    /// Its own rubrics in place of those of the request.
    pub(super) rubrics: Option<Rubrics>,
}

impl BulkItem {
    /// An item that is judged by the rubrics of the request.
    pub(super) fn new(item: Item, response: String) -> Self {
        Self { item, response, rubrics: None }
    }
}

/// The result of an item.
pub(super) struct ItemOutcome<R> {
    /// The reward on 0..1, or the problem, whose pointer is relative to the item.
    pub(super) reward: Result<f64, Problem>,
    /// The kept part of its verdict, if there is one.
    pub(super) kept: Option<R>,
}

impl BulkJudging {
    /// Finds the model. `min_label_mass` defaults to the configured one.
    pub(super) async fn begin(
        app: &web::Data<App>,
        mut judged: JudgingOptions,
        min_label_mass: Option<f64>,
        context: RequestContext,
    ) -> Result<Self, Problem> {
        let judges = Judges::One(judged.model.take());
        Self::begin_with(app, judged, judges, min_label_mass, context).await
    }

    /// The same with these judges.
    pub(super) async fn begin_with(
        app: &web::Data<App>,
        judged: JudgingOptions,
        judges: Judges,
        min_label_mass: Option<f64>,
        context: RequestContext,
    ) -> Result<Self, Problem> {
        let min_label_mass = min_label_mass.unwrap_or(app.config.grading.min_label_mass);
        if !(0.0..=1.0).contains(&min_label_mass) {
            return Err(InvalidRequest::at("/min_label_mass", "must be between 0 and 1").into());
        }
        let panel = app.service.panel(&context, judges).await?;
        let JudgingOptions { rubrics, multi, options, .. } = judged;
        if let Some(name) = &options.prompt {
            prompt_set(app.prompts(), name).map_err(ServiceError::from)?;
        }
        Ok(Self { app: app.clone(), panel, rubrics, multi, options, min_label_mass })
    }

    /// The name of the model, or of the jury.
    pub(super) fn model(&self) -> String {
        self.panel.name()
    }

    /// Judges all items, some at once, and returns the results in their order. An item is parsed at its turn; only the
    /// part of its verdict that `keep` returns is kept; that gets the verdict and its rubrics.
    pub(super) async fn each<T, R>(
        &self,
        items: impl IntoIterator<Item = T>,
        read: impl Fn(usize, T) -> Result<BulkItem, Problem>,
        keep: impl Fn(Graded<Absolute>, &[WeightedRubric]) -> R,
    ) -> Vec<ItemOutcome<R>> {
        let one = |index, item| {
            let bulk_item = read(index, item);
            let keep = &keep;
            async move {
                // Refused and cached items never wait, so they must yield the thread.
                tokio::task::yield_now().await;
                let judged = match bulk_item {
                    Ok(bulk_item) => {
                        let own = bulk_item.rubrics.as_ref().map(|rubrics| rubrics.list.clone());
                        self.one(bulk_item).await.map(|graded| (graded, own))
                    }
                    Err(problem) => Err(problem),
                };
                match judged {
                    Ok((graded, own)) => {
                        let reward = self.reward(&graded.verdict);
                        ItemOutcome { reward, kept: Some(keep(graded, own.as_deref().unwrap_or(&self.rubrics))) }
                    }
                    Err(problem) => ItemOutcome { reward: Err(problem), kept: None },
                }
            }
        };
        self.app.each(items, one).await
    }

    /// Judges one item.
    pub(super) async fn one(&self, bulk_item: BulkItem) -> Result<Graded<Absolute>, Problem> {
        let BulkItem { item, mut response, rubrics } = bulk_item;
        // A blank response is judged as an empty one, so that no form of it gets a higher reward.
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
        let common = || Rubrics { list: self.rubrics.clone(), multi: self.multi };
        let Rubrics { list: rubrics, multi } = rubrics.unwrap_or_else(common);
        if rubrics.is_empty() {
            let reason = "name a rubric here, or one for all items in the request's `rubric`";
            return Err(InvalidRequest::at("/rubric", reason).into());
        }
        let request = AbsoluteRequest { item, response, rubrics, multi, options: self.options.clone() };
        Ok(self.panel.run(request, None).await?)
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
