//! The routes of reward servers, where they are not recorded: their errors, and the rubric that nobody names.

use gavel::engine::scripted::Answer;
use serde_json::{Value, json};

use crate::engines::{EXAMPLE, always, example, says};
use crate::server::{Server, near, ok, sent};

/// Status and body of an answer.
async fn answer(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let response = server.post_json(path, body).await;
    assert_eq!(response.headers()["content-type"], "application/json", "{path}");
    (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn errors_are_those_of_text_embeddings_inference() {
    let predict = json!({"inputs": ["Why?", "So."]});
    let rerank = json!({"query": "Why?", "texts": ["So.", "Hm."]});
    let check = async |server: &Server, body: &Value, query: &str, status: u16, kind: &str, says: &str| {
        let path = if body["inputs"].is_null() { "/rerank" } else { "/predict" };
        let (found, answer) = answer(server, &format!("{path}?{query}"), body).await;
        assert_eq!((found, &answer["error_type"]), (status, &json!(kind)), "{path}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(says), "{path}: {answer}");
    };
    let rubric = "rubric=helpfulness";
    let server = Server::with(example());
    for body in [&predict, &rerank] {
        check(&server, body, "", 422, "Validation", "name a rubric").await;
        check(&server, body, "rubric=nothing", 404, "Validation", "unknown_rubric").await;
    }
    check(&server, &json!({"inputs": [["a", "b", "c"]]}), rubric, 422, "Validation", "/inputs/0").await;
    check(&server, &json!({"query": 1, "texts": ["So."]}), rubric, 422, "Validation", "/query").await;
    let long = "word ".repeat(9000);
    check(&server, &json!({"inputs": ["Why?", long]}), rubric, 413, "Validation", "context_overflow").await;
    check(&server, &json!({"query": "Why?", "texts": [long]}), rubric, 413, "Validation", "context_overflow").await;
    let failing = Server::with(always(Answer { fail: Some("out of memory".into()), ..Answer::default() }));
    let unsure = Server::with(always(says("", &EXAMPLE.map(|p| p * 0.01))));
    let loading = Server::configured(&[], None);
    let full = Server::with(example());
    full.app.admission.shutdown.close();
    for body in [&predict, &rerank] {
        check(&failing, body, rubric, 424, "Backend", "out of memory").await;
        check(&unsure, body, rubric, 422, "Validation", "low_label_mass").await;
        check(&loading, body, rubric, 503, "Unhealthy", "model_loading").await;
        check(&full, body, rubric, 503, "Unhealthy", "shutting_down").await;
    }
    let wrong = sent(server.post("/predict").header("Content-Type", "application/json").body("{")).await;
    let (status, text) = (wrong.status(), wrong.text().await.unwrap());
    assert!(status == 400 && text.contains("\"error_type\":\"Validation\""), "{text}");
}

#[tokio::test]
async fn errors_of_reranking_by_vllm_are_openais() {
    let server = Server::with(example());
    let body = json!({"query": "Why?", "documents": ["So."]});
    for path in ["/rerank", "/v1/rerank", "/v2/rerank"] {
        let (status, answer) = answer(&server, path, &body).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_request")), "{answer}");
    }
    let (status, answer) = answer(&server, "/rerank?rubric=nothing", &body).await;
    assert_eq!((status, &answer["error"]["type"]), (404, &json!("not_found_error")), "{answer}");
    let (_, answer) = self::answer(&server, "/rerank?rubric=helpfulness", &json!({"query": "Why?"})).await;
    assert_eq!(answer["error"]["param"], "documents", "{answer}");
}

#[tokio::test]
async fn a_configured_rubric_where_nobody_names_one() {
    let settings = [("grading.rubric", "helpfulness")];
    let server = Server::configured(&settings, Some(example()));
    let said = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nSo.";
    for (path, body, pointer) in [
        ("/classify", json!({"input": said}), "/data/0/probs/0"),
        ("/v1/embeddings", json!({"input": said}), "/data/0/embedding/0"),
        ("/predict", json!({"inputs": ["Why?", "So."]}), "/0/score"),
        ("/score", json!({"queries": "Why?", "documents": "So."}), "/data/0/score"),
        ("/rerank", json!({"query": "Why?", "documents": ["So."]}), "/results/0/relevance_score"),
        ("/get_reward", json!({"query": [said]}), "/rewards/0"),
    ] {
        let answer = ok(server.post_json(path, &body).await).await;
        assert!(near(answer.pointer(pointer).unwrap(), 0.3275), "{path}: {answer}");
    }
    let (status, named) = self::answer(&server, "/classify?rubric=nothing", &json!({"input": said})).await;
    assert_eq!((status, &named["error"]["code"]), (404, &json!("unknown_rubric")), "{named}");
    let missing = Server::configured(&[("grading.rubric", "not_there")], Some(example()));
    let (status, named) = self::answer(&missing, "/classify", &json!({"input": said})).await;
    assert_eq!((status, &named["error"]["code"]), (404, &json!("unknown_rubric")), "{named}");
}

#[tokio::test]
async fn an_alias_may_name_a_judge_model_with_a_rubric() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gavel.toml"), "[aliases]\n\"my-rm\" = \"gavel-absolute:helpfulness\"\n")
        .unwrap();
    let server = Server::of_file(folder);
    server.app.host(example(), None).unwrap();
    let answer =
        ok(server.post_json("/score", &json!({"model": "my-rm", "queries": "Why?", "documents": "So."})).await).await;
    assert!(near(&answer["data"][0]["score"], 0.3275) && answer["model"] == "my-rm", "{answer}");
}
