//! A loaded server, the real Prometheus, and every query that is shipped.

use std::sync::Arc;
use std::time::Duration;

use gavel::engine::scripted::{Answer, Scripted};
use gavel::engine::{Compiled, Engine, EngineError, EngineInfo, Job, Load, Run};
use gavel::prompts::ChatFormat;
use reqwest::header::ACCEPT;
use serde_json::json;

use crate::dashboard::{dashboard, filled, queries};
use crate::engines::{Gated, prefers_good, says};
use crate::prometheus::{Prometheus, installed, promtool};
use crate::server::{Server, absolute, ok, relative, rubric, sent};

/// The scripted engine with a KV pool to show.
struct Pooled(Scripted);

impl Engine for Pooled {
    fn info(&self) -> &EngineInfo {
        self.0.info()
    }

    fn chat_format(&self) -> &ChatFormat {
        self.0.chat_format()
    }

    fn compile(&self, job: Job) -> Result<Compiled, EngineError> {
        self.0.compile(job)
    }

    fn start(&self, compiled: Compiled) -> Run {
        self.0.start(compiled)
    }

    fn load(&self) -> Load {
        Load { kv_running: 100, kv_cached: 50, kv_free: 850, ..self.0.load() }
    }
}

fn engine() -> Arc<dyn Engine> {
    Arc::new(Pooled(Scripted::new(|job| {
        let prompt = job.prompt.text();
        match () {
            () if prompt.contains("FAIL") => Answer { fail: Some("out of memory".into()), ..Answer::default() },
            () if prompt.contains("flip") => says("Hm.", &[0.5, 0.3]),
            () if prompt.contains("GOOD") => prefers_good(job),
            () => says("It is right.", &[0.1, 0.1, 0.2, 0.3, 0.2]),
        }
    })))
}

/// Everything that a server can be asked, and some things that it cannot; `round` makes it new.
async fn load(server: &Server, round: u32) {
    let response = format!("Answer {round}.");
    for name in ["helpfulness", "factual_validity"] {
        server.absolute(json!({"rubric": name, "response": response})).await;
    }
    let again = server.absolute(json!({"response": response})).await;
    assert_eq!(again["cached"], true);
    server.absolute(json!({"rubric": rubric(1, 5), "response": response})).await;
    server.absolute(json!({"response": response, "samples": 3, "sampling": {"temperature": 1.0}})).await;
    server.relative(json!({"context": [{"id": "doc", "text": response}]})).await;
    assert_eq!(server.relative(json!({"instruction": format!("flip {round}")})).await["consistent"], false);
    for budget in [0, 1] {
        server.absolute(json!({"response": response, "route": {"budget": budget}})).await;
        server.relative(json!({"response_a": response, "route": {"budget": budget}})).await;
    }
    let body = absolute(json!({"response": format!("Streamed {round}.")}));
    let streamed = sent(server.post("/v1/grade/absolute").header(ACCEPT, "text/event-stream").json(&body)).await;
    assert!(streamed.text().await.unwrap().contains("event: verdict"));
    for (body, status) in [
        (absolute(json!({"rubric": "nothing"})), 404),
        (absolute(json!({"respnse": "a slip"})), 422),
        (absolute(json!({"response": format!("FAIL {round}")})), 502),
        (relative(json!({"response_a": ""})), 422),
    ] {
        let path = if body["response_a"].is_null() { "/v1/grade/absolute" } else { "/v1/grade/relative" };
        assert_eq!(server.post_json(path, &body).await.status(), status, "{body}");
    }
    ok(server.get("/v1/info").await).await;
}

#[tokio::test]
async fn every_panel_shows_something_and_every_alert_is_understood() {
    if !installed() {
        return;
    }
    let server = Server::with(engine());
    load(&server, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(folder.path(), &server.address.to_string());
    // A rate needs a sample from before the load and one from after it.
    prometheus.until("sum(gavel_score_count)", |values| values.first() > Some(&0.0)).await;
    load(&server, 2).await;
    let metrics = server.metrics().await;
    promtool(&["check", "metrics"], &metrics.0);
    let scored = metrics.value("gavel_score_count", &[]);
    prometheus.until("sum(gavel_score_count)", |values| values == [scored]).await;

    let queries = queries();
    assert!(queries.len() > 40, "{}", queries.len());
    let mut empty = Vec::new();
    for (title, query) in queries {
        let values = prometheus.values(&query).await.unwrap_or_else(|error| panic!("{title}: {query}\n{error}"));
        if !values.iter().any(|value| value.is_finite()) {
            empty.push(format!("{title}: {query}: {values:?}"));
        }
    }
    assert!(empty.is_empty(), "no data:\n{}", empty.join("\n"));

    let groups = prometheus.get("/api/v1/rules", &[]).await.unwrap();
    let alerts = groups["groups"][0]["rules"].as_array().unwrap().clone();
    assert!(alerts.len() >= 8);
    for alert in &alerts {
        let query = alert["query"].as_str().unwrap();
        prometheus.values(query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        for text in
            [&alert["labels"]["severity"], &alert["annotations"]["summary"], &alert["annotations"]["description"]]
        {
            assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{alert}");
        }
    }
    // What the alerts compare is there.
    for query in ["up{job=\"gavel\"} == 1", "gavel_requests_rejected_total{reason=\"saturated\"}", "gavel_queue_depth"]
    {
        assert!(!prometheus.values(query).await.unwrap().is_empty(), "{query}");
    }
    for variable in dashboard()["templating"]["list"].as_array().unwrap().iter().skip(1) {
        let definition = variable["definition"].as_str().unwrap();
        let (metric, label) =
            definition.strip_prefix("label_values(").and_then(|d| d.strip_suffix(')')?.split_once(", ")).unwrap();
        let query = filled(&format!("count by ({label}) ({metric}{{{label}!=\"\"}})"));
        assert!(!prometheus.values(&query).await.unwrap().is_empty(), "{definition}");
    }
}

#[tokio::test]
async fn without_a_request_a_number_is_shown_or_that_there_is_none() {
    if !installed() {
        return;
    }
    let server = Server::with(engine());
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(folder.path(), &server.address.to_string());
    prometheus
        .until("min_over_time(up{job=\"gavel\"}[5m]) * count_over_time(up[5m])", |values| values.first() > Some(&1.5))
        .await;
    let mut numbers = 0;
    for panel in dashboard()["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = filled(target["expr"].as_str().unwrap());
            let values = prometheus.values(&query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
            if panel["type"] != "stat" {
                continue;
            }
            numbers += 1;
            let said = panel["fieldConfig"]["defaults"]["noValue"].is_string();
            // Not a number is shown as that, whatever there is to say instead.
            let shown = !values.is_empty() && values.iter().all(|value| value.is_finite());
            assert!(shown || (said && values.is_empty()), "{}: {query}: {values:?}", panel["title"]);
        }
    }
    assert!(numbers >= 7, "{numbers}");
}

#[test]
fn what_is_shipped_for_prometheus_is_what_it_takes() {
    if !installed() {
        return;
    }
    promtool(&["check", "config", "prometheus.yml"], "");
    promtool(&["check", "rules", "alerts.yml"], "");
    promtool(&["test", "rules", "alerts.test.yml"], "");
}

#[tokio::test]
async fn the_time_before_a_request_is_let_in_is_queue_time() {
    let engine = Gated::new(Scripted::fixed(Duration::ZERO));
    let gate = Arc::clone(&engine);
    let server = Server::configured(&[("limits.in_flight", "1")], Some(engine));
    let both = async {
        let (one, other) = (json!({"response": "One."}), json!({"response": "Another."}));
        tokio::join!(server.absolute(one), server.absolute(other))
    };
    let ((one, other), ()) = tokio::join!(both, async {
        server.until("one that waits", |metrics| metrics.value("gavel_queue_depth", &[]) == 1.0).await;
        gate.open();
    });
    // The scripted engine itself has no queue.
    let [one, other] = [&one, &other].map(|verdict| verdict["timing_ms"]["queue"].as_f64().unwrap());
    assert!(one.max(other) > one.min(other), "{one} {other}");
    let counted = server.metrics().await.value("gavel_stage_duration_seconds_sum", &[("stage", "queue")]);
    assert!((counted * 1e3 - one - other).abs() < 0.01, "{counted} s: {one} ms, {other} ms");
}
