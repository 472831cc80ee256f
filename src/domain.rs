//! The domain: rubrics and scales, requests, judgements and verdicts, distributions and rankings.
//!
//! Everything here is pure: no engine, no clock, no network. Types cannot hold invalid values: a [`Score`] exists only
//! on its [`Scale`], a [`Distribution`] sums to one, and a [`Rubric`] describes every level.

pub mod agreement;
mod annotator;
pub mod attacks;
mod blank;
pub mod calibration;
pub mod consensus;
mod content;
mod distribution;
mod examples;
pub mod fair_queue;
mod groups;
mod instruction;
mod judgement;
pub mod jury;
mod labels;
mod provenance;
pub mod ranking;
pub mod redteam;
mod request;
mod reward;
pub mod routing;
mod rubric;
pub mod runs;
mod scale;
mod sealed;
pub mod segments;
pub mod service_time;
pub mod settling;
pub mod spelling;
pub mod text_metrics;
pub mod tool_calls;
mod turn;
mod verdict;
mod weight;

pub use annotator::Annotator;
pub use blank::is_blank;
pub use content::{Content, Part};
pub use distribution::{Distribution, InvalidDistribution};
pub use examples::{Example, ExampleSet, JudgedExample, JudgedFields};
pub use groups::normalized;
pub use instruction::{Document, Instruction, InvalidRequest, WeightedRubric, check_content, check_text};
pub use judgement::{
    BranchChoice, Finish, Judgement, Kind, MassKind, Mode, Order, Thoughts, Timing, TokenLogprob, Usage, milliseconds,
};
pub use labels::{InvalidLabels, Label, LabelSet};
pub use provenance::{ModelRef, NamedDigest, Provenance};
pub use request::{AbsoluteRequest, Item, ManyRequest, Method, Options, RelativeRequest, Sampling};
pub use reward::{Unscored, require_label_mass};
pub use rubric::{InvalidRubric, NamedRubric, Rubric, RubricSource};
pub use scale::{InvalidScale, Scale, Score};
pub use turn::{Role, Turn};
pub use verdict::{
    AbsoluteVerdict, Calibrated, CriteriaVerdict, InvalidVerdict, Preference, RelativeVerdict, prefer_by_reward,
};
pub use weight::{InvalidWeight, Weight};
