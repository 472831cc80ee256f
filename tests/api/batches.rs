//! Files and batches: every line is answered once, in the order of the input, whatever happens.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use gavel::engine::scripted::{Answer, Scripted};
use gavel::keys::{self, Key, Scope};
use gavel::store::{BatchStatus, Location, Made, NewBatch, NewFile, NewLine, PutLines, Store};
use reqwest::Response;
use serde_json::{Value, json};
use sqlx::Connection;

use crate::engines::{Gated, asking, example};
use crate::postgres::Postgres;
use crate::server::{Metrics, PATIENCE, Server, absolute, ok, sent};

const ABSOLUTE: &str = "/v1/grade/absolute";

/// The body and the content type of a form with a file.
fn form(fields: &[(&str, &str)], text: &str) -> (String, String) {
    let boundary = "a boundary of a test".replace(' ', "-");
    let mut body = String::new();
    for (name, value) in fields {
        body.push_str(&format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
    }
    body.push_str(&format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n\
         Content-Type: application/jsonl\r\n\r\n{text}\r\n--{boundary}--\r\n"
    ));
    (body, format!("multipart/form-data; boundary={boundary}"))
}

impl Server {
    async fn upload(&self, text: &str, key: Option<&str>) -> Response {
        let (body, kind) = form(&[("purpose", "batch")], text);
        let request = self.post("/v1/files").header("content-type", kind).body(body);
        sent(key.into_iter().fold(request, |request, key| request.bearer_auth(key))).await
    }

    pub(crate) async fn submit(&self, lines: &[Value]) -> String {
        let text = lines.iter().fold(String::new(), |text, line| format!("{text}{line}\n"));
        let file = ok(self.upload(&text, None).await).await;
        let batch = json!({"input_file_id": file["id"], "endpoint": ABSOLUTE, "completion_window": "24h"});
        ok(self.post_json("/v1/batches", &batch).await).await["id"].as_str().unwrap().to_owned()
    }

    /// The batch once it has a state.
    pub(crate) async fn batch_that_is(&self, id: &str, status: &str) -> Value {
        let poll = async {
            loop {
                let batch = self.get_json(&format!("/v1/batches/{id}")).await;
                if batch["status"] == status {
                    return batch;
                }
                tokio::task::yield_now().await;
            }
        };
        match tokio::time::timeout(PATIENCE, poll).await {
            Ok(batch) => batch,
            Err(_) => panic!("never {status}: {}", self.get_json(&format!("/v1/batches/{id}")).await),
        }
    }

    /// The lines of a file of a batch.
    pub(crate) async fn lines(&self, file: &Value) -> Vec<Value> {
        let text = self.get(&format!("/v1/files/{}/content", file.as_str().unwrap())).await.text().await.unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn database(&self) -> Location {
        Location::of(&self.data_dir(), self.app.config.jobs.database_url.reveal())
    }

    async fn store(&self) -> Store {
        opened(&self.database()).await
    }
}

/// The store once it can be reached.
async fn opened(location: &Location) -> Store {
    let poll = async {
        loop {
            if let Ok(store) = Store::open(location).await {
                return store;
            }
        }
    };
    tokio::time::timeout(PATIENCE, poll).await.expect("a database")
}

pub(crate) fn line(id: &str, body: Value) -> Value {
    json!({"custom_id": id, "method": "POST", "url": ABSOLUTE, "body": body})
}

fn ids(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["custom_id"].as_str().unwrap()).collect()
}

/// The code of an error in OpenAI's form.
async fn refused(response: Response, status: u16) -> (String, String) {
    assert_eq!(response.status().as_u16(), status);
    let body: Value = response.json().await.unwrap();
    let field = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
    (field("code"), field("message"))
}

#[tokio::test]
async fn a_batch_answers_every_line_in_order() {
    let server = Server::with(example());
    let mut lines: Vec<Value> =
        (0..300).map(|n| line(&format!("n{n}"), absolute(json!({"response": format!("Answer {n}.")})))).collect();
    lines[7]["body"]["rubric"] = "no such rubric".into();
    lines[299]["body"].as_object_mut().unwrap().remove("response");
    let id = server.submit(&lines).await;
    let batch = server.batch_that_is(&id, "completed").await;
    assert_eq!(batch["request_counts"], json!({"total": 300, "completed": 298, "failed": 2}));
    assert_eq!(batch["outcomes"], json!({"ok": 298, "invalid_request": 1, "unknown_rubric": 1}));
    let (output, errors) = (server.lines(&batch["output_file_id"]).await, server.lines(&batch["error_file_id"]).await);
    let expected: Vec<String> = (0..299).filter(|n| *n != 7).map(|n| format!("n{n}")).collect();
    assert_eq!(ids(&output), expected);
    assert_eq!(ids(&errors), ["n7", "n299"]);
    let same = server.absolute(json!({"response": "Answer 0."})).await;
    let body = &output[0]["response"]["body"];
    assert_eq!((&body["distribution"], &body["reward"]), (&same["distribution"], &same["reward"]));
    assert!(output[0]["response"]["request_id"].as_str().unwrap().starts_with("req_"));
    assert_eq!(errors[1]["response"]["status_code"], 422);
    assert_eq!(errors[1]["response"]["body"]["pointer"], "/response");
    // The length of a file is that of its text.
    let file = server.get_json(&format!("/v1/files/{}", batch["output_file_id"].as_str().unwrap())).await;
    let text = server.get(&format!("/v1/files/{}/content", file["id"].as_str().unwrap())).await.text().await.unwrap();
    assert_eq!(file["bytes"], text.len());
    assert_eq!(file["purpose"], "batch_output");
    let counted = server.metrics().await;
    assert_eq!(counted.value("gavel_batch_lines_total", &[("outcome", "ok")]), 298.0);
    // Its input may go, and its batch stays.
    let input = batch["input_file_id"].as_str().unwrap();
    let deleted = server.client.delete(format!("{}/v1/files/{input}", server.url));
    assert_eq!(ok(sent(deleted).await).await["deleted"], true);
    assert_eq!(refused(server.get(&format!("/v1/files/{input}")).await, 404).await.0, "unknown_file");
    assert_eq!(server.get_json("/v1/batches").await["data"][0]["id"], id);
}

#[tokio::test]
async fn an_input_with_faults_is_refused_with_all_of_them() {
    let server = Server::with(example());
    let good = line("a", absolute(json!({}))).to_string();
    let submit = async |text: &str, change: Value| {
        let file = ok(server.upload(text, None).await).await;
        let mut body = json!({"input_file_id": file["id"], "endpoint": ABSOLUTE, "completion_window": "24h"});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        server.post_json("/v1/batches", &body).await
    };
    let check = async |text: &str, expected: &[(&str, Value)]| {
        let batch = ok(submit(text, json!({})).await).await;
        let batch = server.batch_that_is(batch["id"].as_str().unwrap(), "failed").await;
        let faults = batch["errors"]["data"].as_array().unwrap().clone();
        let found: Vec<_> =
            faults.iter().map(|fault| (fault["code"].as_str().unwrap(), fault["line"].clone())).collect();
        assert_eq!(found, expected, "{batch}");
        assert_eq!(batch["output_file_id"], Value::Null);
    };
    check("", &[("empty_file", Value::Null)]).await;
    check(" \n\n", &[("empty_file", Value::Null)]).await;
    check(&format!("{good}\nnot json\n{{}}\n"), &[("invalid_json_line", json!(2)), ("invalid_line", json!(3))]).await;
    check(&format!("{good}\n\n{good}\n"), &[("duplicate_custom_id", json!(3))]).await;
    check(&good.replace(ABSOLUTE, "/v1/rank"), &[("mismatched_url", json!(1))]).await;
    let many: String = (0..30).map(|_| "x\n").collect();
    let faults: Vec<_> = (1..=20).map(|n| ("invalid_json_line", json!(n))).collect();
    check(&many, &faults).await;
    // Without an endpoint, each line says its own.
    let any = ok(submit(&format!("{good}\n"), json!({"endpoint": null})).await).await;
    server.batch_that_is(any["id"].as_str().unwrap(), "completed").await;
    let wrong = ok(submit(&good.replace(ABSOLUTE, "/v1/files"), json!({"endpoint": null})).await).await;
    let wrong = server.batch_that_is(wrong["id"].as_str().unwrap(), "failed").await;
    assert_eq!(wrong["errors"]["data"][0]["code"], "invalid_url");
    for (change, pointer) in [
        (json!({"completion_window": "1y"}), "completion_window"),
        (json!({"metadata": {"a": "x".repeat(513)}}), "metadata"),
        (json!({"input_file_id": 3}), "input_file_id"),
        (json!({"inputs": 3}), "inputs"),
    ] {
        let response = submit(&good, change).await;
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["param"], pointer, "{body}");
    }
    assert_eq!(refused(submit(&good, json!({"input_file_id": "file-x"})).await, 404).await.0, "unknown_file");
}

#[tokio::test]
async fn forms_that_are_no_upload_are_refused() {
    let server = Server::configured(&[("jobs.file_bytes", "100"), ("jobs.stored_bytes", "150")], Some(example()));
    let send = async |fields: &[(&str, &str)], text: &str| {
        let (body, kind) = form(fields, text);
        sent(server.post("/v1/files").header("content-type", kind).body(body)).await
    };
    let check = async |fields: &[(&str, &str)], text: &str, status: u16, code: &str, says: &str| {
        let (found, message) = refused(send(fields, text).await, status).await;
        assert_eq!(found, code, "{message}");
        assert!(message.contains(says), "{message}");
    };
    let batch = [("purpose", "batch")];
    check(&[], "{}", 400, "invalid_request", "`purpose`").await;
    check(&[("purpose", "fine-tune")], "{}", 400, "invalid_request", "`batch`").await;
    check(&[("purpose", "batch"), ("colour", "red")], "{}", 400, "invalid_request", "`colour`").await;
    check(&[batch[0], ("expires_after[seconds]", "1")], "{}", 400, "invalid_request", "seconds").await;
    check(&batch, "a\u{0}b", 400, "invalid_request", "NUL").await;
    check(&batch, &"x".repeat(101), 413, "payload_too_large", "jobs.file_bytes").await;
    assert_eq!(send(&batch, &"x".repeat(100)).await.status(), 200);
    check(&batch, &"x".repeat(51), 403, "quota_exceeded", "jobs.stored_bytes").await;
    assert_eq!(send(&batch, &"x".repeat(50)).await.status(), 200);
    let not_a_form = sent(server.post("/v1/files").json(&json!({}))).await;
    assert_eq!(refused(not_a_form, 400).await.0, "malformed_json");
    let listed = server.get_json("/v1/files?limit=1&order=asc").await;
    assert_eq!((&listed["has_more"], &listed["data"][0]["bytes"]), (&json!(true), &json!(100)));
    let next = format!("/v1/files?limit=1&order=asc&after={}", listed["last_id"].as_str().unwrap());
    let next = server.get_json(&next).await;
    assert_eq!((&next["has_more"], &next["data"][0]["bytes"]), (&json!(false), &json!(50)));
    assert_eq!(refused(server.get("/v1/files?limit=0").await, 400).await.0, "invalid_request");
}

#[tokio::test]
async fn a_cancelled_batch_keeps_what_was_answered() {
    let engine = asking(|job| Answer { hold: job.prompt.text().contains("HOLD"), ..Answer::default() });
    let server = Server::configured(&[("jobs.concurrency", "3")], Some(engine));
    let of = |n: i32| if n == 0 { "Quick.".to_owned() } else { format!("HOLD {n}") };
    let lines: Vec<Value> = (0..6).map(|n| line(&format!("n{n}"), absolute(json!({"response": of(n)})))).collect();
    let id = server.submit(&lines).await;
    let running = |metrics: &Metrics| metrics.value("gavel_batch_lines_total", &[]) == 1.0;
    server.until("one is answered", running).await;
    let cancelled = ok(server.post_json(&format!("/v1/batches/{id}/cancel"), &json!({})).await).await;
    assert!(["cancelling", "cancelled"].contains(&cancelled["status"].as_str().unwrap()));
    let batch = server.batch_that_is(&id, "cancelled").await;
    let output = server.lines(&batch["output_file_id"]).await;
    assert_eq!(output.len(), 1);
    assert_eq!(batch["request_counts"], json!({"total": 6, "completed": 1, "failed": 0}));
    // Once more is no error; of one that has ended otherwise, it is.
    ok(server.post_json(&format!("/v1/batches/{id}/cancel"), &json!({})).await).await;
    assert_eq!(refused(server.post_json("/v1/batches/batch_x/cancel", &json!({})).await, 404).await.0, "unknown_batch");
}

#[tokio::test]
async fn what_a_dead_process_had_begun_is_answered_once() {
    let server = Server::with(example());
    let store = server.store().await;
    leave_begun(&store).await;
    is_finished(&server, &store).await;
}

#[tokio::test]
async fn what_a_dead_process_had_begun_is_answered_once_through_postgresql() {
    let Some(postgres) = Postgres::start() else { return };
    let store = opened(&Location::Postgres(postgres.url())).await;
    leave_begun(&store).await;
    let server = Server::configured(&[("jobs.database_url", &postgres.url())], Some(example()));
    is_finished(&server, &store).await;
}

/// Begins batches as a process does that then dies.
async fn leave_begun(store: &Store) {
    // A process that read the input, took two lines, and died; and one that had an input in hand.
    let batch = |id: &'static str, file: &'static str, expires_at: i64| NewBatch {
        id,
        owner: "",
        endpoint: ABSOLUTE,
        input_file: file,
        metadata: "{}",
        created_at: 0,
        expires_at,
    };
    let text = line("late", absolute(json!({}))).to_string();
    store.put_chunk("file-1", 0, &text).await.unwrap();
    let file = NewFile { id: "file-1", owner: "", filename: "x", bytes: 3, created_at: 0, expires_at: None };
    assert_eq!(store.put_file(file, i64::MAX, None).await.unwrap(), Made::New);
    assert_eq!(store.put_batch(batch("batch_1", "file-1", i64::MAX), 9, None).await.unwrap(), Made::New);
    store.join("dead", 0).await.unwrap();
    store.take_input("dead").await.unwrap().unwrap();
    let new = |number: i64| NewLine {
        number,
        custom_id: format!("n{number}"),
        url: ABSOLUTE.into(),
        body: absolute(json!({"response": format!("{number}")})).to_string(),
    };
    store.put_lines("batch_1", "dead", &[new(0), new(1), new(2)]).await.unwrap();
    assert!(store.input_read("batch_1", "dead", 3, None).await.unwrap());
    assert_eq!(store.take_lines("batch_1", "dead", 2, (3, false)).await.unwrap().len(), 2);
    assert_eq!(store.put_batch(batch("batch_2", "file-1", i64::MAX), 9, None).await.unwrap(), Made::New);
    store.take_input("dead").await.unwrap().unwrap();
    assert_eq!(store.put_batch(batch("batch_3", "file-1", 1), 9, None).await.unwrap(), Made::New);
}

async fn is_finished(server: &Server, store: &Store) {
    // The server looks when it first needs the database.
    let first = server.batch_that_is("batch_1", "completed").await;
    assert_eq!(ids(&server.lines(&first["output_file_id"]).await), ["n0", "n1", "n2"]);
    let second = server.batch_that_is("batch_2", "completed").await;
    assert_eq!(ids(&server.lines(&second["output_file_id"]).await), ["late"]);
    // An input is read although its time is over, so that every line has an answer.
    let third = server.batch_that_is("batch_3", "expired").await;
    assert_eq!(third["request_counts"], json!({"total": 1, "completed": 0, "failed": 1}));
    assert_eq!(third["outcomes"], json!({"batch_expired": 1}));
    // What the dead one still says is not heard.
    let late = gavel::store::Answered { batch: "batch_1".into(), number: 0, outcome: "x".into(), answer: "{}".into() };
    store.answer("dead", &[late]).await.unwrap();
    assert_eq!(server.get_json("/v1/batches/batch_1").await["outcomes"], json!({"ok": 3}));
    assert_eq!(store.batches_that_are(BatchStatus::InProgress).await.unwrap(), []);
    // And what it still wants, it does not get.
    let more = NewBatch {
        id: "batch_4",
        owner: "",
        endpoint: ABSOLUTE,
        input_file: "file-1",
        metadata: "{}",
        created_at: 0,
        expires_at: i64::MAX,
    };
    store.put_batch(more, 9, None).await.unwrap();
    assert_eq!(store.take_input("dead").await.unwrap(), None);
    assert_eq!(store.take_lines("batch_1", "dead", 9, (3, false)).await.unwrap(), []);
}

#[tokio::test]
async fn servers_share_a_database_and_one_that_goes_away_loses_nothing() {
    let Some(mut postgres) = Postgres::start() else { return };
    let url = postgres.url();
    let settings = [("jobs.database_url", url.as_str()), ("jobs.concurrency", "4")];
    // One alone would take some seconds.
    let slow = || asking(|_| Answer { delay_ms: 30, ..Answer::default() });
    let (one, two) = (Server::configured(&settings, Some(slow())), Server::configured(&settings, Some(slow())));
    one.store().await;
    let lines: Vec<Value> =
        (0..400).map(|n| line(&format!("n{n}"), absolute(json!({"response": format!("Answer {n}.")})))).collect();
    let id = one.submit(&lines).await;
    // The other one looks on its own, and then both are in the middle of it.
    two.get_json("/v1/batches").await;
    let some = |metrics: &Metrics| metrics.value("gavel_batch_lines_total", &[]) >= 1.0;
    one.until("one answers", some).await;
    two.until("two answers", some).await;
    postgres.stop();
    let (code, message) = refused(one.get("/v1/batches").await, 503).await;
    assert_eq!(code, "store_unavailable", "{message}");
    assert!(!message.contains("/tmp"), "{message}");
    assert_eq!(one.absolute(json!({"response": "New."})).await["score"], 5, "grading needs no database");
    postgres.restart();
    one.store().await;
    let batch = two.batch_that_is(&id, "completed").await;
    let output = two.lines(&batch["output_file_id"]).await;
    let expected: Vec<String> = (0..400).map(|n| format!("n{n}")).collect();
    assert_eq!(ids(&output), expected);
    assert_eq!(batch["outcomes"], json!({"ok": 400}));
}

#[tokio::test]
async fn a_damaged_database_is_left_as_it_is() {
    let server = Server::with(example());
    std::fs::create_dir_all(server.data_dir()).unwrap();
    let file = server.data_dir().join("gavel.db");
    let damaged = "not a database, but long enough to be read as one".repeat(100);
    std::fs::write(&file, &damaged).unwrap();
    let answer = server.get("/v1/batches").await;
    assert_eq!(answer.headers().get("retry-after"), None, "waiting does not help");
    let (code, message) = refused(answer, 503).await;
    assert!(code == "store_unavailable" && message.contains("damaged"), "{code}: {message}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), damaged);
    assert_eq!(server.absolute(json!({})).await["score"], 2, "grading needs no database");
}

/// A batch whose input a worker reads for a minute.
async fn take_input(store: &Store, expires_at: i64) {
    let batch = NewBatch {
        id: "batch_1",
        owner: "",
        endpoint: ABSOLUTE,
        input_file: "file-1",
        metadata: "{}",
        created_at: 0,
        expires_at,
    };
    store.put_batch(batch, 9, None).await.unwrap();
    store.join("reader", 20_000).await.unwrap();
    store.take_input("reader").await.unwrap();
}

fn good_line(number: i64) -> NewLine {
    let body = absolute(json!({})).to_string();
    NewLine { number, custom_id: format!("n{number}"), url: ABSOLUTE.into(), body }
}

/// A batch of two lines that were read.
async fn put_two_lines(store: &Store) {
    take_input(store, i64::MAX).await;
    store.put_lines("batch_1", "reader", &[good_line(0), good_line(1)]).await.unwrap();
    store.input_read("batch_1", "reader", 2, None).await.unwrap();
}

/// Lets a worker that has taken something die.
async fn die(store: &Store, worker: &str) {
    // Either this buries it, or the server has.
    store.beat(worker, -1_000).await.unwrap();
    store.bury(20_000).await.unwrap();
}

impl Server {
    /// Changes the database of this server, as nothing of the product does.
    async fn tamper(&self, statement: &str) {
        let Location::File(file) = self.database() else { panic!("SQLite") };
        let url = format!("sqlite:{}", file.display());
        let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_batch_whose_time_is_over_while_it_is_read_counts_right() {
    let server = Server::with(example());
    let store = server.store().await;
    take_input(&store, 1).await;
    store.put_lines("batch_1", "reader", &[good_line(0)]).await.unwrap();
    store.expire_batches().await.unwrap();
    assert_eq!(store.put_lines("batch_1", "reader", &[good_line(1)]).await.unwrap(), PutLines::Written);
    assert!(store.input_read("batch_1", "reader", 2, None).await.unwrap());
    let batch = server.batch_that_is("batch_1", "expired").await;
    assert_eq!(batch["request_counts"], json!({"total": 2, "completed": 0, "failed": 2}));
    let errors = server.lines(&batch["error_file_id"]).await;
    assert_eq!(ids(&errors), ["n0", "n1"]);
    assert_eq!(server.metrics().await.value("gavel_batch_lines_total", &[("outcome", "failed")]), 2.0);
}

#[tokio::test]
async fn an_input_that_cannot_be_read_fails_after_some_attempts() {
    let server = Server::configured(&[("jobs.attempts", "1")], Some(example()));
    let text = line("a", absolute(json!({}))).to_string();
    let store = server.store().await;
    let (one, two) = ("file-1", "file-2");
    for id in [one, two] {
        store.put_chunk(id, 0, &text).await.unwrap();
        let file = NewFile { id, owner: "", filename: "x", bytes: 3, created_at: 0, expires_at: None };
        store.put_file(file, i64::MAX, None).await.unwrap();
    }
    server.tamper("UPDATE chunks SET text = x'ff' WHERE file = 'file-1'").await;
    let submit = async |file: &str| {
        let body = json!({"input_file_id": file, "endpoint": ABSOLUTE});
        ok(server.post_json("/v1/batches", &body).await).await["id"].as_str().unwrap().to_owned()
    };
    let (bad, good) = (submit(one).await, submit(two).await);
    // It holds up no other.
    server.batch_that_is(&good, "completed").await;
    let failed = server.batch_that_is(&bad, "failed").await;
    let error = &failed["errors"]["data"][0];
    assert_eq!(error["code"], "unreadable_file", "{failed}");
    assert!(error["message"].as_str().unwrap().contains("2 attempts"), "{failed}");
    assert_eq!(failed["request_counts"]["total"], 0);
}

#[tokio::test]
async fn an_input_that_ends_processes_fails_in_the_end() {
    let server = Server::configured(&[("jobs.attempts", "2")], Some(example()));
    let store = server.store().await;
    take_input(&store, i64::MAX).await;
    die(&store, "reader").await;
    for _ in 0..2 {
        store.join("dying", 20_000).await.unwrap();
        assert!(store.take_input("dying").await.unwrap().is_some());
        die(&store, "dying").await;
    }
    // One that is stopped well has not died of it.
    store.join("stopped", 20_000).await.unwrap();
    assert_eq!(store.take_input("stopped").await.unwrap().unwrap().reads, 4);
    store.leave("stopped").await.unwrap();
    store.join("dying", 20_000).await.unwrap();
    assert_eq!(store.take_input("dying").await.unwrap().unwrap().reads, 4);
    die(&store, "dying").await;
    let batch = server.batch_that_is("batch_1", "failed").await;
    let error = &batch["errors"]["data"][0];
    assert!(error["code"] == "unreadable_file" && error["message"].as_str().unwrap().contains("4 attempts"), "{error}");
}

#[tokio::test]
async fn answers_that_the_database_refuses_are_not_counted() {
    let gate = Gated::new(Scripted::fixed(Duration::ZERO));
    let server = Server::with(gate.clone());
    let id = server.submit(&[line("a", absolute(json!({})))]).await;
    let running = |count: f64| move |m: &Metrics| m.value("gavel_batch_lines_running", &[]) == count;
    server.until("it runs", |m| m.value("gavel_sequences_running", &[]) == 1.0).await;
    // Another process has taken it meanwhile, and dies.
    server.tamper("UPDATE lines SET worker = 'other'").await;
    gate.open();
    server.until("it ends", running(0.0)).await;
    server.tamper("UPDATE lines SET worker = NULL").await;
    let batch = server.batch_that_is(&id, "completed").await;
    assert_eq!(batch["request_counts"], json!({"total": 1, "completed": 1, "failed": 0}));
    assert_eq!(server.metrics().await.value("gavel_batch_lines_total", &[]), 1.0);
}

#[tokio::test]
async fn lines_wait_for_tokens_of_their_key_and_hold_up_no_other() {
    let server = Server::configured(&[("jobs.concurrency", "1")], Some(example()));
    let file = keys::file_in(&server.data_dir());
    let make = |name: &str, tokens: Option<u32>| {
        let key = Key::wanted(name, vec![Scope::Batch], SystemTime::now()).unwrap();
        keys::create(&file, Key { tokens_per_minute: tokens.and_then(NonZeroU32::new), ..key }).unwrap()
    };
    let (poor, rich) = (make("poor", Some(1)), make("rich", None));
    let submit = async |key: &str| {
        let lines: String = (0..3)
            .map(|n| format!("{}\n", line(&format!("n{n}"), absolute(json!({"response": format!("{n}")})))))
            .collect();
        let file = ok(server.upload(&lines, Some(key)).await).await;
        let body = json!({"input_file_id": file["id"], "endpoint": ABSOLUTE});
        let made = ok(sent(server.post("/v1/batches").bearer_auth(key).json(&body)).await).await;
        made["id"].as_str().unwrap().to_owned()
    };
    let until = async |key: &str, id: &str, done: &(dyn Fn(&Value) -> bool + Sync)| loop {
        let found = ok(sent(server.client.get(format!("{}/v1/batches/{id}", server.url)).bearer_auth(key)).await).await;
        if done(&found) {
            return found;
        }
    };
    let wait = async |key: &str, id: &str, done: &(dyn Fn(&Value) -> bool + Sync)| {
        tokio::time::timeout(PATIENCE, until(key, id, done)).await.expect("it goes on")
    };
    let first = submit(&poor).await;
    wait(&poor, &first, &|batch| batch["request_counts"]["completed"] == 1).await;
    let second = submit(&rich).await;
    wait(&rich, &second, &|batch| batch["status"] == "completed").await;
    let waits = wait(&poor, &first, &|_| true).await;
    assert_eq!((&waits["status"], &waits["request_counts"]["completed"]), (&json!("in_progress"), &json!(1)));
    keys::revoke(&file, "poor").unwrap();
    let admin = keys::create(&file, Key::wanted("admin", vec![Scope::Admin], SystemTime::now()).unwrap()).unwrap();
    let ended = wait(&admin, &first, &|batch| batch["status"] == "completed").await;
    assert_eq!(ended["outcomes"], json!({"unauthenticated": 2, "ok": 1}));
}

#[tokio::test]
async fn what_a_line_cannot_be_answered_by_is_its_answer() {
    let server = Server::with(example());
    let store = server.store().await;
    put_two_lines(&store).await;
    // Ten processes die of the first line.
    for _ in 0..10 {
        store.join("dying", 20_000).await.unwrap();
        let begun = store.take_lines("batch_1", "dying", 1, (i64::MAX, false)).await.unwrap();
        assert_eq!(begun[0].line.number, 0);
        die(&store, "dying").await;
    }
    let batch = server.batch_that_is("batch_1", "completed").await;
    let errors = server.lines(&batch["error_file_id"]).await;
    assert_eq!((&errors[0]["custom_id"], &errors[0]["error"]["code"]), (&json!("n0"), &json!("line_aborted")));
    assert_eq!(errors[0]["response"], Value::Null);
    assert_eq!(ids(&server.lines(&batch["output_file_id"]).await), ["n1"]);
}

#[tokio::test]
async fn a_suspected_line_does_not_wait_for_the_end_of_other_batches() {
    let slow = asking(|_| Answer { delay_ms: 20, ..Answer::default() });
    let server = Server::configured(&[("jobs.concurrency", "2")], Some(slow));
    let store = server.store().await;
    put_two_lines(&store).await;
    for _ in 0..3 {
        store.join("dying", 20_000).await.unwrap();
        store.take_lines("batch_1", "dying", 1, (i64::MAX, false)).await.unwrap();
        die(&store, "dying").await;
    }
    let lines: Vec<Value> =
        (0..600).map(|n| line(&format!("n{n}"), absolute(json!({"response": format!("{n}.")})))).collect();
    let other = server.submit(&lines).await;
    let first = server.batch_that_is("batch_1", "completed").await;
    assert_eq!(first["outcomes"], json!({"ok": 2}));
    // Its input may still be read.
    let other = server.get_json(&format!("/v1/batches/{other}")).await;
    assert!(["validating", "in_progress"].map(Value::from).contains(&other["status"]), "{other}");
}

#[tokio::test]
async fn a_request_with_a_key_for_repetitions_is_made_once() {
    let server = Server::with(example());
    let upload = async |text: &str| {
        let (body, kind) = form(&[("purpose", "batch")], text);
        sent(server.post("/v1/files").header("content-type", kind).header("Idempotency-Key", "f1").body(body)).await
    };
    let good = line("a", absolute(json!({}))).to_string();
    let (first, again) = (ok(upload(&good).await).await, ok(upload(&good).await).await);
    assert_eq!(first, again);
    assert_eq!(refused(upload("{}").await, 409).await.0, "conflict");
    assert_eq!(server.get_json("/v1/files").await["data"].as_array().unwrap().len(), 1);
    let submit = async |window: &str| {
        let body = json!({"input_file_id": first["id"], "endpoint": ABSOLUTE, "completion_window": window});
        sent(server.post("/v1/batches").header("Idempotency-Key", "b1").json(&body)).await
    };
    let (first, again) = (ok(submit("24h").await).await, ok(submit("24h").await).await);
    assert_eq!(first["id"], again["id"]);
    assert_eq!(refused(submit("48h").await, 409).await.0, "conflict");
    let body = json!({"input_file_id": "x"});
    let wrong = sent(server.post("/v1/batches").header("Idempotency-Key", "").json(&body)).await;
    assert_eq!(refused(wrong, 400).await.0, "invalid_request");
}

#[tokio::test]
async fn files_and_batches_are_those_of_their_key() {
    let server = Server::with(example());
    let create = |name: &str, scopes: &[Scope]| {
        let key = Key::wanted(name, scopes.to_vec(), SystemTime::now()).unwrap();
        keys::create(&keys::file_in(&server.data_dir()), key).unwrap()
    };
    let (one, two) = (create("one", &[Scope::Batch]), create("two", &[Scope::Batch]));
    let (admin, grader) = (create("admin", &[Scope::Admin]), create("grader", &[Scope::Grade]));
    let text = line("a", absolute(json!({}))).to_string();
    assert_eq!(server.upload(&text, None).await.status(), 401);
    assert_eq!(server.upload(&text, Some(&grader)).await.status(), 403);
    let file = ok(server.upload(&text, Some(&one)).await).await["id"].as_str().unwrap().to_owned();
    let get =
        async |path: String, key: &str| sent(server.client.get(server.url.clone() + &path).bearer_auth(key)).await;
    let submit = async |key: &str| {
        let body = json!({"input_file_id": file, "endpoint": ABSOLUTE});
        sent(server.post("/v1/batches").bearer_auth(key).json(&body)).await
    };
    assert_eq!(refused(submit(&two).await, 404).await.0, "unknown_file");
    let batch = ok(submit(&one).await).await["id"].as_str().unwrap().to_owned();
    for (key, status) in [(&one, 200), (&admin, 200), (&two, 404)] {
        for path in [format!("/v1/files/{file}"), format!("/v1/files/{file}/content"), format!("/v1/batches/{batch}")] {
            assert_eq!(get(path, key).await.status().as_u16(), status);
        }
    }
    assert_eq!(ok(get("/v1/batches".into(), &two).await).await["data"], json!([]));
    let ended = async |id: &str| loop {
        let found = ok(get(format!("/v1/batches/{id}"), &admin).await).await;
        if found["status"] == "completed" {
            return found;
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, ended(&batch)).await.unwrap()["outcomes"], json!({"ok": 1}));
    let used = ok(get("/v1/usage".into(), &one).await).await;
    assert_eq!(used["data"][0]["judgements"], 1, "{used}");
}
