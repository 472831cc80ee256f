//! The verdict cache: what is kept, what is shared, and what is neither.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gavel::engine::Engine;
use gavel::engine::scripted::Scripted;
use serde_json::{Value, json};

use crate::engines::{Gated, counting, fraction_of, says};
use crate::server::{Server, absolute, events, problem, redacted, sent};

#[tokio::test]
async fn equal_requests_in_flight_are_computed_once() {
    const CALLERS: usize = 8;
    let engine = Gated::new(Scripted::new(|job| says("Fine.", &[fraction_of(&job.prompt.text())])));
    let server = Server::with(Arc::clone(&engine) as Arc<dyn Engine>);
    let callers = futures::future::join_all((0..CALLERS).map(|_| server.absolute(json!({}))));
    let (verdicts, ()) = tokio::join!(callers, async {
        let rendered = ("gavel_stage_duration_seconds_count", [("stage", "render")]);
        server.until("all requests", |m| m.value(rendered.0, &rendered.1) == CALLERS as f64).await;
        engine.open();
    });
    assert_eq!(engine.started(), 1);
    let numbers = |verdict: &Value| {
        let mut verdict = redacted(verdict.clone());
        verdict["cached"] = Value::Null;
        verdict["usage"] = Value::Null;
        verdict
    };
    assert!(verdicts.iter().all(|verdict| numbers(verdict) == numbers(&verdicts[0])), "{verdicts:?}");
    let metrics = server.metrics().await;
    let result = |result| metrics.value("gavel_verdict_cache_total", &[("result", result)]);
    assert_eq!(result("miss"), 1.0);
    assert_eq!(result("hit") + result("coalesced"), (CALLERS - 1) as f64);
    assert!(result("coalesced") >= 1.0);
    assert_eq!(metrics.value("gavel_tokens_total", &[("type", "completion")]), 2.0, "tokens of one computation");
    let told = verdicts.iter().map(|verdict| verdict["usage"]["completion_tokens"].as_u64().unwrap());
    assert_eq!(told.sum::<u64>(), 2, "the verdicts tell them once, too");
    let cached = server.absolute(json!({})).await;
    assert_eq!(
        (&cached["cached"], &cached["usage"]),
        (&json!(true), &json!({"prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0}))
    );
}

#[tokio::test]
async fn who_has_time_does_not_fail_with_one_who_has_none() {
    let engine = Gated::new(Scripted::fixed(std::time::Duration::ZERO));
    let server = Server::with(Arc::clone(&engine) as Arc<dyn Engine>);
    let path = "/v1/grade/absolute";
    let hurried = server.post(path).header("X-Request-Timeout-Ms", "9000").json(&absolute(json!({}))).send();
    let (hurried, verdict, ()) = tokio::join!(
        hurried,
        async {
            server.until("one that runs", |m| m.value("gavel_sequences_running", &[]) == 1.0).await;
            server.absolute(json!({})).await
        },
        async {
            let rendered = ("gavel_stage_duration_seconds_count", [("stage", "render")]);
            server.until("both requests", |m| m.value(rendered.0, &rendered.1) == 2.0).await;
            engine.open();
        }
    );
    problem(&server, hurried.unwrap(), 504, "deadline_exceeded").await;
    assert_eq!(verdict["object"], "verdict.absolute");
    assert_eq!(engine.started(), 2);
}

#[tokio::test]
async fn one_caller_that_goes_away_takes_nobodys_verdict() {
    let engine = Gated::new(Scripted::new(|_| says("Fine.", &[0.5])));
    let server = Server::with(Arc::clone(&engine) as Arc<dyn Engine>);
    let rendered = |count: f64| {
        server.until("all requests", move |m| {
            m.value("gavel_stage_duration_seconds_count", &[("stage", "render")]) == count
        })
    };
    let mut first = Box::pin(server.absolute(json!({})));
    tokio::select! {
        _ = &mut first => panic!("the gate is closed"),
        () = rendered(1.0) => {}
    }
    let (second, ()) = tokio::join!(server.absolute(json!({})), async {
        rendered(2.0).await;
        drop(first);
        let cancelled = [("outcome", "cancelled")];
        server.until("the cancelled one", |m| m.value("gavel_judgements_total", &cancelled) == 1.0).await;
        engine.open();
    });
    assert_eq!(second["feedback"], "Fine.");
    assert_eq!(engine.started(), 1, "the work went on for the second caller");
}

#[tokio::test]
async fn a_stream_and_its_equals_are_computed_once() {
    let engine = Gated::new(Scripted::new(|_| says("All of it is fine.", &[0.5])));
    let server = Server::with(Arc::clone(&engine) as Arc<dyn Engine>);
    let rendered = |count: f64| {
        server.until("all requests", move |m| {
            m.value("gavel_stage_duration_seconds_count", &[("stage", "render")]) == count
        })
    };
    let streamed = || async {
        let request = server.post("/v1/grade/absolute").header("Accept", "text/event-stream");
        let events = events(&sent(request.json(&absolute(json!({})))).await.text().await.unwrap());
        let (verdict, feedback) = events.split_last().unwrap();
        let text: String = feedback.iter().map(|(_, event)| event["delta"].as_str().unwrap()).collect();
        assert_eq!((text.as_str(), &verdict.1["feedback"]), ("All of it is fine.", &json!("All of it is fine.")));
    };
    let later = async {
        // Whoever came first began the work; the others join it, whatever form their answer has.
        rendered(1.0).await;
        tokio::join!(streamed(), server.absolute(json!({})), async {
            rendered(3.0).await;
            engine.open();
        });
    };
    tokio::join!(streamed(), later);
    assert_eq!(engine.started(), 1);
    let metrics = server.metrics().await;
    let result = |result| metrics.value("gavel_verdict_cache_total", &[("result", result)]);
    assert_eq!((result("miss"), result("hit") + result("coalesced")), (1.0, 2.0));
}

#[tokio::test]
async fn what_is_asked_again_is_kept_or_not() {
    /// Whether the second of two equal requests is computed.
    async fn check(change: Value, kept: bool) {
        let (engine, calls) = counting(|call, _| says(&format!("Call {call}."), &[0.1, 0.2]));
        let server = Server::with(engine);
        let (first, second) = (server.absolute(change.clone()).await, server.absolute(change.clone()).await);
        assert_eq!((&first["cached"], &second["cached"]), (&json!(false), &json!(kept)), "{change}");
        let each = first["judgements"].as_array().unwrap().len();
        assert_eq!(calls.load(Ordering::SeqCst), if kept { each } else { 2 * each }, "{change}");
        assert_eq!(first["feedback"] == second["feedback"], kept, "{change}");
        let metrics = server.metrics().await;
        assert_eq!(metrics.value("gavel_verdict_cache_total", &[("result", "hit")]), f64::from(kept), "{change}");
        assert_ne!(first["id"], second["id"], "every verdict has an id of its own");
    }
    check(json!({}), true).await;
    check(json!({"cache": true}), true).await;
    check(json!({"cache": false}), false).await;
    check(json!({"sampling": {"temperature": 0.7}}), false).await;
    check(json!({"sampling": {"temperature": 0.7, "seed": 1}}), true).await;
    check(json!({"sampling": {"temperature": 0.7, "seed": 1}, "cache": false}), false).await;
    check(json!({"samples": 3, "sampling": {"temperature": 0.7}}), false).await;
    check(json!({"mode": "score", "sampling": {"temperature": 0.7}}), true).await;
    check(json!({"samples": 3, "sampling": {"temperature": 0.7, "seed": 1}}), true).await;
}

/// Nothing is sampled where only options are read: neither seed nor temperature makes another verdict, and each says its own
/// seed.
#[tokio::test]
async fn a_score_does_not_depend_on_sampling() {
    let (engine, calls) = counting(|_, _| says("", &[0.1, 0.2]));
    let server = Server::with(engine);
    for (seed, temperature) in [(1, 0.0), (2, 0.0), (3, 0.7)] {
        let sampling = json!({"seed": seed, "temperature": temperature, "top_p": 0.9});
        let verdict = server.absolute(json!({"mode": "score", "sampling": sampling})).await;
        assert_eq!((&verdict["cached"], &verdict["judgements"][0]["seed"]), (&json!(seed > 1), &json!(seed)));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let anew = server.absolute(json!({"mode": "score", "cache": false})).await;
    assert_eq!((&anew["cached"], calls.load(Ordering::SeqCst)), (&json!(false), 2));
}

#[tokio::test]
async fn another_request_is_another_verdict() {
    let (engine, calls) = counting(|call, _| says(&format!("Call {call}."), &[0.1, 0.2]));
    let server = Server::with(engine);
    let changes = [
        json!({}),
        json!({"response": "Because the sea is green."}),
        json!({"instruction": "Why?"}),
        json!({"rubric": "honesty"}),
        json!({"reference_answer": "Light scatters."}),
        json!({"sampling": {"max_feedback_tokens": 100}}),
        json!({"sampling": {"temperature": 0.5, "seed": 1}}),
        json!({"sampling": {"temperature": 0.5, "seed": 2}}),
        json!({"mode": "score"}),
        json!({"prompt": "prometheus"}),
    ];
    for (index, change) in changes.iter().enumerate() {
        assert_eq!(server.absolute(change.clone()).await["cached"], false, "{change}");
        assert_eq!(calls.load(Ordering::SeqCst), index + 1, "{change}");
    }
    for change in changes {
        assert_eq!(server.absolute(change.clone()).await["cached"], true, "{change}");
    }
}

#[tokio::test]
async fn a_rubric_that_changes_is_judged_anew() {
    let (engine, calls) = counting(|_, _| says("Fine.", &[0.1, 0.2]));
    let server = Server::with(engine);
    for (criterion, before) in [("Is it good?", 0), ("Is it right?", 1)] {
        let rubric = json!({"criterion": criterion, "descriptions": {"1": "no", "2": "yes"}});
        let put = server.client.put(format!("{}/v1/rubrics/mine", server.url)).json(&rubric);
        assert!(crate::server::sent(put).await.status().is_success());
        assert_eq!(calls.load(Ordering::SeqCst), before);
        assert_eq!(server.absolute(json!({"rubric": "mine"})).await["cached"], false);
        assert_eq!(server.absolute(json!({"rubric": "mine"})).await["cached"], true);
    }
}

#[tokio::test]
async fn a_relative_verdict_is_cached_when_all_of_it_is() {
    let (engine, calls) = counting(|_, _| says("Hm.", &[0.4, 0.2]));
    let server = Server::with(engine);
    assert_eq!(server.relative(json!({"swap": false})).await["cached"], false);
    assert_eq!(server.relative(json!({})).await["cached"], false, "the other order is new");
    assert_eq!(server.relative(json!({})).await["cached"], true);
    let exchanged = json!({"response_a": "A BAD answer.", "response_b": "A GOOD answer."});
    assert_eq!(server.relative(exchanged).await["cached"], true, "the same two prompts");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}
