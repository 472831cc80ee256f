//! Requests that are small and would cost much: refused, or done where nobody else waits for them.

use std::collections::HashSet;
use std::io::ErrorKind::WouldBlock;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use gavel::engine::scripted::Scripted;
use gavel::engine::{Compiled, Engine, EngineError, EngineInfo, Job, Load, Run};
use gavel::prompts::ChatFormat;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::engines::{example, holding};
use crate::server::{PATIENCE, Server, absolute, ok, problem, sent};

const ABSOLUTE: &str = "/v1/grade/absolute";
const CHAT: &str = "/v1/chat/completions";
const RUN: &str = "/v1/fine_tuning/alpha/graders/run";

fn numbered(count: usize, entry: impl Fn(usize) -> Value) -> Value {
    (0..count).map(|number| (format!("a{number}"), entry(number))).collect::<Map<_, _>>().into()
}

fn writing(schema: &Value) -> Value {
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    json!({"messages": [{"role": "user", "content": "Write."}], "response_format": format})
}

fn calling(schema: &Value) -> Value {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
    json!({"messages": [{"role": "user", "content": "Write."}], "tools": tools, "tool_choice": "required"})
}

/// Checks an error in OpenAI's form, and gives what it says.
async fn refused(server: &Server, path: &str, body: &Value, status: u16, field: (&str, &str)) -> String {
    let response = server.post_json(path, body).await;
    let found = response.status().as_u16();
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!((found, &answer["error"][field.0]), (status, &json!(field.1)), "{answer}");
    answer["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn schemas_that_would_end_the_process() {
    let server = Server::with(example());
    let chain = |links: usize, link: fn(String) -> Value| {
        let mut schema = json!({"$ref": "#/$defs/a0"});
        schema["$defs"] = numbered(links, |at| link(format!("#/$defs/a{}", at + 1)));
        schema["$defs"][format!("a{links}")] = json!({"type": "integer"});
        schema
    };
    let wide = json!({"type": "object", "properties": numbered(6_400, |_| json!({"type": "integer"}))});
    let patterns = json!({"type": "object", "patternProperties": numbered(400, |_| json!({"type": "integer"}))});
    let expressions: Vec<Value> = (0..24).map(|at| json!({"pattern": format!("a{at}")})).collect();
    let alternatives: Vec<Value> = (0..8).map(|_| json!({"anyOf": vec![json!({"type": "object"}); 8]})).collect();
    for (schema, inside, word) in [
        (chain(600, |to| json!({"oneOf": [{"$ref": to}]})), None, "500 levels"),
        (chain(600, |to| json!({"type": "array", "items": {"$ref": to}})), None, "500 levels"),
        (wide, Some("properties"), "6400 entries, and 2000 at most"),
        (patterns, Some(""), "32 patternProperties"),
        (json!({"type": "string", "allOf": expressions}), Some("allOf"), "24 of pattern"),
        (json!({"allOf": alternatives}), Some("allOf"), "16777216 ways"),
    ] {
        for (body, at) in [
            (writing(&schema), "response_format.json_schema.schema"),
            (calling(&schema), "tools.0.function.parameters"),
        ] {
            let response = server.post_json(CHAT, &body).await;
            let status = response.status().as_u16();
            let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
            let param = answer["error"]["param"].as_str().unwrap_or_default();
            assert!(status == 400 && param.starts_with(at), "{answer}");
            assert!(inside.is_none_or(|inside| param[at.len()..].trim_start_matches('.') == inside), "{answer}");
            assert!(answer["error"]["message"].as_str().unwrap().contains(word), "{answer}");
        }
    }
    let fits = chain(150, |to| json!({"type": "array", "items": {"$ref": to}}));
    ok(server.post_json(CHAT, &writing(&fits)).await).await;
}

/// Remembers on which threads it was asked to do what.
struct Threads {
    inner: Scripted,
    compiled: Mutex<HashSet<ThreadId>>,
    started: Mutex<HashSet<ThreadId>>,
}

impl Engine for Threads {
    fn info(&self) -> &EngineInfo {
        self.inner.info()
    }

    fn chat_format(&self) -> &ChatFormat {
        self.inner.chat_format()
    }

    fn compile(&self, job: Job) -> Result<Compiled, EngineError> {
        self.compiled.lock().unwrap().insert(std::thread::current().id());
        self.inner.compile(job)
    }

    fn start(&self, compiled: Compiled) -> Run {
        self.started.lock().unwrap().insert(std::thread::current().id());
        self.inner.start(compiled)
    }

    fn load(&self) -> Load {
        self.inner.load()
    }
}

#[tokio::test]
async fn long_preparation_keeps_nobody_waiting() {
    let texts = "Is it good? ".repeat(9_000);
    let rubric = json!({"criterion": texts, "descriptions": {"1": "No.", "2": "Yes."}});
    for (path, body) in [
        (CHAT, writing(&json!({"type": "object"}))),
        (CHAT, calling(&json!({"type": "object"}))),
        (ABSOLUTE, absolute(json!({"rubric": rubric, "mode": "score"}))),
        (ABSOLUTE, absolute(json!({"annotator": texts, "mode": "score"}))),
    ] {
        let inner = Scripted::fixed(Duration::ZERO);
        let engine = Arc::new(Threads { inner, compiled: Mutex::default(), started: Mutex::default() });
        let server = Server::with(Arc::clone(&engine) as Arc<dyn Engine>);
        let response = server.post_json(path, &body).await;
        assert!([200, 422].contains(&response.status().as_u16()), "{}", response.text().await.unwrap());
        let (compiled, started) = (engine.compiled.lock().unwrap(), engine.started.lock().unwrap());
        // What is started is started where it is served.
        let serving = |id: &ThreadId| started.contains(id);
        assert!(!compiled.is_empty() && !compiled.iter().any(serving), "{path}");
    }
}

#[tokio::test]
async fn more_items_than_a_request_may_have() {
    let server = Server::configured(&[("limits.items", "3")], Some(example()));
    let texts = |count: usize| json!(vec!["a"; count]);
    let item = json!({"instruction": "x", "response": "y"});
    let routes = |count: usize| {
        vec![
            ("/v1/rewards", "/items", json!({"rubric": "helpfulness", "items": vec![&item; count]})),
            ("/compat/openrlhf/helpfulness", "/query", json!({"query": texts(count)})),
            ("/get_reward?rubric=helpfulness", "/query", json!({"query": texts(count)})),
            (
                "/compat/nemo-gym/helpfulness/compare",
                "/response_objs",
                json!({"conversation_history": [], "response_objs": texts(count)}),
            ),
        ]
    };
    for (path, pointer, body) in routes(4) {
        let found = problem(&server, server.post_json(path, &body).await, 413, "payload_too_large").await;
        assert_eq!(found["pointer"], pointer, "{found}");
        assert!(found["detail"].as_str().unwrap().contains("more than 3 entries"), "{found}");
    }
    for (path, _, body) in routes(3) {
        assert_ne!(server.post_json(path, &body).await.status(), 413, "{path}");
    }
    for (path, param, body) in [
        ("/rerank?rubric=helpfulness", "documents", json!({"query": "q", "documents": texts(4)})),
        ("/classify?rubric=helpfulness", "input", json!({"input": texts(4)})),
        ("/v1/embeddings?rubric=helpfulness", "input", json!({"input": texts(4)})),
        ("/score?rubric=helpfulness", "documents", json!({"queries": "q", "documents": texts(4)})),
    ] {
        refused(&server, path, &body, 413, ("param", param)).await;
    }
    let predict = server.post_json("/predict?rubric=helpfulness", &json!({"inputs": vec![["a"]; 4]})).await;
    assert_eq!(predict.status(), 413);
    // Each value of a body takes many times its own bytes.
    let values = format!("{{\"items\": [[{}0]]}}", "0,".repeat(2 << 20));
    let response = sent(server.post("/v1/rewards").header("Content-Type", "application/json").body(values)).await;
    problem(&server, response, 413, "payload_too_large").await;
}

#[tokio::test]
async fn more_elements_than_a_request_may_have() {
    let server = Server::with(example());
    let many = |entry: Value| Value::Array(vec![entry; 10_001]);
    let message = json!({"role": "user", "content": "a"});
    let question = json!({"type": "predicate", "instructions": "Is it?"});
    let tool = json!({"type": "function", "function": {"name": "f"}});
    let hello = json!([message]);
    for (path, param, body) in [
        (CHAT, "messages", json!({"messages": many(message.clone())})),
        (CHAT, "tools", json!({"messages": hello, "tools": many(tool)})),
        (CHAT, "messages.0.content", json!({"messages": [{"role": "user", "content": many(json!({"type": "text"}))}]})),
        ("/v1/completions", "prompt", json!({"prompt": many(json!("a"))})),
        ("/v1/decisions", "questions", json!({"input": "a", "questions": many(question.clone())})),
        ("/v1/systemone", "questions", json!({"state": "a", "questions": numbered(10_001, |_| question.clone())})),
        (RUN, "grader.input", json!({"grader": {"type": "score_model", "input": many(message.clone())}})),
        ("/rerank?rubric=helpfulness", "documents.0", json!({"query": "q", "documents": [many(json!("a"))]})),
    ] {
        let message = refused(&server, path, &body, 413, ("param", param)).await;
        assert!(message.contains("10000"), "{path}: {message}");
    }
    let item = json!({"messages": many(message.clone())});
    for (path, pointer, body) in [
        (ABSOLUTE, "/context", absolute(json!({"context": many(json!("a"))}))),
        ("/v1/rewards", "/items/1/messages", json!({"rubric": "helpfulness", "items": [{"response": "a"}, item]})),
        ("/v1/rank", "/responses", json!({"instruction": "x", "responses": many(json!("a"))})),
        ("/v1/preferences", "/prompt", json!({"prompt": many(message.clone())})),
        ("/compat/slime/helpfulness", "/prompt", json!({"prompt": many(message.clone()), "response": "a"})),
    ] {
        let found = problem(&server, server.post_json(path, &body).await, 413, "payload_too_large").await;
        assert_eq!(found["pointer"], pointer, "{path}: {found}");
        assert!(found["detail"].as_str().unwrap().contains("10000"), "{found}");
    }
    // Token ids are only numbers.
    let ids = json!({"prompt": vec![1; 10_001], "max_tokens": 1});
    assert_ne!(server.post_json("/v1/completions", &ids).await.status(), 413);
}

#[tokio::test]
async fn names_of_callers_do_not_come_back_whole() {
    let server = Server::with(example());
    let long = "n".repeat(1 << 20);
    let mut unknown = absolute(json!({}));
    unknown[&long] = json!(1);
    for (path, body) in [
        (ABSOLUTE, unknown),
        (ABSOLUTE, absolute(json!({"rubric": long}))),
        (ABSOLUTE, absolute(json!({"model": long}))),
        (ABSOLUTE, absolute(json!({"prompt": long}))),
        (ABSOLUTE, absolute(json!({"mode": long}))),
        (CHAT, json!({"model": long, "messages": [{"role": "user", "content": "a"}]})),
        ("/classify", json!({"model": format!("gavel-absolute:{long}"), "input": "a"})),
        ("/predict", json!({"inputs": [["a", "b"]], "model": long})),
    ] {
        let response = server.post_json(path, &body).await;
        assert!(response.status().is_client_error(), "{path}");
        let answer = response.text().await.unwrap();
        assert!(answer.len() < 4_000, "{path}: {} bytes", answer.len());
    }
    let found = server.post_json(ABSOLUTE, &absolute(json!({"rubric": long}))).await;
    let found = problem(&server, found, 404, "unknown_rubric").await;
    assert!(found["detail"].as_str().unwrap().contains(&format!("`{}…`", "n".repeat(99))), "{found}");
}

/// Sends the head of a request and what comes of its body, which may be less than it says.
async fn begin(server: &Server, path: &str, headers: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{headers}\r\n\r\n",
        server.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

/// The head of what is answered, in small letters.
async fn answered(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    let read = async {
        let mut bytes = [0; 4096];
        while !answer.contains("\r\n\r\n") {
            let count = stream.read(&mut bytes).await.unwrap();
            assert_ne!(count, 0, "the end before an answer: {answer}");
            answer.push_str(&String::from_utf8_lossy(&bytes[..count]).to_lowercase());
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer");
    answer
}

#[tokio::test]
async fn no_body_is_read_where_nobody_is_let_in() {
    let server = Server::configured(&[("limits.in_flight", "1"), ("limits.queue", "0")], Some(holding()));
    let first = server.post(ABSOLUTE).json(&absolute(json!({}))).send();
    let others = async {
        server.until("one that runs", |m| m.value("gavel_sequences_running", &[]) == 1.0).await;
        for path in [ABSOLUTE, "/v1/rewards", CHAT, RUN, "/classify?rubric=helpfulness"] {
            let mut stream = begin(&server, path, "Content-Length: 10000000", b"{").await;
            let answer = answered(&mut stream).await;
            assert!(answer.starts_with("http/1.1 503") && answer.contains("retry-after"), "{path}: {answer}");
            assert!(answer.contains("connection: close"), "{path}: {answer}");
        }
        // A small body is read, so that the connection can be used again.
        let small = server.post_json(ABSOLUTE, &absolute(json!({}))).await;
        assert!(small.headers().get("connection").is_none(), "{small:?}");
        problem(&server, small, 503, "saturated").await;
        let rubric = json!({"criterion": "Is it good?", "descriptions": {"1": "No.", "2": "Yes."}});
        let put = server.client.put(format!("{}/v1/rubrics/mine", server.url)).json(&rubric);
        assert!(sent(put).await.status().is_success(), "what needs no engine is done");
        server.app.admission.shutdown.close();
        let mut stream = begin(&server, "/v1/rewards", "Content-Length: 10000000", b"{").await;
        let answer = answered(&mut stream).await;
        assert!(answer.starts_with("http/1.1 503"), "{answer}");
    };
    tokio::select! {
        answer = first => panic!("the engine holds: {answer:?}"),
        () = others => {}
    }
}

#[tokio::test]
async fn bodies_together_are_bounded() {
    let server = Server::configured(&[("limits.held_body_bytes", "200000")], Some(example()));
    let long = absolute(json!({"response": "word ".repeat(30_000), "mode": "score"}));
    let taken = |status: u16| status != 503;
    assert!(taken(server.post_json(ABSOLUTE, &long).await.status().as_u16()));
    // Of two bodies that do not fit together the second is refused, and either may come second: then both begin again.
    let hold = async {
        loop {
            let held = begin(&server, ABSOLUTE, "Content-Length: 250000", &vec![b' '; 249_000]).await;
            for _ in 0..8 {
                server.get("/livez").await;
            }
            if !taken(server.post_json(ABSOLUTE, &long).await.status().as_u16()) {
                return held;
            }
        }
    };
    let held = tokio::time::timeout(PATIENCE, hold).await.expect("the other body is held");
    let refused = server.post_json(ABSOLUTE, &long).await;
    let found = problem(&server, refused, 503, "saturated").await;
    assert!(found["detail"].as_str().unwrap().contains("200000 bytes"), "{found}");
    ok(server.post_json(ABSOLUTE, &absolute(json!({}))).await).await;
    drop(held);
    let given_back = async { while !taken(server.post_json(ABSOLUTE, &long).await.status().as_u16()) {} };
    tokio::time::timeout(PATIENCE, given_back).await.expect("it is given back");
}

#[tokio::test]
async fn what_takes_no_body_reads_none() {
    let server = Server::with(example());
    for path in ["/livez", "/v1/info", "/v1/nothing", "/v1/rubrics"] {
        for body in ["Transfer-Encoding: chunked", "Content-Length: 1000000"] {
            let piece: &[u8] = if body.starts_with('T') { b"4\r\nabcd\r\n" } else { b"abcd" };
            let mut stream = begin(&server, path, body, piece).await;
            let answer = answered(&mut stream).await;
            assert!(answer.contains("connection: close"), "{path} {body}: {answer}");
        }
    }
}

/// Linux tells how long what was sent may stay unread; elsewhere there is no such limit.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let server = Server::configured(&[("limits.unread_ms", "200")], Some(example()));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let body = json!({"rubric": "helpfulness", "items": vec![0; 10_000]}).to_string();
    let head = format!(
        "POST /v1/rewards HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The system gives the connection up without a word to this side, which hears of it when it says something itself.
    let ended = async {
        while stream.take_error().unwrap().is_none() && !stream.try_write(b"x").is_err_and(|e| e.kind() != WouldBlock) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the connection is closed");
}

#[tokio::test]
async fn comparisons_of_texts_are_let_in_like_all_else() {
    let similar = json!({"type": "text_similarity", "name": "s", "input": "{{sample.output_text}}",
                         "reference": "{{item.text}}", "evaluation_metric": "bleu"});
    let body = |sample: &str| json!({"grader": similar, "model_sample": sample, "item": {"text": "the cat"}});
    let server = Server::configured(&[("limits.in_flight", "1"), ("limits.queue", "1")], Some(holding()));
    ok(server.post_json(RUN, &body("the cat")).await).await;
    let long = "word ".repeat(300_000);
    let message = refused(&server, RUN, &body(&long), 400, ("param", "grader.input")).await;
    assert!(message.contains("1048576 bytes"), "{message}");
    let first = server.post(ABSOLUTE).json(&absolute(json!({}))).send();
    let others = async {
        server.until("one that runs", |m| m.value("gavel_sequences_running", &[]) == 1.0).await;
        let late = server.post(RUN).header("X-Request-Timeout-Ms", "5").json(&body("the cat"));
        assert_eq!(sent(late).await.status(), 504, "it waits for its turn until its deadline");
        let waiting = server.post(RUN).json(&body("the cat")).send();
        let full = async {
            server.until("one that waits", |m| m.value("gavel_queue_depth", &[]) == 1.0).await;
            refused(&server, RUN, &body("the cat"), 503, ("code", "saturated")).await;
        };
        tokio::select! {
            answer = waiting => panic!("there is no room: {answer:?}"),
            () = full => {}
        }
        server.app.admission.shutdown.close();
        refused(&server, RUN, &body("the cat"), 503, ("code", "shutting_down")).await;
    };
    tokio::select! {
        answer = first => panic!("the engine holds: {answer:?}"),
        () = others => {}
    }
}

#[tokio::test]
async fn an_empty_answer_is_in_no_text() {
    let server = Server::with(example());
    for operation in ["like", "ilike"] {
        let grader = json!({"type": "string_check", "name": "in", "input": "{{item.answer}}",
                            "reference": "{{sample.output_text}}", "operation": operation});
        for (sample, reward) in [("", 0.0), ("wild", 1.0)] {
            let body = json!({"grader": grader, "item": {"answer": "African wild dog"}, "model_sample": sample});
            assert_eq!(ok(server.post_json(RUN, &body).await).await["reward"], reward, "{operation} {sample}");
        }
    }
}
