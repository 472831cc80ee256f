//! Options of comparisons.

use super::problem::Problem;
use crate::app::App;
use crate::domain::{InvalidRequest, Method};

/// The fields of a comparison, unchecked.
pub(super) struct ComparisonFields {
    pub(super) method: Option<Method>,
    pub(super) swap: Option<bool>,
    pub(super) tie_margin: Option<f64>,
}

/// The checked options of a comparison, with the configured defaults.
pub(super) struct ComparisonOptions {
    /// `None`: as the judge's model prefers.
    pub(super) method: Option<Method>,
    /// Whether both orders are judged.
    pub(super) swap: bool,
    /// 0 to 0.5.
    pub(super) tie_margin: f64,
}

impl ComparisonFields {
    /// Checks the fields.
    ///
    /// # Errors
    /// At `/tie_margin` if it is out of range.
    pub(super) fn check(self, app: &App) -> Result<ComparisonOptions, Problem> {
        let tie_margin = self.tie_margin.unwrap_or(app.config.grading.tie_margin);
        if !(0.0..=0.5).contains(&tie_margin) {
            return Err(InvalidRequest::at("/tie_margin", "must be between 0 and 0.5").into());
        }
        Ok(ComparisonOptions { method: self.method, swap: self.swap.unwrap_or(app.config.grading.swap), tie_margin })
    }
}
