//! `POST /v1/critique`: feedback without a score.

use gavel::script::Step;
use serde_json::{Value, json};

use crate::engines::{asking, says};
use crate::methods::{changed, conversation, refused};
use crate::server::{Server, events, ok, redacted, rubric, sent};

const ROUTE: &str = "/v1/critique";

fn request(change: Value) -> Value {
    let body = json!({"instruction": "Why is the sky blue?", "response": "Because the sea is blue."});
    changed(body, &change)
}

fn server() -> Server {
    Server::with(asking(|job| {
        assert!(matches!(job.script.0[..], [Step::Generate(_)]), "text alone: {:?}", job.script);
        says("The sea is not the cause.", &[])
    }))
}

#[tokio::test]
async fn a_whole_critique() {
    let server = server();
    let critique = ok(server.post_json(ROUTE, &request(json!({}))).await).await;
    insta::assert_json_snapshot!("critique", redacted(critique));
    let by = ok(server.post_json(ROUTE, &request(json!({"rubric": "helpfulness"}))).await).await;
    assert_eq!(by["rubric"]["name"], "helpfulness");
    assert_eq!(server.metrics().await.find("gavel_label_mass_count", &[("kind", "critique")]).unwrap_or(0.0), 0.0);
}

#[tokio::test]
async fn it_streams_as_it_is_written() {
    let server = server();
    let asked = server.post(ROUTE).header("Accept", "text/event-stream").json(&request(json!({"cache": false})));
    let all = events(&sent(asked).await.text().await.unwrap());
    let (last, deltas) = all.split_last().unwrap();
    let text: String = deltas.iter().map(|(_, data)| data["delta"].as_str().unwrap()).collect();
    assert_eq!((text.as_str(), last.0.as_str()), ("The sea is not the cause.", "verdict"));
    assert_eq!((&last.1["feedback"], &last.1["object"]), (&json!(text), &json!("critique")));
    assert!(deltas.len() > 1);
}

#[tokio::test]
async fn each_prompt_set_has_its_own_wording() {
    let server = server();
    let prompt = async |change: Value| {
        let critique = ok(server.post_json(ROUTE, &request(changed(change, &json!({"debug": true})))).await).await;
        (critique["prompt"]["name"].clone(), critique["debug"]["prompt"].as_str().unwrap().to_owned())
    };
    let (name, shown) = prompt(json!({"prompt": "prometheus", "rubric": rubric(1, 2)})).await;
    assert_eq!(name, "prometheus/critique");
    assert!(shown.contains("###Score Rubrics:\n[Is it good?]\nScore 1: Worth 1.\nScore 2: Worth 2."), "{shown}");
    let (name, shown) = prompt(json!({"prompt": "plain"})).await;
    assert_eq!(name, "plain/critique");
    assert!(shown.contains("<response>\nBecause the sea is blue.\n</response>") && !shown.contains("<rubric>"));
    // A set without one: the general one, unless it was asked for by name.
    let own = Server::configured(&[("prompt", "flow-judge")], Some(asking(|_| says("No.", &[]))));
    let critique = ok(own.post_json(ROUTE, &request(json!({}))).await).await;
    assert_eq!(critique["prompt"]["name"], "plain/critique");
    let named = own.post_json(ROUTE, &request(json!({"prompt": "flow-judge"}))).await;
    let found = crate::server::problem(&own, named, 422, "unsupported_content").await;
    assert!(found["detail"].as_str().unwrap().ends_with("critiques; these do: plain, prometheus"), "{found}");
}

#[tokio::test]
async fn the_turns_of_a_conversation_are_criticised_together() {
    let server = server();
    let turns = conversation(&["Why is the sky blue?", "The sea.", "Really?", "Yes."]);
    let critique = ok(server.post_json(ROUTE, &json!({"messages": turns, "debug": true})).await).await;
    let prompt = critique["debug"]["prompt"].as_str().unwrap();
    assert!(prompt.contains("the turns of the assistant") && prompt.contains("[Assistant]: Yes."), "{prompt}");
    let answered = json!({"messages": conversation(&["Why?", "So.", "Really?"]), "response": "Yes.", "debug": true});
    let critique = ok(server.post_json(ROUTE, &answered).await).await;
    assert!(critique["debug"]["prompt"].as_str().unwrap().contains("<response>\nYes.\n</response>"));
}

#[tokio::test]
async fn requests_that_make_no_sense() {
    let server = server();
    let check = async |change: Value, pointer: &str, reason: &str| {
        refused(&server, ROUTE, request(change), pointer, reason).await;
    };
    check(json!({"response": "\u{200b}"}), "/response", "empty").await;
    check(json!({"response": null}), "/response", "the response to the instruction").await;
    check(json!({"response": null, "instruction": null}), "/response", "`messages` that end with").await;
    let open = json!({"response": null, "instruction": null, "messages": conversation(&["Why?"])});
    check(open, "/messages", "must be the assistant's").await;
    let closed = json!({"instruction": null, "messages": conversation(&["Why?", "So."])});
    check(closed, "/messages", "must be the user's").await;
    check(json!({"rubric": [{"rubric": "helpfulness"}]}), "/rubric", "not a list").await;
    check(json!({"sampling": {"max_feedback_tokens": 0}}), "/sampling/max_feedback_tokens", "").await;
}
