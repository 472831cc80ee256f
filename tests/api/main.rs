//! The HTTP contract, over a real socket of this machine: every test starts a server of its own.
#![allow(clippy::unwrap_used, missing_docs)]

mod absolute;
mod admission;
mod bad_bulk;
mod bad_input;
mod cache;
mod cancellation;
mod engines;
mod hostile;
mod judge_models;
mod odd_callers;
mod openai;
mod preferences;
mod problems;
mod protocols;
mod rank;
mod registry;
mod relative;
mod reward_servers;
mod rewards;
mod rubrics;
mod server;
mod slow_callers;
mod streaming;
mod system;
mod too_much;
