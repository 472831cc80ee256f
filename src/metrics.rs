//! Prometheus metrics: a typed struct with its own registry, no global state.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::domain::{Kind, Preference, Usage};
use crate::engine::remote::{Observer, Outcome};
use crate::engine::{EngineInfo, Load};
use crate::tasks::Observation;

/// Every metric that Gavel exports. Label sets are bounded: rubric labels are names of the library or `inline`.
#[allow(missing_docs, reason = "each metric carries its help text, below")]
pub struct Metrics {
    registry: Registry,
    pub http_requests: IntCounterVec,
    pub http_duration: HistogramVec,
    pub judgements: IntCounterVec,
    pub score: HistogramVec,
    pub preferences: IntCounterVec,
    pub position_flips: IntCounterVec,
    routed: IntCounterVec,
    pub label_mass: HistogramVec,
    pub stage: StageHistograms,
    tokens: IntCounterVec,
    pictures: IntCounterVec,
    pub queue_depth: IntGauge,
    pub sequences_running: IntGauge,
    kv_tokens: IntGaugeVec,
    pub verdict_cache: IntCounterVec,
    pub rejected: IntCounterVec,
    pub key_requests: IntCounterVec,
    pub batch_lines: IntCounterVec,
    pub batch_lines_running: IntGauge,
    pub verdicts_not_logged: IntCounter,
    engine_restarts: IntCounter,
    model_info: IntGaugeVec,
    remote: RemoteMetrics,
    /// Held while gauges are set and read, so that each scrape is consistent.
    scrape: Mutex<()>,
    described: Vec<(&'static str, Desc)>,
}

/// Time by stage, in seconds.
#[allow(missing_docs, reason = "the names are those of the stages")]
pub struct StageHistograms {
    pub queue: Histogram,
    pub render: Histogram,
    pub prefill: Histogram,
    pub decode: Histogram,
}

/// Requests to the servers of remote engines.
struct RemoteMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    retries: IntCounterVec,
    breaker_open: IntGaugeVec,
}

/// Beyond the default deadline of 600 s, so that a quantile tells requests that reach it from shorter ones.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
    600.0, 1200.0,
];
// Label values that are known in advance.
const TOKENS: [&str; 4] = ["prompt", "cached", "image", "completion"];
const PICTURE_RESULTS: [&str; 2] = ["encoded", "reused"];
pub(crate) const CACHE_RESULTS: [&str; 3] = ["hit", "coalesced", "miss"];
const KV_STATES: [&str; 3] = ["running", "cached", "free"];
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
        let (registry, described) = (Registry::new(), RefCell::new(Vec::new()));
        let add = Add { registry: &registry, described: &described };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            add.one("counter", IntCounterVec::new(Opts::new(name, help), labels))
        };
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            add.one("histogram", HistogramVec::new(options, labels))
        };
        let gauge = |name: &str, help: &str| add.one("gauge", IntGauge::new(name, help));
        let gauges =
            |name: &str, help: &str, labels: &[&str]| add.one("gauge", IntGaugeVec::new(Opts::new(name, help), labels));

        let http_requests = counter(
            "gavel_http_requests_total",
            "HTTP requests. Status 499: the caller disconnected before the answer.",
            &["route", "method", "status"],
        );
        let http_duration = histogram(
            "gavel_http_request_duration_seconds",
            "Time from the request to the end of its answer, including streams.",
            &["route"],
            SECONDS,
        );
        let judgements = counter(
            "gavel_judgements_total",
            "Judgements by kind (absolute, relative, segments, …) and outcome (ok, failed, cancelled), including cached ones.",
            &["kind", "rubric", "model", "outcome"],
        );
        let score = histogram("gavel_score", "Rewards: expected scores mapped to 0..1.", &["rubric", "model"], SHARES);
        let preferences = counter(
            "gavel_preferences_total",
            "Preferences: A, B or tie, as the caller named the responses.",
            &["choice", "rubric", "model"],
        );
        let position_flips = counter(
            "gavel_position_flips_total",
            "Relative verdicts whose two orders disagree (position bias).",
            &["rubric", "model"],
        );
        let routed = counter(
            "gavel_routed_total",
            "Verdicts that were routed, by kind (absolute, relative) and route: ai (the judge decides) or human.",
            &["kind", "route"],
        );
        let label_mass = histogram(
            "gavel_label_mass",
            "Total probability of the labels before normalising, by kind (absolute, relative). Low: the judge is guessing.",
            &["kind", "model"],
            SHARES,
        );
        let stage = histogram(
            "gavel_stage_duration_seconds",
            "Time by stage: queue (from arrival at admission until the engine first works on it), render, prefill, \
             decode. Only computed judgements count: cached ones do not, and a coalesced one counts once.",
            &["stage"],
            SECONDS,
        );
        let tokens = counter(
            "gavel_tokens_total",
            "Tokens of computed judgements: prompt (including cached ones), cached (reused from the prefix cache), \
             image (of pictures, which are also counted as prompt), completion (generated or chosen).",
            &["type"],
        );
        let pictures = counter(
            "gavel_pictures_total",
            "Pictures in the prompts of computed judgements: encoded by the model's eyes, or reused from the prefix cache.",
            &["result"],
        );
        let queue_depth = gauge("gavel_queue_depth", "Waiting requests and sequences.");
        let sequences_running = gauge("gavel_sequences_running", "Sequences that are running on the engines.");
        let kv_tokens = gauges(
            "gavel_kv_cache_tokens",
            "KV cache tokens: reserved by running sequences (running), unused (free), and in the prefix cache (cached).",
            &["state"],
        );
        let verdict_cache = counter(
            "gavel_verdict_cache_total",
            "Lookups in the verdict cache: hit, coalesced (joined an equal judgement in flight), miss.",
            &["result"],
        );
        let rejected =
            counter("gavel_requests_rejected_total", "Requests answered with an error, by error code.", &["reason"]);
        let key_requests = counter(
            "gavel_key_requests_total",
            "Requests by the name of their API key, without those that a limit or a scope refused.",
            &["key"],
        );
        let batch_lines = counter(
            "gavel_batch_lines_total",
            "Lines of batches that this process answered: ok, or failed (answered with an error).",
            &["outcome"],
        );
        let batch_lines_running = gauge("gavel_batch_lines_running", "Lines of batches in progress in this process.");
        let not_logged = "Verdicts that are not in the log of verdicts, because too many waited for the database.";
        let verdicts_not_logged = add.one("counter", IntCounter::new("gavel_verdicts_not_logged_total", not_logged));
        let engine_restarts =
            add.one("counter", IntCounter::new("gavel_engine_restarts_total", "Engine restarts after a failure."));
        let model_info = gauges("gavel_model_info", "1 for every loaded model.", &["name", "engine", "digest"]);
        let remote = RemoteMetrics {
            requests: counter(
                "gavel_remote_requests_total",
                "Requests to the servers of remote engines by operation (read, generate, prompt_logprobs, probe) and \
                 outcome (ok, refused, untrusted, failed). Untrusted: no verdict was made of the reply.",
                &["url", "op", "outcome"],
            ),
            duration: histogram(
                "gavel_remote_request_duration_seconds",
                "Time of a request to a server of a remote engine, up to the end of its reply.",
                &["url", "op"],
                SECONDS,
            ),
            retries: counter("gavel_remote_retries_total", "Retries of requests that failed at this server.", &["url"]),
            breaker_open: gauges(
                "gavel_remote_breaker_open",
                "1 while a server of a remote engine is skipped because it failed repeatedly.",
                &["url"],
            ),
        };
        gauges("gavel_build_info", "1 for the running version.", &["version"])
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);

        // A missing series has no rate, so series whose labels are known start at zero.
        TOKENS.iter().for_each(|kind| drop(tokens.with_label_values(&[kind])));
        PICTURE_RESULTS.iter().for_each(|result| drop(pictures.with_label_values(&[result])));
        KV_STATES.iter().for_each(|state| drop(kv_tokens.with_label_values(&[state])));
        CACHE_RESULTS.iter().for_each(|result| drop(verdict_cache.with_label_values(&[result])));
        for kind in [Kind::Absolute, Kind::Relative] {
            ["ai", "human"].iter().for_each(|route| drop(routed.with_label_values(&[kind.name(), route])));
        }
        ["ok", "failed"].iter().for_each(|outcome| drop(batch_lines.with_label_values(&[outcome])));
        let stage = |name| stage.with_label_values(&[name]);
        Self {
            stage: StageHistograms {
                queue: stage("queue"),
                render: stage("render"),
                prefill: stage("prefill"),
                decode: stage("decode"),
            },
            http_requests,
            http_duration,
            judgements,
            score,
            preferences,
            position_flips,
            routed,
            label_mass,
            tokens,
            pictures,
            queue_depth,
            sequences_running,
            kv_tokens,
            verdict_cache,
            rejected,
            key_requests,
            batch_lines,
            batch_lines_running,
            verdicts_not_logged,
            engine_restarts,
            model_info,
            remote,
            scrape: Mutex::new(()),
            described: described.into_inner(),
            registry,
        }
    }

    /// Initialises the error counter of each reason with zero.
    pub fn expect_refusals<'a>(&self, reasons: impl IntoIterator<Item = &'a str>) {
        reasons.into_iter().for_each(|reason| drop(self.rejected.with_label_values(&[reason])));
    }

    /// Initialises the label mass of each model with zero.
    pub fn expect_models<'a>(&self, models: impl IntoIterator<Item = &'a str>) {
        for model in models {
            [Kind::Absolute, Kind::Relative]
                .into_iter()
                .for_each(|kind| drop(self.label_mass.with_label_values(&[kind.name(), model])));
        }
    }

    /// Counts an observation in a verdict of a model.
    pub fn observe(&self, model: &str, seen: Observation<'_>) {
        match seen {
            Observation::Reward { rubric, reward } => self.score.with_label_values(&[rubric, model]).observe(reward),
            Observation::Preference { rubric, preference, flipped } => {
                let choice = match preference {
                    Preference::A => "A",
                    Preference::B => "B",
                    Preference::Tie => "tie",
                };
                self.preferences.with_label_values(&[choice, rubric, model]).inc();
                self.position_flips.with_label_values(&[rubric, model]).inc_by(u64::from(flipped));
            }
        }
    }

    /// Counts a verdict that was routed to people or to the judge.
    pub fn count_routed(&self, kind: Kind, human: bool) {
        self.routed.with_label_values(&[kind.name(), if human { "human" } else { "ai" }]).inc();
    }

    /// Counts the tokens of a judgement that was computed, not cached.
    pub fn count_tokens(&self, usage: &Usage) {
        let counts = [usage.prompt_tokens, usage.cached_tokens, usage.image_tokens, usage.completion_tokens];
        for (kind, count) in TOKENS.into_iter().zip(counts) {
            self.tokens.with_label_values(&[kind]).inc_by(count);
        }
    }

    /// Counts the pictures of a judgement that was computed, not cached: how many were encoded for it, of how many.
    pub fn count_pictures(&self, encoded: usize, all: usize) {
        for (result, count) in PICTURE_RESULTS.into_iter().zip([encoded, all.saturating_sub(encoded)]) {
            self.pictures.with_label_values(&[result]).inc_by(count as u64);
        }
    }

    /// All metrics in the Prometheus text format, with the current load of every running engine. `outside` is the load
    /// outside of engines (the admission queue), and the restarts of unloaded engines.
    #[must_use]
    pub fn render<'a>(&self, engines: impl IntoIterator<Item = (&'a EngineInfo, Load)>, outside: Load) -> String {
        let _scrape = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.set_gauges(engines, outside);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing to memory does not fail");
        String::from_utf8(text).expect("the text format is UTF-8")
    }

    fn set_gauges<'a>(&self, engines: impl IntoIterator<Item = (&'a EngineInfo, Load)>, outside: Load) {
        let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let mut all = outside;
        // An unloaded model must not stay in the list.
        self.model_info.reset();
        for (info, load) in engines {
            self.model_info.with_label_values(&[info.model.as_str(), info.engine, info.digest.as_str()]).set(1);
            all = all.plus(load);
        }
        self.queue_depth.set(gauge(all.waiting));
        self.sequences_running.set(gauge(all.running));
        for (state, tokens) in KV_STATES.into_iter().zip([all.kv_running, all.kv_cached, all.kv_free]) {
            self.kv_tokens.with_label_values(&[state]).set(gauge(tokens));
        }
        self.engine_restarts.inc_by(all.restarts.saturating_sub(self.engine_restarts.get()));
    }
}

impl Observer for Metrics {
    fn request(&self, url: &str, op: &'static str, outcome: Outcome, took: Duration) {
        self.remote.requests.with_label_values(&[url, op, outcome.name()]).inc();
        self.remote.duration.with_label_values(&[url, op]).observe(took.as_secs_f64());
    }

    fn retry(&self, url: &str) {
        self.remote.retries.with_label_values(&[url]).inc();
    }

    fn breaker(&self, url: &str, open: bool) {
        self.remote.breaker_open.with_label_values(&[url]).set(i64::from(open));
    }
}

/// docs/metrics.md, generated from the metrics.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\n`GET /metrics` answers in the Prometheus text format. Generated from `src/metrics.rs` with \
         `gavel docs metrics`. Rubric labels are names of the rubric library; inline rubrics count as `inline`, so \
         callers cannot grow the label set.\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for (kind, desc) in Metrics::new().described {
        let labels: Vec<String> = desc.variable_labels.iter().map(|label| format!("`{label}`")).collect();
        page.push_str(&format!("| `{}` | {kind} | {} | {} |\n", desc.fq_name, labels.join(", "), desc.help));
    }
    page
}

/// Registers metrics, and records their types and descriptions for docs/metrics.md.
struct Add<'a> {
    registry: &'a Registry,
    described: &'a RefCell<Vec<(&'static str, Desc)>>,
}

impl Add<'_> {
    fn one<C: Collector + Clone + 'static>(&self, kind: &'static str, metric: prometheus::Result<C>) -> C {
        let metric = metric.expect("names and labels are valid");
        self.described.borrow_mut().extend(metric.desc().into_iter().map(|desc| (kind, desc.clone())));
        self.registry.register(Box::new(metric.clone())).expect("every name is registered once");
        metric
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(model: &str) -> EngineInfo {
        EngineInfo {
            engine: "scripted",
            model: model.into(),
            digest: "sha256:0".into(),
            context: 1,
            sequences: 1,
            device: "none",
            threads: None,
        }
    }

    #[test]
    fn engines_are_added_up_and_those_that_are_gone_are_not_listed() {
        let (metrics, one, other) = (Metrics::new(), info("one"), info("other"));
        let load = Load { waiting: 1, running: 2, kv_running: 3, kv_cached: 4, kv_free: 5, restarts: 1 };
        let both = metrics.render([(&one, load), (&other, load)], Load { waiting: 10, ..Load::default() });
        for line in [
            "gavel_queue_depth 12",
            "gavel_sequences_running 4",
            "gavel_kv_cache_tokens{state=\"running\"} 6",
            "gavel_kv_cache_tokens{state=\"cached\"} 8",
            "gavel_kv_cache_tokens{state=\"free\"} 10",
            "gavel_engine_restarts_total 2",
            "gavel_model_info{digest=\"sha256:0\",engine=\"scripted\",name=\"one\"} 1",
            "gavel_model_info{digest=\"sha256:0\",engine=\"scripted\",name=\"other\"} 1",
        ] {
            assert!(both.lines().any(|found| found == line), "{line} in\n{both}");
        }
        let alone = metrics.render([(&other, load)], Load::default());
        assert!(!alone.contains("name=\"one\""), "{alone}");
        assert!(alone.contains("gavel_engine_restarts_total 2"), "a counter never falls: {alone}");
    }

    #[test]
    fn what_is_known_beforehand_starts_at_zero() {
        let metrics = Metrics::new();
        metrics.expect_refusals(["saturated"]);
        metrics.expect_models(["m"]);
        let text = metrics.render([], Load::default());
        for series in [
            "gavel_tokens_total{type=\"completion\"} 0",
            "gavel_pictures_total{result=\"reused\"} 0",
            "gavel_verdict_cache_total{result=\"coalesced\"} 0",
            "gavel_requests_rejected_total{reason=\"saturated\"} 0",
            "gavel_stage_duration_seconds_count{stage=\"prefill\"} 0",
            "gavel_label_mass_count{kind=\"relative\",model=\"m\"} 0",
            "gavel_engine_restarts_total 0",
        ] {
            assert!(text.lines().any(|found| found == series), "{series} in\n{text}");
        }
    }

    #[test]
    fn the_page_of_metrics_is_up_to_date() {
        assert_eq!(include_str!("../docs/metrics.md"), reference(), "run `gavel docs metrics > docs/metrics.md`");
    }
}
