//! What the routes share that give rewards: many items, judged alike; each fails alone, and one that the model hardly
//! wanted to answer is unscored.

use std::sync::Arc;

use actix_web::web;

use super::problem::{Code, Problem};
use super::wire::{self, Judged};
use crate::app::{App, Deadline, ServiceError};
use crate::grading::{AbsoluteRequest, Instruction, InvalidRequest, Item, Options, WeightedRubric};
use crate::panel::{Absolute, Account, Panel};

/// How every item of a request is judged.
pub(super) struct Judging {
    app: web::Data<App>,
    pub(super) panel: Arc<Panel>,
    pub(super) rubrics: Vec<WeightedRubric>,
    pub(super) multi: bool,
    pub(super) options: Options,
    min_label_mass: f64,
    deadline: Deadline,
}

/// An item to judge.
pub(super) struct Subject {
    pub(super) item: Item,
    pub(super) response: String,
}

/// What came of an item.
pub(super) struct Outcome<R> {
    /// Its reward on 0..1, or why it has none; pointers are those of the item.
    pub(super) reward: Result<f64, Problem>,
    /// What is kept of its verdict, where there is one.
    pub(super) kept: Option<R>,
}

impl Judging {
    /// Finds the model. `min_label_mass` is the configured one unless given.
    pub(super) async fn begin(
        app: &web::Data<App>,
        judged: Judged,
        min_label_mass: Option<f64>,
        deadline: Deadline,
    ) -> Result<Self, Problem> {
        let min_label_mass = min_label_mass.unwrap_or(app.config.grading.min_label_mass);
        if !(0.0..=1.0).contains(&min_label_mass) {
            return Err(InvalidRequest::at("/min_label_mass", "must be between 0 and 1").into());
        }
        let panel = app.panel(judged.model.as_deref(), deadline).await?;
        panel.judge().prompt_set(judged.options.prompt.as_deref()).map_err(ServiceError::from)?;
        let Judged { rubrics, multi, options, .. } = judged;
        Ok(Self { app: app.clone(), panel, rubrics, multi, options, min_label_mass, deadline })
    }

    /// Judges every item, some at once, in their order. An item is read when its turn comes; of its verdict, only what
    /// `keep` takes outlives it.
    pub(super) async fn each<T, R>(
        &self,
        items: impl IntoIterator<Item = T>,
        read: impl Fn(usize, T) -> Result<Subject, Problem>,
        keep: impl Fn(&Absolute, &Account) -> R,
    ) -> Vec<Outcome<R>> {
        let one = |index, item| {
            let subject = read(index, item);
            let keep = &keep;
            async move {
                // What is refused or known at once never waits by itself, and others are served on this thread.
                tokio::task::yield_now().await;
                let judged = match subject {
                    Ok(subject) => self.one(subject).await,
                    Err(problem) => Err(problem),
                };
                match judged {
                    Ok((verdict, account)) => {
                        let kept = Some(keep(&verdict, &account));
                        Outcome { reward: self.reward(&verdict), kept }
                    }
                    Err(problem) => Outcome { reward: Err(problem), kept: None },
                }
            }
        };
        self.app.each(items, one).await
    }

    /// Judges one item.
    pub(super) async fn one(&self, subject: Subject) -> Result<(Absolute, Account), Problem> {
        let Subject { item, response } = subject;
        if let Instruction::Text(text) = &item.instruction
            && text.trim().is_empty()
        {
            return Err(
                InvalidRequest::at("/instruction", "the instruction is empty; there is nothing to judge").into()
            );
        }
        let longest = wire::longest(&item, &[("/response", &response)]);
        let (rubrics, options) = (self.rubrics.clone(), self.options.clone());
        let request = AbsoluteRequest { item, response, rubrics, multi: self.multi, options };
        let judged = self.app.absolute_in_turn(&self.panel, request, self.deadline).await;
        judged.map_err(|error| Problem::from(error).blame_overflow_on(longest))
    }

    /// The reward of a verdict.
    ///
    /// # Errors
    /// `low_label_mass`: a forced guess must not become a training signal.
    pub(super) fn reward(&self, verdict: &Absolute) -> Result<f64, Problem> {
        sure(verdict.label_mass(), self.min_label_mass)?;
        Ok(verdict.reward())
    }
}

/// Checks that a judgement is more than a forced guess.
///
/// # Errors
/// `low_label_mass`.
pub(super) fn sure(label_mass: f64, least: f64) -> Result<(), Problem> {
    if label_mass >= least {
        return Ok(());
    }
    let detail = format!(
        "the model put {label_mass:.4} of its probability on the answers, less than the {least} that min_label_mass asks for"
    );
    Err(Problem::new(Code::LowLabelMass, detail))
}
