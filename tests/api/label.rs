//! `POST /v1/grade/label`: labels of a text, or of turns of a conversation.

use std::sync::atomic::Ordering;

use gavel::engine::Job;
use gavel::engine::scripted::Answer;
use serde_json::{Value, json};

use crate::engines::{asking, counting};
use crate::methods::{by_branch, changed, conversation, refused};
use crate::server::{Server, near, ok, redacted};

const ROUTE: &str = "/v1/grade/label";

fn request(change: Value) -> Value {
    let turns = ["Which is the largest moon of Saturn?", "Europa.", "No, it is Titan.", "You are right.", "Thank you!"];
    changed(json!({"messages": conversation(&turns), "turn": "each_user", "labels": "user_feedback"}), &change)
}

/// Knows thanks and contradiction from the words.
fn by_words(job: &Job) -> Answer {
    by_branch(job, |said| match said {
        said if said.contains("Thank") => vec![0.1, 0.0, 0.0, 0.0, 0.0, 0.8],
        said if said.contains("No,") => vec![0.1, 0.0, 0.7, 0.1, 0.0, 0.0],
        _ => vec![0.9, 0.0, 0.0, 0.0, 0.0, 0.0],
    })
}

#[tokio::test]
async fn a_whole_verdict() {
    let (engine, runs) = counting(|_, job| by_words(job));
    let server = Server::with(engine);
    let verdict = ok(server.post_json(ROUTE, &request(json!({}))).await).await;
    assert_eq!(runs.load(Ordering::SeqCst), 1, "all turns share one prefill");
    insta::assert_json_snapshot!("label", redacted(verdict));
}

#[tokio::test]
async fn turns_are_named_by_their_place() {
    let server = Server::with(asking(by_words));
    let labelled = async |change: Value| {
        let verdict = ok(server.post_json(ROUTE, &request(change)).await).await;
        let labels = verdict["labels"].as_array().unwrap().clone();
        labels.iter().map(|label| json!([label["turn"], label["label"]])).collect::<Value>()
    };
    assert_eq!(
        labelled(json!({})).await,
        json!([[0, "none"], [2, "correction"], [4, "praise"]]),
        "the user's turns alone"
    );
    assert_eq!(labelled(json!({"turn": "last"})).await, json!([[4, "praise"]]));
    assert_eq!(labelled(json!({"turn": null})).await, json!([[4, "praise"]]));
    assert_eq!(labelled(json!({"turn": 1})).await, json!([[1, "none"]]));
    let last_is_the_assistants = json!({"messages": conversation(&["Hi.", "No, you."]), "turn": "last"});
    assert_eq!(labelled(last_is_the_assistants).await, json!([[1, "correction"]]));
}

#[tokio::test]
async fn a_text_has_one_label() {
    let server = Server::with(asking(|job| {
        assert!(job.prompt.text().contains("<document>\nI like it.\n</document>"), "{}", job.prompt.text());
        assert!(job.prompt.text().contains("bad: The writer is against it."), "{}", job.prompt.text());
        by_branch(job, |said| if said == "Label:" { vec![0.1, 0.6] } else { panic!("{said}") })
    }));
    let labels = json!({"bad": "The writer is against it.", "good": "The writer is for it."});
    let verdict = ok(server.post_json(ROUTE, &json!({"text": "I like it.", "labels": labels})).await).await;
    assert_eq!(verdict["labels"].as_array().unwrap().len(), 1);
    let label = &verdict["labels"][0];
    assert_eq!((&label["turn"], &label["label"]), (&json!(null), &json!("good")));
    assert!(near(&label["label_mass"], 0.7), "{label}");
}

#[tokio::test]
async fn requests_that_make_no_sense() {
    let server = Server::with(asking(by_words));
    let check = async |change: Value, pointer: &str, reason: &str| {
        refused(&server, ROUTE, request(change), pointer, reason).await;
    };
    check(json!({"text": "Hi."}), "/messages", "not both").await;
    check(json!({"messages": null}), "/text", "send `text`").await;
    check(json!({"messages": null, "text": "Hi."}), "/turn", "a text has no turns").await;
    check(json!({"messages": null, "text": " ", "turn": null}), "/text", "empty").await;
    check(json!({"messages": []}), "/messages", "no message").await;
    check(json!({"messages": [{"role": "assistant", "content": "Hi."}]}), "/turn", "no turn of a user").await;
    check(json!({"messages": [{"role": "user", "content": " "}]}), "/messages/0/content", "empty").await;
    check(json!({"messages": conversation(&["x"; 200])}), "/turn", "at most 64 turns, this one has 100").await;
    check(json!({"turn": 5}), "/turn", "there are 5 messages").await;
    check(json!({"turn": -1}), "/turn", "").await;
    check(json!({"turn": "first"}), "/turn", "each_user").await;
    check(json!({"labels": {"good": 1.0, "bad": 0.0}}), "/labels/good", "a text").await;
    check(json!({"labels": {"good": "x", "bad": " "}}), "/labels", "empty meaning").await;
    check(json!({"labels": {"good": "x"}}), "/labels", "this one has 1").await;
    check(json!({"labels": {"good": "x", "GOOD": "y"}}), "/labels", "the same label").await;
    check(json!({"labels": "feedback"}), "/labels", "there is no label set").await;
}
