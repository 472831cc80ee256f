//! The queue of reviews: people label what they are given, and do not see what others say before.

use std::time::SystemTime;

use gavel::keys::{self, Key, Scope};
use serde_json::{Value, json};

use crate::engines::example;
use crate::server::{Server, absolute, near, ok, problem, relative, rubric, sent};

impl Server {
    async fn review(&self, request: Value, change: Value) -> String {
        let mut body = json!({"request": request});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        ok(self.post_json("/v1/reviews", &body).await).await["id"].as_str().unwrap().to_owned()
    }

    async fn act(&self, id: &str, what: &str, body: Value) -> reqwest::Response {
        self.post_json(&format!("/v1/reviews/{id}/{what}"), &body).await
    }
}

#[tokio::test]
async fn a_review_that_is_asked_for_again_with_its_key_is_the_same() {
    let server = Server::with(example());
    let ask = async |reviewers: u32| {
        let body = json!({"request": relative(json!({})), "reviewers": reviewers});
        sent(server.post("/v1/reviews").header("Idempotency-Key", "r1").json(&body)).await
    };
    let (first, again) = (ok(ask(1).await).await, ok(ask(1).await).await);
    assert_eq!(first["id"], again["id"]);
    problem(&server, ask(2).await, 409, "conflict").await;
    assert_eq!(server.get_json("/v1/reviews").await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn people_label_without_seeing_what_others_say() {
    let server = Server::with(example());
    let verdict = json!({"preference": "B", "probability_a": 0.2});
    let id = server.review(relative(json!({})), json!({"reviewers": 2, "verdict": verdict})).await;
    let other = server.review(relative(json!({"instruction": "Second."})), json!({})).await;
    let open = async |who: &str| {
        let listed = server.get_json(&format!("/v1/reviews?reviewer={who}")).await;
        listed["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(open("ada").await, [id.clone(), other.clone()]);
    let claimed = ok(server.act(&id, "claim", json!({"reviewer": "ada"})).await).await;
    assert_eq!((&claimed["verdict"], &claimed["labels"]), (&Value::Null, &Value::Null));
    assert_eq!(claimed["request"]["response_a"], "A GOOD answer.");
    assert_eq!(claimed["options"], json!(["A", "B", "tie"]));
    // Claiming twice is claiming once; a second reviewer has a seat, a third none.
    ok(server.act(&id, "claim", json!({"reviewer": "ada"})).await).await;
    ok(server.act(&id, "claim", json!({"reviewer": "bob"})).await).await;
    problem(&server, server.act(&id, "claim", json!({"reviewer": "cyd"})).await, 409, "conflict").await;
    problem(&server, server.act(&id, "label", json!({"reviewer": "cyd", "label": "A"})).await, 409, "conflict").await;
    assert_eq!(open("cyd").await, [other.as_str()]);
    let labelled = ok(server.act(&id, "label", json!({"reviewer": "ada", "label": "B", "note": "Clear."})).await).await;
    assert_eq!((&labelled["verdict"], &labelled["label"]), (&verdict, &json!("B")));
    assert_eq!(labelled["labels"][0]["note"], "Clear.");
    assert_eq!(open("ada").await, [other.as_str()]);
    // Who skips leaves a seat.
    ok(server.act(&id, "skip", json!({"reviewer": "bob"})).await).await;
    ok(server.act(&id, "claim", json!({"reviewer": "cyd"})).await).await;
    ok(server.act(&id, "label", json!({"reviewer": "cyd", "label": "tie"})).await).await;
    // An undone label is a new one.
    ok(server.act(&id, "label", json!({"reviewer": "cyd", "label": "B"})).await).await;
    assert_eq!(server.get_json("/v1/reviews?state=done").await["data"][0]["labelled"], 2);

    let agreement = server.get_json("/v1/reviews/agreement").await;
    assert_eq!((&agreement["reviews"], &agreement["labels"], &agreement["judged"]), (&json!(1), &json!(2), &json!(1)));
    assert_eq!((&agreement["accuracy"], &agreement["alpha"]), (&json!(1.0), &Value::Null));
    let text = server.get("/v1/reviews/export").await.text().await.unwrap();
    let item: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((&item["id"], &item["label"], &item["meta"]["judge"]), (&json!(id), &json!("B"), &json!("B")));
}

#[tokio::test]
async fn labels_are_those_of_the_rubric() {
    let server = Server::with(example());
    let id = server.review(absolute(json!({"rubric": rubric(-1, 1)})), json!({"verdict": {"score": 0}})).await;
    let claimed = ok(server.act(&id, "claim", json!({"reviewer": "ada"})).await).await;
    assert_eq!(claimed["options"], json!(["-1", "0", "1"]));
    let mut shown = rubric(-1, 1);
    shown["name"] = json!("inline");
    assert_eq!(claimed["rubrics"], json!([shown]));
    for label in [json!(2), json!("A"), json!(0.5), json!(null)] {
        let wrong = server.act(&id, "label", json!({"reviewer": "ada", "label": label})).await;
        let wrong = problem(&server, wrong, 422, "invalid_request").await;
        assert_eq!(wrong["pointer"], "/label");
        assert!(wrong["detail"].as_str().unwrap().contains("-1, 0, 1"), "{wrong}");
    }
    ok(server.act(&id, "label", json!({"reviewer": "ada", "label": -1})).await).await;
    let agreement = server.get_json("/v1/reviews/agreement").await;
    assert!(near(&agreement["accuracy"], 0.0), "{agreement}");
    for (body, pointer) in [
        (json!({"request": {"instruction": "x"}}), "/request"),
        (json!({"request": absolute(json!({"rubric": "no such"}))}), ""),
        (json!({"request": absolute(json!({"colour": 1}))}), "/request/colour"),
        (json!({"request": absolute(json!({})), "reviewers": 0}), "/reviewers"),
        (json!({"request": absolute(json!({})), "reviewers": 21}), "/reviewers"),
    ] {
        let refused: Value = server.post_json("/v1/reviews", &body).await.json().await.unwrap();
        let found = refused["pointer"].as_str().unwrap_or_default();
        assert!(found.starts_with(pointer) && refused["status"].as_u64().unwrap() >= 400, "{refused}");
    }
    let nobody = server.act(&id, "claim", json!({})).await;
    assert_eq!(problem(&server, nobody, 422, "invalid_request").await["pointer"], "/reviewer");
    problem(&server, server.act("rev_x", "claim", json!({"reviewer": "ada"})).await, 404, "unknown_review").await;
    problem(&server, server.get("/v1/reviews?state=odd").await, 422, "invalid_request").await;
}

#[tokio::test]
async fn a_reviewer_is_the_key() {
    let server = Server::with(example());
    let create = |name: &str, scopes: &[Scope]| {
        let key = Key::wanted(name, scopes.to_vec(), SystemTime::now()).unwrap();
        keys::create(&keys::file_in(&server.data_dir()), key).unwrap()
    };
    let (grader, ada) = (create("grader", &[Scope::Grade]), create("ada", &[Scope::Review]));
    let post = async |key: &str, path: &str, body: Value| sent(server.post(path).bearer_auth(key).json(&body)).await;
    let made = ok(post(&grader, "/v1/reviews", json!({"request": relative(json!({}))})).await).await;
    let path = |what: &str| format!("/v1/reviews/{}/{what}", made["id"].as_str().unwrap());
    assert_eq!(post(&grader, &path("claim"), json!({})).await.status(), 403);
    ok(post(&ada, &path("claim"), json!({})).await).await;
    let other = post(&ada, &path("label"), json!({"reviewer": "bob", "label": "A"})).await;
    assert_eq!(other.status(), 422);
    let labelled = ok(post(&ada, &path("label"), json!({"label": "A"})).await).await;
    assert_eq!(labelled["labels"][0]["reviewer"], "ada");
}

#[tokio::test]
async fn a_rubric_that_is_gone_leaves_no_labels() {
    let server = Server::with(example());
    let put = |descriptions: Value| {
        let body = json!({"criterion": "Is it polite?", "descriptions": descriptions});
        sent(server.client.put(format!("{}/v1/rubrics/politeness", server.url)).json(&body))
    };
    assert_eq!(put(json!({"0": "No.", "1": "Yes."})).await.status(), 201);
    let id = server.review(absolute(json!({"rubric": "politeness"})), json!({})).await;
    let path = format!("/v1/reviews/{id}");
    let review = server.get_json(&path).await;
    assert_eq!((&review["options"], &review["rubrics"][0]["name"]), (&json!(["0", "1"]), &json!("politeness")));
    assert_eq!(sent(server.client.delete(format!("{}/v1/rubrics/politeness", server.url))).await.status(), 204);
    let review = server.get_json(&path).await;
    assert_eq!((&review["options"], &review["rubrics"]), (&json!([]), &json!([])));
    ok(server.act(&id, "claim", json!({"reviewer": "ada"})).await).await;
    let label = server.act(&id, "label", json!({"reviewer": "ada", "label": 1})).await;
    problem(&server, label, 404, "unknown_rubric").await;
}
