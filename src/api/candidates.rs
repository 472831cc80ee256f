//! Shared code of the requests with several responses.

use super::comparison_options::{ComparisonFields, ComparisonOptions};
use super::problem::Problem;
use super::schema::{self, GradingFields, GradingRequest};
use crate::app::App;
use crate::domain::{InvalidRequest, ManyRequest};

/// Number of responses in one request. 64 responses need 352 comparisons.
const RESPONSES: std::ops::RangeInclusive<usize> = 2..=64;

/// Checks a request about several responses.
///
/// # Errors
/// Those of the shared fields, and at `/responses` when there are too few, too many or empty ones.
pub(super) fn check(
    app: &App,
    common: GradingFields,
    responses: Vec<String>,
    comparison: ComparisonFields,
) -> Result<GradingRequest<ManyRequest>, Problem> {
    let checked = common.check(app)?;
    let ComparisonOptions { method, swap, tie_margin } = comparison.check(app)?;
    if !RESPONSES.contains(&responses.len()) {
        let (least, most) = (RESPONSES.start(), RESPONSES.end());
        let reason = format!("a request takes {least} to {most} responses, this one has {}", responses.len());
        return Err(InvalidRequest::at("/responses", reason).into());
    }
    let named = responses.into_iter().enumerate();
    let responses = named.map(|(index, text)| schema::not_empty(text, &format!("/responses/{index}"), "the response"));
    let request = ManyRequest {
        responses: responses.collect::<Result<_, _>>()?,
        item: checked.item,
        rubrics: checked.rubrics,
        multi: checked.multi,
        swap,
        tie_margin,
        method,
        options: checked.options,
    };
    Ok(GradingRequest { request, model: checked.model, debug: checked.debug })
}
