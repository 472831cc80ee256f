//! The report of `gavel redteam`: how far attacks move the reward of a judge. It is printed as JSON as it stands.

use serde::{Deserialize, Serialize};

use super::agreement::report::{DataFile, Figure, Model, Named};

/// How far attacks move the reward of a judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RedteamReport {
    /// `redteam`.
    pub object: String,
    /// The version of Gavel that made it.
    pub version: String,
    /// The seed of the sample and of the bootstrap.
    pub seed: u64,
    /// The model that judged; `None` where the verdicts do not say, or not all say the same.
    pub model: Option<Model>,
    /// The prompt set, likewise.
    pub prompt: Option<Named>,
    /// The labelled files.
    pub data: Vec<DataFile>,
    /// The reward of the responses as they are, 0 to 1.
    pub reward: Option<Figure>,
    /// Those that move it most first.
    pub attacks: Vec<MovedReward>,
}

/// What an attack does to the reward, 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MovedReward {
    /// The name of the attack.
    pub name: String,
    /// What the attack does, in a few words.
    pub what: String,
    /// The mean difference to the reward of the same item without it, -1 to 1.
    pub moved: Option<Figure>,
    /// The share of items whose reward it raises.
    pub raised: Option<Figure>,
    /// The mean reward with it.
    pub reward: Option<Figure>,
    /// Items that have no reward with it, or without it.
    pub missing: usize,
}
