//! What the tests of the methods beside grading share.

use std::sync::Arc;
use std::time::Duration;

use gavel::engine::Job;
use gavel::engine::scripted::{Answer, Scripted};
use gavel::script::{Script, Step};
use serde_json::{Value, json};

use crate::server::{Server, near, ok, problem};

/// A good request with some fields changed.
pub(crate) fn changed(mut body: Value, change: &Value) -> Value {
    let fields = body.as_object_mut().unwrap();
    for (key, value) in change.as_object().unwrap() {
        fields.insert(key.clone(), value.clone());
    }
    body
}

/// What each branch of a job says before its choice.
pub(crate) fn said(job: &Job) -> Vec<String> {
    let text = |script: &Script| match &script.0[0] {
        Step::Say(text) => text.clone(),
        step => panic!("{step:?}"),
    };
    match &job.script.0[..] {
        [Step::Branch(scripts)] => scripts.iter().map(text).collect(),
        _ => vec![text(&job.script)],
    }
}

/// Answers each branch by what it says.
pub(crate) fn by_branch(job: &Job, masses: impl Fn(&str) -> Vec<f64>) -> Answer {
    let branches: Vec<Vec<f64>> = said(job).iter().map(|text| masses(text)).collect();
    Answer { masses: branches.first().cloned(), branches, ..Answer::default() }
}

/// Checks that a request is refused, at a field and with a reason.
pub(crate) async fn refused(server: &Server, route: &str, body: Value, pointer: &str, reason: &str) {
    let found = problem(server, server.post_json(route, &body).await, 422, "invalid_request").await;
    assert_eq!(found["pointer"], pointer, "{found}");
    assert!(found["detail"].as_str().unwrap().contains(reason), "{found}");
}

/// A conversation of turns that alternate, the user first.
pub(crate) fn conversation(turns: &[&str]) -> Value {
    let role = |at: usize| if at.is_multiple_of(2) { "user" } else { "assistant" };
    let turn = |(at, text): (usize, &&str)| json!({"role": role(at), "content": text});
    turns.iter().enumerate().map(turn).collect()
}

/// Whether a job writes a list that is held to JSON.
pub(crate) fn writes_a_list(job: &Job) -> bool {
    job.script.grammars().next().is_some()
}

/// Writes a list.
pub(crate) fn list(entries: &[&str]) -> Answer {
    Answer { say: Some(serde_json::to_string(entries).unwrap().replace("\",\"", "\", \"")), ..Answer::default() }
}

/// Whether a reply has all that a page shows of it, numbers but for rounding.
fn shows(reply: &Value, shown: &Value) -> bool {
    match (reply, shown) {
        (Value::Object(reply), Value::Object(shown)) => {
            shown.iter().all(|(key, shown)| reply.get(key).is_some_and(|reply| shows(reply, shown)))
        }
        (Value::Array(reply), Value::Array(shown)) => {
            reply.len() == shown.len() && reply.iter().zip(shown).all(|(reply, shown)| shows(reply, shown))
        }
        (Value::Number(_), Value::Number(shown)) => near(reply, shown.as_f64().unwrap()),
        _ => reply == shown,
    }
}

/// Every method of the documentation: the request after its route, and the reply after that.
#[tokio::test]
async fn methods_page() {
    let server = Server::with(Arc::new(Scripted::fixed(Duration::ZERO)));
    let page = include_str!("../../docs/methods.md");
    let mut routes = 0;
    for section in page.split("\n`POST ").skip(1) {
        let route = section.split('`').next().unwrap();
        let mut blocks = section.split("```json\n").skip(1).map(|block| block.split("```").next().unwrap());
        let mut json = || -> Value { serde_json::from_str(blocks.next().unwrap()).unwrap() };
        let (request, shown) = (json(), json());
        let reply = ok(server.post_json(route, &request).await).await;
        assert!(shows(&reply, &shown), "{route} answers {reply:#}");
        routes += 1;
    }
    assert_eq!(routes, 8);
}

/// The scripted engine writes lists of its own, so that every method can be tried without a model.
#[tokio::test]
async fn lists_are_written_without_answers_of_ones_own() {
    let server = Server::with(Arc::new(Scripted::fixed(Duration::ZERO)));
    let body = json!({"instruction": "Why?", "response": "So.", "reference_answer": "So it is."});
    let verdict = ok(server.post_json("/v1/grade/claims", &body).await).await;
    let count = |field: &str| verdict[field].as_array().unwrap().len();
    assert_eq!((count("claims"), count("reference_claims"), &verdict["f1"]), (1, 1, &json!(0.0)), "{verdict}");
}
