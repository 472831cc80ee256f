//! `gavel models`, `gavel rubrics`, `gavel prompts`, `gavel annotators`.

use std::path::PathBuf;

use clap::Subcommand;

use super::CliError;
use super::host::Bar;
use super::text::wrap;
use crate::annotators::{AnnotatorEntry, AnnotatorLibrary};
use crate::api::local;
use crate::app::model_store;
use crate::config::Config;
use crate::domain::Kind;
use crate::facade::Gavel;
use crate::models::{EyesStatus, Model, ModelStatus, memory_available};
use crate::prompts::{PromptLibrary, PromptSet, import_prometheus_eval};
use crate::rubrics::{LibraryEntry, RubricLibrary, read, toml_files};

#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// List the known models, which of them are on disk, and which fit into the free memory.
    List {
        /// Print JSON with all details.
        #[arg(long)]
        json: bool,
    },
    /// Download a model.
    Pull {
        /// Its alias, or a reference to the hub: hf:owner/name/file.gguf, owner/name:Q4_K_M. With an alias, the file that
        /// it sees pictures with is downloaded, too, if it has one.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check a model's file against its digest.
    Verify {
        /// Its alias.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the path of a model's file.
    Path {
        /// Its alias.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RubricsCommand {
    /// List the rubrics, with what each judges.
    List {
        /// Print JSON with all details.
        #[arg(long)]
        json: bool,
    },
    /// Print a rubric.
    Show {
        /// Its name.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check rubric files. Default: those in the data folder.
    Check {
        /// The files, or folders of them.
        files: Vec<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AnnotatorsCommand {
    /// List the annotators, with their profiles.
    List {
        /// Print JSON with all details.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum PromptsCommand {
    /// List the prompt sets.
    List {
        /// Print JSON with all details.
        #[arg(long)]
        json: bool,
    },
    /// Show the exact prompt of a request.
    Render {
        /// A file with the body of a grading request, or `-` for standard input.
        request: PathBuf,
        /// Print a JSON list with the text of each prompt.
        #[arg(long)]
        json: bool,
    },
    /// Import prompts from an installed Python package.
    #[command(subcommand)]
    Import(ImportCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum ImportCommand {
    /// The original wording of the Prometheus models, from the Python package `prometheus-eval`.
    PrometheusEval {
        /// The Python interpreter that has the package.
        #[arg(long, default_value = "python3")]
        python: String,
    },
}

pub(super) async fn models(command: ModelsCommand, config: &Config) -> Result<(), CliError> {
    let store = model_store(config)?;
    let report = |model: Model, json: bool| {
        if json {
            outln!("{:#}", model_row(&model));
            return;
        }
        outln!("{}  {}  {}", model.name, model.digest, model.path.display());
        if let Some(eyes) = model.eyes {
            outln!("{}, its eyes  {}  {}", model.name, eyes.digest, eyes.path.display());
        }
    };
    match command {
        ModelsCommand::List { json } => {
            list_models(&store.list(config.llama_cpp.tokens_in_memory()), memory_available(), json)
        }
        ModelsCommand::Pull { name, json } => report(store.pull(&name, &Bar::drawn()).await?, json),
        ModelsCommand::Verify { name, json } => report(store.verify(&name).await?, json),
        ModelsCommand::Path { name, json: true } => {
            outln!("{:#}", serde_json::json!({"name": name, "path": store.path(&name)?}));
        }
        ModelsCommand::Path { name, json: false } => outln!("{}", store.path(&name)?.display()),
    }
    Ok(())
}

/// A model's files in JSON.
fn model_row(Model { name, path, digest, eyes, .. }: &Model) -> serde_json::Value {
    let eyes = eyes.as_ref().map(|eyes| serde_json::json!({"path": eyes.path, "digest": eyes.digest}));
    serde_json::json!({"name": name, "path": path, "digest": digest, "eyes": eyes})
}

/// A size in gigabytes, or in megabytes below one.
pub(super) fn gigabytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{} MB", bytes.div_ceil(1_000_000)),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// The eyes of a model in JSON.
fn eyes_row(eyes: &EyesStatus) -> serde_json::Value {
    serde_json::json!({"licence": eyes.licence, "sources": eyes.sources, "bytes": eyes.bytes, "path": eyes.path})
}

/// Prints models; `free` is the free memory in bytes.
fn list_models(models: &[ModelStatus], free: u64, json: bool) {
    // 0 means that the machine does not report its free memory.
    let fits = |model: &ModelStatus| (free > 0).then_some(model.memory <= free);
    if json {
        let row = |model: &ModelStatus| {
            serde_json::json!({
                "name": model.name, "summary": model.summary, "licence": model.licence, "sources": model.sources,
                "home": model.home, "agreement": model.agreement, "preference_method": model.preference_method, "prompt_set": model.prompt_set, "chat_template": model.chat_template,
                "context": model.context, "memory": model.memory, "free": free, "fits": fits(model),
                "size": model.size, "path": model.path, "eyes": model.eyes.as_ref().map(eyes_row),
            })
        };
        let rows: Vec<serde_json::Value> = models.iter().map(row).collect();
        outln!("{:#}", serde_json::Value::from(rows));
        return;
    }
    outln!("{:<22} {:>8} {:>9}  {:<8} PROMPTS", "NAME", "ON DISK", "NEEDS", "FITS");
    for model in models {
        let here = model.size.map_or_else(|| "no".to_owned(), gigabytes);
        let fits = fits(model).map_or("unknown", |fits| if fits { "yes" } else { "no" });
        outln!("{:<22} {here:>8} {:>9}  {fits:<8} {}", model.name, gigabytes(model.memory), model.prompt_set);
        out!("{}", wrap(&format!("{} ({})", model.summary, model.licence), 4));
        if let Some(EyesStatus { licence, bytes, path, .. }) = &model.eyes {
            let here = if path.is_some() { "on disk" } else { "not on disk" };
            out!(
                "{}",
                wrap(&format!("It sees pictures, with a file of {} ({licence}), {here}.", gigabytes(*bytes)), 4)
            );
        }
    }
    match free {
        0 => outln!("The free memory of this machine is not known."),
        free => outln!("Free memory: {}. NEEDS is an estimate: weights and KV cache.", gigabytes(free)),
    }
}

pub(super) fn rubrics(command: RubricsCommand, config: &Config) -> Result<(), CliError> {
    let library = RubricLibrary::load(config.data_dir.join("rubrics"));
    match command {
        RubricsCommand::List { json: true } => {
            let row = |entry: LibraryEntry| {
                let scale = entry.rubric.scale();
                serde_json::json!({
                    "name": entry.name, "criterion": entry.rubric.criterion(), "lowest": scale.lowest(),
                    "highest": scale.highest(), "file": entry.file,
                })
            };
            outln!("{:#}", library.list().into_iter().map(row).collect::<serde_json::Value>());
        }
        RubricsCommand::List { json: false } => {
            for entry in library.list() {
                let scale = entry.rubric.scale();
                let file = entry.file.map(|file| format!("  ({})", file.display())).unwrap_or_default();
                outln!("{}  {} to {}{file}", entry.name, scale.lowest(), scale.highest());
                out!("{}", wrap(entry.rubric.criterion(), 4));
            }
        }
        RubricsCommand::Show { name, json } => {
            let entry = library.get(&name).map_err(|error| CliError::Failed(error.to_string()))?;
            if json {
                let described = entry.rubric.descriptions().map(|(score, text)| (score.to_string(), text.into()));
                let shown = serde_json::json!({
                    "name": entry.name, "digest": entry.rubric.digest(), "criterion": entry.rubric.criterion(),
                    "descriptions": described.collect::<serde_json::Map<_, _>>(), "file": entry.file,
                });
                outln!("{shown:#}");
            } else {
                out!("{}", entry.rubric.to_toml());
            }
        }
        RubricsCommand::Check { files, json } => {
            let (valid, refused) = if files.is_empty() {
                (library.list().len(), library.refused())
            } else {
                let files: Vec<Vec<PathBuf>> = files.into_iter().map(files_of).collect::<Result<_, _>>()?;
                let files = files.concat();
                let refused: Vec<_> = files.iter().filter_map(|file| read(file).err()).collect();
                (files.len() - refused.len(), refused)
            };
            let errors: Vec<String> = refused.iter().map(ToString::to_string).collect();
            if json {
                outln!("{:#}", serde_json::json!({"valid": valid, "errors": errors}));
            } else {
                errors.iter().for_each(|error| outln!("{error}"));
            }
            if !refused.is_empty() {
                let files = if refused.len() == 1 { "file is" } else { "files are" };
                return Err(CliError::Failed(format!("{} rubric {files} invalid", refused.len())));
            }
            if json {
                return Ok(());
            }
            outln!("{valid} {}", if valid == 1 { "rubric is valid" } else { "rubrics are valid" });
        }
    }
    Ok(())
}

/// A file, or the rubric files of a folder.
///
/// # Errors
/// If the folder has none.
fn files_of(path: PathBuf) -> Result<Vec<PathBuf>, CliError> {
    if !path.is_dir() {
        return Ok(vec![path]);
    }
    let files = toml_files(&path);
    if files.is_empty() { Err(CliError::because(path.display(), "has no rubric files (.toml)")) } else { Ok(files) }
}

pub(super) fn annotators(command: &AnnotatorsCommand, config: &Config) -> Result<(), CliError> {
    let AnnotatorsCommand::List { json } = command;
    let library = AnnotatorLibrary::new(config.data_dir.join("annotators"));
    let entries = library.list().map_err(|error| CliError::Failed(error.to_string()))?;
    if *json {
        let row = |entry: AnnotatorEntry| serde_json::json!({"name": entry.name, "profile": entry.profile, "file": entry.file});
        outln!("{:#}", entries.into_iter().map(row).collect::<serde_json::Value>());
        return Ok(());
    }
    for AnnotatorEntry { name, profile, file } in entries {
        outln!("{name}{}", file.map(|file| format!("  ({})", file.display())).unwrap_or_default());
        out!("{}", wrap(&profile, 4));
    }
    Ok(())
}

pub(super) async fn prompts(command: PromptsCommand, config: Config) -> Result<(), CliError> {
    let folder = config.data_dir.join("prompts");
    match command {
        PromptsCommand::List { json } => {
            let library = PromptLibrary::load(Some(&folder))?;
            let sets = || library.names().filter_map(|name| library.get(name));
            if json {
                let row = |set: &PromptSet| serde_json::json!({"name": set.name(), "summary": set.summary(), "built_in": set.built_in()});
                outln!("{:#}", sets().map(row).collect::<serde_json::Value>());
                return Ok(());
            }
            for set in sets() {
                outln!("{}{}", set.name(), if set.built_in() { "" } else { "  (yours)" });
                out!("{}", wrap(set.summary(), 4));
            }
        }
        PromptsCommand::Render { request, json } => {
            let body = if request.as_os_str() == "-" {
                std::io::read_to_string(std::io::stdin())
            } else {
                std::fs::read_to_string(&request)
            };
            let body = body.map_err(|error| CliError::because(request.display(), error))?;
            let gavel = Gavel::start(config, None, &Bar::default()).await?;
            let relative = serde_json::from_str::<serde_json::Value>(&body).is_ok_and(|v| !v["response_a"].is_null());
            let kind = if relative { Kind::Relative } else { Kind::Absolute };
            let rendered = local::prompts(gavel.app(), kind, body.as_bytes()).await;
            let rendered = rendered.map_err(|problem| CliError::Failed(problem.to_string()))?;
            if json {
                outln!("{:#}", serde_json::Value::from(rendered));
                return Ok(());
            }
            for (index, prompt) in rendered.iter().enumerate() {
                if rendered.len() > 1 {
                    outln!("===== prompt {} of {}", index + 1, rendered.len());
                }
                outln!("{prompt}");
            }
        }
        PromptsCommand::Import(ImportCommand::PrometheusEval { python }) => {
            for file in import_prometheus_eval(&python, &folder, None)? {
                outln!("{}", file.display());
            }
        }
    }
    Ok(())
}
