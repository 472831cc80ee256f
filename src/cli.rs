//! The commands of the program.
#[macro_use]
mod stdout;

mod agree;
mod asking;
mod batch;
mod bench;
mod bulk;
mod calibrate;
mod client;
mod compare;
mod connection;
mod demo;
mod doctor;
mod error;
mod failures;
mod grade;
mod grader;
mod help;
mod host;
mod items;
mod keys;
mod lists;
mod outcomes;
mod output;
mod page;
mod preferences;
mod progress;
mod rank;
mod redteam;
mod rerun;
mod results;
mod rewards;
mod route;
mod serve;
mod show;
mod tables;
mod text;
mod traces;
mod verdicts;
mod work;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::error::CliError;
use crate::api::pages;
use crate::config::{Config, EngineChoice};
use crate::domain::spelling::suggestion;

/// An LLM-as-judge evaluation server.
#[derive(Debug, Parser)]
#[command(name = "gavel", version, about, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

/// Settings of every command; the configuration file and GAVEL_… variables have the same ones.
#[derive(Debug, Args)]
struct Settings {
    /// Configuration file (TOML); `gavel docs configuration` lists its keys.
    #[arg(long, global = true, help_heading = "Settings of this process", value_name = "FILE")]
    config: Option<PathBuf>,
    /// An alias of `gavel models list`, the path of a GGUF file or a safetensors folder, or hf:owner/name/file.gguf on
    /// the hub.
    #[arg(long, global = true, help_heading = "Settings of this process", value_name = "NAME|PATH|HF")]
    model: Option<String>,
    /// The engine that runs the model.
    #[arg(long, global = true, help_heading = "Settings of this process")]
    engine: Option<EngineChoice>,
    /// Folder of your rubrics and prompt sets.
    #[arg(long, global = true, help_heading = "Settings of this process", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Folder of downloaded models.
    #[arg(long, global = true, help_heading = "Settings of this process", value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Never use the network.
    #[arg(long, global = true, help_heading = "Settings of this process")]
    offline: bool,
    /// With the engine `scripted`: minimum time of an answer.
    #[arg(long, global = true, help_heading = "Settings of this process", value_name = "MS")]
    scripted_delay_ms: Option<u64>,
    /// With the engine `scripted`: a file of answers.
    #[arg(long, global = true, help_heading = "Settings of this process", value_name = "FILE")]
    scripted_answers: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the HTTP API.
    Serve {
        /// The address to listen on.
        #[arg(long)]
        host: Option<String>,
        /// The port to listen on; 0 takes a free one.
        #[arg(long)]
        port: Option<u16>,
        /// Listen on other than loopback addresses without API keys: everyone who can reach the port can use the server.
        #[arg(long)]
        insecure: bool,
        /// Check the configuration, and exit: rubrics, prompts, whether the models are on disk, whether the address is
        /// free. No model is loaded.
        #[arg(long)]
        check: bool,
    },
    /// Grade two answers, compare them, and explain the numbers.
    Demo,
    /// Grade a response or a whole file, on a server or in this process.
    Grade(Box<grade::GradeArgs>),
    /// Compare two runs of `gavel grade`.
    Compare(compare::CompareArgs),
    /// Rank the responses of each item of a file.
    Rank(Box<rank::RankArgs>),
    /// Give a reward to each response of a file, for trainers.
    Rewards(Box<rewards::RewardsArgs>),
    /// Make preference pairs of the responses of a file, for trainers.
    Preferences(Box<preferences::PreferencesArgs>),
    /// Answer a file of requests on a server, also through restarts.
    #[command(subcommand)]
    Batch(batch::BatchCommand),
    /// Grade again what a verdict in a server's log graded, and compare.
    Rerun(rerun::RerunArgs),
    /// Export verdicts from a server's log.
    #[command(subcommand)]
    Verdicts(verdicts::VerdictsCommand),
    /// Measure how far judges agree with labels.
    Agree(Box<agree::AgreeArgs>),
    /// Sample judgements that match labels, to train the judge.
    Traces(Box<traces::TracesArgs>),
    /// Fit a calibration: map a judge's numbers to people's labels.
    Calibrate(Box<calibrate::CalibrateArgs>),
    /// Fit verdicts and the length of responses to people's labels.
    Fit(Box<calibrate::FitArgs>),
    /// Send verdicts to people where the judge is likely to be wrong.
    #[command(subcommand)]
    Route(route::RouteCommand),
    /// Measure how far attacks in the judged text move the reward.
    Redteam(Box<redteam::RedteamArgs>),
    /// Create, list and revoke API keys. The first one turns keys on.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// List, download and verify models.
    #[command(subcommand)]
    Models(lists::ModelsCommand),
    /// List, show and check rubrics.
    #[command(subcommand)]
    Rubrics(lists::RubricsCommand),
    /// List annotators: personas whose judgement requests can ask for.
    #[command(subcommand)]
    Annotators(lists::AnnotatorsCommand),
    /// List, render and import prompt sets.
    #[command(subcommand)]
    Prompts(lists::PromptsCommand),
    /// Measure the speed of a server.
    Bench(Box<bench::BenchArgs>),
    /// Check this machine, and run self-tests of the engines.
    Doctor(doctor::DoctorArgs),
    /// Print a page of the documentation; without a name, list the pages.
    Docs {
        /// The name of a page, such as `configuration`; or `openapi`, the contract as JSON.
        page: Option<String>,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Runs the command line. Errors go to standard error, and [`CliError::exit_code`] is the status.
#[must_use]
pub fn main() -> ExitCode {
    let matches = help::arranged(Cli::command()).try_get_matches();
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return not_parsed(error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&CliError::because("cannot start the async runtime", error)),
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Help, the version, or what is wrong with the arguments.
fn not_parsed(error: clap::Error) -> ExitCode {
    let error = help::sensible(error);
    if error.use_stderr() {
        error.exit();
    }
    // Unlike `Error::print`, this fails if the text cannot be written.
    let text = error.render();
    if std::io::stdout().is_terminal() {
        out!("{}", text.ansi())
    } else {
        out!("{text}")
    }
    ExitCode::SUCCESS
}

#[allow(clippy::print_stderr, reason = "this is where errors go")]
fn failed(error: &CliError) -> ExitCode {
    eprintln!("gavel: {error}");
    ExitCode::from(error.exit_code())
}

async fn run(cli: Cli) -> Result<(), CliError> {
    let config = |listen: &[(&'static str, String)]| cli.settings.load(listen);
    let with_model = |model: Option<&str>| {
        let model = model.map(|model| ("model", model.to_owned()));
        config(&model.into_iter().collect::<Vec<_>>())
    };
    match cli.command {
        Command::Serve { host, port, insecure, check } => {
            let mut listen = Vec::new();
            listen.extend(host.map(|host| ("host", host)));
            listen.extend(port.map(|port| ("port", port.to_string())));
            listen.extend(insecure.then(|| ("insecure", "true".to_owned())));
            let config = config(&listen)?;
            if check {
                outln!("{}", serve::check(&config).await?);
                return Ok(());
            }
            serve::serve(config).await
        }
        Command::Grade(args) => {
            cli.settings.check_beside(args.server())?;
            grade::run(*args, cli.settings.model.clone(), &with_model).await
        }
        Command::Compare(args) => compare::run(&args),
        Command::Rank(args) => {
            cli.settings.check_beside(args.bulk.server())?;
            rank::run(&args, (cli.settings.model.clone(), &with_model)).await
        }
        Command::Rewards(args) => {
            cli.settings.check_beside(args.bulk.server())?;
            rewards::run(&args, (cli.settings.model.clone(), &with_model)).await
        }
        Command::Preferences(args) => {
            cli.settings.check_beside(args.bulk.server())?;
            preferences::run(&args, (cli.settings.model.clone(), &with_model)).await
        }
        Command::Agree(args) => {
            cli.settings.check_beside(args.server())?;
            agree::run(*args, cli.settings.model.clone(), &with_model).await
        }
        Command::Traces(args) => {
            cli.settings.check_beside(args.server())?;
            traces::run(&args, cli.settings.model.clone(), &with_model).await
        }
        Command::Calibrate(args) => {
            cli.settings.check_beside(args.server())?;
            calibrate::calibrate(&args, cli.settings.model.as_deref(), &with_model).await
        }
        Command::Fit(args) => {
            cli.settings.check_beside(args.server())?;
            calibrate::fit(&args, cli.settings.model.as_deref(), &with_model).await
        }
        Command::Route(command) => {
            cli.settings.check_beside(command.server())?;
            route::run(command, cli.settings.model.as_deref(), &with_model).await
        }
        Command::Redteam(args) => {
            cli.settings.check_beside(args.server())?;
            redteam::run(&args, cli.settings.model.as_deref(), &with_model).await
        }
        Command::Bench(args) => {
            cli.settings.check_beside(args.server())?;
            bench::run(*args, cli.settings.model.clone(), || config(&[])).await
        }
        Command::Batch(command) => batch::run(command).await,
        Command::Rerun(args) => rerun::run(&args).await,
        Command::Verdicts(command) => verdicts::run(command).await,
        Command::Demo => demo::run(config(&[])?).await,
        Command::Doctor(args) => doctor::run(args, &config(&[])?).await,
        Command::Keys(command) => keys::run(command, &config(&[])?),
        Command::Models(command) => lists::models(command, &config(&[])?).await,
        Command::Rubrics(command) => lists::rubrics(command, &config(&[])?),
        Command::Annotators(command) => lists::annotators(&command, &config(&[])?),
        Command::Prompts(command) => lists::prompts(command, config(&[])?).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut help::arranged(Cli::command()), "gavel", &mut script);
            out!("{}", String::from_utf8_lossy(&script));
            Ok(())
        }
        Command::Docs { page } => {
            out!("{}", docs(page.as_deref())?);
            Ok(())
        }
    }
}

/// A page of the documentation. Those that are made of the code are made anew.
fn docs(page: Option<&str>) -> Result<String, CliError> {
    let names = pages::names();
    match page {
        None => Ok(pages::purposes().map(|(name, purpose)| format!("{name:<22} {purpose}\n")).collect()),
        Some("errors") => Ok(crate::api::code::reference()),
        Some("configuration") => Ok(crate::config::reference()),
        Some("metrics") => Ok(crate::metrics::reference()),
        Some("openapi") => {
            let document = crate::api::document().to_pretty_json();
            document.map(|json| json + "\n").map_err(|error| CliError::because("openapi", error))
        }
        Some(name) => pages::source(name).map(|text| text.replace("\\|", "|")).ok_or_else(|| {
            let suggestion = suggestion(name, names.iter().copied());
            CliError::Failed(format!("there is no page `{name}`{suggestion}; `gavel docs` lists them"))
        }),
    }
}

impl Settings {
    /// Refuses settings that have no effect with `--server`. `--model` is allowed.
    fn check_beside(&self, server: Option<&str>) -> Result<(), CliError> {
        let given = [
            ("--config", self.config.is_some()),
            ("--engine", self.engine.is_some()),
            ("--data-dir", self.data_dir.is_some()),
            ("--cache-dir", self.cache_dir.is_some()),
            ("--offline", self.offline),
            ("--scripted-delay-ms", self.scripted_delay_ms.is_some()),
            ("--scripted-answers", self.scripted_answers.is_some()),
        ];
        let given: Vec<&str> = given.into_iter().filter_map(|(flag, given)| given.then_some(flag)).collect();
        if server.is_none() || given.is_empty() {
            return Ok(());
        }
        let flags = given.join(", ");
        Err(CliError::Usage(format!(
            "{flags} has no effect with --server, because the server has its own settings; remove it, or remove --server"
        )))
    }

    fn load(&self, more: &[(&'static str, String)]) -> Result<Config, CliError> {
        let path = |key, path: &Option<PathBuf>| path.as_ref().map(|path| (key, path.display().to_string()));
        let mut overrides = more.to_vec();
        overrides.extend(self.model.clone().map(|model| ("model", model)));
        overrides.extend(self.engine.map(|engine| ("engine", engine.name().to_owned())));
        overrides.extend(path("data_dir", &self.data_dir));
        overrides.extend(path("cache_dir", &self.cache_dir));
        overrides.extend(path("scripted_answers", &self.scripted_answers));
        overrides.extend(self.offline.then(|| ("offline", "true".to_owned())));
        overrides.extend(self.scripted_delay_ms.map(|delay| ("scripted_delay_ms", delay.to_string())));
        Ok(Config::load(self.config.as_deref(), &overrides)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        help::arranged(Cli::command()).debug_assert();
    }
}
