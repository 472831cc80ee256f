//! What came of the items and their judgements, as a command says it at its end.

use serde::Serialize;
use serde_json::Value;

/// What came of the items and their judgements.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) items: usize,
    /// Items without a verdict.
    pub(super) failed: usize,
    /// Pairs with the label tie, which no judgement can match.
    pub(super) ties: usize,
    /// Items whose label is on another scale than the rubric, which no judgement can match.
    pub(super) off_scale: usize,
    /// Items of which at least one judgement matches.
    pub(super) matched: usize,
    pub(super) judgements: usize,
    pub(super) matching: usize,
    pub(super) differing: usize,
    /// Judgements with a low label mass.
    pub(super) unscored: usize,
    /// Judgements whose text reached its limit.
    pub(super) cut: usize,
    /// Prompts that were asked again with a hint.
    pub(super) hinted: usize,
    /// Of them, those whose judgement then matched.
    pub(super) rationalized: usize,
    /// Texts that a prompt has more than once.
    pub(super) repeated: usize,
    /// Prompts with matching judgements only, or with none, of which no pair can be made.
    pub(super) no_pair: usize,
    pub(super) rows: usize,
}

impl Counts {
    pub(super) fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// In lines.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![
            format!(
                "items          {}: {} with a matching judgement, {} failed",
                self.items, self.matched, self.failed
            ),
            format!(
                "judgements     {}: {} match, {} differ, {} unscored, {} cut",
                self.judgements, self.matching, self.differing, self.unscored, self.cut
            ),
        ];
        let notes = [
            (self.ties, "ties", "a judge chooses A or B, so these match nothing"),
            (self.off_scale, "off scale", "the label is not on the rubric's scale, so these match nothing"),
            (self.repeated, "repeated", "texts of one prompt that are there once"),
            (self.no_pair, "no pair", "prompts without a matching or without a differing judgement"),
        ];
        for (count, name, why) in notes.into_iter().filter(|(count, ..)| *count > 0) {
            lines.push(format!("{name:14} {count}: {why}"));
        }
        if self.hinted > 0 {
            lines.push(format!("rationalized   {} of {} prompts that got a hint", self.rationalized, self.hinted));
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}
