//! What the server says of itself: probes, information, models, documents, metrics.

use std::collections::BTreeSet;

use gavel::engine::scripted::Answer;
use serde_json::{Value, json};

use crate::engines::{asking, example, holding, prefers_good, says};
use crate::server::{Metrics, Server, absolute, is_digest, ok, problem, rubric, sent};

#[tokio::test]
async fn readiness_follows_the_model() {
    let server = Server::configured(&[], None);
    assert_eq!(server.get_json("/livez").await["status"], "live");
    problem(&server, server.get("/readyz").await, 503, "model_loading").await;
    assert_eq!(server.get_json("/v1/models").await, json!({"object": "list", "data": []}));
    let info = server.get_json("/v1/info").await;
    assert_eq!((&info["model"], &info["models"][0]["memory"]), (&json!(null), &json!(null)));
    server.app.host(example(), None).unwrap();
    assert_eq!(server.get_json("/readyz").await["status"], "ready");
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_is_said() {
    let settings = [("engine", "scripted"), ("scripted_answers", "/nowhere/answers.toml")];
    let server = Server::configured(&settings, None);
    struct Quiet;
    impl gavel::models::Progress for Quiet {
        fn start(&self, _: &str, _: Option<u64>, _: u64) {}
        fn advance(&self, _: u64) {}
        fn finish(&self) {}
    }
    assert!(server.app.load(&Quiet).await.is_err());
    for path in ["/readyz", "/readyz"] {
        let response = server.get(path).await;
        assert!(!response.headers().contains_key("retry-after"), "it is not tried again");
        let found = problem(&server, response, 503, "model_failed").await;
        let detail = found["detail"].as_str().unwrap();
        assert!(detail.contains("`scripted`") && !detail.contains("nowhere"), "no paths of the server: {found}");
    }
}

#[tokio::test]
async fn what_runs_and_within_which_limits() {
    let server = Server::configured(&[("limits.queue", "7")], Some(example()));
    let info = server.get_json("/v1/info").await;
    assert_eq!((&info["name"], &info["version"]), (&json!("gavel"), &json!(env!("CARGO_PKG_VERSION"))));
    assert_eq!(info["engine"], "scripted");
    assert_eq!((&info["model"]["name"], &info["model"]["context"]), (&json!("scripted"), &json!(8192)));
    assert!(is_digest(info["model"]["digest"].as_str().unwrap()));
    assert_eq!((&info["limits"]["body_bytes"], &info["limits"]["queue"]), (&json!(16 << 20), &json!(7)));
    assert_eq!(info["limits"]["deadline_ms"], 600_000);
    assert!(info["features"].is_array());
    // The scripted engine has no model in memory.
    let memory = json!({"weights_bytes": null, "kv_cache_bytes": null, "counted_bytes": 0});
    assert_eq!((&info["models"][0]["memory"], &info["models"][0]["calibrations"]), (&memory, &json!([])));
    assert!(is_digest(info["prompt_digests"]["plain/absolute"].as_str().unwrap()), "{info}");
    for set in ["plain", "prometheus"] {
        assert!(info["prompts"].as_array().unwrap().contains(&json!(set)), "{info}");
    }
    let models = server.get_json("/v1/models").await;
    assert_eq!(models["object"], "list");
    assert_eq!(server.get_json("/v1/models/scripted").await, models["data"][0]);
    let with_rubric = server.get_json("/v1/models/gavel-absolute:helpfulness").await;
    assert_eq!((&with_rubric["id"], &with_rubric["object"]), (&json!("gavel-absolute:helpfulness"), &json!("model")));
    for (id, code) in [
        ("gavel-absolute:nothing", "unknown_rubric"),
        ("scripted:helpfulness", "unknown_model"),
        ("nothing", "unknown_model"),
    ] {
        let response = server.get(&format!("/v1/models/{id}")).await;
        assert_eq!(response.status(), 404, "{id}");
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(answer["error"]["code"], code, "{id}: {answer}");
    }
    let model = &models["data"][0];
    assert_eq!(
        (&model["id"], &model["object"], &model["owned_by"]),
        (&json!("scripted"), &json!("model"), &json!("gavel"))
    );
    assert!(model["created"].is_u64());
}

#[tokio::test]
async fn the_documentation_is_served() {
    let server = Server::configured(&[], None);
    let page = server.get("/docs").await;
    assert_eq!(page.status(), 200);
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    let html = page.text().await.unwrap();
    assert!(html.contains("href=\"/docs/openapi/\"") && html.contains("href=\"/docs/api\""), "{html}");
    // Pages are HTML, and Markdown for programs; each code of an error has a place on its page.
    let errors = server.get("/docs/errors").await.text().await.unwrap();
    assert!(errors.contains("<a id=\"context_overflow\">"), "{errors}");
    let source = server.get("/docs/errors.md").await;
    assert_eq!(source.headers()["content-type"], "text/markdown; charset=utf-8");
    let browser = server.client.get(format!("{}/docs/errors.md", server.url)).header("accept", "text/html,*/*;q=0.8");
    assert!(sent(browser).await.text().await.unwrap().starts_with("<!doctype html>"));
    let picture = server.get("/docs/images/page-runs-1280-light.png").await;
    assert_eq!(picture.headers()["content-type"], "image/png");
    assert!(picture.bytes().await.unwrap().starts_with(b"\x89PNG"));
    for missing in ["/docs/nothing", "/docs/images/nothing.png"] {
        problem(&server, server.get(missing).await, 404, "not_found").await;
    }
    let html = server.get("/docs/openapi/").await.text().await.unwrap();
    assert!(html.contains("swagger"), "{html}");
    // Everything that the page loads is here: no other host is named.
    let scripts: Vec<&str> = html.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(!scripts.is_empty());
    for script in scripts {
        assert!(!script.contains("//"), "{script} is somewhere else");
        assert_eq!(
            server.get(&format!("/docs/openapi/{}", script.trim_start_matches("./"))).await.status(),
            200,
            "{script}"
        );
    }
}

/// What the page of the API sends when nothing was changed.
#[tokio::test]
async fn the_examples_of_the_contract_work() {
    let server = Server::with(example());
    let document = serde_json::to_value(gavel::api::document()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(schema) = item["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str() else {
            continue;
        };
        let schema = &document["components"]["schemas"][schema.rsplit('/').next().unwrap()];
        let body = &schema["example"];
        assert!(body.is_object(), "{path} has no example");
        // What they are for is not here.
        let of_nothing = [("/v1/batches", "unknown_file"), ("/v1/reviews/{id}", "unknown_review")];
        if let Some((_, code)) = of_nothing.iter().find(|(prefix, _)| path.starts_with(prefix)) {
            let text = server.post_json(path, body).await.text().await.unwrap();
            assert!(text.contains(code), "{path}: {text}");
            continue;
        }
        // The scripted engine has no tokens.
        if path.contains("tokenize") {
            assert_eq!(server.post_json(path, body).await.status(), 400);
            continue;
        }
        let path = path.replace("{rubric}", "helpfulness");
        // Routes of reward servers name the rubric in the query; those of Gavel and OpenAI have it in the body.
        let reward_server = ["classify", "score", "rerank", "embeddings", "predict", "get_reward"];
        let in_query = reward_server.contains(&path.rsplit('/').next().unwrap());
        let query = if in_query { "?rubric=helpfulness" } else { "" };
        let answer = server.post_json(&format!("{path}{query}"), body).await;
        let status = answer.status();
        assert!(status.is_success(), "{path}: {status} {}", answer.text().await.unwrap());
        let more = &item["post"]["requestBody"]["content"]["application/json"]["examples"];
        for (name, more) in more.as_object().into_iter().flatten() {
            let answer = server.post_json(&path, &more["value"]).await;
            let status = answer.status();
            assert!(status.is_success(), "{path}, {name}: {status} {}", answer.text().await.unwrap());
        }
    }
}

#[tokio::test]
async fn the_document_is_the_contract() {
    let server = Server::configured(&[], None);
    let document = serde_json::to_value(gavel::api::document()).unwrap();
    assert_eq!(server.get_json("/openapi.json").await, document);
    assert_eq!(document["tags"][0]["name"], "grading", "what the server is for comes first");
    let named: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let used = operations.filter_map(|operation| operation["tags"].get(0));
    assert!(used.into_iter().all(|tag| named.contains(&tag)), "{named:?}");
    insta::assert_json_snapshot!("openapi", document, {".info.version" => "[version]"});
}

/// Every reference of the document leads somewhere, and every route that it names is one.
#[tokio::test]
async fn the_document_holds_together() {
    let server = Server::with(example());
    let document = server.get_json("/openapi.json").await;
    let text = document.to_string();
    let references: BTreeSet<&str> =
        text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(references.len() > 5);
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let path =
                path.replace("{name}", "helpfulness").replace("{rubric}", "helpfulness").replace("{id}", "scripted");
            let url = format!("{}{path}", server.url);
            let answer = sent(server.client.request(method.clone(), url)).await;
            let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
            let codes = ["unknown_file", "unknown_batch", "unknown_review", "unknown_report"];
            let of_nothing = codes.iter().any(|code| text.contains(code));
            assert!(of_nothing || ![404, 405, 500].contains(&status), "{method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn every_metric_of_the_contract_is_there() {
    let server = Server::with(asking(|job| {
        let prompt = job.prompt.text();
        let even = says("Hm.", &[0.5, 0.3]);
        if prompt.contains("FAIL") {
            return Answer { fail: Some("out of memory".into()), ..Answer::default() };
        }
        if prompt.contains("GOOD") && !prompt.contains("flip") { prefers_good(job) } else { even }
    }));
    server.absolute(json!({})).await;
    server.absolute(json!({})).await;
    server.absolute(json!({"rubric": rubric(1, 2)})).await;
    server.relative(json!({})).await;
    assert_eq!(server.relative(json!({"instruction": "flip"})).await["consistent"], false);
    let failed = server.post_json("/v1/grade/absolute", &absolute(json!({"response": "FAIL"}))).await;
    assert_eq!(failed.status(), 502);
    let metrics = server.metrics().await;

    let check = |name: &str, labels: &[(&str, &str)], expected: f64| {
        assert_eq!(metrics.find(name, labels), Some(expected), "{name} {labels:?} in\n{}", metrics.without_buckets());
    };
    let route = ("route", "/v1/grade/absolute");
    check("gavel_http_requests_total", &[route, ("method", "POST"), ("status", "200")], 3.0);
    check("gavel_http_requests_total", &[route, ("method", "POST"), ("status", "502")], 1.0);
    check("gavel_http_request_duration_seconds_count", &[route], 4.0);
    let judged =
        |kind, rubric, outcome| [("kind", kind), ("rubric", rubric), ("model", "scripted"), ("outcome", outcome)];
    check("gavel_judgements_total", &judged("absolute", "helpfulness", "ok"), 2.0);
    check("gavel_judgements_total", &judged("absolute", "inline", "ok"), 1.0);
    check("gavel_judgements_total", &judged("absolute", "helpfulness", "failed"), 1.0);
    check("gavel_judgements_total", &judged("relative", "helpfulness", "ok"), 4.0);
    check("gavel_score_count", &[("rubric", "helpfulness"), ("model", "scripted")], 2.0);
    check("gavel_score_count", &[("rubric", "inline"), ("model", "scripted")], 1.0);
    check("gavel_score_bucket", &[("rubric", "inline"), ("le", "1")], 1.0);
    check("gavel_preferences_total", &[("choice", "A"), ("rubric", "helpfulness")], 1.0);
    check("gavel_preferences_total", &[("choice", "tie"), ("rubric", "helpfulness")], 1.0);
    check("gavel_position_flips_total", &[("rubric", "helpfulness")], 1.0);
    check("gavel_label_mass_count", &[("kind", "absolute")], 3.0);
    check("gavel_label_mass_count", &[("kind", "relative")], 4.0);
    check("gavel_stage_duration_seconds_count", &[("stage", "render")], 8.0);
    for stage in ["queue", "prefill", "decode"] {
        check("gavel_stage_duration_seconds_count", &[("stage", stage)], 6.0);
    }
    assert!(metrics.value("gavel_tokens_total", &[("type", "prompt")]) > 100.0);
    check("gavel_tokens_total", &[("type", "cached")], 0.0);
    assert!(metrics.value("gavel_tokens_total", &[("type", "completion")]) >= 6.0);
    check("gavel_queue_depth", &[], 0.0);
    check("gavel_sequences_running", &[], 0.0);
    assert!(metrics.find("gavel_kv_cache_tokens", &[("state", "free")]).is_some());
    check("gavel_verdict_cache_total", &[("result", "hit")], 1.0);
    check("gavel_verdict_cache_total", &[("result", "miss")], 4.0);
    check("gavel_requests_rejected_total", &[("reason", "engine_failed")], 1.0);
    check("gavel_engine_restarts_total", &[], 0.0);
    check("gavel_model_info", &[("name", "scripted"), ("engine", "scripted")], 1.0);
    check("gavel_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
}

/// Generators of clients name their functions after them.
#[test]
fn the_documents_operations_have_names_of_their_own() {
    let document = serde_json::to_value(gavel::api::document()).unwrap();
    let routes = document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let mut names: Vec<&str> = routes.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "{names:?}");
}

fn series(metrics: &Metrics, name: &str) -> usize {
    metrics.0.lines().filter(|line| line.starts_with(name)).count()
}

#[tokio::test]
async fn nobody_can_grow_the_labels() {
    let server = Server::with(example());
    server.metrics().await;
    server.get("/nothing").await;
    server.get("/v1/rubrics/helpfulness").await;
    server.get("/v1/rubrics/nothing").await;
    server.post_json("/v1/grade/absolute", &absolute(json!({"rubric": "nothing"}))).await;
    let verdict = server.absolute(json!({"rubric": rubric(0, 1)})).await;
    assert_eq!(verdict["rubric"]["name"], "inline");
    let brew = |path: String| {
        let method = reqwest::Method::from_bytes(b"BREW").unwrap();
        sent(server.client.request(method, format!("{}{path}", server.url)))
    };
    brew("/nothing".into()).await;
    let before = server.metrics().await;
    for number in 1..=20 {
        server.get(&format!("/nothing/{number}?x={number}")).await;
        server.get(&format!("/v1/rubrics/nothing-{number}")).await;
        let method = reqwest::Method::from_bytes(format!("BREW{number}").as_bytes()).unwrap();
        sent(server.client.request(method, format!("{}/nothing", server.url))).await;
        let name = json!({"rubric": format!("nothing-{number}")});
        server.post_json("/v1/grade/absolute", &absolute(name)).await;
        server.absolute(json!({"rubric": rubric(number, number + 1)})).await;
    }
    let after = server.metrics().await;
    assert_eq!(
        series(&after, "gavel_"),
        series(&before, "gavel_"),
        "{}\n{}",
        before.without_buckets(),
        after.without_buckets()
    );
    let unmatched = [("route", "unmatched"), ("status", "404")];
    assert_eq!(after.value("gavel_http_requests_total", &unmatched), 42.0);
    assert_eq!(after.value("gavel_judgements_total", &[("rubric", "inline")]), 21.0);
}

#[tokio::test]
async fn two_servers_in_one_process_share_nothing() {
    let (one, other) = (Server::with(example()), Server::with(holding()));
    one.absolute(json!({})).await;
    let put = one.client.put(format!("{}/v1/rubrics/mine", one.url)).json(&rubric(1, 2));
    assert_eq!(sent(put).await.status(), 201);
    assert_eq!(one.metrics().await.value("gavel_judgements_total", &[]), 1.0);
    assert_eq!(other.metrics().await.find("gavel_judgements_total", &[]), None);
    problem(&other, other.get("/v1/rubrics/mine").await, 404, "unknown_rubric").await;
    one.app.admission.shutdown.close();
    ok(other.get("/readyz").await).await;
}
