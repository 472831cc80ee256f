//! Logs.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// Sends logs to standard error in the configured form.
///
/// # Errors
/// When the level is not a filter, or when logs already go somewhere.
pub fn init(config: &LogConfig) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.level).map_err(|error| format!("log.level: {error}"))?;
    // These say much that matters to their own developers only.
    let filter = ["llama-cpp-2=error", "llama_cpp_2=error", "actix_server=warn"]
        .into_iter()
        .filter(|quiet| !config.level.contains(quiet.split('=').next().unwrap_or_default()))
        .fold(filter, |filter, quiet| filter.add_directive(quiet.parse().expect("a fixed directive")));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let done = match config.format {
        LogFormat::Text => lines.finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    done.map_err(|error| error.to_string())
}
