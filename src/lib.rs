//! Gavel, an LLM-as-judge evaluation server.
pub mod engine;
pub mod grading;
pub mod models;
pub mod prompts;
pub mod script;
