//! Several models in one server: chosen by name, loaded at the start or at first use, within a budget of memory.

use std::path::Path;

use gavel::models::Progress;
use serde_json::{Value, json};

use crate::server::{PATIENCE, Server, absolute, ok, problem, sent};

const ABSOLUTE: &str = "/v1/grade/absolute";

struct Quiet;
impl Progress for Quiet {
    fn start(&self, _: &str, _: Option<u64>, _: u64) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
}

/// A scripted model as it is configured: it gives one score.
fn model(folder: &Path, name: &str, score: usize, more: &str) -> String {
    let masses: Vec<f64> = (1..=5).map(|s| if s == score { 0.6 } else { 0.1 }).collect();
    let answers = folder.join(format!("{name}.toml"));
    std::fs::write(&answers, format!("[[answer]]\nmasses = {masses:?}\n{}", holding(name))).unwrap();
    let answers = answers.display();
    format!("[[models]]\nname = \"{name}\"\nengine = \"scripted\"\nscripted_answers = '{answers}'\n{more}\n")
}

/// The model `holder` keeps its requests until their callers go away.
fn holding(name: &str) -> &'static str {
    if name == "holder" { "hold = true\n" } else { "" }
}

/// A server with these models, those of the start loaded.
async fn server(models: impl Fn(&Path) -> String, more: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gavel.toml"), format!("{more}\n{}", models(folder.path()))).unwrap();
    let server = Server::of_file(folder);
    // What fails to load is told by the requests.
    let _ = server.app.load(&Quiet).await;
    server
}

async fn score(server: &Server, model: Value) -> Value {
    server.absolute(json!({"model": model})).await["score"].clone()
}

/// Name and state of every model.
async fn states(server: &Server) -> Vec<(String, String)> {
    let info = server.get_json("/v1/info").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    info["models"].as_array().unwrap().iter().map(|m| (text(&m["name"]), text(&m["state"]))).collect()
}

fn are(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()
}

#[tokio::test]
async fn requests_choose_a_model_by_its_name() {
    let models = |folder: &Path| {
        let two = model(folder, "two", 2, "");
        format!("{two}{}", model(folder, "four", 4, "prompt = \"prometheus\""))
    };
    let server = server(models, "").await;
    assert_eq!(score(&server, json!(null)).await, 2);
    assert_eq!((score(&server, json!("two")).await, score(&server, json!("four")).await), (json!(2), json!(4)));
    let verdict = server.absolute(json!({"model": "four"})).await;
    assert_eq!(
        (&verdict["model"]["name"], &verdict["prompt"]["name"]),
        (&json!("four"), &json!("prometheus/absolute"))
    );

    let response = server.post_json(ABSOLUTE, &absolute(json!({"model": "six"}))).await;
    let found = problem(&server, response, 404, "unknown_model").await;
    assert_eq!(
        (&found["pointer"], &found["detail"]),
        (&json!("/model"), &json!("there is no model `six`; there are: two, four"))
    );

    let listed = server.get_json("/v1/models").await;
    let ids: Vec<&Value> = listed["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(&ids[..3], ["two", "four", "gavel-absolute"], "the default one first, judge models last");
    assert_eq!(states(&server).await, are(&[("two", "loaded"), ("four", "loaded")]));
    let metrics = server.metrics().await;
    for name in ["two", "four"] {
        assert_eq!(metrics.value("gavel_model_info", &[("name", name), ("engine", "scripted")]), 1.0);
    }
    assert_eq!(metrics.value("gavel_judgements_total", &[("model", "four"), ("outcome", "ok")]), 2.0);
}

#[tokio::test]
async fn a_model_of_first_use_is_loaded_once_for_all_that_ask() {
    let models = |folder: &Path| {
        let two = model(folder, "two", 2, "");
        format!("{two}{}", model(folder, "later", 5, "load = \"first_use\""))
    };
    let server = server(models, "").await;
    assert_eq!(server.get_json("/readyz").await["status"], "ready");
    assert_eq!(states(&server).await, are(&[("two", "loaded"), ("later", "unloaded")]));
    let listed = server.get_json("/v1/models").await;
    assert_eq!(listed["data"][1]["id"], "later");
    let body = absolute(json!({"model": "later"}));
    let (one, two, three) = tokio::join!(
        server.post_json(ABSOLUTE, &body),
        server.post_json(ABSOLUTE, &body),
        server.post_json(ABSOLUTE, &body)
    );
    for answer in [one, two, three] {
        assert_eq!(ok(answer).await["score"], 5);
    }
    assert_eq!(states(&server).await, are(&[("two", "loaded"), ("later", "loaded")]));
    // One engine, and with it one cache: of three equal requests one was computed.
    assert_eq!(server.metrics().await.value("gavel_judgements_total", &[("model", "later")]), 3.0);
    let computed = server.metrics().await.value("gavel_verdict_cache_total", &[("result", "miss")]);
    assert_eq!(computed, 1.0);
}

#[tokio::test]
async fn what_was_used_longest_ago_makes_room() {
    let models = |folder: &Path| {
        let first_use = |name, score| model(folder, name, score, "load = \"first_use\"\nmemory_mb = 40");
        let stays = model(folder, "stays", 1, "memory_mb = 20");
        format!("{stays}{}{}{}", first_use("a", 2), first_use("b", 3), first_use("c", 4))
    };
    let server = server(models, "memory_budget_mb = 100").await;
    for (name, expected) in [("a", 2), ("b", 3), ("a", 2), ("c", 4)] {
        assert_eq!(score(&server, json!(name)).await, expected);
    }
    let now = [("stays", "loaded"), ("a", "loaded"), ("b", "unloaded"), ("c", "loaded")];
    assert_eq!(states(&server).await, are(&now));
    let metrics = server.metrics().await;
    assert_eq!(metrics.value("gavel_model_info", &[("name", "b")]), 0.0);
    assert_eq!(metrics.value("gavel_model_info", &[("name", "c")]), 1.0);
    assert_eq!(score(&server, json!("b")).await, 3);
}

#[tokio::test]
async fn a_model_in_use_is_not_unloaded() {
    let models = |folder: &Path| {
        let first_use = |name, score| model(folder, name, score, "load = \"first_use\"\nmemory_mb = 60");
        format!("{}{}{}", model(folder, "stays", 1, ""), first_use("holder", 2), first_use("other", 3))
    };
    let server = server(models, "memory_budget_mb = 100").await;
    let held = tokio::spawn(sent(server.post(ABSOLUTE).json(&absolute(json!({"model": "holder"})))));
    server.until("the held request", |m| m.value("gavel_sequences_running", &[]) == 1.0).await;
    let response = server.post_json(ABSOLUTE, &absolute(json!({"model": "other"}))).await;
    assert!(response.headers().contains_key("retry-after"));
    let found = problem(&server, response, 503, "saturated").await;
    let detail = found["detail"].as_str().unwrap();
    for part in ["`other` needs 60 MB", "of the 100 MB", "60 MB are used", "(holder)", "memory_budget_mb"] {
        assert!(detail.contains(part), "{detail}");
    }
    held.abort();
    server.until("the engine's rest", |m| m.value("gavel_sequences_running", &[]) == 0.0).await;
    // The caller's going is seen a moment later than the engine's rest.
    let loaded = async {
        while server.post_json(ABSOLUTE, &absolute(json!({"model": "other"}))).await.status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, loaded).await.unwrap();
    let now = [("stays", "loaded"), ("holder", "unloaded"), ("other", "loaded")];
    assert_eq!(states(&server).await, are(&now));
}

#[tokio::test]
async fn a_model_that_fits_nowhere_is_refused() {
    let models = |folder: &Path| {
        format!(
            "{}{}",
            model(folder, "small", 1, ""),
            model(folder, "huge", 2, "load = \"first_use\"\nmemory_mb = 101")
        )
    };
    let server = server(models, "memory_budget_mb = 100").await;
    let response = server.post_json(ABSOLUTE, &absolute(json!({"model": "huge"}))).await;
    assert!(!response.headers().contains_key("retry-after"), "it never fits");
    let found = problem(&server, response, 503, "model_failed").await;
    let detail = found["detail"].as_str().unwrap();
    assert!(detail.contains("needs 101 MB") && detail.contains("memory_budget_mb"), "{found}");
    assert!(!detail.contains("Try again"), "{found}");
    assert_eq!(score(&server, json!("small")).await, 1);

    // What stays is there for ever, too.
    let models = |folder: &Path| {
        let stays = model(folder, "stays", 1, "memory_mb = 60");
        format!("{stays}{}", model(folder, "large", 2, "load = \"first_use\"\nmemory_mb = 50"))
    };
    let server = self::server(models, "memory_budget_mb = 100").await;
    let response = server.post_json(ABSOLUTE, &absolute(json!({"model": "large"}))).await;
    let found = problem(&server, response, 503, "model_failed").await;
    assert!(
        found["detail"].as_str().unwrap().contains("60 MB are used by models with load = \"start\" (stays)"),
        "{found}"
    );

    // At the start the budget holds as well, if it was set.
    let models = |folder: &Path| model(folder, "huge", 2, "memory_mb = 101");
    let server = self::server(models, "memory_budget_mb = 100").await;
    assert!(server.app.load(&Quiet).await.unwrap_err().to_string().contains("needs 101 MB"));
    assert_eq!(server.get("/readyz").await.status(), 503);
}

#[tokio::test]
async fn a_failing_load_is_told_without_paths_and_not_tried_for_each_request() {
    let models = |folder: &Path| {
        let broken = "[[models]]\nname = \"broken\"\nengine = \"scripted\"\nload = \"first_use\"\n";
        let answers = folder.join("broken.toml");
        format!("{}{broken}scripted_answers = '{}'\n", model(folder, "good", 2, ""), answers.display())
    };
    let server = server(models, "").await;
    let failed = async || {
        let response = server.post_json(ABSOLUTE, &absolute(json!({"model": "broken"}))).await;
        assert!(!response.headers().contains_key("retry-after"), "nobody knows that it would help");
        problem(&server, response, 503, "model_failed").await
    };
    let found = failed().await;
    let detail = found["detail"].as_str().unwrap();
    assert!(detail.contains("`broken`") && detail.contains("log"), "{found}");
    assert!(!detail.contains("broken.toml") && !detail.contains('/'), "{found}");
    assert_eq!(server.get_json("/readyz").await["status"], "ready");
    assert_eq!(states(&server).await, are(&[("good", "loaded"), ("broken", "failed")]));
    // An attempt would find this.
    std::fs::write(server.folder().join("broken.toml"), "[[answer]]\nmasses = [0, 0, 0.9, 0, 0]\n").unwrap();
    assert_eq!(failed().await["detail"], found["detail"]);
    assert_eq!(score(&server, json!("good")).await, 2);
}

#[tokio::test]
async fn a_set_without_relative_grading_says_so() {
    let models = |folder: &Path| model(folder, "flow", 2, "prompt = \"flow-judge\"");
    let server = server(models, "").await;
    assert_eq!(score(&server, json!("flow")).await, 2);
    let body = crate::server::relative(json!({}));
    let found = problem(&server, server.post_json("/v1/grade/relative", &body).await, 422, "unsupported_content").await;
    let detail = found["detail"].as_str().unwrap();
    assert!(
        detail.contains("`flow-judge` does not support relative grading")
            && detail.contains("plain, prometheus, selene"),
        "{detail}"
    );
    let verdict = server.relative(json!({"method": "absolute"})).await;
    assert_eq!(verdict["preference"], "tie");
}
