//! The library as a Rust program uses it: a [`Gavel`] with a model, requests that are put together and awaited, and one
//! type of error. The crate's root passes it on.

mod error;
mod gavel;
mod request;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use gavel::{Gavel, GavelBuilder};
pub use request::{ManyResponses, OneResponse, Request, RubricChoice, TwoResponses};
