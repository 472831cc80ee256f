//! The judge inside commands, signals, and the progress of downloads.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::CliError;
use super::text::wrap;
use crate::config::Config;
use crate::facade::Gavel;
use crate::models::Progress;
use crate::telemetry::{self, Telemetry};

/// A judge inside another command.
pub(super) struct InProcessJudge {
    pub(super) gavel: Gavel,
    telemetry: Telemetry,
}

impl InProcessJudge {
    /// Loads the model.
    pub(super) async fn start(config: Config) -> Result<Self, CliError> {
        let log = crate::config::LogConfig { level: "warn".into(), ..config.log.clone() };
        let telemetry = telemetry::init(&log, &config.traces).map_err(CliError::Unusable)?;
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
