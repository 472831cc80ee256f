//! Callers that send or read slowly, or no more at all: they end at their deadline, and hold nothing of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gavel::engine::scripted::Scripted;
use gavel::engine::{Compiled, Engine, EngineError, EngineInfo, Event, Job, Load, Run};
use gavel::prompts::ChatFormat;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::engines::example;
use crate::server::{PATIENCE, Server, absolute};

/// Writes more than any socket holds, and then waits until its caller goes away.
struct Flood {
    inner: Scripted,
    running: Arc<AtomicUsize>,
}

const PIECES: usize = 24;

impl Engine for Flood {
    fn info(&self) -> &EngineInfo {
        self.inner.info()
    }

    fn chat_format(&self) -> &ChatFormat {
        self.inner.chat_format()
    }

    fn compile(&self, job: Job) -> Result<Compiled, EngineError> {
        self.inner.compile(job)
    }

    fn start(&self, _: Compiled) -> Run {
        let (events, run) = Run::channel();
        for _ in 0..PIECES {
            events.send(Event::Delta("x".repeat(1 << 20))).unwrap();
        }
        self.running.fetch_add(1, Ordering::SeqCst);
        let running = Arc::clone(&self.running);
        tokio::spawn(async move {
            events.closed().await;
            running.fetch_sub(1, Ordering::SeqCst);
        });
        run
    }

    fn load(&self) -> Load {
        Load { running: self.running.load(Ordering::SeqCst), ..Load::default() }
    }
}

/// Sends the head of a grading that has so many milliseconds, and as much of its body.
async fn begin(server: &Server, body: &str, announced: usize, milliseconds: u32) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /v1/grade/absolute HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n\
         X-Request-Timeout-Ms: {milliseconds}\r\nContent-Length: {announced}\r\n\r\n{body}",
        server.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_reader_that_stalls_keeps_no_place() {
    let flood = Arc::new(Flood { inner: Scripted::fixed(Duration::ZERO), running: Arc::default() });
    let settings = [("limits.in_flight", "1"), ("limits.queue", "0")];
    let server = Server::configured(&settings, Some(flood as Arc<dyn Engine>));
    let body = absolute(json!({})).to_string();
    let stalled = begin(&server, &body, body.len(), 200).await;
    server
        .until("the flood", |m| m.value("gavel_judgements_total", &[]) + m.value("gavel_sequences_running", &[]) > 0.0)
        .await;
    server.until("its end", |m| m.value("gavel_sequences_running", &[]) == 0.0).await;
    assert!(server.app.admission.check().is_ok(), "its place is free again");
    let labels = [("outcome", "cancelled")];
    assert_eq!(server.metrics().await.value("gavel_judgements_total", &labels), 1.0);
    drop(stalled);
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up_at_the_deadline() {
    let server = Server::with(example());
    let mut stream = begin(&server, "{", 1000, 20).await;
    let mut answer = String::new();
    let read = async {
        let mut bytes = [0; 4096];
        while !answer.contains("deadline_exceeded") {
            let count = stream.read(&mut bytes).await.unwrap();
            assert_ne!(count, 0, "the end before an answer: {answer}");
            answer.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
}
