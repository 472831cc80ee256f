//! `POST /v1/rank`: orders by reward and by comparisons.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use gavel::engine::Job;
use gavel::engine::scripted::{Answer, Scripted};
use serde_json::{Value, json};

use crate::engines::{Gated, always, asking, counting, says};
use crate::server::{Server, near, ok, problem, redacted, rubric};

const RANK: &str = "/v1/rank";

/// A request about responses whose worth is written in them: `It is worth 0.75!`
pub(crate) fn responses(worths: &[f64], change: Value) -> Value {
    let texts: Vec<String> =
        worths.iter().enumerate().map(|(i, worth)| format!("Number {i}. It is worth {worth}!")).collect();
    let mut body = json!({"instruction": "Say something.", "responses": texts, "rubric": rubric(0, 1)});
    body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    body
}

/// Reads the worths in a prompt, in the order in which they are shown. Alone, a response gets its worth as reward;
/// of two, the first is better with half the probability plus half the difference.
pub(crate) fn by_worth(job: &Job) -> Answer {
    let prompt = job.prompt.text();
    let worth = |text: &str| text.split('!').next().unwrap().parse::<f64>().unwrap();
    let shown: Vec<f64> = prompt.split("It is worth ").skip(1).map(worth).collect();
    let p = match shown[..] {
        [alone] => 1.0 - alone, // Of the scores 0 and 1, the first.
        [first, second] => 0.5 + (first - second) / 2.0,
        _ => panic!("{prompt}"),
    };
    says("Hm.", &[0.9 * p, 0.9 * (1.0 - p)])
}

async fn rank(server: &Server, body: &Value) -> Value {
    ok(server.post_json(RANK, body).await).await
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[tokio::test]
async fn a_whole_order_of_comparisons() {
    let server = Server::with(asking(by_worth));
    let body = responses(&[0.5, 0.25, 1.0], json!({"sampling": {"seed": 7}}));
    insta::assert_json_snapshot!("rank_pairwise", redacted(rank(&server, &body).await));
}

#[tokio::test]
async fn a_whole_order_of_rewards() {
    let server = Server::with(asking(by_worth));
    let body = responses(&[0.5, 0.25, 1.0], json!({"method": "absolute", "mode": "score"}));
    insta::assert_json_snapshot!("rank_absolute", redacted(rank(&server, &body).await));
}

#[tokio::test]
async fn without_a_method_they_are_ranked_as_the_model_prefers() {
    for method in ["pairwise", "absolute"] {
        let server = Server::configured(&[("preference_method", method)], Some(asking(by_worth)));
        let verdict = rank(&server, &responses(&[0.5, 0.25, 1.0], json!({"mode": "score"}))).await;
        assert_eq!((&verdict["method"], &verdict["ranking"]), (&json!(method), &json!([2, 0, 1])), "{verdict}");
        assert_eq!(verdict["comparisons"].as_array().unwrap().len(), if method == "pairwise" { 3 } else { 0 });
    }
}

#[tokio::test]
async fn the_better_ones_come_first() {
    let server = Server::with(asking(by_worth));
    for method in ["pairwise", "absolute"] {
        for worths in
            [&[0.1, 0.9][..], &[0.5, 0.25, 0.75, 0.0], &[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 1.0]]
        {
            let verdict = rank(&server, &responses(worths, json!({"method": method, "mode": "score"}))).await;
            let mut expected: Vec<usize> = (0..worths.len()).collect();
            expected.sort_by(|i, j| worths[*j].total_cmp(&worths[*i]));
            assert_eq!(verdict["ranking"], json!(expected), "{method} {worths:?}: {verdict}");
            let strengths = numbers(&verdict["strengths"]);
            assert!((strengths.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{verdict}");
            assert!(near(&verdict["label_mass"], 0.9), "{verdict}");
        }
    }
}

#[tokio::test]
async fn the_same_responses_in_another_order_are_ranked_alike() {
    let worths: Vec<f64> = (0..12).map(|i| f64::from(i * 7 % 12) / 12.0).collect();
    let body = responses(&worths, json!({"mode": "score"}));
    let mut turned = body.clone();
    turned["responses"].as_array_mut().unwrap().reverse();
    let (engine, runs) = counting(|_, job| by_worth(job));
    let server = Server::with(engine);
    let (one, other) = (rank(&server, &body).await, rank(&server, &turned).await);
    let mut strengths = numbers(&other["strengths"]);
    strengths.reverse();
    for (one, other) in numbers(&one["strengths"]).into_iter().zip(strengths) {
        assert!((one - other).abs() < 1e-9, "{one} {other}");
    }
    let ranking: Vec<u64> = other["ranking"].as_array().unwrap().iter().map(|i| 11 - i.as_u64().unwrap()).collect();
    assert_eq!(one["ranking"], json!(ranking));
    assert_eq!(runs.load(Ordering::SeqCst), 2 * one["comparisons"].as_array().unwrap().len(), "the same pairs");
    assert_eq!((&one["cached"], &other["cached"]), (&json!(false), &json!(true)));
}

#[tokio::test]
async fn many_responses_meet_some_of_the_others() {
    let server = Server::with(asking(by_worth));
    for (count, expected) in [(8, 28), (9, 27), (16, 56), (64, 352)] {
        let worths: Vec<f64> = (0..count).map(|i| f64::from(i) / 64.0).collect();
        let verdict = rank(&server, &responses(&worths, json!({"mode": "score", "swap": false}))).await;
        let met = verdict["comparisons"].as_array().unwrap();
        let pairs: BTreeSet<_> = met.iter().map(|c| (c["a"].as_u64().unwrap(), c["b"].as_u64().unwrap())).collect();
        assert_eq!((met.len(), pairs.len()), (expected, expected), "{count}");
        assert_eq!(verdict["ranking"][0], count - 1, "{verdict}");
        assert_eq!(verdict["ranking"][usize::try_from(count).unwrap() - 1], 0, "{verdict}");
    }
}

#[tokio::test]
async fn one_that_wins_all_stays_finite() {
    let server = Server::with(asking(by_worth));
    let verdict = rank(&server, &responses(&[0.0, 1.0], json!({}))).await;
    let strengths = numbers(&verdict["strengths"]);
    assert!((strengths[1] - 0.75).abs() < 1e-9, "a win and half a win of two: {verdict}");
    let verdict = rank(&server, &responses(&[0.0, 0.0], json!({"method": "absolute"}))).await;
    assert_eq!(verdict["strengths"], json!([0.5, 0.5]), "nothing to share");
}

#[tokio::test]
async fn ties_are_named() {
    let server = Server::with(asking(by_worth));
    let tied = async |worths: &[f64], change: Value| rank(&server, &responses(worths, change)).await["ties"].clone();
    assert_eq!(tied(&[0.5, 0.75, 0.5], json!({})).await, json!([[0, 2]]));
    assert_eq!(tied(&[0.5, 0.75, 0.5], json!({"method": "absolute"})).await, json!([[0, 2]]));
    let margin = json!({"method": "absolute", "tie_margin": 0.3});
    assert_eq!(tied(&[0.5, 0.75, 0.5], margin).await, json!([[0, 1], [0, 2], [1, 2]]));
    // The first as shown always wins: both orders of every pair disagree.
    let biased = Server::with(always(says("Hm.", &[0.8, 0.1])));
    let verdict = rank(&biased, &responses(&[0.1, 0.9], json!({}))).await;
    assert_eq!((&verdict["ties"], &verdict["comparisons"][0]["consistent"]), (&json!([[0, 1]]), &json!(false)));
    assert_eq!(verdict["strengths"], json!([0.5, 0.5]), "{verdict}");
}

#[tokio::test]
async fn several_rubrics_go_with_rewards() {
    let server = Server::with(asking(by_worth));
    let many = json!([{"rubric": rubric(0, 1), "weight": 2.0}, {"rubric": rubric(1, 2)}]);
    let body = responses(&[0.25, 0.5], json!({"rubric": many.clone(), "method": "absolute"}));
    let verdict = rank(&server, &body).await;
    assert_eq!((&verdict["ranking"], &verdict["rubric"]["name"]), (&json!([1, 0]), &json!("multi")), "{verdict}");
    assert_eq!(verdict["grades"][0]["criteria"].as_array().unwrap().len(), 2);
    let response = server.post_json(RANK, &responses(&[0.1, 0.2], json!({"rubric": many}))).await;
    assert_eq!(problem(&server, response, 422, "invalid_request").await["pointer"], "/rubric");
}

#[tokio::test]
async fn the_same_request_five_times_at_once_is_judged_once() {
    let engine = Gated::new(Scripted::new(by_worth));
    let server = Server::with(engine.clone());
    let body = responses(&[0.1, 0.9, 0.5], json!({}));
    let answers = futures::future::join_all((0..5).map(|_| rank(&server, &body)));
    let open = async {
        server.until("the judgements", |m| m.value("gavel_sequences_running", &[]) == 6.0).await;
        engine.open();
    };
    let (answers, ()) = tokio::join!(answers, open);
    assert!(answers.iter().all(|verdict| verdict["ranking"] == json!([1, 2, 0])), "{answers:?}");
    assert_eq!(engine.started(), 6);
}

#[tokio::test]
async fn debug_shows_the_first_prompt() {
    let server = Server::with(asking(by_worth));
    let verdict = rank(&server, &responses(&[0.1, 0.2], json!({"debug": true}))).await;
    assert!(verdict["debug"]["prompt"].as_str().unwrap().contains("It is worth 0.1!"), "{verdict}");
}

#[tokio::test]
async fn requests_that_make_no_sense() {
    let server = Server::with(asking(by_worth));
    let check = async |body: Value, status: u16, code: &str, pointer: &str| {
        let found = problem(&server, server.post_json(RANK, &body).await, status, code).await;
        assert_eq!(found["pointer"], pointer, "{found}");
    };
    let good = |change: Value| responses(&[0.1, 0.2], change);
    check(good(json!({"responses": []})), 422, "invalid_request", "/responses").await;
    check(good(json!({"responses": ["One."]})), 422, "invalid_request", "/responses").await;
    check(good(json!({"responses": vec!["One."; 65]})), 422, "invalid_request", "/responses").await;
    check(good(json!({"responses": ["One.", " "]})), 422, "invalid_request", "/responses/1").await;
    check(good(json!({"responses": ["One.", 2]})), 422, "invalid_request", "/responses/1").await;
    check(good(json!({"method": "guess"})), 422, "invalid_request", "/method").await;
    check(good(json!({"tie_margin": 0.6})), 422, "invalid_request", "/tie_margin").await;
    check(good(json!({"rubric": "nothing"})), 404, "unknown_rubric", "/rubric").await;
    check(good(json!({"model": "nothing"})), 404, "unknown_model", "/model").await;
    check(good(json!({"response": "One."})), 422, "unknown_field", "/response").await;
    let long = "word ".repeat(9000);
    check(good(json!({"responses": ["It is worth 0.1!", long]})), 422, "context_overflow", "/responses/1").await;
}

#[tokio::test]
async fn a_judgement_that_fails_fails_the_order() {
    let server = Server::with(asking(|job| {
        let fail = job.prompt.text().contains("FAIL").then(|| "out of memory".to_owned());
        Answer { fail, ..by_worth(job) }
    }));
    for method in ["pairwise", "absolute"] {
        let mut body = responses(&[0.1, 0.2, 0.3], json!({"method": method}));
        body["responses"][2] = json!("FAIL. It is worth 0.3!");
        problem(&server, server.post_json(RANK, &body).await, 502, "engine_failed").await;
    }
}

#[tokio::test]
async fn an_order_takes_no_longer_than_it_may() {
    let server = Server::with(crate::engines::holding());
    let request = server.post(RANK).header("X-Request-Timeout-Ms", "50").json(&responses(&[0.1, 0.2], json!({})));
    problem(&server, crate::server::sent(request).await, 504, "deadline_exceeded").await;
}
