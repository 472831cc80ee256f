//! The forms that items come in.

mod ours;
mod parts;
mod prometheus_eval;
mod rewardbench;
mod trl;

use serde_json::{Map, Value};

use self::parts::Around;
use super::item::{LabelledItem, Row};
use super::labels::Numbers;
use super::mapping::LabelNames;

pub use ours::as_request;
pub use trl::from_trl;

/// A form of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Ours,
    RewardBench,
    PrometheusEval,
}

impl Format {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "gavel",
            Self::RewardBench => "rewardbench",
            Self::PrometheusEval => "prometheus-eval",
        }
    }

    /// What form a row has, by the names of its fields.
    fn of(fields: &Map<String, Value>) -> Self {
        let has = |name: &str| fields.contains_key(name);
        if has("chosen") && has("rejected") {
            return Self::RewardBench;
        }
        let wrapped = has("instruction") && (has("gpt4_score") || has("human_score")) && !has("response");
        if has("orig_instruction") || has("chosen_instruction") || wrapped {
            return Self::PrometheusEval;
        }
        Self::Ours
    }
}

/// Reads a row in whatever form it has; no item if it has no label.
pub(super) fn item(
    row: Row,
    stem: &str,
    table: bool,
    names: Option<&LabelNames>,
    numbers: &mut Numbers,
) -> Result<(Format, Option<LabelledItem>), String> {
    let format = Format::of(&row.fields);
    let around = Around { stem, table, names, numbers };
    let item = match format {
        Format::Ours => ours::item(row, around),
        Format::RewardBench => rewardbench::item(row, around).map(Some),
        Format::PrometheusEval => prometheus_eval::item(row, around),
    };
    item.map(|item| (format, item))
}
