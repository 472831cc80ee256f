//! What operators see: metrics in the real Prometheus, the dashboard, the alerts, log lines, traces.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

mod dashboard;
#[path = "../api/engines.rs"]
#[allow(dead_code, reason = "what the tests of the contract use")]
mod engines;
mod live;
mod logs;
mod program;
mod prometheus;
#[path = "../api/server.rs"]
#[allow(dead_code, reason = "what the tests of the contract use")]
mod server;
mod traces;
