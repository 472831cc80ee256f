//! `POST /v1/preferences`: pairs to learn from, and what becomes none.

use gavel::engine::scripted::Answer;
use serde_json::{Value, json};

use crate::engines::{always, asking, says};
use crate::rank::{by_worth, responses};
use crate::server::{Server, ok, problem, redacted};

const PREFERENCES: &str = "/v1/preferences";

async fn preferences(server: &Server, body: &Value) -> Value {
    ok(server.post_json(PREFERENCES, body).await).await
}

/// The number of each pair's responses: chosen, then rejected.
fn pairs(answer: &Value) -> Vec<[u64; 2]> {
    let number = |turn: &Value| {
        let text = turn[0]["content"].as_str().unwrap();
        text.strip_prefix("Number ").unwrap().split('.').next().unwrap().parse().unwrap()
    };
    let pairs = answer["pairs"].as_array().unwrap().iter();
    pairs.map(|pair| [number(&pair["chosen"]), number(&pair["rejected"])]).collect()
}

/// What became no pair: the reasons, and whose.
fn left_out(answer: &Value) -> Vec<(String, String)> {
    let left_out = answer["left_out"].as_array().unwrap().iter();
    left_out.map(|one| (one["reason"].as_str().unwrap().to_owned(), one["responses"].to_string())).collect()
}

fn reasons(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(reason, of)| ((*reason).to_owned(), (*of).to_owned())).collect()
}

#[tokio::test]
async fn a_whole_answer() {
    let server = Server::with(asking(by_worth));
    let body = responses(&[0.25, 1.0, 0.5], json!({"pairs": "all", "min_margin": 0.3, "sampling": {"seed": 7}}));
    insta::assert_json_snapshot!("preferences", redacted(preferences(&server, &body).await));
}

#[tokio::test]
async fn the_best_against_the_worst_or_every_pair() {
    let server = Server::with(asking(by_worth));
    let check = async |worths: &[f64], change: Value, expected: &[[u64; 2]]| {
        let answer = preferences(&server, &responses(worths, change.clone())).await;
        assert_eq!(pairs(&answer), expected, "{worths:?} {change}: {answer}");
        for pair in answer["pairs"].as_array().unwrap() {
            let score = |of: &str| pair[of].as_f64().unwrap();
            assert!((score("score_chosen") - score("score_rejected") - score("margin")).abs() < 1e-12, "{pair}");
            assert!(score("margin") > 0.0, "{pair}");
        }
        answer
    };
    let worths = [0.5, 0.0, 1.0, 0.6];
    check(&worths, json!({}), &[[2, 1]]).await;
    check(&worths, json!({"method": "absolute"}), &[[2, 1]]).await;
    let all = json!({"pairs": "all", "min_margin": 0.0});
    check(&worths, all, &[[0, 1], [2, 0], [3, 0], [2, 1], [3, 1], [2, 3]]).await;
    let all = json!({"pairs": "all", "min_margin": 0.45, "method": "absolute"});
    let answer = check(&worths, all, &[[2, 0], [2, 1], [3, 1], [0, 1]]).await;
    assert_eq!(left_out(&answer), reasons(&[("small_margin", "[2,3]"), ("small_margin", "[0,3]")]));
    // Of many, the best and the worst need not have met.
    let many: Vec<f64> = (0..12).map(|i| f64::from(i) / 12.0).collect();
    let answer = check(&many, json!({"mode": "score", "min_margin": 0.0}), &[[11, 0]]).await;
    assert!(answer["pairs"][0]["consistent"].is_boolean() || answer["pairs"][0]["consistent"].is_null());
}

#[tokio::test]
async fn without_a_method_pairs_are_made_as_the_model_prefers() {
    for method in ["pairwise", "absolute"] {
        let server = Server::configured(&[("preference_method", method)], Some(asking(by_worth)));
        let answer = preferences(&server, &responses(&[0.9, 0.3], json!({}))).await;
        assert_eq!(answer["method"], method);
        assert_eq!(answer["pairs"][0]["consistent"].is_null(), method == "absolute", "{answer}");
    }
}

#[tokio::test]
async fn scores_are_rewards_or_probabilities() {
    let server = Server::with(asking(by_worth));
    let pair = async |change: Value| {
        let answer = preferences(&server, &responses(&[0.9, 0.3], change)).await;
        let pair = &answer["pairs"][0];
        let round = |of: &str| (pair[of].as_f64().unwrap() * 1e9).round() / 1e9;
        (round("score_chosen"), round("score_rejected"), round("margin"), pair["consistent"].clone())
    };
    assert_eq!(pair(json!({"method": "absolute"})).await, (0.9, 0.3, 0.6, Value::Null));
    assert_eq!(pair(json!({})).await, (0.8, 0.2, 0.6, json!(true)));
    assert_eq!(pair(json!({"swap": false})).await, (0.8, 0.2, 0.6, Value::Null));
    // A margin of exactly the least one is enough.
    assert_eq!(pair(json!({"min_margin": 0.6})).await.2, 0.6);
}

#[tokio::test]
async fn nothing_doubtful_becomes_a_pair_in_silence() {
    let check = async |server: Server, worths: &[f64], change: Value, expected: &[(&str, &str)]| {
        for which in ["best_worst", "all"] {
            let mut body = responses(worths, change.clone());
            body["pairs"] = json!(which);
            let answer = preferences(&server, &body).await;
            assert_eq!((pairs(&answer), left_out(&answer)), (vec![], reasons(expected)), "{which} {change}: {answer}");
            for left_out in answer["left_out"].as_array().unwrap() {
                assert!(!left_out["detail"].as_str().unwrap().is_empty());
            }
        }
    };
    let honest = || Server::with(asking(by_worth));
    // The first as shown always wins.
    let biased = Server::with(always(says("Hm.", &[0.8, 0.1])));
    check(biased, &[0.1, 0.9], json!({}), &[("inconsistent", "[0,1]")]).await;
    check(honest(), &[0.5, 0.5], json!({"min_margin": 0.0}), &[("tie", "[0,1]")]).await;
    check(honest(), &[0.5, 0.5], json!({"min_margin": 0.0, "method": "absolute"}), &[("tie", "[0,1]")]).await;
    check(honest(), &[0.5, 0.4], json!({}), &[("small_margin", "[0,1]")]).await;
    check(honest(), &[0.5, 0.4], json!({"method": "absolute"}), &[("small_margin", "[0,1]")]).await;
    check(honest(), &[0.5, 0.3], json!({"tie_margin": 0.2}), &[("tie", "[0,1]")]).await;
    let unsure = || Server::with(always(says("Hm.", &[0.01, 0.03])));
    check(unsure(), &[0.1, 0.9], json!({}), &[("low_label_mass", "[0,1]")]).await;
    // Sure of one order only: half of the verdict is a forced guess.
    let half = Server::with(asking(|job| {
        let better_first = job.prompt.text().find("0.9").unwrap() < job.prompt.text().find("0.1").unwrap();
        if better_first { says("Hm.", &[0.1, 0.0]) } else { says("Hm.", &[0.0, 0.001]) }
    }));
    check(half, &[0.1, 0.9], json!({}), &[("low_label_mass", "[0,1]")]).await;
    let each = [("low_label_mass", "[0]"), ("low_label_mass", "[1]")];
    check(unsure(), &[0.1, 0.9], json!({"method": "absolute"}), &each).await;
}

#[tokio::test]
async fn what_fails_fails_alone() {
    let server = Server::with(asking(|job| {
        let fail = job.prompt.text().contains("FAIL").then(|| "out of memory".to_owned());
        Answer { fail, ..by_worth(job) }
    }));
    let mut body = responses(&[0.9, 0.2, 0.5, 0.1], json!({"pairs": "all", "mode": "score"}));
    body["responses"][2] = json!("FAIL. It is worth 0.5!");
    body["responses"][3] = json!("word ".repeat(9000));
    let answer = preferences(&server, &body).await;
    assert_eq!(pairs(&answer), [[0, 1]], "{answer}");
    let (failed, long) = ("engine_failed", "context_overflow");
    let expected = [(failed, "[0,2]"), (long, "[0,3]"), (failed, "[1,2]"), (long, "[1,3]"), (long, "[2,3]")];
    assert_eq!(left_out(&answer), reasons(&expected));
    body["method"] = json!("absolute");
    let answer = preferences(&server, &body).await;
    assert_eq!(pairs(&answer), [[0, 1]], "{answer}");
    assert_eq!(left_out(&answer), reasons(&[(failed, "[2]"), (long, "[3]")]));
    // One response alone makes no pair.
    body["responses"][1] = json!("FAIL. It is worth 0.2!");
    let answer = preferences(&server, &body).await;
    assert_eq!((pairs(&answer).len(), left_out(&answer).len()), (0, 3), "{answer}");
}

/// Then nothing was learnt, and the caller may try again.
#[tokio::test]
async fn if_everything_fails_the_request_does() {
    let server = Server::with(always(Answer { fail: Some("out of memory".into()), ..Answer::default() }));
    for method in ["pairwise", "absolute"] {
        let response = server.post_json(PREFERENCES, &responses(&[0.1, 0.9], json!({"method": method}))).await;
        problem(&server, response, 502, "engine_failed").await;
    }
    let words = "word ".repeat(9000);
    let body = responses(&[], json!({"responses": [words, format!("{words}, too")]}));
    let found = problem(&server, server.post_json(PREFERENCES, &body).await, 422, "context_overflow").await;
    assert_eq!(found["pointer"], "/responses/1");
}

/// The best loses against the worst where they meet: that is no pair, whatever the strengths say.
#[tokio::test]
async fn a_direct_comparison_has_the_last_word() {
    let server = Server::with(asking(|job| {
        let prompt = job.prompt.text();
        let at = |word: &str| prompt.rfind(word);
        let first_wins = match (at("STONE"), at("PAPER"), at("SCISSORS")) {
            (Some(stone), Some(paper), _) => paper < stone,
            (Some(stone), _, Some(scissors)) => stone < scissors,
            (_, Some(paper), Some(scissors)) => scissors < paper,
            _ => panic!("{prompt}"),
        };
        // Scissors beat paper by little, so that paper is the best and scissors are the worst.
        let p = if at("STONE").is_none() { 0.6 } else { 0.9 };
        let p = if first_wins { p } else { 1.0 - p };
        says("Hm.", &[p, 1.0 - p])
    }));
    let body = json!({"instruction": "Play.", "rubric": "helpfulness", "responses": ["STONE", "PAPER", "SCISSORS"]});
    let answer = preferences(&server, &body).await;
    assert_eq!((&answer["pairs"], left_out(&answer)), (&json!([]), reasons(&[("small_margin", "[1,2]")])), "{answer}");
}

#[tokio::test]
async fn a_conversation_stays_one() {
    let server = Server::with(asking(by_worth));
    let turns = json!([
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": [{"type": "text", "text": "Say something."}]},
    ]);
    let body = responses(&[0.1, 0.9], json!({"instruction": null, "messages": turns.clone()}));
    let pair = preferences(&server, &body).await["pairs"][0].clone();
    let mut expected = turns;
    expected[3]["content"] = json!("Say something.");
    assert_eq!(pair["prompt"], expected);
    assert_eq!(pair["chosen"], json!([{"role": "assistant", "content": "Number 1. It is worth 0.9!"}]));
    assert_eq!(pair["rejected"], json!([{"role": "assistant", "content": "Number 0. It is worth 0.1!"}]));
}

#[tokio::test]
async fn requests_that_make_no_sense() {
    let server = Server::with(asking(by_worth));
    let check = async |change: Value, code: &str, pointer: &str| {
        let response = server.post_json(PREFERENCES, &responses(&[0.1, 0.2], change)).await;
        assert_eq!(problem(&server, response, 422, code).await["pointer"], pointer);
    };
    check(json!({"pairs": "some"}), "invalid_request", "/pairs").await;
    check(json!({"min_margin": 1.5}), "invalid_request", "/min_margin").await;
    check(json!({"min_label_mass": -0.1}), "invalid_request", "/min_label_mass").await;
    check(json!({"responses": ["One."]}), "invalid_request", "/responses").await;
    check(json!({"margin": 0.1}), "unknown_field", "/margin").await;
}
