//! Pictures on a real engine: a judge and eyes whose weights are known in closed form, so that what it must see, and how
//! it must judge, is known exactly.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod files;
mod fixtures;
mod gguf;
#[cfg(feature = "vision")]
mod judging;
#[cfg(feature = "vision")]
mod loading;
