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
//! | [`service`] | runs tasks: admission, the registry of loaded models, judges, the cache of judgements |
//! | [`tasks`] | the judging methods: which runs one needs, and how their answers combine |
//! | [`graders`] | OpenAI's graders, as far as they are plain rules |
//! | [`prompts`], [`rubrics`], [`models`] | prompt sets, rubrics and model files by name |
//! | [`engine`] | the contract of engines, and the engines |
//! | [`script`] | the one idea: a judgement is a script of Say, Generate, Choose, Branch |
//! | [`domain`] | scales, rubrics, distributions, judgements, verdicts, rankings, text metrics |
//!
//! [`config`], [`metrics`] and [`telemetry`] serve all of them. docs/architecture.md has the reasons.

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod engine;
pub mod graders;
pub mod json_text;
pub mod metrics;
pub mod models;
pub mod prompts;
pub mod rubrics;
pub mod script;
pub mod service;
pub mod tasks;
pub mod telemetry;
