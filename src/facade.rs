//! The public Rust API: a [`Gavel`] with a model, requests to build and await, and one error type. The crate root
//! re-exports it.

mod error;
mod gavel;
mod judges;
mod request;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use gavel::{Gavel, GavelBuilder};
pub use request::{ManyResponses, OneResponse, Request, RubricChoice, TwoResponses};
