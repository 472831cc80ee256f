//! The results of a load.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};

/// Maximum recorded latency, in microseconds.
const HOUR: u64 = 3_600_000_000;

/// Counts replies.
pub(super) struct Tally {
    pub(super) took: Duration,
    verdicts: u64,
    from_cache: u64,
    tokens: Tokens,
    failed: BTreeMap<String, u64>,
    /// In microseconds; of verdicts only, because refusals are fast.
    latency: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            took: Duration::ZERO,
            verdicts: 0,
            from_cache: 0,
            tokens: Tokens::default(),
            failed: BTreeMap::new(),
            latency: Histogram::new_with_bounds(1, HOUR, 3).expect("bounds and digits are those of the crate"),
        }
    }
}

/// The fields of a verdict that are counted.
#[derive(Deserialize)]
struct Verdict {
    usage: Usage,
    cached: bool,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
    cached_tokens: u64,
    completion_tokens: u64,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
}

impl Tally {
    /// Counts a reply: its status and body, or why there is none.
    pub(super) fn add(&mut self, reply: Result<(u16, Bytes), String>, latency: Duration) {
        let code = match reply {
            Ok((200, body)) => match serde_json::from_slice::<Verdict>(&body) {
                Ok(verdict) => return self.verdict(&verdict, latency),
                Err(_) => "not_a_verdict".to_owned(),
            },
            Ok((status, body)) => {
                serde_json::from_slice::<Problem>(&body).map_or_else(|_| format!("status_{status}"), |p| p.code)
            }
            Err(reason) => {
                tracing::debug!(reason, "no answer");
                "no_answer".to_owned()
            }
        };
        *self.failed.entry(code).or_default() += 1;
    }

    fn verdict(&mut self, verdict: &Verdict, latency: Duration) {
        self.verdicts += 1;
        self.latency.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
        if verdict.cached {
            // Its tokens were computed before.
            self.from_cache += 1;
        } else {
            self.tokens.prompt += verdict.usage.prompt_tokens as f64;
            self.tokens.cached += verdict.usage.cached_tokens as f64;
            self.tokens.completion += verdict.usage.completion_tokens as f64;
        }
    }
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Tokens {
    /// Prompt tokens, including cached ones.
    prompt: f64,
    /// Cached prompt tokens.
    cached: f64,
    /// Generated or chosen tokens.
    completion: f64,
}

/// Latency in milliseconds.
#[derive(Debug, Serialize)]
struct Latency {
    mean: f64,
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

/// The results of a load.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    server: String,
    concurrency: u16,
    /// Requests per second in fixed-rate mode; null in closed-loop mode.
    rate: Option<f64>,
    seconds: f64,
    pub(super) verdicts: u64,
    /// Verdicts from the verdict cache.
    verdicts_from_cache: u64,
    failed: u64,
    failures: BTreeMap<String, u64>,
    verdicts_per_second: f64,
    tokens: Tokens,
    tokens_per_second: Tokens,
    /// The share of prompt tokens that were cached.
    cached_share: f64,
    latency_ms: Latency,
}

impl Report {
    pub(super) fn new(tally: &Tally, server: &str, concurrency: u16, rate: Option<f64>) -> Self {
        let seconds = tally.took.as_secs_f64();
        let per_second = |n: f64| if seconds > 0.0 { n / seconds } else { 0.0 };
        let Tokens { prompt, cached, completion } = tally.tokens;
        let milliseconds = |microseconds: u64| microseconds as f64 / 1e3;
        let at = |quantile| milliseconds(tally.latency.value_at_quantile(quantile));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            server: server.to_owned(),
            concurrency,
            rate,
            seconds,
            verdicts: tally.verdicts,
            verdicts_from_cache: tally.from_cache,
            failed: tally.failed.values().sum(),
            failures: tally.failed.clone(),
            verdicts_per_second: per_second(tally.verdicts as f64),
            tokens: tally.tokens,
            tokens_per_second: Tokens {
                prompt: per_second(prompt),
                cached: per_second(cached),
                completion: per_second(completion),
            },
            cached_share: if prompt > 0.0 { cached / prompt } else { 0.0 },
            latency_ms: Latency {
                mean: tally.latency.mean() / 1e3,
                p50: at(0.5),
                p95: at(0.95),
                p99: at(0.99),
                max: milliseconds(tally.latency.max()),
            },
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pace = self.rate.map_or_else(String::new, |rate| format!(", {rate} due a second"));
        let (total, seconds, at_once) = (self.verdicts + self.failed, self.seconds, self.concurrency);
        writeln!(f, "{total} requests in {seconds:.2} s, at most {at_once} at once{pace}")?;
        let from_cache = match self.verdicts_from_cache {
            0 => String::new(),
            n => format!(", {n} of them from the verdict cache"),
        };
        writeln!(f, "verdicts   {}{from_cache}: {:.2}/s", self.verdicts, self.verdicts_per_second)?;
        let Tokens { prompt, cached, completion } = self.tokens_per_second;
        let share = self.cached_share * 100.0;
        writeln!(
            f,
            "tokens     prompt {prompt:.1}/s, of them cached {cached:.1}/s ({share:.1} %), completion {completion:.1}/s"
        )?;
        let Latency { mean, p50, p95, p99, max } = self.latency_ms;
        writeln!(f, "latency    p50 {p50:.2} ms, p95 {p95:.2}, p99 {p99:.2}, max {max:.2}, mean {mean:.2}")?;
        write!(f, "failed     {}", self.failed)?;
        self.failures.iter().try_for_each(|(code, count)| write!(f, ", {code} {count}"))?;
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_by_what_they_are() {
        let verdict = |cached| {
            let usage = r#"{"prompt_tokens": 80, "cached_tokens": 20, "completion_tokens": 1}"#;
            Ok((200, Bytes::from(format!(r#"{{"id": "x", "usage": {usage}, "cached": {cached}}}"#))))
        };
        let mut tally = Tally::default();
        tally.add(verdict(false), Duration::from_millis(10));
        tally.add(verdict(true), Duration::from_millis(30));
        tally.add(Ok((503, Bytes::from_static(br#"{"code": "saturated"}"#))), Duration::from_millis(1));
        tally.add(Ok((502, Bytes::from_static(b"<html>"))), Duration::from_millis(1));
        tally.add(Ok((200, Bytes::from_static(b"{}"))), Duration::from_millis(1));
        tally.add(Err("reset".into()), Duration::from_millis(1));
        tally.took = Duration::from_secs(2);
        let report = serde_json::to_value(Report::new(&tally, "here", 4, None)).unwrap();
        assert_eq!((&report["verdicts"], &report["verdicts_from_cache"]), (&2.into(), &1.into()));
        assert_eq!(
            report["failures"],
            serde_json::json!({"saturated": 1, "status_502": 1, "not_a_verdict": 1, "no_answer": 1})
        );
        assert_eq!(report["verdicts_per_second"], 1.0);
        assert_eq!(report["tokens"]["prompt"], 80.0, "cached verdicts computed no tokens");
        assert_eq!(report["cached_share"], 0.25);
        let p99 = report["latency_ms"]["p99"].as_f64().unwrap();
        assert!((p99 - 30.0).abs() < 0.05, "{p99}");
    }
}
