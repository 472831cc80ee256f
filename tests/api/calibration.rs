//! Calibrations and fits: applied to every verdict they were made for, named by it, and refused where they were made for
//! something else.

use std::collections::BTreeMap;
use std::path::Path;

use gavel::app::App;
use gavel::config::Config;
use gavel::domain::Kind;
use gavel::domain::calibration::{
    AbsoluteFeature, CalibrationFile, CalibrationObject, Content, HeldOut, MadeFor, PairFeature, Parameters,
};
use gavel::engine::Job;
use gavel::engine::scripted::Answer;
use serde_json::{Value, json};

use crate::engines::{always, asking, counting, example, fraction_of, says};
use crate::server::{Server, absolute, near, ok, problem, rubric};

/// The digest of the scripted engine's model.
fn scripted() -> String {
    format!("sha256:{:064}", 0)
}

/// The digest of the prompts of the set that models have by default.
fn plain(kind: Kind) -> String {
    gavel::prompts::PromptLibrary::load(None).unwrap().get("plain").unwrap().digest(kind).to_owned()
}

fn content(kind: Kind, parameters: Parameters) -> Content {
    let object = if parameters.is_fit() { CalibrationObject::Fit } else { CalibrationObject::Calibration };
    Content {
        object,
        version: 1,
        kind,
        made_for: MadeFor { model: scripted(), prompt: plain(kind), rubrics: None, mode: None },
        parameters,
        data: Vec::new(),
        held_out: HeldOut::default(),
        created: "2026-01-02T03:04:05Z".into(),
    }
}

/// Writes a file, and gives its path and its digest.
fn written(folder: &Path, name: &str, content: Content) -> (String, String) {
    let file = CalibrationFile::new(content).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, file.to_json()).unwrap();
    (path.display().to_string(), file.digest().to_owned())
}

/// Halves rewards: the line from (0, 0) to (1, 1/2).
fn halving() -> Parameters {
    Parameters::Isotonic { knots: vec![[0.0, 0.0], [1.0, 0.5]] }
}

/// A fit that goes by the longer response where the judge does not say more.
fn by_length() -> Parameters {
    let weights = BTreeMap::from([(PairFeature::Logit, 0.5), (PairFeature::LogLength, 2.0)]);
    Parameters::BradleyTerry { ridge: 1.0, weights }
}

#[tokio::test]
async fn a_calibrated_score_names_its_file_and_keeps_what_the_judge_said() {
    let folder = tempfile::tempdir().unwrap();
    let (path, digest) = written(folder.path(), "half.json", content(Kind::Absolute, halving()));
    let server = Server::configured(&[("calibration", &path)], Some(example()));
    let raw = Server::with(example()).absolute(json!({})).await;
    let verdict = server.absolute(json!({})).await;
    assert_eq!(raw["calibration"], Value::Null, "no field at all: {raw}");
    let reward = raw["reward"].as_f64().unwrap();
    assert!(near(&verdict["reward"], reward / 2.0), "{verdict}");
    assert_eq!(verdict["calibration"]["digest"], digest);
    assert!(near(&verdict["calibration"]["raw_reward"], reward));
    for field in ["distribution", "score", "expected_score", "label_mass", "judgements", "entropy"] {
        assert_eq!(verdict[field], raw[field], "{field}");
    }
    // The server says what maps the numbers of its judges.
    let info = &server.get_json("/v1/info").await["models"][0]["calibrations"];
    let (object, method) = (&info[0]["object"], &info[0]["method"]);
    assert_eq!((object, method, &info[0]["digest"]), (&json!("calibration"), &json!("isotonic"), &json!(digest)));
    assert_eq!((&info[0]["kind"], &info[0]["items"]), (&json!("absolute"), &json!(0)));
    // What trains and ranks by rewards gets the calibrated one.
    let items = json!([{"instruction": "Why?", "response": "So."}]);
    let rewards = json!({"rubric": "helpfulness", "items": items, "include": ["verdicts"]});
    let rewards = ok(server.post_json("/v1/rewards", &rewards).await).await;
    assert!(near(&rewards["rewards"][0], reward / 2.0), "{rewards}");
    assert_eq!(rewards["verdicts"][0]["calibration"]["digest"], digest);
    let turns = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n";
    let compat = json!({"query": [format!("{turns}So.<|im_end|>")], "prompts": [turns], "labels": [""]});
    let compat = ok(server.post_json("/compat/openrlhf/helpfulness", &compat).await).await;
    assert!(near(&compat["rewards"][0], reward / 2.0), "{compat}");
    let metrics = server.metrics().await;
    let counted = metrics.value("gavel_score_sum", &[("rubric", "helpfulness")]);
    assert!((counted - 3.0 * reward / 2.0).abs() < 1e-9, "{counted}");
    // With several criteria each has its own.
    let many = server.absolute(json!({"rubric": [{"rubric": "helpfulness"}, {"rubric": rubric(1, 5)}]})).await;
    assert!(near(&many["reward"], reward / 2.0) && many["calibration"] == Value::Null, "{many}");
    assert_eq!(many["criteria"][1]["calibration"]["digest"], digest);
    let graded = server.relative(json!({"method": "absolute"})).await;
    assert!(near(&graded["grades"]["a"]["reward"], reward / 2.0), "{graded}");
}

/// An engine with an opinion of its own on every pair, in every order.
fn opinionated(job: &Job) -> Answer {
    let p = fraction_of(&job.prompt.text());
    says("Hm.", &[p * 0.7, (1.0 - p) * 0.7])
}

/// The number as it stands in the answer, read without loss.
async fn exact(server: &Server, [a, b]: [&str; 2], more: Value) -> f64 {
    let mut body = json!({"instruction": "Why?", "rubric": "helpfulness", "response_a": a, "response_b": b});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    let text = server.post_json("/v1/grade/relative", &body).await.text().await.unwrap();
    let top = text.split("\"probability_a\":").nth(1).unwrap_or_else(|| panic!("{text}"));
    top.split([',', '}']).next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn exchanged_pairs_give_the_exact_complement() {
    let folder = tempfile::tempdir().unwrap();
    let knots = vec![[0.1, 0.3], [0.4, 0.45], [0.6, 0.55], [0.9, 0.7]];
    let maps = [
        ("calibration", Parameters::Temperature { temperature: 1.7 }),
        ("calibration", Parameters::Isotonic { knots }),
        ("fit", by_length()),
    ];
    for (n, (key, map)) in maps.into_iter().enumerate() {
        let (path, digest) = written(folder.path(), &format!("{n}.json"), content(Kind::Relative, map));
        let server = Server::configured(&[(key, &path)], Some(asking(opinionated)));
        for case in 0..8 {
            let (one, other) = (format!("The answer {case}."), format!("Another and longer answer, {}.", case * 7));
            let more = match case % 2 {
                0 => json!({"mode": "score"}),
                _ => json!({"samples": 3, "sampling": {"temperature": 0.8, "seed": case}, "cache": false}),
            };
            let p = exact(&server, [&one, &other], more.clone()).await;
            assert_eq!(exact(&server, [&other, &one], more).await, 1.0 - p, "{key} {n}, case {case}");
        }
        let verdict = server.relative(json!({})).await;
        assert_eq!(verdict["calibration"]["digest"], digest, "{verdict}");
    }
}

#[tokio::test]
async fn a_preference_follows_the_calibrated_probability_and_consistency_the_orders() {
    let folder = tempfile::tempdir().unwrap();
    let (path, digest) = written(folder.path(), "fit.json", content(Kind::Relative, by_length()));
    // It prefers what it is shown first, whatever that is.
    let engine = || always(says("Hm.", &[0.6, 0.2]));
    let server = Server::configured(&[("fit", &path)], Some(engine()));
    let pair = json!({"response_a": "Short.", "response_b": "A response of a good many more characters."});
    let raw = Server::with(engine()).relative(pair.clone()).await;
    assert_eq!(
        (&raw["preference"], &raw["consistent"], &raw["probability_a"]),
        (&json!("tie"), &json!(false), &json!(0.5))
    );
    let verdict = server.relative(pair.clone()).await;
    assert_eq!((&verdict["preference"], &verdict["consistent"]), (&json!("B"), &json!(false)), "{verdict}");
    assert_eq!(verdict["calibration"], json!({"digest": digest, "raw_reward": 0.5}));
    assert_eq!(verdict["judgements"][0]["probability_a"], raw["judgements"][0]["probability_a"]);
    let mut wide = pair.clone();
    wide["tie_margin"] = json!(0.5);
    assert_eq!(server.relative(wide).await["preference"], "tie");
    // A fit is made from both orders; one alone stays as it is.
    let mut one = pair;
    one["swap"] = json!(false);
    let verdict = server.relative(one).await;
    assert_eq!((&verdict["calibration"], &verdict["probability_a"]), (&Value::Null, &json!(0.75)), "{verdict}");
    let ranked = json!({"instruction": "Why?", "rubric": "helpfulness", "responses": ["Short.", "A longer response."]});
    let ranked = ok(server.post_json("/v1/rank", &ranked).await).await;
    assert_eq!(ranked["ranking"], json!([1, 0]), "{ranked}");
    assert_eq!(ranked["comparisons"][0]["calibration"]["digest"], digest, "{ranked}");
}

#[tokio::test]
async fn a_reward_model_gives_rewards_and_preferences_between_responses_that_are_graded_alone() {
    let folder = tempfile::tempdir().unwrap();
    let weights = BTreeMap::from([(AbsoluteFeature::Reward, 4.0), (AbsoluteFeature::LogLength, 0.5)]);
    let map = Parameters::RewardModel { ridge: 1.0, intercept: -4.0, weights };
    let (path, digest) = written(folder.path(), "fit.json", content(Kind::Absolute, map));
    // It cannot tell them apart.
    let engine = || always(says("Hm.", &[0.1, 0.2, 0.3, 0.2, 0.2]));
    let server = Server::configured(&[("fit", &path)], Some(engine()));
    let log_odds = |text: &str| -4.0 + 4.0 * 0.55 + 0.5 * (text.len() as f64).ln_1p();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let (short, long) = ("Short.", "A response of a good many more characters.");
    let verdict = server.absolute(json!({"response": long})).await;
    assert!(near(&verdict["reward"], sigmoid(log_odds(long))), "{verdict}");
    assert!(near(&verdict["calibration"]["raw_reward"], 0.55) && verdict["calibration"]["digest"] == digest);

    let pair = json!({"response_a": short, "response_b": long, "method": "absolute"});
    let raw = Server::with(engine()).relative(pair.clone()).await;
    assert_eq!((&raw["preference"], &raw["probability_a"]), (&json!("tie"), &json!(0.5)), "{raw}");
    let verdict = server.relative(pair).await;
    assert_eq!(verdict["preference"], "B", "{verdict}");
    assert!(near(&verdict["probability_a"], sigmoid(log_odds(short) - log_odds(long))), "{verdict}");
    assert!(near(&verdict["grades"]["b"]["reward"], sigmoid(log_odds(long))), "{verdict}");
    assert_eq!(verdict["grades"]["b"]["criteria"][0]["calibration"]["digest"], digest, "{verdict}");
    let exchanged = server.relative(json!({"response_a": long, "response_b": short, "method": "absolute"})).await;
    assert_eq!(exchanged["probability_a"].as_f64().unwrap(), 1.0 - verdict["probability_a"].as_f64().unwrap());
    // Both in one prompt is another kind of verdict.
    let together = server.relative(json!({"response_a": short, "response_b": long, "method": "pairwise"})).await;
    assert_eq!(together["calibration"], Value::Null, "{together}");
}

#[tokio::test]
async fn the_cache_holds_what_the_judge_said() {
    let folder = tempfile::tempdir().unwrap();
    let weights = BTreeMap::from([(AbsoluteFeature::LogLength, 0.1)]);
    let map = Parameters::RidgeRegression { ridge: 1.0, intercept: 0.2, weights };
    let (path, digest) = written(folder.path(), "fit.json", content(Kind::Absolute, map));
    let (engine, count) = counting(|_, _| says("Hm.", &[0.1, 0.2, 0.3, 0.2, 0.2]));
    let server = Server::configured(&[("fit", &path)], Some(engine));
    let (first, second) = (server.absolute(json!({})).await, server.absolute(json!({})).await);
    assert_eq!((count.load(std::sync::atomic::Ordering::SeqCst), &second["cached"]), (1, &json!(true)));
    for verdict in [first, second] {
        let characters = "Because the sea is blue.".len() as f64;
        assert!(near(&verdict["reward"], 0.2 + 0.1 * characters.ln_1p()), "{verdict}");
        assert_eq!(verdict["calibration"]["digest"], digest);
    }
}

#[tokio::test]
async fn only_what_a_map_was_made_for_is_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let digest_of = |name: &str| {
        let library = gavel::rubrics::RubricLibrary::load("/nowhere".into());
        library.get(name).unwrap().rubric.digest().to_owned()
    };
    let mut one = content(Kind::Absolute, halving());
    one.made_for.rubrics = Some(vec![digest_of("honesty")]);
    one.made_for.mode = Some(gavel::domain::Mode::Score);
    let (one, one_digest) = written(folder.path(), "one.json", one);
    let odds = Parameters::Ordinal { slope: 1.0, thresholds: vec![0.5] };
    let (two, two_digest) = written(folder.path(), "two.json", content(Kind::Absolute, odds));
    std::fs::write(folder.path().join("gavel.toml"), format!("calibration = ['{one}', '{two}']")).unwrap();
    let server = Server::of_file(folder);
    server.app.host(asking(|_| says("Hm.", &[0.5, 0.5])), None).unwrap();
    let check = async |change: Value, expected: Value| {
        let verdict = server.absolute(change.clone()).await;
        assert_eq!(verdict["calibration"]["digest"], expected, "{change}");
    };
    check(json!({"rubric": "honesty", "mode": "score"}), json!(one_digest)).await;
    check(json!({"rubric": "honesty"}), Value::Null).await;
    check(json!({"rubric": "helpfulness", "mode": "score"}), Value::Null).await;
    // Two levels, as the second has; and another prompt, which neither has.
    check(json!({"rubric": "correctness"}), json!(two_digest)).await;
    check(json!({"rubric": "correctness", "prompt": "prometheus"}), Value::Null).await;
}

#[tokio::test]
async fn a_file_that_was_made_for_something_else_is_refused_when_the_model_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let other = format!("sha256:{:064}", 9);
    let inside = |name: &str| folder.path().join(name).display().to_string();
    let refused = |key: &str, path: &str| {
        let settings = [("data_dir", inside("data")), ("cache_dir", inside("cache")), (key, path.to_owned())];
        let app = App::build(Config::without_environment(None, &settings).unwrap()).unwrap();
        app.host(example(), None).unwrap_err().to_string()
    };
    let check = |key: &str, path: &str, words: &[&str]| {
        let error = refused(key, path);
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    };
    let mut model = content(Kind::Relative, by_length());
    model.made_for.model = other.clone();
    let (model, _) = written(folder.path(), "model.json", model);
    check("fit", &model, &[&model, &other, &scripted(), "was made for the model"]);
    let mut prompt = content(Kind::Relative, by_length());
    prompt.made_for.prompt = other.clone();
    let (prompt, _) = written(folder.path(), "prompt.json", prompt);
    check("fit", &prompt, &[&prompt, &other, &plain(Kind::Relative), "plain/relative"]);
    let (good, _) = written(folder.path(), "good.json", content(Kind::Relative, by_length()));
    check("calibration", &good, &["is a fit, so use the key `fit` for it"]);
    let absent = inside("absent.json");
    check("fit", &absent, &[&absent, "cannot be read"]);
    let edited = inside("edited.json");
    std::fs::write(&edited, std::fs::read_to_string(&good).unwrap().replace("2.0", "3.0")).unwrap();
    check("fit", &edited, &[&edited, "was changed after it was made"]);

    // Callers are told that there is no judge, and the log why.
    let models = format!("[[models]]\nname = \"m\"\nengine = \"scripted\"\nfit = '{model}'\n");
    std::fs::write(folder.path().join("gavel.toml"), models).unwrap();
    let server = Server::of_file(folder);
    let error = server.app.load(&()).await.unwrap_err().to_string();
    assert!(error.contains("the model `m`") && error.contains(&other), "{error}");
    let response = server.post_json("/v1/grade/absolute", &absolute(json!({}))).await;
    let found = problem(&server, response, 503, "model_failed").await;
    assert!(found["detail"].as_str().unwrap().contains("a calibration or a fit"), "{found}");
}

#[tokio::test]
async fn a_rubric_names_files_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let rubrics = folder.path().join("data/rubrics");
    std::fs::create_dir_all(&rubrics).unwrap();
    let text = "criterion = \"Is it good?\"\n[descriptions]\n1 = \"no\"\n2 = \"yes\"\n";
    let digest = gavel::Rubric::from_toml(text).unwrap().digest().to_owned();
    let mut own = content(Kind::Absolute, halving());
    own.made_for.rubrics = Some(vec![digest]);
    let (_, own) = written(&rubrics, "half.json", own);
    std::fs::write(rubrics.join("mine.toml"), format!("calibration = \"half.json\"\n{text}")).unwrap();
    // One that was made for another rubric.
    let mut other = content(Kind::Absolute, halving());
    other.made_for.rubrics = Some(vec!["sha256:00".into()]);
    written(&rubrics, "other.json", other);
    std::fs::write(rubrics.join("bad.toml"), format!("calibration = [\"other.json\"]\n{text}")).unwrap();
    let server = Server::of_file(folder);
    server.app.host(always(says("Hm.", &[0.25, 0.75])), None).unwrap();
    let verdict = server.absolute(json!({"rubric": "mine"})).await;
    assert_eq!(verdict["calibration"]["digest"], own, "{verdict}");
    assert!(near(&verdict["calibration"]["raw_reward"], 0.75), "{verdict}");
    assert!(near(&verdict["reward"], 0.375), "{verdict}");
    assert_eq!(server.absolute(json!({"rubric": "correctness"})).await["calibration"], Value::Null);
    let refused = server.app.rubrics.refused();
    assert!(refused[0].to_string().contains("bad.toml:1: "), "{refused:?}");
    assert!(refused[0].reason.contains("was made for the rubrics sha256:00"), "{refused:?}");
}
