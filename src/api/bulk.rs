//! Shared code of the routes for rewards: many items with the same settings. Each item fails alone, and one with a low
//! label mass is unscored.

use actix_web::web;

use super::method::one_rubric;
use super::problem::Problem;
use super::schema::{JudgingOptions, Rubrics};
use crate::app::App;
use crate::domain::jury::Judges;
use crate::domain::{
    AbsoluteRequest, Content, Instruction, InvalidRequest, Item, NamedRubric, Options, WeightedRubric, is_blank,
    require_label_mass,
};
use crate::service::{Graded, Panel, RequestContext, ServiceError, Session};
use crate::tasks::{Absolute, prompt_set};

/// The settings of all items of a request.
pub(super) struct BulkJudging {
    app: web::Data<App>,
    panel: Panel,
    pub(super) rubrics: Vec<WeightedRubric>,
    pub(super) multi: bool,
    pub(super) options: Options,
    pub(super) min_label_mass: f64,
}

/// An item to judge.
pub(super) struct BulkItem {
    pub(super) item: Item,
    pub(super) response: Content,
    /// Its own rubrics in place of those of the request.
    pub(super) rubrics: Option<Rubrics>,
}

impl BulkItem {
    /// An item that is judged by the rubrics of the request.
    pub(super) fn new(item: Item, response: String) -> Self {
        Self { item, response: response.into(), rubrics: None }
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

    /// The one judge; `None` for a jury.
    pub(super) fn alone(&self) -> Option<&Session> {
        self.panel.alone()
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
                match bulk_item {
                    Ok(bulk_item) => self.outcome(bulk_item, keep).await,
                    Err(problem) => ItemOutcome { reward: Err(problem), kept: None },
                }
            }
        };
        self.each_by(items, one).await
    }

    /// The same with any way to judge an item.
    pub(super) async fn each_by<T, R, F: Future<Output = ItemOutcome<R>>>(
        &self,
        items: impl IntoIterator<Item = T>,
        judge: impl Fn(usize, T) -> F,
    ) -> Vec<ItemOutcome<R>> {
        let one = |index, item| {
            let judged = judge(index, item);
            async move {
                // Refused and cached items never wait, so they must yield the thread.
                tokio::task::yield_now().await;
                judged.await
            }
        };
        self.app.each(items, one).await
    }

    /// Grades an item, and keeps what `keep` returns.
    pub(super) async fn outcome<R>(
        &self,
        bulk_item: BulkItem,
        keep: impl Fn(Graded<Absolute>, &[WeightedRubric]) -> R,
    ) -> ItemOutcome<R> {
        let own = bulk_item.rubrics.as_ref().map(|rubrics| rubrics.list.clone());
        match self.one(bulk_item).await {
            Ok(graded) => {
                let reward = self.reward(&graded.verdict);
                ItemOutcome { reward, kept: Some(keep(graded, own.as_deref().unwrap_or(&self.rubrics))) }
            }
            Err(problem) => ItemOutcome { reward: Err(problem), kept: None },
        }
    }

    /// The item, its response, and the one rubric of its own or of the request, if there is one.
    ///
    /// # Errors
    /// If the instruction is empty, or there are several rubrics.
    pub(super) fn prepared(&self, item: BulkItem) -> Result<(Item, Content, Option<NamedRubric>), Problem> {
        let BulkItem { item, response, rubrics } = judgeable(item)?;
        let Rubrics { list, multi } =
            rubrics.unwrap_or_else(|| Rubrics { list: self.rubrics.clone(), multi: self.multi });
        Ok((item, response, one_rubric(list, multi)?))
    }

    /// Judges one item.
    pub(super) async fn one(&self, bulk_item: BulkItem) -> Result<Graded<Absolute>, Problem> {
        let BulkItem { item, response, rubrics } = judgeable(bulk_item)?;
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

/// An item with an instruction. A blank response is judged as an empty one, so that no form of it gets a higher reward.
fn judgeable(mut bulk_item: BulkItem) -> Result<BulkItem, Problem> {
    if bulk_item.response.is_blank() {
        bulk_item.response = Content::default();
    }
    match &bulk_item.item.instruction {
        Instruction::Text(text) if is_blank(text) => {
            Err(InvalidRequest::at("/instruction", "the instruction is empty; there is nothing to judge").into())
        }
        _ => Ok(bulk_item),
    }
}
