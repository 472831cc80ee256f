//! Gavel, an LLM-as-judge evaluation server.
pub mod grading;
pub mod models;
pub mod script;
