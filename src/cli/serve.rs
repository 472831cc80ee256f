//! `gavel serve`, and `gavel serve --check`.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::CliError;
use super::host::{Bar, Signal, signal};
use crate::api;
use crate::app::{App, model_store};
use crate::config::{Config, ConfigError, EngineChoice, ModelConfig, variable_meant};
use crate::engine::scripted::Scripted;
use crate::models::ModelStore;
use crate::service::registry::{StartError, check_built};
use crate::telemetry;

/// `gavel serve`: serves until a signal, or until a model cannot be loaded.
pub(super) async fn serve(config: Config) -> Result<(), CliError> {
    let telemetry = telemetry::init(&config.log, &config.traces).map_err(CliError::Unusable)?;
    let outcome = serve_until_stopped(config).await;
    telemetry.shut_down().await;
    outcome
}

async fn serve_until_stopped(config: Config) -> Result<(), CliError> {
    for variable in &config.ignored_variables {
        tracing::warn!("{}; `gavel docs configuration` lists all", unknown_variable(variable));
    }
    check_tls(&config)?;
    let (app, listener) = (App::build(config.clone())?, bind(&config)?);
    let address = listener.local_addr().map_err(|error| CliError::because("the address", error))?;
    check_access(&app, address)?;
    let folder = config.data_dir.join("rubrics").display().to_string();
    if let Err(error) = app.rubrics.watch() {
        tracing::warn!(%error, folder, "rubric files cannot be watched; after a change, send SIGHUP");
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        %address,
        models = config.model_names().join(", "),
        threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        data_dir = %config.data_dir.display(),
        cache_dir = %config.cache_dir.display(),
        "starting"
    );
    let _reloads = AbortOnDrop(tokio::spawn(reload_at_hangup(Arc::clone(&app))));
    if !address.ip().is_loopback() && !app.keys.on() {
        tracing::warn!(%address, "listening on a non-loopback address without API keys: everyone who can reach it can use it");
    }
    let mut server = api::server(Arc::clone(&app), listener).map_err(|error| CliError::because("the server", error))?;
    let handle = server.handle();
    outln!("gavel is listening on {}://{address}", if config.tls.on() { "https" } else { "http" });
    let loading = async {
        let loaded = app.load(&Bar::default()).await;
        if loaded.is_ok() {
            tracing::info!("ready");
        }
        loaded
    };
    let mut stopped = Box::pin(signal());
    let mut asked = None;
    let outcome = tokio::select! {
        result = &mut server => return result.map_err(|error| CliError::because("the server", error)),
        loaded = loading => match loaded {
            Err(error) => Err(CliError::from(error)),
            Ok(()) => tokio::select! {
                result = &mut server => return result.map_err(|error| CliError::because("the server", error)),
                signal = &mut stopped => { asked = Some(signal); Ok(()) }
                why = engine_death(&app) => Err(CliError::Failed(format!("{why}; exiting"))),
            },
        },
        signal = &mut stopped => { asked = Some(signal); Ok(()) }
    };
    // Nobody is sent to a server that was never ready, and a person at a terminal sends nobody.
    let drain_ms = match asked {
        Some(Signal::Terminate) if app.models().ready().is_ok() => app.config.limits.drain_ms,
        _ => 0,
    };
    tracing::info!(drain_ms, "shutting down: finishing requests in flight");
    let hurry = async {
        signal().await;
    };
    let mut stopping = pin!(api::shut_down(&app, &handle, Duration::from_millis(drain_ms), hurry));
    let cut = tokio::select! {
        cut = &mut stopping => cut,
        served = &mut server => {
            served.map_err(|error| CliError::because("the server", error))?;
            stopping.await
        }
    };
    match cut {
        0 => tracing::info!("stopped"),
        _ => tracing::warn!(cut, "stopped before all requests were finished; these were cut off"),
    }
    outcome?;
    if cut > 0 {
        return Err(CliError::Failed(format!("shut down before all requests were finished; {cut} were cut off")));
    }
    Ok(())
}

/// Checks that the keys can be read, and that a server that can be reached from elsewhere has some, or is meant to be open.
fn check_access(app: &App, address: SocketAddr) -> Result<(), ConfigError> {
    if let Some(error) = app.keys.error() {
        return Err(ConfigError::Keys(error));
    }
    let shut = app.keys.on() || app.config.insecure || address.ip().to_canonical().is_loopback();
    if shut { Ok(()) } else { Err(ConfigError::Open(address)) }
}

/// Checks the files of the certificate, if there is one.
fn check_tls(config: &Config) -> Result<(), CliError> {
    api::tls::check(&config.tls).map_err(|error| CliError::Unusable(error.to_string()))
}

fn bind(config: &Config) -> Result<TcpListener, CliError> {
    let address = (config.host.as_str(), config.port);
    TcpListener::bind(address).map_err(|error| {
        let what = format!("cannot listen on {}:{}", config.host, config.port);
        match error.kind() {
            std::io::ErrorKind::AddrInUse => CliError::Failed(format!(
                "{what}: the port is in use; choose another one with --port, or 0 for a free one"
            )),
            _ => CliError::because(what, error),
        }
    })
}

/// Returns why the process needs a restart, once it does, so that a supervisor can restart it.
async fn engine_death(app: &App) -> &'static str {
    loop {
        if let Some(why) = app.needs_restart() {
            return why;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A task that ends with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads the rubric files again at every SIGHUP, which would end the process otherwise.
async fn reload_at_hangup(app: Arc<App>) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
        while hangups.recv().await.is_some() {
            let app = Arc::clone(&app);
            let read = tokio::task::spawn_blocking(move || {
                app.rubrics.reload();
                (app.rubrics.list().len(), app.rubrics.refused().len())
            });
            if let Ok((rubrics, invalid)) = read.await {
                tracing::info!(rubrics, invalid, "SIGHUP: rubric files read again; other settings need a restart");
            }
        }
    }
    #[cfg(not(unix))]
    drop(app);
}

/// What is said of a variable with our prefix that is not a setting.
fn unknown_variable(variable: &str) -> String {
    let meant = variable_meant(variable).map(|meant| format!(" (did you mean {meant}?)")).unwrap_or_default();
    format!("the environment variable {variable} is unknown and ignored{meant}")
}

/// `gavel serve --check`: finds what would stop a start, without loading a model.
///
/// # Errors
/// With the first of what is wrong.
pub(super) async fn check(config: &Config) -> Result<String, CliError> {
    let mut told = Vec::new();
    telemetry::check(&config.log).map_err(CliError::Unusable)?;
    told.extend(config.ignored_variables.iter().map(|variable| unknown_variable(variable)));
    let app = App::build(config.clone())?;
    app.judge_models.check_aliases(&config.model_names()).map_err(StartError::from)?;
    let in_folder = |error| CliError::because(format!("data_dir {}", config.data_dir.display()), error);
    std::fs::create_dir_all(&config.data_dir).map_err(in_folder)?;
    if let Some(error) = app.rubrics.refused().first() {
        return Err(CliError::Unusable(error.to_string()));
    }
    app.annotators.check().map_err(|error| CliError::Unusable(error.to_string()))?;
    app.examples.check().map_err(|error| CliError::Unusable(error.to_string()))?;
    told.push(format!("{} rubrics, {} prompt sets", app.rubrics.list().len(), app.prompts().names().count()));
    let store = model_store(config)?;
    if config.models.is_empty() {
        told.push(of_model(&config.model, config.engine, &config.scripted_answers, &store, config.offline)?);
    }
    for model in &config.models {
        let (name, engine) = (model.name(), model.engine.unwrap_or(config.engine));
        let answers = model.scripted_answers.as_ref().unwrap_or(&config.scripted_answers);
        told.push(of_model(reference(model, &name), engine, answers, &store, config.offline)?);
    }
    told.push(of_database(&app).await?);
    check_tls(config)?;
    let wrong = |error| CliError::because(format!("host {}", config.host), error);
    if let Some(address) = (config.host.as_str(), config.port).to_socket_addrs().map_err(wrong)?.next() {
        check_access(&app, address)?;
    }
    // A server that is to be restarted still has its port.
    if config.port != 0 {
        told.push(match bind(config) {
            Ok(_) => format!("{}:{} is free", config.host, config.port),
            Err(error) => format!("note: {error}"),
        });
    }
    Ok(format!("the configuration can be served: {}", told.join("; ")))
}

/// What is known of the database, which grading does not need, but keys, batches and the log of verdicts do.
async fn of_database(app: &App) -> Result<String, CliError> {
    let found = app.database.check().await.map_err(|error| CliError::Failed(error.to_string()))?;
    let Some(found) = found else { return Ok("no database yet; one is made when it is first needed".to_owned()) };
    let whole = if found.whole { "" } else { " (too large to be read whole here: `PRAGMA integrity_check` does)" };
    Ok(match found.changes {
        0 => format!("the database is fine{whole}"),
        changes => format!(
            "the database is fine{whole}; its tables are brought up to date when it is first needed ({changes} changes)"
        ),
    })
}

fn reference<'m>(model: &'m ModelConfig, name: &'m str) -> &'m str {
    model.model.as_deref().unwrap_or(name)
}

/// What is known of a model before it is loaded.
fn of_model(
    reference: &str,
    engine: EngineChoice,
    answers: &Path,
    store: &ModelStore,
    offline: bool,
) -> Result<String, CliError> {
    check_built(engine).map_err(StartError::from)?;
    match engine {
        EngineChoice::Scripted if answers.as_os_str().is_empty() => return Ok("scripted answers".to_owned()),
        EngineChoice::Scripted => {
            Scripted::from_file(answers, Duration::ZERO).map_err(StartError::from)?;
            return Ok(format!("the scripted answers of {}", answers.display()));
        }
        EngineChoice::Remote => return Ok("a model at servers, which `gavel doctor --engine remote` checks".to_owned()),
        _ => {}
    }
    Ok(match store.on_disk(reference).map_err(StartError::from)? {
        Some(path) => format!("{reference} is here ({})", path.display()),
        None if offline => {
            let reason = format!(
                "{reference} is not on disk, and `offline` forbids to fetch it; `gavel models pull {reference}` where there is a network"
            );
            return Err(CliError::Unusable(reason));
        }
        None => format!("{reference} is not on disk and will be fetched at the start"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_check_finds_what_stops_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let of = async |settings: &[(&'static str, &str)]| {
            let mut all = vec![
                ("data_dir", folder.path().display().to_string()),
                ("cache_dir", folder.path().display().to_string()),
                ("port", "0".to_owned()),
            ];
            all.extend(settings.iter().map(|(key, value)| (*key, (*value).to_owned())));
            check(&Config::without_environment(None, &all).unwrap()).await
        };
        let check = async |settings: &[(&'static str, &str)], expected: &str| {
            let told = of(settings).await.unwrap_or_else(|error| error.to_string());
            assert!(told.contains(expected), "{told}");
        };
        check(&[("engine", "scripted")], "scripted answers").await;
        check(&[("engine", "scripted")], "no database yet").await;
        check(&[("model", "smollm2-135m")], "will be fetched at the start").await;
        check(&[("model", "smollm2-135m"), ("offline", "true")], "gavel models pull").await;
        check(&[("model", "nothing-like-it")], "nothing-like-it").await;
        check(&[("engine", "scripted"), ("host", "0.0.0.0")], "there are no API keys").await;
        check(&[("engine", "scripted"), ("host", "0.0.0.0"), ("insecure", "true")], "scripted answers").await;
        std::fs::write(folder.path().join("gavel.db"), "the notes of a person".repeat(500)).unwrap();
        check(&[("engine", "scripted")], "gavel.db is damaged").await;
        std::fs::remove_file(folder.path().join("gavel.db")).unwrap();
        let away = ("jobs.database_url", "postgres://gavel@127.0.0.1:1/gavel");
        check(&[("engine", "scripted"), away], "the database is not available").await;
        let keys = crate::keys::file_in(folder.path());
        std::fs::write(&keys, "keys = []").unwrap();
        check(&[("engine", "scripted"), ("host", "0.0.0.0")], "scripted answers").await;
        std::fs::write(&keys, "keys = [1]").unwrap();
        check(&[("engine", "scripted")], "keys.toml:1: ").await;
        std::fs::remove_file(&keys).unwrap();
        check(&[("model", "./no.gguf")], "./no.gguf").await;
        check(&[("engine", "scripted"), ("prompt", "plane")], "no prompt set `plane` (did you mean `plain`?)").await;
        std::fs::create_dir(folder.path().join("rubrics")).unwrap();
        std::fs::write(folder.path().join("rubrics/mine.toml"), "criterion = 3").unwrap();
        check(&[("engine", "scripted")], "mine.toml").await;
        std::fs::remove_file(folder.path().join("rubrics/mine.toml")).unwrap();
        std::fs::create_dir(folder.path().join("annotators")).unwrap();
        std::fs::write(folder.path().join("annotators/me.toml"), "profil = \"Me.\"").unwrap();
        check(&[("engine", "scripted")], "me.toml").await;
        std::fs::remove_file(folder.path().join("annotators/me.toml")).unwrap();
        std::fs::create_dir(folder.path().join("examples")).unwrap();
        std::fs::write(folder.path().join("examples/house.toml"), "scale = [1, 5]").unwrap();
        check(&[("engine", "scripted")], "house.toml").await;
    }
}
