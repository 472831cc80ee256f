//! Who gets in: in flight, queue, saturation, and the end.

use std::sync::Arc;
use std::time::Duration;

use gavel::engine::Engine;
use gavel::engine::scripted::Scripted;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::engines::{Gated, holding};
use crate::server::{Server, absolute, events, ok, problem, sent};

const ABSOLUTE: &str = "/v1/grade/absolute";

fn gated() -> (Arc<Gated>, Arc<dyn Engine>) {
    let engine = Gated::new(Scripted::fixed(Duration::ZERO));
    (Arc::clone(&engine), engine)
}

fn response(number: u32) -> Value {
    json!({"response": format!("Answer {number}.")})
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let (gate, engine) = gated();
    let server = Server::configured(&[("limits.in_flight", "1"), ("limits.queue", "1")], Some(engine));
    let ((first, second), ()) =
        tokio::join!(async { tokio::join!(server.absolute(response(1)), server.absolute(response(2))) }, async {
            server
                .until("one that runs and one that waits", |m| {
                    m.value("gavel_sequences_running", &[]) == 1.0 && m.value("gavel_queue_depth", &[]) == 1.0
                })
                .await;
            for number in 3..6 {
                let refused = server.post_json(ABSOLUTE, &absolute(response(number))).await;
                problem(&server, refused, 503, "saturated").await;
            }
            // What needs no engine is answered still.
            assert_eq!(server.get("/readyz").await.status(), 200);
            assert_eq!(server.get("/v1/rubrics").await.status(), 200);
            gate.open();
        });
    assert_eq!((&first["object"], &second["object"]), (&json!("verdict.absolute"), &json!("verdict.absolute")));
    assert_eq!(gate.started(), 2);
    let metrics = server.metrics().await;
    assert_eq!(metrics.value("gavel_requests_rejected_total", &[("reason", "saturated")]), 3.0);
    assert_eq!(metrics.value("gavel_queue_depth", &[]), 0.0);
    assert_eq!(server.absolute(response(9)).await["cached"], false, "there is room again");
}

#[tokio::test]
async fn one_that_waits_is_let_in_when_its_turn_comes() {
    let (gate, engine) = gated();
    let server = Server::configured(&[("limits.in_flight", "1"), ("limits.queue", "8")], Some(engine));
    let all = futures::future::join_all((0..8).map(|number| server.absolute(response(number))));
    let (verdicts, ()) = tokio::join!(all, async {
        server.until("seven that wait", |m| m.value("gavel_queue_depth", &[]) == 7.0).await;
        assert_eq!(gate.started(), 1);
        gate.open();
    });
    assert_eq!((verdicts.len(), gate.started()), (8, 8));
}

#[tokio::test]
async fn a_deadline_passes_in_the_queue_as_well() {
    let (gate, engine) = gated();
    let server = Server::configured(&[("limits.in_flight", "1"), ("limits.queue", "1")], Some(engine));
    let (first, ()) = tokio::join!(server.absolute(response(1)), async {
        server.until("one that runs", |m| m.value("gavel_sequences_running", &[]) == 1.0).await;
        let request = server.post(ABSOLUTE).header("X-Request-Timeout-Ms", "5").json(&absolute(response(2)));
        problem(&server, sent(request).await, 504, "deadline_exceeded").await;
        assert_eq!(server.metrics().await.value("gavel_queue_depth", &[]), 0.0, "it left the queue");
        gate.open();
    });
    assert_eq!(first["object"], "verdict.absolute");
    assert_eq!(gate.started(), 1, "what timed out never ran");
}

#[tokio::test]
async fn a_server_that_leaves_finishes_what_it_has() {
    let (gate, engine) = gated();
    let server = Server::with(engine);
    let (running, ()) = tokio::join!(server.absolute(response(1)), async {
        server.until("one that runs", |m| m.value("gavel_sequences_running", &[]) == 1.0).await;
        server.app.admission.shutdown.close();
        for body in [absolute(response(1)), absolute(response(2))] {
            problem(&server, server.post_json(ABSOLUTE, &body).await, 503, "shutting_down").await;
        }
        problem(&server, server.get("/readyz").await, 503, "shutting_down").await;
        assert_eq!(server.get("/livez").await.status(), 200, "the process is up");
        gate.open();
    });
    assert_eq!(running["object"], "verdict.absolute");
}

#[tokio::test]
async fn a_shutdown_answers_what_runs_and_takes_nobody_new() {
    let (gate, engine) = gated();
    let server = Server::with(engine);
    let (running, ()) = tokio::join!(server.absolute(response(1)), async {
        server.until("one that runs", |m| m.value("gavel_sequences_running", &[]) == 1.0).await;
        tokio::join!(server.shut_down(std::future::pending()), async { gate.open() });
    });
    assert_eq!(running["object"], "verdict.absolute");
    assert!(std::net::TcpStream::connect(server.address).is_err(), "nobody listens any more");
}

#[tokio::test]
async fn what_a_shutdown_does_not_wait_for_is_told() {
    let server = Server::with(holding());
    let first = absolute(response(1));
    let plain = server.post_json(ABSOLUTE, &first);
    let stream = server.post(ABSOLUTE).header("Accept", "text/event-stream").json(&absolute(response(2)));
    let items = json!([{"instruction": "Why?", "response": "So."}, {"instruction": "Why?", "response": "Or so."}]);
    let bulk = json!({"rubric": "helpfulness", "items": items});
    // A body that never ends.
    let mut connection = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = "POST /v1/grade/absolute HTTP/1.1\r\nHost: gavel\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    connection.read_exact(&mut go_on).await.unwrap();
    let slow = async {
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains("shutting_down") {
            assert_ne!(connection.read_buf(&mut answer).await.unwrap(), 0, "the end before an answer");
        }
        String::from_utf8(answer).unwrap()
    };
    // An error before the first event is no event.
    let begun = tokio::sync::Notify::new();
    let streamed = async {
        let response = sent(stream).await;
        begun.notify_one();
        response.text().await.unwrap()
    };
    let (plain, streamed, bulk, slow, cut) =
        tokio::join!(plain, streamed, server.post_json("/v1/rewards", &bulk), slow, async {
            server.until("four that run", |m| m.value("gavel_sequences_running", &[]) == 4.0).await;
            begun.notified().await;
            server.shut_down(std::future::ready(())).await
        });
    assert_eq!(cut, 5);
    assert_eq!((plain.status().as_u16(), plain.headers().contains_key("retry-after")), (503, true));
    assert_eq!(plain.json::<Value>().await.unwrap()["code"], "shutting_down");
    let events = events(&streamed);
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!((events[1].0.as_str(), &events[1].1["code"]), ("error", &json!("shutting_down")));
    let bulk = ok(bulk).await;
    assert_eq!((&bulk["rewards"], &bulk["errors"][1]["code"]), (&json!([null, null]), &json!("shutting_down")));
    assert!(slow.starts_with("HTTP/1.1 503"), "{slow}");
}
