//! Prompt sets: what judge models are asked, and the literals in which they answer.
//!
//! A set is a directory with a `set.toml` and a template for each grading kind that its models know. The [`PromptLibrary`] loads the
//! built-in sets and the user's own and checks all of them at start-up; a [`PromptSet`] gives the [`Script`](crate::script::Script) of a
//! judgement and renders its [`Prompt`](crate::script::Prompt).
//!
//! The text under judgement is hostile. No template ever sees it: fields are put in as sentinels, the chat template
//! is rendered around them, the result is split at its control tokens, and only then is each sentinel replaced. So
//! no field can write a control token, nor template syntax. What remains are markers, strings that only the prompt
//! itself may write; where a field would write one, one space breaks it, and the change is recorded.

mod chat;
mod error;
mod escape;
mod fields;
mod import;
mod layout;
mod library;
mod patterns;
mod renderer;
mod set;
mod validate;

#[cfg(test)]
mod tests;

pub use chat::ChatFormat;
pub use error::PromptError;
pub use escape::{EscapedMarker, Rendered};
pub use fields::Subject;
pub use import::import_prometheus_eval;
pub use library::{PromptLibrary, PromptSet};
pub use renderer::Renderer;
