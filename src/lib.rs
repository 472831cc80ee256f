//! Gavel is an LLM-as-judge evaluation server, and a library. It hosts a Prometheus-style evaluator model, grades
//! responses against score rubrics and reference answers, and returns scores, feedback text and preference labels that
//! a person can read and a training job can use as reward.
//!
//! A verdict is never parsed out of free text: a judgement is a short script that the model runs, so every verdict
//! parses, and every verdict comes with a probability distribution.
//!
//! ```
//! use gavel::{EngineChoice, Gavel};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), gavel::Error> {
//! let gavel = Gavel::builder()
//! # .engine(EngineChoice::Scripted)
//!     .model("prometheus-2-7b") // fetched once; without a name, the default judge
//!     .build()
//!     .await?;
//!
//! let graded = gavel.absolute("Why is the sky blue?", "Because of the sea.").rubric("helpfulness").await?;
//! println!("score {:?}, reward {:.2}", graded.verdict.score(), graded.verdict.reward());
//! println!("{}", graded.verdict.feedback().unwrap_or_default());
//!
//! let compared = gavel
//!     .relative("Why is the sky blue?", "Because of the sea.", "Air scatters blue light most.")
//!     .rubric("factual_validity")
//!     .on_delta(|delta| print!("{}", delta.text))
//!     .await?;
//! println!("{:?}, P(A) {:.2}", compared.verdict.preference(), compared.verdict.probability_a());
//! # Ok(())
//! # }
//! ```
//!
//! - [`Gavel`] is a judge with its model; [`GavelBuilder`] makes it. [`EngineChoice::Scripted`] answers without a model,
//!   for tests.
//! - [`Request`] is what a judge is asked, and [`Graded`] what comes of it: the verdict ([`Absolute`], [`Relative`],
//!   [`Ranked`]), what produced it ([`Provenance`]), and what it took ([`RunStats`]).
//! - [`Error`] is all that may go wrong.
//! - [`extend`] is for engines of your own.
//!
//! docs/architecture.md says how it is built.

#[doc(inline)]
pub use crate::config::{ConfigError, EngineChoice};
#[doc(inline)]
pub use crate::domain::{
    AbsoluteVerdict, Calibrated, CriteriaVerdict, Distribution, Document, Finish, Instruction, InvalidRequest,
    InvalidRubric, InvalidVerdict, Judgement, Method, Mode, ModelRef, NamedDigest, Order, Preference, Provenance,
    RelativeVerdict, Role, Rubric, Sampling, Scale, Score, Timing, Turn, Usage, Weight,
};
#[doc(inline)]
pub use crate::facade::{Error, Gavel, GavelBuilder, ManyResponses, OneResponse, Request, RubricChoice, TwoResponses};
#[doc(inline)]
pub use crate::models::Progress;
#[doc(inline)]
pub use crate::prompts::{EscapedMarker, PromptError};
#[doc(inline)]
pub use crate::service::admission::Refusal;
#[doc(inline)]
pub use crate::service::registry::{RegistryError, StartError};
#[doc(inline)]
pub use crate::service::{DeadlinePassed, Delta, Graded, RunStats};
#[doc(inline)]
pub use crate::tasks::{Absolute, Many, Pair, Ranked, Relative, RunKey};

pub mod extend {
    //! What an engine of your own is made of. It implements [`Engine`], and [`GavelBuilder::own_engine`] judges with it.
    //!
    //! An engine is given a [`Job`]: a [`Prompt`] and a [`Script`]. One that computes logits has a [`Machine`] run the
    //! script over its [`Vocabulary`]; another one may run the steps by itself.
    //!
    //! [`GavelBuilder::own_engine`]: crate::GavelBuilder::own_engine

    #[doc(inline)]
    pub use crate::engine::{
        Compiled, Completion, Engine, EngineError, EngineInfo, Event, Job, Load, LoadError, Run, Stages,
    };
    #[doc(inline)]
    pub use crate::prompts::ChatFormat;
    #[doc(inline)]
    pub use crate::script::{
        Action, Constraint, Encoded, Generate, Grammar, Grammars, InvalidScript, Machine, Outcome, Prompt,
        SamplerSettings, Script, Segment, Step, StepError, Token, Transcript, Vocabulary,
    };
}

// The rooms of the house are no part of the contract and change with any version. They are public, and hidden, for the
// program itself and for the tests and benches, which are crates of their own.
#[doc(hidden)]
pub mod api;
#[doc(hidden)]
pub mod app;
#[doc(hidden)]
pub mod calibrations;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod domain;
#[doc(hidden)]
pub mod engine;
mod facade;
#[doc(hidden)]
pub mod graders;
#[doc(hidden)]
pub mod json_text;
#[doc(hidden)]
pub mod labelled;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod models;
#[doc(hidden)]
pub mod prompts;
#[doc(hidden)]
pub mod rubrics;
#[doc(hidden)]
pub mod script;
#[doc(hidden)]
pub mod service;
#[doc(hidden)]
pub mod tasks;
#[doc(hidden)]
pub mod telemetry;
