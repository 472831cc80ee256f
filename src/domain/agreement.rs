//! How far a judge agrees with labels: the statistics, each with a bootstrap interval, and the report of them.
//!
//! Pure: it knows numbers and names of instructions, and nothing of files or judges. docs/agreement.md says what each
//! figure means.

mod absolute;
mod bootstrap;
mod categorical;
mod correlation;
mod items;
mod labels;
mod measure;
mod pairwise;
mod probability;
pub mod report;
mod sample;

pub use absolute::rounded;
pub use bootstrap::{Bootstrap, mean, mean_difference};
pub(in crate::domain) use bootstrap::{Draws, clusters, figure};
pub use items::{PairItem, PairVerdict, Place, ScoreItem, ScoreVerdict};
pub use labels::{pair_labels, score_labels};
pub use measure::{Items, Measured, Verdicts, compare, measure};
pub use probability::calibration_error;
pub use sample::{Half, half, instruction_key, key, sample, sample_each};

#[cfg(test)]
mod reference_tests;
