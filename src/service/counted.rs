//! The count of judgements by outcome.

use crate::engine::EngineInfo;
use crate::metrics::Metrics;

/// Counts the outcome of a judgement; dropping it before its end counts as cancelled.
pub(super) struct JudgementCount<'a> {
    metrics: &'a Metrics,
    labels: [&'a str; 3],
    /// How it ended, as the metric says it.
    pub(super) ended: Option<&'static str>,
}

impl<'a> JudgementCount<'a> {
    pub(super) fn new(metrics: &'a Metrics, kind: &'static str, rubric: &'a str, engine: &'a EngineInfo) -> Self {
        Self { metrics, labels: [kind, rubric, engine.model.as_str()], ended: None }
    }
}

impl Drop for JudgementCount<'_> {
    fn drop(&mut self) {
        let [kind, rubric, model] = self.labels;
        self.metrics.judgements.with_label_values(&[kind, rubric, model, self.ended.unwrap_or("cancelled")]).inc();
    }
}
