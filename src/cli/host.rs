//! `gavel serve`, and the judge inside other commands.

use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::CliError;
use super::text::wrap;
use crate::api;
use crate::app::App;
use crate::config::Config;
use crate::facade::Gavel;
use crate::models::Progress;
use crate::telemetry::{self, Telemetry};

/// `gavel serve`: serves until a signal, or until a model cannot be loaded.
pub(super) async fn serve(config: Config) -> Result<(), CliError> {
    let telemetry = telemetry::init(&config.log, &config.traces).map_err(CliError::Failed)?;
    let outcome = serve_until_stopped(config).await;
    telemetry.shut_down().await;
    outcome
}

async fn serve_until_stopped(config: Config) -> Result<(), CliError> {
    for variable in &config.ignored_variables {
        tracing::warn!(variable, "unknown environment variable, ignored; docs/configuration.md lists the settings");
    }
    let (app, listener) = (App::build(config.clone())?, bind(&config)?);
    if let Err(error) = app.rubrics.watch() {
        tracing::warn!(%error, "rubric files cannot be watched; changes need a restart");
    }
    let address = listener.local_addr().map_err(|error| CliError::because("the address", error))?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "listening on a non-loopback address without authentication: everyone who can reach it can use it");
    }
    let mut server = api::server(Arc::clone(&app), listener).map_err(|error| CliError::because("the server", error))?;
    let handle = server.handle();
    println!("gavel is listening on http://{address}");
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
                () = engine_death(&app) => Err(CliError::Failed("the engine has died and cannot be restarted".into())),
            },
        },
        signal = &mut stopped => { asked = Some(signal); Ok(()) }
    };
    // Nobody is sent to a server that was never ready, and a person at a terminal sends nobody.
    let drain = match asked {
        Some(Signal::Terminate) if app.models().ready().is_ok() => Duration::from_millis(app.config.limits.drain_ms),
        _ => Duration::ZERO,
    };
    tracing::info!(drain_ms = drain.as_millis(), "shutting down: finishing requests in flight");
    let hurry = async {
        signal().await;
    };
    let mut stopping = pin!(api::shut_down(&app, &handle, drain, hurry));
    let cut = tokio::select! {
        cut = &mut stopping => cut,
        served = &mut server => {
            served.map_err(|error| CliError::because("the server", error))?;
            stopping.await
        }
    };
    outcome?;
    if cut > 0 {
        tracing::warn!(cut, "shut down before all requests were finished; these were cut off");
        return Err(CliError::Failed(format!("shut down before all requests were finished; {cut} were cut off")));
    }
    Ok(())
}

/// A judge inside another command.
pub(super) struct InProcessJudge {
    pub(super) gavel: Gavel,
    telemetry: Telemetry,
}

impl InProcessJudge {
    /// Loads the model.
    pub(super) async fn start(config: Config) -> Result<Self, CliError> {
        let log = crate::config::LogConfig { level: "warn".into(), ..config.log.clone() };
        let telemetry = telemetry::init(&log, &config.traces).map_err(CliError::Failed)?;
        Ok(Self { gavel: Gavel::start(config, None, &Bar::drawn()).await?, telemetry })
    }

    /// Lets its model go, and makes a judge of another one.
    pub(super) async fn replaced(self, config: Config) -> Result<Self, CliError> {
        drop(self.gavel);
        Ok(Self { gavel: Gavel::start(config, None, &Bar::drawn()).await?, telemetry: self.telemetry })
    }

    pub(super) async fn stop(self) {
        drop(self.gavel);
        self.telemetry.shut_down().await;
    }
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

/// Returns when the engine has died and cannot be restarted, so that a supervisor can restart the process.
async fn engine_death(app: &App) {
    while !app.engine_has_died() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Why the program stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// A supervisor's.
    Terminate,
}

/// Waits for a signal to stop.
pub(super) async fn signal() -> Signal {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        if let Ok(mut terminated) = terminated {
            return tokio::select! {
                _ = interrupted => Signal::Interrupt,
                _ = terminated.recv() => Signal::Terminate,
            };
        }
    }
    // Without Unix signals, only Ctrl-C stops the server.
    let _ = interrupted.await;
    Signal::Interrupt
}

/// Shows the progress of downloads and loads on standard error.
pub(super) struct Bar {
    bar: ProgressBar,
    /// Whether the bar is drawn, in place of log lines.
    drawn: bool,
}

impl Default for Bar {
    fn default() -> Self {
        Self { bar: ProgressBar::hidden(), drawn: false }
    }
}

/// Interval between two frames of the spinner.
const SPINNER_TICK: Duration = Duration::from_millis(120);

impl Bar {
    /// A bar that is drawn if standard error is a terminal.
    pub(super) fn drawn() -> Self {
        Self { bar: ProgressBar::no_length(), drawn: true }
    }

    fn style(&self, template: &str) {
        self.bar.set_style(ProgressStyle::with_template(template).expect("a fixed template"));
    }
}

impl Progress for Bar {
    fn start(&self, what: &str, total_bytes: Option<u64>, already: u64) {
        tracing::info!(what, total_bytes, "downloading the model");
        self.bar.reset();
        self.bar.disable_steady_tick();
        match total_bytes {
            Some(bytes) => {
                self.style("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
                self.bar.set_length(bytes);
            }
            None => self.style("{msg} {bytes} {bytes_per_sec}"),
        }
        self.bar.set_message(what.to_owned());
        self.bar.set_position(already);
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }

    #[allow(clippy::print_stderr, reason = "it is drawn there")]
    fn note(&self, line: &str) {
        if self.drawn {
            self.bar.finish_and_clear();
            eprint!("{}", wrap(line, 0));
        } else {
            tracing::warn!("{line}");
        }
    }

    fn stage(&self, what: &str) {
        tracing::info!("{what}");
        self.bar.reset();
        self.style("{spinner} {msg}, {elapsed}");
        self.bar.set_message(what.to_owned());
        self.bar.enable_steady_tick(SPINNER_TICK);
    }
}
