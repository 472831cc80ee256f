//! `gavel doctor`: self-tests of the engines of this build, on this machine and model.

use std::sync::Arc;

use clap::Args;

use super::CliError;
use super::host::Bar;
use crate::app::model_store;
use crate::config::{Config, EngineChoice};
use crate::engine::conformance::{self, Finding};
use crate::engine::{Engine, LoadError};
use crate::service::registry::{EngineSizes, check_built, contact, open_unchecked};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Number of requests of the memory check.
    #[arg(long, default_value_t = 500)]
    requests: usize,
}

/// Loads the model into the chosen engine, or into every engine of this build, and runs the checks.
pub(super) async fn run(args: DoctorArgs, config: &Config) -> Result<(), CliError> {
    if config.engine == EngineChoice::Remote {
        return remote(config).await;
    }
    let model = model_store(config)?.resolve(&config.model, &Bar::drawn()).await?;
    let sizes = EngineSizes {
        llama_cpp: config.llama_cpp.clone(),
        mistralrs: config.mistralrs.clone(),
        remote: config.remote.clone(),
    };
    let engines = match config.engine {
        EngineChoice::Auto => vec![EngineChoice::LlamaCpp, EngineChoice::Mistralrs],
        named => vec![named],
    };
    let folder = model.path.is_dir();
    let fitting = engines.into_iter().filter(|e| check_built(*e).is_ok() && !(folder && *e == EngineChoice::LlamaCpp));
    let mut opened: Vec<Arc<dyn Engine>> = Vec::new();
    for choice in fitting {
        let engine =
            open_unchecked(choice, model.clone(), &sizes).await.map_err(|e| CliError::because("the engine", e))?;
        opened.push(engine);
    }
    if opened.is_empty() {
        return Err(CliError::because("no engine to check", LoadError::NotBuilt(name(config.engine), "see --engine")));
    }
    let mut failed = 0;
    outln!("Model {}, {}\n", model.name, model.digest);
    outln!("| check | engine | | result |\n| --- | --- | --- | --- |");
    for engine in &opened {
        failed += examine(&**engine, args.requests).await;
    }
    if let [one, other] = &opened[..] {
        failed += show(
            "two engines give the same ids and logits for one file",
            "both",
            conformance::agreement(&**one, &**other).await,
        );
    }
    for engine in &opened {
        engine.shut_down().await;
    }
    concluded(failed)
}

/// Contacts the servers of a remote engine, and shows what they are and what they do.
async fn remote(config: &Config) -> Result<(), CliError> {
    let servers = (&config.remote, config.model.as_str());
    let source = contact(&model_store(config)?, servers, Arc::new(()), &Bar::drawn()).await?;
    let facts = source.contact.facts();
    let context = if facts.context == 0 { "not told".to_owned() } else { format!("{} tokens", facts.context) };
    outln!("Model {} ({}), context {context}, servers of the kind {}\n", facts.model, facts.root, facts.kind.name());
    outln!("| check | server | | result |\n| --- | --- | --- | --- |");
    let mut failed = 0;
    for (url, check) in source.contact.checks(&*source.tokenizer.vocabulary).await {
        failed += show(check.name, &url, check.finding);
    }
    match source.contact.engine(config.model.clone(), source.tokenizer).await {
        Ok(engine) => {
            // What another protocol failed does not count where a better one serves.
            failed = 0;
            let together = "16 prompts at once give the same results together as alone";
            failed += show(together, "all", conformance::together(&engine).await);
            failed += show("a reused prefix gives the same result as none", "all", conformance::reuse(&engine).await);
            engine.shut_down().await;
        }
        Err(error) => failed += show("an engine can be made of them", "all", Err(error.to_string())),
    }
    concluded(failed)
}

fn concluded(failed: usize) -> Result<(), CliError> {
    outln!();
    match failed {
        0 => Ok(()),
        count => Err(CliError::Failed(format!("{count} checks failed; docs/engines.md describes each check"))),
    }
}

async fn examine(engine: &dyn Engine, requests: usize) -> usize {
    let name = engine.info().engine;
    let together =
        format!("16 prompts, up to {} at once, give the same results together as alone", engine.info().sequences);
    let mut failed = show(&together, name, conformance::together(engine).await);
    failed +=
        show("a caller disconnects, and the next request is answered", name, conformance::departure(engine).await);
    if name == "mistralrs" {
        // llama.cpp restarts its context if a batch has an unknown id; its vocabulary never gives one.
        failed += show(
            "one request fails, and the others give the same results as alone",
            name,
            conformance::failure(engine).await,
        );
    }
    failed += show("a reused prefix gives the same result as none", name, conformance::reuse(engine).await);
    failed + show("memory stays flat over distinct requests", name, conformance::memory(engine, requests).await)
}

fn show(check: &str, engine: &str, finding: Finding) -> usize {
    let (mark, found) = match &finding {
        Ok(found) => ("ok", found),
        Err(found) => ("FAILS", found),
    };
    outln!("| {check} | {engine} | {mark} | {found} |");
    usize::from(finding.is_err())
}

fn name(engine: EngineChoice) -> String {
    format!("{engine:?}").to_lowercase()
}
