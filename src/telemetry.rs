//! Logs, and traces over OTLP. Log lines have the fields of the span `request`. Spans of the target [`TRACES`] are
//! exported and never logged, so that logs and traces can be enabled separately without cost.

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::{Level, Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt};

use crate::config::{LogConfig, LogFormat, TracesConfig};

/// The target of spans for traces.
pub const TRACES: &str = "gavel::traces";

/// The standard path of an OTLP receiver.
const OTLP_PATH: &str = "/v1/traces";
/// Maximum time to send the last spans at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

/// The running exporter of traces, if there is one.
#[must_use = "spans that were not sent yet are lost without `shut_down`"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends the remaining spans.
    pub async fn shut_down(self) {
        let Some(provider) = self.provider else { return };
        // It blocks until its own thread has ended.
        let sent = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
        if let Ok(Err(error)) = sent {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Sends logs to standard error in the configured form, and spans to the receiver if one is configured.
///
/// # Errors
/// When the level is not a filter, when the receiver's address is none, or when logs already go somewhere.
pub fn init(log: &LogConfig, traces: &TracesConfig) -> Result<Telemetry, String> {
    let mut layers = vec![lines(log)?];
    let provider = if traces.endpoint.is_empty() { None } else { Some(provider(traces)?) };
    layers.extend(provider.as_ref().map(spans));
    tracing_subscriber::registry().with(layers).try_init().map_err(|error| error.to_string())?;
    Ok(Telemetry { provider })
}

/// Checks that logs can be written as configured.
///
/// # Errors
/// When the level is not a filter.
pub fn check(log: &LogConfig) -> Result<(), String> {
    filter(&log.level).map(drop)
}

/// Continues the trace of a caller with W3C `traceparent` and `tracestate`.
pub fn continue_trace(span: &Span, parent: Option<&str>, state: Option<&str>) {
    if parent.is_none() || span.is_disabled() {
        return;
    }
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers { parent, state });
    // It fails only if traces are not exported.
    let _ = span.set_parent(parent);
}

struct Headers<'a> {
    parent: Option<&'a str>,
    state: Option<&'a str>,
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.parent,
            "tracestate" => self.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// The filter of a level or of directives. A word that is no level would be taken for a target, and the log be silent.
fn filter(level: &str) -> Result<EnvFilter, String> {
    let known = "error, warn, info, debug, trace or off; or a filter such as \"gavel=debug,actix_web=warn\"";
    let is_wrong = |word: &&str| !word.is_empty() && !word.contains('=') && word.parse::<LevelFilter>().is_err();
    // Commas inside of brackets belong to the fields of a span.
    let wrong = level.split(',').map(str::trim).find(|word| !level.contains('[') && is_wrong(word));
    if let Some(wrong) = wrong {
        return Err(format!("log.level: invalid level `{wrong}`; use {known}"));
    }
    EnvFilter::try_new(level).map_err(|error| format!("log.level: {error}; use {known}"))
}

fn lines(config: &LogConfig) -> Result<Boxed, String> {
    let filter = filter(&config.level)?;
    // These crates log details that are only useful to their developers.
    let filter = ["llama-cpp-2=error", "llama_cpp_2=error", "mistralrs=warn", "actix_server=warn"]
        .into_iter()
        .filter(|quiet| !config.level.contains(quiet.split('=').next().unwrap_or_default()))
        .fold(filter, |filter, quiet| filter.add_directive(quiet.parse().expect("a fixed directive")))
        .add_directive(format!("{TRACES}=off").parse().expect("a fixed directive"));
    Ok(match config.format {
        LogFormat::Text => {
            let mut lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
            if !std::io::stderr().is_terminal() {
                lines.set_ansi(false);
            }
            lines.with_filter(filter).boxed()
        }
        LogFormat::Json => {
            let lines = json_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_target(false)
                .with_current_span(false)
                .flatten_event(true)
                .flatten_span_list_on_top_level(true);
            lines.with_filter(filter).boxed()
        }
    })
}

fn provider(config: &TracesConfig) -> Result<SdkTracerProvider, String> {
    let base = config.endpoint.trim_end_matches('/');
    let endpoint = if base.ends_with(OTLP_PATH) { base.to_owned() } else { format!("{base}{OTLP_PATH}") };
    let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint).build();
    let exporter = exporter.map_err(|error| format!("traces.endpoint: {error}"))?;
    // A sampled trace of a caller is always continued; the ratio applies to traces that start here.
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio)));
    let resource = Resource::builder()
        .with_service_name(config.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_sampler(sampler).with_resource(resource).build())
}

fn spans(provider: &SdkTracerProvider) -> Boxed {
    // Warnings are events of their span.
    let wanted = |metadata: &Metadata<'_>| {
        metadata.target() == TRACES
            || metadata.is_event() && *metadata.level() <= Level::WARN && metadata.target().starts_with("gavel")
    };
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("gavel"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(FilterFn::new(wanted).with_max_level_hint(LevelFilter::INFO))
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_read_or_refused() {
        let check = |level: &str, good: bool| match filter(level) {
            Ok(_) => assert!(good, "{level}"),
            Err(error) => assert!(!good && error.contains("error, warn, info, debug, trace"), "{level}: {error}"),
        };
        for level in ["info", "WARN", "off", "gavel=debug,actix_web=warn", "[request{id}]=debug"] {
            check(level, true);
        }
        for level in ["nonsense", "gavel=loud", "info,verbose", "warning", "info, gavel=trace"] {
            check(level, false);
        }
    }
}
