//! API keys: who gets in, what for, and how much.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use gavel::engine::scripted::Scripted;
use gavel::keys::{self, Key, Moment, Scope};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::engines::{Gated, example, says};
use crate::server::{Metrics, Server, absolute, ok, problem, rubric, sent};

const ABSOLUTE: &str = "/v1/grade/absolute";
/// Routes that need no key.
const OPEN: [&str; 6] = ["/livez", "/readyz", "/health", "/version", "/metrics", "/openapi.json"];

fn key(name: &str, scopes: &[Scope]) -> Key {
    Key::wanted(name, scopes.to_vec(), SystemTime::now()).unwrap()
}

impl Server {
    fn create(&self, key: Key) -> String {
        keys::create(&keys::file_in(&self.data_dir()), key).unwrap()
    }

    async fn ask(&self, method: &str, path: &str, key: Option<&str>, body: &Value) -> Response {
        let method: Method = method.parse().unwrap();
        let request = self.client.request(method.clone(), format!("{}{path}", self.url));
        let request = if method == Method::GET { request } else { request.json(body) };
        sent(key.into_iter().fold(request, |request, key| request.bearer_auth(key))).await
    }

    async fn grade(&self, key: Option<&str>) -> Response {
        self.ask("POST", ABSOLUTE, key, &absolute(json!({}))).await
    }
}

/// Every operation of the contract, and those that are not in it.
async fn operations(server: &Server) -> Vec<(String, String)> {
    let document = server.get_json("/openapi.json").await;
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path: String =
            path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/");
        found.extend(methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())));
    }
    let others = [("GET", "/v1/nothing"), ("GET", "/nothing"), ("POST", "/nothing"), ("GET", "/v1/grade/absolute")];
    found.extend(others.map(|(method, path)| (method.to_owned(), path.to_owned())));
    found
}

#[tokio::test]
async fn every_route_wants_a_key_that_may_use_it() {
    let server = Server::with(example());
    let right = server.create(key("right", &[Scope::Admin]));
    let wrong_scope = server.create(key("other", &[Scope::Review]));
    let grader = server.create(key("grader", &[Scope::Grade]));
    let past = Moment::of(SystemTime::now() - Duration::from_secs(60));
    let expired = server.create(Key { expires: Some(past), ..key("past", &[Scope::Admin]) });
    let unknown = format!("gvl_{}", "0".repeat(64));
    let operations = operations(&server).await;
    assert!(operations.len() > 40, "{operations:?}");
    for (method, path) in &operations {
        let answer = async |key: Option<&str>| {
            let answer = server.ask(method, path, key, &json!({})).await;
            let challenge = answer.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
            (answer.status().as_u16(), challenge, answer.text().await.unwrap())
        };
        let at = format!("{method} {path}");
        let passes = |status: u16| ![401, 403, 429].contains(&status);
        if OPEN.contains(&path.as_str()) {
            for key in [None, Some(unknown.as_str()), Some(&expired)] {
                assert!(passes(answer(key).await.0), "{at} is open");
            }
            continue;
        }
        for (key, says) in
            [(None, "needs an API key"), (Some(unknown.as_str()), "revoked"), (Some(&expired), "expired at")]
        {
            let (status, challenge, text) = answer(key).await;
            assert_eq!((status, challenge.as_deref()), (401, Some("Bearer")), "{at}: {text}");
            assert!(text.contains("unauthenticated") && text.contains(says), "{at}: {text}");
            assert!(!text.contains(&unknown[4..]) && !text.contains(&expired[4..]), "{at}: {text}");
            let form = ["\"request_id\":", "\"param\":", "\"error_type\":"];
            let of_openai = ["/v1/chat", "/v1/completions", "/v1/responses", "/score", "/rerank"];
            let expected = match path.as_str() {
                "/predict" => form[2],
                path if of_openai.iter().any(|prefix| path.starts_with(prefix)) => form[1],
                path if path.starts_with("/v1/grade") || path.starts_with("/compat") => form[0],
                _ => continue,
            };
            assert!(text.contains(expected), "{at}: {text}");
        }
        let reviews = path.starts_with("/v1/reviews");
        let wrong_scope = if reviews && path != "/v1/reviews" { &grader } else { &wrong_scope };
        let (status, _, text) = answer(Some(wrong_scope)).await;
        match method.as_str() {
            "GET" if reviews && wrong_scope == &grader => assert_eq!(status, 403, "{at}: {text}"),
            "GET" => assert!(passes(status), "any key may read: {at}: {text}"),
            _ => {
                assert!(status == 403 && text.contains("forbidden") && text.contains("scope"), "{at}: {status} {text}")
            }
        }
        assert!(passes(answer(Some(&right)).await.0), "{at}");
    }
    for page in ["/", "/docs", "/docs/", "/docs/api", "/docs/errors.md", "/docs/openapi/"] {
        assert_eq!(server.get(page).await.status(), 200, "{page}");
    }
    // Whatever the spelling of a path, the router and the check read the same.
    for path in [
        "/v1//grade/absolute",
        "//v1/rubrics",
        "/%76%31/rubrics",
        "/v1/info/",
        "/docs/../v1/info",
        "/docs%2f..%2fv1%2finfo",
    ] {
        let status = server.get(path).await.status().as_u16();
        assert!(status == 401 || status == 404 && path.starts_with("/docs"), "{path}: {status}");
    }
    for path in ["/%761/rubrics/mine", "/v1/%72ubrics/mine", "//v1//rubrics//mine/"] {
        let answer = server.ask("PUT", path, Some(&wrong_scope), &rubric(1, 2)).await;
        assert_eq!(answer.status(), 403, "{path}");
    }
}

#[tokio::test]
async fn keys_count_as_soon_as_the_file_has_them() {
    let server = Server::with(example());
    ok(server.grade(None).await).await;
    let first = server.create(key("first", &[Scope::Grade]));
    problem(&server, server.grade(None).await, 401, "unauthenticated").await;
    ok(server.grade(Some(&first)).await).await;
    let second = server.create(key("second", &[Scope::Grade]));
    ok(server.grade(Some(&second)).await).await;
    keys::revoke(&keys::file_in(&server.data_dir()), "first").unwrap();
    problem(&server, server.grade(Some(&first)).await, 401, "unauthenticated").await;
    std::fs::write(keys::file_in(&server.data_dir()), "[[keys]").unwrap();
    ok(server.grade(Some(&second)).await).await;
    problem(&server, server.grade(None).await, 401, "unauthenticated").await;
}

#[tokio::test]
async fn a_key_may_be_in_other_headers() {
    let server = Server::with(example());
    let secret = server.create(key("mine", &[Scope::Grade]));
    for header in ["X-API-Key", "api-key"] {
        let request = server.post(ABSOLUTE).header(header, &secret).json(&absolute(json!({})));
        ok(sent(request).await).await;
        let request = server.post(ABSOLUTE).header(header, &secret[1..]).json(&absolute(json!({})));
        problem(&server, sent(request).await, 401, "unauthenticated").await;
    }
}

#[tokio::test]
async fn rubrics_are_written_with_an_administrators_key() {
    let server = Server::with(example());
    let admin = server.create(key("admin", &[Scope::Admin]));
    let grade = server.create(key("grade", &[Scope::Grade]));
    let put = async |key: Option<&str>| server.ask("PUT", "/v1/rubrics/mine", key, &rubric(1, 2)).await;
    problem(&server, put(None).await, 401, "unauthenticated").await;
    let refused = problem(&server, put(Some(&grade)).await, 403, "forbidden").await;
    assert!(refused["detail"].as_str().unwrap().contains("`admin`"), "{refused}");
    // Whatever its address and its proxies.
    let request = server.client.put(format!("{}/v1/rubrics/mine", server.url)).json(&rubric(1, 2));
    let request = request.bearer_auth(&admin).header("Host", "judge.example.com").header("X-Forwarded-For", "9.9.9.9");
    assert_eq!(sent(request).await.status(), 201);
    assert_eq!(server.ask("DELETE", "/v1/rubrics/mine", Some(&grade), &json!({})).await.status(), 403);
    assert_eq!(server.ask("DELETE", "/v1/rubrics/mine", Some(&admin), &json!({})).await.status(), 204);
}

#[tokio::test]
async fn limits_are_those_of_the_key() {
    let gate = Gated::new(Scripted::fixed(Duration::ZERO));
    let server = Server::with(gate.clone());
    let one = NonZeroU32::new(1);
    let rate = server.create(Key { requests_per_minute: one, ..key("rate", &[Scope::Grade]) });
    let single = server.create(Key { concurrent: one, ..key("single", &[Scope::Grade]) });
    let (first, ()) = tokio::join!(server.grade(Some(&single)), async {
        server.until("one that runs", |m| m.value("gavel_sequences_running", &[]) == 1.0).await;
        let refused = problem(&server, server.grade(Some(&single)).await, 429, "rate_limited").await;
        assert!(refused["detail"].as_str().unwrap().contains("1 requests in progress"), "{refused}");
        gate.open();
    });
    ok(first).await;
    ok(server.grade(Some(&rate)).await).await;
    let refused = server.grade(Some(&rate)).await;
    let wait: u32 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    problem(&server, refused, 429, "rate_limited").await;
    ok(server.grade(Some(&single)).await).await;
}

#[tokio::test]
async fn waiting_requests_take_turns_by_key() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    let gate = Gated::new(Scripted::new(move |job| {
        let text = job.prompt.text();
        let judged = ["a1", "a2", "a3", "b1"].into_iter().find(|name| text.contains(&format!("Answer {name}.")));
        seen.lock().unwrap().extend(judged);
        says("Fine.", &[0.1, 0.1, 0.2, 0.3, 0.2])
    }));
    let server = Server::configured(&[("limits.in_flight", "1")], Some(gate.clone()));
    let (a, b) = (server.create(key("a", &[Scope::Grade])), server.create(key("b", &[Scope::Grade])));
    let arrived = async |count: f64| {
        let load = |m: &Metrics| m.value("gavel_sequences_running", &[]) + m.value("gavel_queue_depth", &[]);
        server.until("those before", |m| load(m) == count).await;
    };
    let ask = async |before: f64, key: &str, name: &str| {
        arrived(before).await;
        let body = absolute(json!({"response": format!("Answer {name}.")}));
        ok(server.ask("POST", ABSOLUTE, Some(key), &body).await).await;
    };
    tokio::join!(ask(0.0, &a, "a1"), ask(1.0, &a, "a2"), ask(2.0, &a, "a3"), ask(3.0, &b, "b1"), async {
        arrived(4.0).await;
        gate.open();
    });
    let order = order.lock().unwrap();
    let place = |name: &str| order.iter().position(|judged| *judged == name).unwrap();
    assert!(place("b1") < place("a3"), "b waits behind one of a's at most, from the same address: {order:?}");
}

#[tokio::test]
async fn usage_is_counted_by_key() {
    let server = Server::with(example());
    let usage = async |key: Option<&str>| ok(server.ask("GET", "/v1/usage", key, &json!({})).await).await;
    assert_eq!(usage(None).await["data"], json!([]), "keys are off");
    let one = server.create(key("one", &[Scope::Grade]));
    let two = server.create(key("two", &[Scope::Grade]));
    let admin = server.create(key("admin", &[Scope::Admin]));
    ok(server.grade(Some(&one)).await).await;
    ok(server
        .ask("POST", ABSOLUTE, Some(&one), &absolute(json!({"samples": 2, "sampling": {"temperature": 1.0}})))
        .await)
    .await;
    problem(&server, server.ask("POST", ABSOLUTE, Some(&one), &json!({})).await, 422, "invalid_request").await;
    assert_eq!(server.ask("PUT", "/v1/rubrics/x", Some(&one), &json!({})).await.status(), 403, "it is not counted");
    let own = usage(Some(&two)).await;
    assert_eq!(own["object"], "list");
    assert!(own["since"].as_str().unwrap().ends_with('Z'), "{own}");
    let names = |usage: &Value| -> Vec<String> {
        usage["data"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&own), ["two"]);
    let all = usage(Some(&admin)).await;
    assert_eq!(names(&all), ["admin", "one", "two"]);
    let row = &all["data"][1];
    assert_eq!((&row["requests"], &row["judgements"]), (&json!(3), &json!(3)), "{row}");
    assert!(row["prompt_tokens"].as_u64() > Some(0) && row["completion_tokens"].as_u64() > Some(0), "{row}");
    let metrics = server.metrics().await;
    assert_eq!(metrics.value("gavel_key_requests_total", &[("key", "one")]), 3.0);
}

#[tokio::test]
async fn recent_errors_are_those_of_the_key_and_have_no_text() {
    let server = Server::with(example());
    let errors = async |key: Option<&str>| ok(server.ask("GET", "/v1/errors", key, &json!({})).await).await;
    let refused = server.ask("POST", ABSOLUTE, None, &absolute(json!({"rubric": "secret-words"}))).await;
    let id = refused.headers()["x-request-id"].to_str().unwrap().to_owned();
    problem(&server, refused, 404, "unknown_rubric").await;
    // Keys are off.
    let all = errors(None).await;
    let newest = &all["data"][0];
    assert_eq!((&newest["request_id"], &newest["status"]), (&json!(id), &json!(404)), "{all}");
    assert_eq!((&newest["code"], &newest["route"]), (&json!("unknown_rubric"), &json!(ABSOLUTE)), "{all}");
    assert!(!all.to_string().contains("secret-words") && newest["at"].as_str().unwrap().ends_with('Z'), "{all}");

    let [one, two] = ["one", "two"].map(|name| server.create(key(name, &[Scope::Grade])));
    let admin = server.create(key("admin", &[Scope::Admin]));
    problem(&server, server.ask("POST", ABSOLUTE, Some(&one), &json!({})).await, 422, "invalid_request").await;
    problem(&server, server.ask("POST", ABSOLUTE, Some(&two), &json!([])).await, 422, "invalid_request").await;
    let keys = async |key: &str| -> Vec<Value> {
        errors(Some(key)).await["data"].as_array().unwrap().iter().map(|error| error["key"].clone()).collect()
    };
    assert_eq!(keys(&one).await, [json!("one")]);
    assert_eq!(keys(&admin).await, [json!("two"), json!("one"), Value::Null]);
    // What nobody asked for is not an error.
    ok(server.grade(Some(&one)).await).await;
    assert_eq!(keys(&one).await.len(), 1);
}

#[tokio::test]
async fn tokens_are_limited_by_key() {
    let server = Server::with(example());
    let limit = NonZeroU32::new(1);
    let poor = server.create(Key { tokens_per_minute: limit, ..key("poor", &[Scope::Grade]) });
    ok(server.grade(Some(&poor)).await).await;
    let refused = server.grade(Some(&poor)).await;
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    let refused = problem(&server, refused, 429, "rate_limited").await;
    assert!(refused["detail"].as_str().unwrap().contains("1 tokens a minute"), "{refused}");
    // What needs no tokens is answered, and tells what was used.
    let row = ok(server.ask("GET", "/v1/usage", Some(&poor), &json!({})).await).await["data"][0].clone();
    let used = row["prompt_tokens"].as_u64().unwrap() + row["completion_tokens"].as_u64().unwrap();
    assert!((used - 1) * 60 <= wait && wait <= used * 60 + 1, "a token each minute: {wait} s for {row}");
    assert_eq!((&row["requests"], &row["judgements"]), (&json!(2), &json!(1)), "{row}");
}

/// What `/v1/usage` has of a key.
async fn usage_of(server: &Server, secret: &str) -> Value {
    ok(server.ask("GET", "/v1/usage", Some(secret), &json!({})).await).await
}

#[tokio::test]
async fn usage_survives_restarts_and_servers_add_up() {
    let first = Server::with(example());
    let secret = first.create(key("one", &[Scope::Grade]));
    ok(first.grade(Some(&secret)).await).await;
    let before = usage_of(&first, &secret).await;
    first.shut_down(std::future::pending()).await;
    let data = first.data_dir().display().to_string();
    let next = || Server::configured(&[("data_dir", data.as_str())], Some(example()));
    let (second, third) = (next(), next());
    let found = usage_of(&second, &secret).await;
    assert_eq!(found["since"], before["since"], "{found}");
    let (row, old) = (&found["data"][0], &before["data"][0]);
    assert_eq!((&row["requests"], &row["judgements"]), (&json!(3), &json!(1)), "with the two that asked: {row}");
    assert_eq!((&row["prompt_tokens"], &row["completion_tokens"]), (&old["prompt_tokens"], &old["completion_tokens"]));
    for server in [&second, &third] {
        ok(server.grade(Some(&secret)).await).await;
    }
    second.shut_down(std::future::pending()).await;
    third.shut_down(std::future::pending()).await;
    let last = usage_of(&next(), &secret).await;
    let (row, tokens) = (&last["data"][0], old["prompt_tokens"].as_u64().unwrap() * 3);
    assert_eq!((&row["requests"], &row["judgements"]), (&json!(6), &json!(3)), "{row}");
    assert_eq!(row["prompt_tokens"], tokens, "{row}");
}

#[tokio::test]
async fn usage_needs_no_database_while_keys_are_off_and_waits_for_one_that_is_damaged() {
    let server = Server::with(example());
    ok(server.grade(None).await).await;
    assert_eq!(ok(server.ask("GET", "/v1/usage", None, &json!({})).await).await["data"], json!([]));
    server.shut_down(std::future::pending()).await;
    assert!(!server.data_dir().join("gavel.db").exists());
    let server = Server::with(example());
    let secret = server.create(key("one", &[Scope::Grade]));
    std::fs::write(server.data_dir().join("gavel.db"), "the notes of a person".repeat(500)).unwrap();
    ok(server.grade(Some(&secret)).await).await;
    let refused = server.ask("GET", "/v1/usage", Some(&secret), &json!({})).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "store_unavailable");
}

#[tokio::test]
async fn metrics_can_need_a_key() {
    let server = Server::configured(&[("keys.open_metrics", "false")], None);
    assert_eq!(server.get("/metrics").await.status(), 200, "keys are off");
    let secret = server.create(key("prometheus", &[Scope::Review]));
    problem(&server, server.get("/metrics").await, 401, "unauthenticated").await;
    assert_eq!(server.ask("GET", "/metrics", Some(&secret), &json!({})).await.status(), 200);
}

#[tokio::test]
async fn a_server_without_readable_keys_lets_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(keys::file_in(&folder.path().join("data")), "keys = 1").unwrap();
    let server = Server::of_file(folder);
    problem(&server, server.get("/v1/rubrics").await, 401, "unauthenticated").await;
}
