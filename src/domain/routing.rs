//! Routing: which items the judge decides alone, and which people should label.
//!
//! A verdict has signals of how sure the judge is ([`Signals`]), and an item has lengths and words ([`Texts`]). Out of both
//! comes a score on 0..1, the higher the more a person is needed: [`Signals::doubt`], or the probability that the judge
//! disagrees with people, as a [`RouterFile`] estimates it. A [`Cut`] says from which score on an item goes to people.

mod curve;
mod cut;
mod features;
mod file;
mod fit;
mod signals;

use serde_json::Value;

use super::sealed;

pub use curve::{CurvePoint, Routed, Simulation, simulate};
pub use cut::{Cut, OutOfRange};
pub use features::{Observed, RouteFeature, Texts};
pub use file::{
    BudgetThreshold, InvalidRouter, RouterContent, RouterFigures, RouterFile, RouterObject, RouterParameters,
    Standardised,
};
pub use fit::{CannotRoute, FittedRouter, RouteExample, fit};
pub use signals::Signals;

/// Fields of a grading request that say how it is judged, not what.
const OF_JUDGING: [&str; 20] = [
    "route",
    "examples",
    "mode",
    "samples",
    "sampling",
    "model",
    "prompt",
    "annotator",
    "cache",
    "deterministic",
    "debug",
    "judges",
    "jury",
    "combine",
    "quorum",
    "noise",
    "swap",
    "tie_margin",
    "method",
    "id",
];

/// Stands for what a grading request asks to judge, however and by whom: `sha256:<hex>` of its other fields.
#[must_use]
pub fn item_key(request: &Value) -> String {
    let mut item = request.clone();
    if let Some(fields) = item.as_object_mut() {
        OF_JUDGING.iter().for_each(|field| drop(fields.shift_remove(*field)));
        fields.retain(|_, value| !value.is_null());
    }
    sealed::sealed(&mut item)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_is_the_same_however_it_is_judged() {
        let one = json!({"instruction": "Why?", "response": "So.", "rubric": "helpfulness", "mode": "score"});
        let same = json!({"rubric": "helpfulness", "response": "So.", "instruction": "Why?", "route": {"budget": 0.5},
            "reference_answer": null, "model": "other"});
        let other = json!({"instruction": "Why?", "response": "No.", "rubric": "helpfulness", "mode": "score"});
        assert_eq!(item_key(&one), item_key(&same));
        assert_ne!(item_key(&one), item_key(&other));
    }
}
