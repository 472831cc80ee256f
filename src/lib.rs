//! Gavel is an LLM-as-judge evaluation server. It hosts a Prometheus-style evaluator model, grades responses
//! against score rubrics and reference answers, and returns scores, feedback text and preference labels that a
//! person can read and a training job can use as reward.
//!
//! # The map of the house
//!
//! A request goes one way, from the top to the bottom:
//!
//! | room | what lives there |
//! | --- | --- |
//! | [`cli`] | the commands of the program |
//! | [`api`] | every route; wire types; errors and their statuses |
//! | [`app`] | the composition root |
//! | [`admission`] | who gets in, and who waits |
//! | [`hosting`] | the models of a server: loaded, found by name, unloaded |
//! | [`panel`] | many judgements -> one verdict |
//! | [`rank`] | many responses -> one order |
//! | [`judge`] | render -> script -> engine -> one judgement |
//! | [`graders`], [`questions`] | OpenAI's graders and decisions, as far as they are plain rules |
//! | [`judge_models`] | names that run a caller's own prompt as a judging script |
//! | [`cache`], [`prompts`], [`rubrics`], [`models`] | what a judge needs |
//! | [`engine`] | the contract, and what runs behind it |
//! | [`script`] | the one idea: a judgement is a script of Say, Generate, Choose, Branch |
//! | [`grading`] | the domain: scales, rubrics, distributions, judgements, verdicts |
//!
//! [`config`], [`metrics`] and [`telemetry`] serve all of them. docs/architecture.md has the reasons.

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod engine;
pub mod fair;
pub mod graders;
pub mod grading;
pub mod json_text;
pub mod judge_models;
pub mod metrics;
pub mod models;
pub mod prompts;
pub mod questions;
pub mod rank;
pub mod rubrics;
pub mod script;
pub mod service;
pub mod tasks;
pub mod telemetry;
