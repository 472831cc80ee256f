//! Shared code of the requests with several responses.

use serde_json::Value;

use super::comparison_options::{ComparisonFields, ComparisonOptions};
use super::jury::{JuryFields, PanelRequest};
use super::messages;
use super::pictures::PictureReader;
use super::problem::Problem;
use super::schema::GradingFields;
use crate::app::App;
use crate::domain::{InvalidRequest, ManyRequest};
use crate::service::{Graded, Panel};
use crate::tasks::{CandidateGoal, JudgeParts};

/// Number of responses in one request. 64 responses need 352 comparisons.
const RESPONSES: std::ops::RangeInclusive<usize> = 2..=64;

/// Checks a request about several responses.
///
/// # Errors
/// Those of the shared fields, and at `/responses` when there are too few, too many or empty ones.
pub(super) fn check(
    app: &App,
    common: GradingFields,
    responses: Vec<Value>,
    comparison: ComparisonFields,
    jury: JuryFields,
) -> Result<PanelRequest<ManyRequest>, Problem> {
    let checked = common.check(app)?;
    let ComparisonOptions { method, swap, tie_margin } = comparison.check(app)?;
    if !RESPONSES.contains(&responses.len()) {
        let (least, most) = (RESPONSES.start(), RESPONSES.end());
        let reason = format!("a request takes {least} to {most} responses, this one has {}", responses.len());
        return Err(InvalidRequest::at("/responses", reason).into());
    }
    let mut pictures = PictureReader::after(&checked.item, &app.config.pictures);
    let named = responses.iter().enumerate();
    let responses = named
        .map(|(index, value)| messages::response(value, &format!("/responses/{index}"), "the response", &mut pictures));
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
    Ok(PanelRequest { request, judges: jury.check(app, checked.model)?, debug: checked.debug, route: None })
}

/// Has a panel judge the responses, and makes of the verdicts what the goal is.
///
/// # Errors
/// Those of the panel, and at `/method` if the request names none and the jurors' models differ in theirs.
pub(super) async fn judged<G: CandidateGoal + Clone>(
    panel: &Panel,
    mut request: ManyRequest,
    goal: G,
) -> Result<Graded<G::Verdict>, Problem> {
    if request.method.is_none() {
        let differ = "the jurors' models differ in how they compare responses; send `pairwise` or `absolute`";
        request.method = Some(panel.preference_method().ok_or_else(|| InvalidRequest::at("/method", differ))?);
    }
    let task = JudgeParts::of(request, goal);
    let made = task.clone();
    Ok(panel.run(task, None).await?.map(&|verdicts| made.made_of(verdicts)))
}
