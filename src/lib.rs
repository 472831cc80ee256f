//! Gavel is an LLM-as-judge evaluation server, and a library. It hosts a Prometheus-style evaluator model, grades
//! responses against score rubrics and reference answers, and returns scores, feedback text and preference labels.
//! People can read them, and training jobs can use them as rewards.
//!
//! Gavel does not parse verdicts out of free text. The model runs a short script, and its score is read from the token
//! probabilities. So no verdict fails to parse, and each one has a probability distribution.
//!
//! ```
//! use gavel::{EngineChoice, Gavel};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), gavel::Error> {
//! let gavel = Gavel::builder()
//! # .engine(EngineChoice::Scripted)
//!     .model("prometheus-2-7b") // downloaded once; default: the default judge
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
//! - [`Gavel`] is a judge with its model, and [`GavelBuilder`] builds one. [`EngineChoice::Scripted`] answers without a
//!   model, for tests.
//! - [`Request`] is a grading request. Its result is [`Graded`]: the verdict ([`Absolute`], [`Relative`], [`Ranked`]),
//!   its provenance ([`Provenance`]), and statistics ([`RunStats`]).
//! - [`JurorSettings`] is a member of a jury, [`Example`] a graded example that judges are shown first.
//! - [`Error`] is the error type.
//! - [`extend`] is for your own engines.
//!
//! docs/architecture.md describes the design.

#[doc(inline)]
pub use crate::config::{ConfigError, EngineChoice};
#[doc(inline)]
pub use crate::domain::jury::{Combine, Juror, JurorSettings, Jury, Noise};
#[doc(inline)]
pub use crate::domain::{
    AbsoluteVerdict, Calibrated, Content, CriteriaVerdict, Distribution, Document, Example, Finish, Instruction,
    InvalidRequest, InvalidRubric, InvalidVerdict, JudgedExample, Judgement, Method, Mode, ModelRef, NamedDigest,
    Order, Part, Preference, Provenance, RelativeVerdict, Role, Rubric, Sampling, Scale, Score, Timing, Turn, Usage,
    Weight,
};
#[doc(inline)]
pub use crate::facade::{Error, Gavel, GavelBuilder, ManyResponses, OneResponse, Request, RubricChoice, TwoResponses};
#[doc(inline)]
pub use crate::models::Progress;
#[doc(inline)]
pub use crate::pictures::{BadPicture, CannotOpen, Picture, Pixels, Shown};
#[doc(inline)]
pub use crate::prompts::{EscapedMarker, PromptError};
#[doc(inline)]
pub use crate::service::admission::Refusal;
#[doc(inline)]
pub use crate::service::registry::{RegistryError, StartError};
#[doc(inline)]
pub use crate::service::{DeadlinePassed, Delta, Graded, JurorVerdict, JuryReport, RunStats, SeenPicture};
#[doc(inline)]
pub use crate::tasks::{Absolute, ByMethod, Ranked, Relative, ResponsePair, RunKey};

pub mod extend {
    //! Types for your own engine. It implements [`Engine`], and [`GavelBuilder::own_engine`] uses it.
    //!
    //! An engine gets a [`Job`]: a [`Prompt`] and a [`Script`]. An engine that computes logits uses a [`Machine`] to
    //! run the script over its [`Vocabulary`]; other engines may run the steps themselves.
    //!
    //! [`GavelBuilder::own_engine`]: crate::GavelBuilder::own_engine

    #[doc(inline)]
    pub use crate::engine::{
        Compiled, Completion, Engine, EngineError, EngineInfo, Event, Eyes, Job, Load, LoadError, ModelMemory, Run,
        Stages,
    };
    #[doc(inline)]
    pub use crate::prompts::ChatFormat;
    #[doc(inline)]
    pub use crate::script::{
        Action, Constraint, Encoded, Generate, Glance, Grammar, Grammars, InvalidScript, Look, Machine, Outcome,
        Prompt, SamplerSettings, Script, Segment, Step, StepError, Token, Transcript, Unseen, UnseenPicture,
        Vocabulary,
    };
}

// These modules are not part of the public API and may change in any version. They are public but hidden, for the
// program and for the tests and benches, which are separate crates.
#[doc(hidden)]
pub mod annotators;
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
#[doc(hidden)]
pub mod example_sets;
mod facade;
#[doc(hidden)]
pub mod graders;
#[doc(hidden)]
pub mod jobs;
#[doc(hidden)]
pub mod json_text;
#[doc(hidden)]
pub mod keys;
#[doc(hidden)]
pub mod label_sets;
#[doc(hidden)]
pub mod labelled;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod models;
#[doc(hidden)]
pub mod pictures;
#[doc(hidden)]
pub mod prompts;
#[doc(hidden)]
pub mod reports;
#[doc(hidden)]
pub mod routers;
#[doc(hidden)]
pub mod rubrics;
#[doc(hidden)]
pub mod script;
#[doc(hidden)]
pub mod service;
#[doc(hidden)]
pub mod store;
#[doc(hidden)]
pub mod tasks;
#[doc(hidden)]
pub mod telemetry;
#[doc(hidden)]
pub mod usage_log;
#[doc(hidden)]
pub mod verdict_log;
