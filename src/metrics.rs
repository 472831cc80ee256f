//! Metrics: a typed struct and its own registry, nothing global.

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::engine::{EngineInfo, Load};
use crate::grading::Usage;

/// Every metric that Gavel exports. Labels are bounded: rubric labels are names of the library or `inline`.
#[allow(missing_docs, reason = "each metric carries its help text, below")]
pub struct Metrics {
    registry: Registry,
    pub http_requests: IntCounterVec,
    pub http_duration: HistogramVec,
    pub judgements: IntCounterVec,
    pub score: HistogramVec,
    pub preferences: IntCounterVec,
    pub position_flips: IntCounterVec,
    pub label_mass: HistogramVec,
    pub stage: StageHistograms,
    tokens: IntCounterVec,
    pub queue_depth: IntGauge,
    pub sequences_running: IntGauge,
    kv_tokens: IntGaugeVec,
    pub verdict_cache: IntCounterVec,
    pub rejected: IntCounterVec,
    engine_restarts: IntCounter,
    model_info: IntGaugeVec,
}

/// Time by stage, each stage measured once.
#[allow(missing_docs, reason = "the names are those of the stages")]
pub struct StageHistograms {
    pub queue: Histogram,
    pub render: Histogram,
    pub prefill: Histogram,
    pub decode: Histogram,
}

const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
const SHARES: &[f64] = &[0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero, in a registry of their own.
    ///
    /// # Panics
    /// Never: names and labels are fixed, and a test renders them.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            registered(&registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
        };
        let gauge = |name: &str, help: &str| registered(&registry, IntGauge::new(name, help));
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        let stage = histogram("gavel_stage_duration_seconds", "Time of a judgement by stage.", &["stage"], SECONDS);
        let stage = |name| stage.with_label_values(&[name]);
        gauges("gavel_build_info", "The version that runs.", &["version"])
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        Self {
            http_requests: counter("gavel_http_requests_total", "Requests answered.", &["route", "method", "status"]),
            http_duration: histogram("gavel_http_request_duration_seconds", "Time to answer.", &["route"], SECONDS),
            judgements: counter(
                "gavel_judgements_total",
                "Judgements by how they ended.",
                &["kind", "rubric", "model", "outcome"],
            ),
            score: histogram("gavel_score", "Expected scores, mapped to 0..1.", &["rubric", "model"], SHARES),
            preferences: counter("gavel_preferences_total", "Preferences given.", &["choice", "rubric"]),
            position_flips: counter(
                "gavel_position_flips_total",
                "Relative verdicts whose two orders disagree.",
                &["rubric"],
            ),
            label_mass: histogram("gavel_label_mass", "Probability that lay on the labels.", &["kind"], SHARES),
            stage: StageHistograms {
                queue: stage("queue"),
                render: stage("render"),
                prefill: stage("prefill"),
                decode: stage("decode"),
            },
            tokens: counter("gavel_tokens_total", "Tokens by type.", &["type"]),
            queue_depth: gauge("gavel_queue_depth", "Requests and sequences that wait."),
            sequences_running: gauge("gavel_sequences_running", "Sequences that share the model."),
            kv_tokens: gauges("gavel_kv_cache_tokens", "Tokens of the KV pool by state.", &["state"]),
            verdict_cache: counter("gavel_verdict_cache_total", "Verdict cache look-ups by result.", &["result"]),
            rejected: counter("gavel_requests_rejected_total", "Requests refused, by reason.", &["reason"]),
            engine_restarts: registered(
                &registry,
                IntCounter::new("gavel_engine_restarts_total", "Times the engine came back after a failure."),
            ),
            model_info: gauges("gavel_model_info", "The model that is loaded.", &["name", "engine", "digest"]),
            registry,
        }
    }

    /// Counts the tokens of a judgement that was computed, not cached.
    pub fn count_tokens(&self, usage: &Usage) {
        let add = |kind: &str, n: u64| self.tokens.with_label_values(&[kind]).inc_by(n);
        add("prompt", usage.prompt_tokens);
        add("cached", usage.cached_tokens);
        add("completion", usage.completion_tokens);
    }

    /// Takes the engine's present load; `queued` requests wait outside of it.
    pub fn observe_engine(&self, info: &EngineInfo, load: &Load, queued: usize) {
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.queue_depth.set(gauge(load.waiting + queued));
        self.sequences_running.set(gauge(load.running));
        for (state, tokens) in [("running", load.kv_running), ("cached", load.kv_cached), ("free", load.kv_free)] {
            self.kv_tokens.with_label_values(&[state]).set(gauge(tokens));
        }
        self.engine_restarts.inc_by(load.restarts.saturating_sub(self.engine_restarts.get()));
        self.model_info.with_label_values(&[info.model.as_str(), info.engine, info.digest.as_str()]).set(1);
    }

    /// Leaves out a model that is unloaded.
    pub fn forget_model(&self, info: &EngineInfo) {
        // It may never have been observed.
        let _ = self.model_info.remove_label_values(&[info.model.as_str(), info.engine, info.digest.as_str()]);
    }

    /// Everything in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing to memory does not fail");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("names and labels are valid");
    registry.register(Box::new(metric.clone())).expect("every name is registered once");
    metric
}
