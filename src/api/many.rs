//! What the requests about several responses share.

use super::problem::Problem;
use super::relative::{Pairing, pairing};
use super::wire::{self, Asked, Common};
use crate::app::App;
use crate::grading::{InvalidRequest, ManyRequest, Method};

/// How many responses one request may have. Pairs grow faster than they do: 64 make 352 comparisons.
const RESPONSES: std::ops::RangeInclusive<usize> = 2..=64;

/// How responses are judged, as a request says it.
pub(super) struct How {
    pub(super) method: Option<Method>,
    pub(super) swap: Option<bool>,
    pub(super) tie_margin: Option<f64>,
}

pub(super) fn check(
    app: &App,
    common: Common,
    responses: Vec<String>,
    how: How,
) -> Result<Asked<ManyRequest>, Problem> {
    let checked = common.check(app)?;
    let Pairing { method, swap, tie_margin } = pairing(app, how, checked.multi)?;
    if !RESPONSES.contains(&responses.len()) {
        let (least, most) = (RESPONSES.start(), RESPONSES.end());
        let reason = format!("a request takes {least} to {most} responses, this one has {}", responses.len());
        return Err(InvalidRequest::at("/responses", reason).into());
    }
    let named = responses.into_iter().enumerate();
    let responses = named.map(|(place, text)| wire::not_empty(text, &format!("/responses/{place}"), "the response"));
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
    Ok(Asked { request, model: checked.model, debug: checked.debug })
}
