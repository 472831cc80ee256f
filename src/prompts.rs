//! Prompt sets: the prompt templates for judge models, and the literals of their answers.
//!
//! A set is a directory with a `set.toml` and a template for each form of prompt that its models support. The
//! [`PromptLibrary`] loads the built-in sets and the user's own, and checks all of them at start-up. A [`PromptSet`]
//! gives the [`Script`](crate::script::Script) of a judgement and renders its [`Prompt`](crate::script::Prompt).
//!
//! The judged text is hostile, and templates never see it. Fields are placeholders while the chat template is rendered.
//! The result is split at its control tokens, and only then is each placeholder replaced. So no field can write a
//! control token or template syntax. What remains are markers: strings that only the prompt may write. A marker in a
//! field gets one space after its first character, and the change is recorded.

mod chat;
mod error;
mod escape;
mod examples;
mod fields;
mod form;
mod import;
mod layout;
mod library;
mod patterns;
mod renderer;
mod said;
mod set;
mod turn_shape;
mod validate;

#[cfg(test)]
mod tests;

pub use chat::ChatFormat;
pub use error::PromptError;
pub use escape::{EscapedMarker, Rendered};
pub use fields::{Quote, Reading, Subject};
pub use form::Form;
pub use import::import_prometheus_eval;
pub use library::{PromptLibrary, PromptSet};
pub use renderer::Renderer;
pub use said::Said;
