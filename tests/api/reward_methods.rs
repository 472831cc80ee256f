//! Rewards by other methods than grading: checklists, single questions, claims.

use gavel::engine::scripted::Answer;
use serde_json::{Value, json};

use crate::engines::{asking, says};
use crate::server::{Server, near, ok, problem};

/// Answers yes to what is GOOD, surely to one question and less so to the other.
fn judge() -> Server {
    Server::with(asking(|job| {
        let prompt = job.prompt.text();
        let good = prompt.contains("GOOD");
        let unsure = prompt.contains("UNSURE");
        let of = |p: f64| if unsure { vec![0.01, 0.01] } else { vec![p * 0.9, (1.0 - p) * 0.9] };
        let branches = vec![of(if good { 0.9 } else { 0.2 }), of(if good { 0.7 } else { 0.4 })];
        Answer { branches, ..says("So.", &[0.0, 0.0, 0.0, 0.1, 0.9]) }
    }))
}

fn item(response: &str, more: &Value) -> Value {
    let mut item = json!({"instruction": "Why?", "response": response});
    item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    item
}

#[tokio::test]
async fn a_reward_is_that_of_its_method() {
    let server = judge();
    let (polite, short) = ("Is it polite?", "Is it short?");
    let body = json!({
        "method": {"name": "checklist", "questions": [polite, short]}, "include": ["verdicts"],
        "items": [
            item("GOOD.", &json!({})),
            item("Poor.", &json!({})),
            item("Poor.", &json!({"method": {"name": "checklist", "questions": [polite, short], "gates": [0]}})),
            item("GOOD.", &json!({"method": {"name": "yes_no", "question": polite}})),
            item("GOOD.", &json!({"method": "absolute", "rubric": "helpfulness"})),
            item("UNSURE.", &json!({})),
            item("", &json!({})),
        ],
    });
    let answer = ok(server.post_json("/v1/rewards", &body).await).await;
    let rewards = answer["rewards"].as_array().unwrap();
    for (index, expected) in [(0, 0.8), (1, 0.3), (2, 0.0), (3, 0.9), (4, 0.975), (6, 0.3)] {
        assert!(near(&rewards[index], expected), "{index}: {answer}");
    }
    assert_eq!(answer["errors"][5]["code"], "low_label_mass", "{answer}");
    let objects: Vec<&Value> = (0..6).map(|index| &answer["verdicts"][index]["object"]).collect();
    let (checklist, absolute) = (json!("verdict.checklist"), json!("verdict.absolute"));
    assert_eq!(objects, [&checklist, &checklist, &checklist, &checklist, &absolute, &checklist]);
    assert_eq!(answer["verdicts"][2]["passed"], false);
    // The same as of the method's own route.
    let own = json!({"instruction": "Why?", "response": "GOOD.", "questions": [polite, short]});
    let own = ok(server.post_json("/v1/grade/checklist", &own).await).await;
    assert_eq!((&own["reward"], &own["items"]), (&rewards[0], &answer["verdicts"][0]["items"]));
}

#[tokio::test]
async fn claims_are_worth_their_f1_or_their_precision() {
    let server = judge();
    let claims = json!(["It is.", "It was."]);
    let given = json!({"method": {"name": "claims", "claims": claims}, "context": [{"text": "It is."}]});
    let body = json!({"items": [item("GOOD.", &given), item("Poor.", &given)], "include": ["verdicts"]});
    let answer = ok(server.post_json("/v1/rewards", &body).await).await;
    for index in 0..2 {
        let verdict = &answer["verdicts"][index];
        assert_eq!(verdict["object"], "verdict.claims", "{answer}");
        assert_eq!((&verdict["f1"], &verdict["precision"]), (&Value::Null, &answer["rewards"][index]));
    }
    let with_reference = json!({"method": "claims", "reference_answer": "It is."});
    let body = json!({"items": [item("GOOD.", &with_reference)], "include": ["verdicts"]});
    let answer = ok(server.post_json("/v1/rewards", &body).await).await;
    assert_eq!(answer["rewards"][0], answer["verdicts"][0]["f1"], "{answer}");
    assert!(answer["rewards"][0].is_number(), "{answer}");
}

#[tokio::test]
async fn groups_are_normalised_whatever_the_method_is() {
    let server = judge();
    let body = json!({
        "method": {"name": "yes_no", "question": "Is it polite?"}, "normalize": "group",
        "items": [item("GOOD.", &json!({"group": 1})), item("Poor.", &json!({"group": 1}))],
    });
    let answer = ok(server.post_json("/v1/rewards", &body).await).await;
    assert!(near(&answer["rewards"][0], 0.5_f64.sqrt()) && near(&answer["rewards"][1], -(0.5_f64.sqrt())), "{answer}");
}

#[tokio::test]
async fn what_makes_no_sense_names_its_field() {
    let server = judge();
    let check = async |change: Value, code: &str, pointer: &str, part: &str| {
        let mut body = json!({"items": [item("GOOD.", &json!({}))]});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let body = problem(&server, server.post_json("/v1/rewards", &body).await, 422, code).await;
        assert_eq!(body["pointer"], pointer, "{body}");
        assert!(body["detail"].as_str().unwrap().contains(part), "{body}");
    };
    let invalid = "invalid_request";
    let yes_no = json!({"name": "yes_no", "question": "Is it?"});
    check(json!({"method": "guess"}), invalid, "/method", "`checklist`").await;
    check(json!({"method": 3}), invalid, "/method", "`checklist`").await;
    check(json!({"method": "checklist"}), invalid, "/method/questions", "send the questions").await;
    check(json!({"method": "yes_no"}), invalid, "/method/question", "send the question").await;
    check(
        json!({"method": {"name": "yes_no", "question": "Is it?", "gates": [0]}}),
        invalid,
        "/method/gates",
        "is not of",
    )
    .await;
    check(json!({"method": {"name": "absolute", "question": "Is it?"}}), invalid, "/method/question", "no parameters")
        .await;
    check(json!({"method": {"name": "yes_no", "qestion": "Is it?"}}), "unknown_field", "/method/qestion", "").await;
    check(json!({"method": yes_no, "mode": "score"}), invalid, "/mode", "for the method `absolute`").await;
    check(json!({"method": yes_no, "samples": 3}), invalid, "/samples", "for the method `absolute`").await;
    check(json!({"method": yes_no, "examples": "house"}), invalid, "/examples", "for the method `absolute`").await;
    check(json!({"method": yes_no, "judges": ["scripted"]}), invalid, "/judges", "for the method `absolute`").await;
    // Of an item, it fails the item alone.
    let items = json!([
        item("GOOD.", &json!({"method": yes_no})),
        item("GOOD.", &json!({"method": {"name": "checklist", "questions": ["Is it?", " "]}})),
        item("GOOD.", &json!({"method": "claims"})),
        item("GOOD.", &json!({})),
    ]);
    let body = json!({"items": items, "rubric": "helpfulness", "judges": ["scripted"]});
    let answer = ok(server.post_json("/v1/rewards", &body).await).await;
    let pointers: Vec<&Value> = (0..4).map(|index| &answer["errors"][index]["pointer"]).collect();
    let of = |index: usize| json!(format!("/items/{index}/method"));
    assert_eq!(pointers, [&of(0), &of(1), &of(2), &Value::Null], "{answer}");
    let body = json!({"items": items, "rubric": "helpfulness"});
    let answer = ok(server.post_json("/v1/rewards", &body).await).await;
    let pointers: Vec<&Value> = (0..4).map(|index| &answer["errors"][index]["pointer"]).collect();
    let expected =
        [&Value::Null, &json!("/items/1/method/questions/1"), &json!("/items/2/reference_answer"), &Value::Null];
    assert_eq!(pointers, expected, "{answer}");
}
