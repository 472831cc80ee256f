//! `gavel doctor`: checks of this machine and the configuration, then self-tests of the engines of this build.

mod machine;

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use self::machine::Level;
use super::CliError;
use super::host::Bar;
use super::text::wrap;
use crate::app::model_store;
use crate::config::{Config, EngineChoice};
use crate::engine::conformance::{self, Finding};
use crate::engine::{Engine, LoadError};
use crate::service::registry::{EngineSizes, check_built, contact, open_unchecked};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Number of requests of the memory check.
    #[arg(long, default_value_t = 500, value_name = "N")]
    requests: usize,
    /// Only check the machine and the configuration; load no model.
    #[arg(long)]
    quick: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The results, which are printed as they come, or as JSON at the end.
struct Report {
    json: bool,
    rows: Vec<Value>,
    failed: usize,
}

/// Checks the machine. Then loads the model into the chosen engine, or into every engine of this build, and tests it.
pub(super) async fn run(args: DoctorArgs, config: &Config) -> Result<(), CliError> {
    let mut report = Report { json: args.json, rows: Vec::new(), failed: 0 };
    for (name, (level, found)) in machine::checks(config).await {
        report.show(name, None, level, &found);
    }
    if report.failed > 0 && !args.quick {
        report.note("The self-tests were not run; correct the above first.");
    } else if !args.quick {
        report.note("");
        match config.engine {
            EngineChoice::Remote => remote(&mut report, config).await?,
            EngineChoice::Scripted => report.note("The engine `scripted` has no self-tests."),
            _ => engines(&mut report, config, args.requests).await?,
        }
    }
    report.conclude()
}

async fn engines(report: &mut Report, config: &Config, requests: usize) -> Result<(), CliError> {
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
    report.note(&format!("Model {}, {}\n", model.name, model.digest));
    if let Some(eyes) = opened.iter().find_map(|engine| engine.eyes()) {
        report.note(&format!("It sees pictures, with {}\n", eyes.digest));
    }
    for engine in &opened {
        examine(report, &**engine, requests).await;
    }
    if let [one, other] = &opened[..] {
        let finding = conformance::agreement(&**one, &**other).await;
        report.tested("two engines give the same ids and logits for one file", "both", finding);
    }
    for engine in &opened {
        engine.shut_down().await;
    }
    Ok(())
}

/// Contacts the servers of a remote engine, and shows what they are and what they do.
async fn remote(report: &mut Report, config: &Config) -> Result<(), CliError> {
    let servers = (&config.remote, config.model.as_str());
    let source = contact(&model_store(config)?, servers, Arc::new(()), &Bar::drawn()).await?;
    let facts = source.contact.facts();
    let context = if facts.context == 0 { "not told".to_owned() } else { format!("{} tokens", facts.context) };
    let (model, root, kind) = (&facts.model, &facts.root, facts.kind.name());
    report.note(&format!("Model {model} ({root}), context {context}, servers of the kind {kind}\n"));
    let failed = report.failed;
    for (url, check) in source.contact.checks(&*source.tokenizer.vocabulary).await {
        report.tested(check.name, &url, check.finding);
    }
    match source.contact.engine(config.model.clone(), source.tokenizer).await {
        Ok(engine) => {
            // What another protocol failed does not count where a better one serves.
            report.failed = failed;
            let together = "16 prompts at once give the same results together as alone";
            report.tested(together, "all", conformance::together(&engine).await);
            report.tested("a reused prefix gives the same result as none", "all", conformance::reuse(&engine).await);
            engine.shut_down().await;
        }
        Err(error) => report.tested("an engine can be made of them", "all", Err(error.to_string())),
    }
    Ok(())
}

impl Report {
    /// The result of a self-test.
    fn tested(&mut self, check: &str, engine: &str, finding: Finding) {
        match finding {
            Ok(found) => self.show(check, Some(engine), Level::Ok, &found),
            Err(found) => self.show(check, Some(engine), Level::Fail, &found),
        }
    }

    fn show(&mut self, check: &str, engine: Option<&str>, level: Level, found: &str) {
        self.failed += usize::from(level == Level::Fail);
        self.rows.push(json!({"check": check, "engine": engine, "level": level, "found": found}));
        if self.json {
            return;
        }
        let mark = match level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        // Names of checks of the machine are one word, those of self-tests are sentences.
        let text = match engine {
            None => format!("{check:<10} {}", wrap(found, 17).trim_start()),
            Some(engine) => format!("{}{}", wrap(&format!("{check} ({engine}):"), 6).trim_start(), wrap(found, 6)),
        };
        outln!("{mark:<5} {}", text.trim_end());
    }

    fn note(&self, line: &str) {
        if !self.json {
            outln!("{line}");
        }
    }

    fn conclude(self) -> Result<(), CliError> {
        if self.json {
            outln!("{:#}", json!({"checks": self.rows, "failed": self.failed}));
        }
        match self.failed {
            0 => Ok(()),
            1 => Err(CliError::Failed("1 check failed; `gavel docs cli` describes the checks".to_owned())),
            count => Err(CliError::Failed(format!("{count} checks failed; `gavel docs cli` describes the checks"))),
        }
    }
}

async fn examine(report: &mut Report, engine: &dyn Engine, requests: usize) {
    let name = engine.info().engine;
    let together =
        format!("16 prompts, up to {} at once, give the same results together as alone", engine.info().sequences);
    report.tested(&together, name, conformance::together(engine).await);
    let departure = conformance::departure(engine).await;
    report.tested("a caller disconnects, and the next request is answered", name, departure);
    if name == "mistralrs" {
        // llama.cpp restarts its context if a batch has an unknown id; its vocabulary never gives one.
        let failure = conformance::failure(engine).await;
        report.tested("one request fails, and the others give the same results as alone", name, failure);
    }
    report.tested("a reused prefix gives the same result as none", name, conformance::reuse(engine).await);
    report.tested("memory stays flat over distinct requests", name, conformance::memory(engine, requests).await);
}

fn name(engine: EngineChoice) -> String {
    format!("{engine:?}").to_lowercase()
}
