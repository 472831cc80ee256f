//! `gavel models`, `gavel rubrics`, `gavel prompts`.

use std::path::PathBuf;

use clap::Subcommand;

use super::CliError;
use super::host::Bar;
use crate::api::{prompts_of_absolute, prompts_of_relative};
use crate::app::{App, model_store};
use crate::config::Config;
use crate::models::Model;
use crate::prompts::{PromptLibrary, import_prometheus_eval};
use crate::rubrics::{RubricLibrary, read};

#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// List the models that Gavel knows, and which are here.
    List,
    /// Get a model.
    Pull {
        /// Its alias.
        name: String,
    },
    /// Check a model's file against its digest.
    Verify {
        /// Its alias.
        name: String,
    },
    /// Print where a model's file is.
    Path {
        /// Its alias.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RubricsCommand {
    /// List the rubrics.
    List,
    /// Print a rubric.
    Show {
        /// Its name.
        name: String,
    },
    /// Check rubric files; those of the data folder if none is named.
    Check {
        /// The files.
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum PromptsCommand {
    /// List the prompt sets.
    List,
    /// Show exactly what a request would send to the model.
    Render {
        /// A file with the body of a grading request, or `-` for standard input.
        request: PathBuf,
    },
    /// Bring in prompts from a package that is installed here.
    #[command(subcommand)]
    Import(ImportCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum ImportCommand {
    /// The exact wording that Prometheus models were trained with, from the Python package `prometheus-eval`.
    PrometheusEval {
        /// The Python interpreter that has the package.
        #[arg(long, default_value = "python3")]
        python: String,
    },
}

pub(super) async fn models(command: ModelsCommand, config: &Config) -> Result<(), CliError> {
    let store = model_store(config)?;
    let report = |model: Model| println!("{}  {}  {}", model.name, model.digest, model.path.display());
    match command {
        ModelsCommand::List => {
            for model in store.list(config.llama_cpp.kv_tokens) {
                let here = model.size.map_or_else(|| "not here".to_owned(), |size| format!("{} MB", size / 1_000_000));
                println!("{:<16} {:<10} {:<12} {}", model.name, here, model.licence, model.summary);
            }
        }
        ModelsCommand::Pull { name } => report(store.pull(&name, &Bar::drawn()).await?),
        ModelsCommand::Verify { name } => report(store.verify(&name).await?),
        ModelsCommand::Path { name } => println!("{}", store.path(&name)?.display()),
    }
    Ok(())
}

pub(super) fn rubrics(command: RubricsCommand, config: &Config) -> Result<(), CliError> {
    let library = RubricLibrary::load(config.data_dir.join("rubrics"));
    match command {
        RubricsCommand::List => {
            for entry in library.list() {
                let scale = entry.rubric.scale();
                let from = entry.file.map_or_else(|| "built in".to_owned(), |file| file.display().to_string());
                println!("{:<22} {}-{:<3} {from}", entry.name, scale.lowest(), scale.highest());
            }
        }
        RubricsCommand::Show { name } => {
            let entry = library.get(&name).map_err(|error| CliError::Failed(error.to_string()))?;
            print!("{}", entry.rubric.to_toml());
        }
        RubricsCommand::Check { files } => {
            let (checked, refused) = if files.is_empty() {
                (library.list().len(), library.refused())
            } else {
                (files.len(), files.iter().filter_map(|file| read(file).err()).collect())
            };
            for error in &refused {
                println!("{error}");
            }
            if !refused.is_empty() {
                return Err(CliError::Failed(format!("{} of the rubric files cannot be used", refused.len())));
            }
            println!("{checked} rubrics are fine");
        }
    }
    Ok(())
}

pub(super) async fn prompts(command: PromptsCommand, config: Config) -> Result<(), CliError> {
    let folder = config.data_dir.join("prompts");
    match command {
        PromptsCommand::List => {
            let library = PromptLibrary::load(Some(&folder))?;
            for set in library.names().filter_map(|name| library.get(name)) {
                let from = if set.built_in() { "built in" } else { "yours" };
                println!("{:<18} {from:<9} {}", set.name(), set.summary());
            }
        }
        PromptsCommand::Render { request } => {
            let body = if request.as_os_str() == "-" {
                std::io::read_to_string(std::io::stdin())
            } else {
                std::fs::read_to_string(&request)
            };
            let body = body.map_err(|error| CliError::because(request.display(), error))?;
            let app = App::build(config)?;
            app.load(&Bar::default()).await?;
            let relative = serde_json::from_str::<serde_json::Value>(&body).is_ok_and(|v| !v["response_a"].is_null());
            let rendered =
                if relative { prompts_of_relative(&app, &body).await } else { prompts_of_absolute(&app, &body).await };
            let rendered = rendered.map_err(|problem| CliError::Failed(problem.to_string()))?;
            for (index, prompt) in rendered.iter().enumerate() {
                if rendered.len() > 1 {
                    println!("===== prompt {} of {}", index + 1, rendered.len());
                }
                println!("{prompt}");
            }
        }
        PromptsCommand::Import(ImportCommand::PrometheusEval { python }) => {
            for file in import_prometheus_eval(&python, &folder, None)? {
                println!("{}", file.display());
            }
        }
    }
    Ok(())
}
