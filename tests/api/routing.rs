//! Routing of verdicts to people or the judge.

use std::collections::BTreeMap;
use std::path::Path;

use gavel::app::App;
use gavel::config::Config;
use gavel::domain::Kind;
use gavel::domain::agreement::report::Figure;
use gavel::domain::calibration::MadeFor;
use gavel::domain::routing::{
    BudgetThreshold, RouteFeature, RouterContent, RouterFigures, RouterFile, RouterObject, RouterParameters,
    Standardised,
};
use gavel::engine::Job;
use gavel::engine::scripted::Answer;
use serde_json::{Value, json};

use crate::engines::{always, asking, counting, example, fraction_of, prefers_good, says};
use crate::server::{Server, absolute, near, ok, problem, relative, rubric};

fn scripted() -> String {
    format!("sha256:{:064}", 0)
}

fn plain(kind: Kind) -> String {
    gavel::prompts::PromptLibrary::load(None).unwrap().get("plain").unwrap().digest(kind).to_owned()
}

/// A router by one feature: its score is sigmoid(feature), and budgets are linear in it.
fn content(kind: Kind, feature: RouteFeature) -> RouterContent {
    let none = Figure { value: 0.0, low: None, high: None, n: 0 };
    RouterContent {
        object: RouterObject::Router,
        version: 1,
        kind,
        made_for: MadeFor { model: scripted(), prompt: plain(kind), rubrics: None, mode: None },
        jury: false,
        parameters: RouterParameters {
            ridge: 1.0,
            intercept: 0.0,
            features: BTreeMap::from([(feature, Standardised { mean: 0.0, scale: 1.0, weight: 1.0 })]),
        },
        thresholds: vec![BudgetThreshold { budget: 0.5, threshold: 0.5 }],
        data: Vec::new(),
        held_out: RouterFigures { items: 0, disagreement: 0.0, auc: 0.5, brier: 0.0, area: none, area_of_doubt: none },
        created: String::new(),
    }
}

/// Writes a router, and gives its path and its digest.
fn written(folder: &Path, name: &str, content: &RouterContent) -> (String, String) {
    let file = RouterFile::new(content).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, file.to_json()).unwrap();
    (path.display().to_string(), file.digest().to_owned())
}

/// A server with routers in its configuration.
fn routing(routers: &str, folder: tempfile::TempDir) -> Server {
    std::fs::write(folder.path().join("gavel.toml"), routers).unwrap();
    Server::of_file(folder)
}

fn opinionated(job: &Job) -> Answer {
    let p = fraction_of(&job.prompt.text());
    says("Hm.", &[p * 0.99, (1.0 - p) * 0.99])
}

#[tokio::test]
async fn a_verdict_goes_to_people_where_the_judge_is_unsure() {
    let server = Server::with(example());
    let plain = server.absolute(json!({})).await;
    assert!(plain.get("route").is_none() && plain.get("route_score").is_none(), "{plain}");
    // The default threshold is one half; the entropy of the example is 1.27 of at most ln 5.
    let verdict = server.absolute(json!({"route": {}})).await;
    let entropy = plain["entropy"].as_f64().unwrap() / 5.0_f64.ln();
    assert!(near(&verdict["route_score"], 1.0 - 0.97 * (1.0 - entropy)), "{verdict}");
    assert_eq!(verdict["route"], "human");
    for (route, expected) in [
        (json!({"budget": 0}), "ai"),
        (json!({"budget": 1}), "human"),
        (json!({"budget": 0.1}), "ai"),
        (json!({"budget": 0.9}), "human"),
        (json!({"threshold": 0}), "human"),
        (json!({"threshold": 1}), "ai"),
        (json!({"threshold": 0.999}), "ai"),
    ] {
        assert_eq!(server.absolute(json!({"route": route.clone()})).await["route"], expected, "{route}");
    }
    let metrics = server.metrics().await;
    let counted = |kind: &str, route: &str| metrics.value("gavel_routed_total", &[("kind", kind), ("route", route)]);
    assert_eq!((counted("absolute", "human"), counted("absolute", "ai"), counted("relative", "ai")), (4.0, 4.0, 0.0));
}

#[tokio::test]
async fn a_larger_budget_takes_more_and_the_order_of_a_pair_does_not_matter() {
    let server = Server::with(asking(opinionated));
    let mut taken = [0; 5];
    for case in 0..12 {
        let (one, other) = (format!("The answer {case}."), format!("Another and longer answer, {}.", case * 7));
        let mut before = false;
        for (nth, budget) in [0.0, 0.3, 0.6, 0.9, 1.0].into_iter().enumerate() {
            let pair = |a: &str, b: &str| json!({"response_a": a, "response_b": b, "route": {"budget": budget}});
            let verdict = server.relative(pair(&one, &other)).await;
            let exchanged = server.relative(pair(&other, &one)).await;
            let score = verdict["route_score"].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&score) && near(&exchanged["route_score"], score), "{verdict} {exchanged}");
            let human = verdict["route"] == "human";
            assert!(!before || human, "budget {budget} leaves out what a smaller one takes: {verdict}");
            before = human;
            taken[nth] += u32::from(human);
        }
    }
    assert!(taken[0] == 0 && taken[4] == 12 && taken[1] < taken[3], "{taken:?}");
}

#[tokio::test]
async fn a_wrong_route_says_what_to_do() {
    let (engine, count) = counting(|_, _| says("Hm.", &[0.2; 5]));
    let server = Server::with(engine);
    for (route, pointer, word) in [
        (json!({"budget": -0.1}), "/route/budget", "between 0 and 1"),
        (json!({"budget": 1.1}), "/route/budget", "between 0 and 1"),
        (json!({"budget": "NaN"}), "/route/budget", "f64"),
        (json!({"threshold": 2}), "/route/threshold", "between 0 and 1"),
        (json!({"budget": 0.5, "threshold": 0.5}), "/route/threshold", "one of"),
        (json!({"router": "none"}), "/route/router", "the server has none"),
        (json!("none"), "/route/router", "the server has none"),
        (json!({"reviewers": 2}), "/route/reviewers", "enqueue"),
        (json!({"enqueue": true, "reviewers": 0}), "/route/reviewers", "1 to 20"),
        (json!({"enqueue": true, "reviewers": 21}), "/route/reviewers", "1 to 20"),
        (json!(3), "/route", "name of a router"),
        (json!([]), "/route", "name of a router"),
    ] {
        for (path, body) in [
            ("/v1/grade/absolute", absolute(json!({"route": route.clone()}))),
            ("/v1/grade/relative", relative(json!({"route": route.clone()}))),
        ] {
            let wrong = problem(&server, server.post_json(path, &body).await, 422, "invalid_request").await;
            assert_eq!(wrong["pointer"], pointer, "{route}: {wrong}");
            assert!(wrong["detail"].as_str().unwrap().contains(word), "{route}: {wrong}");
        }
    }
    let unknown = server.post_json("/v1/grade/absolute", &absolute(json!({"route": {"buget": 0.5}}))).await;
    let unknown = problem(&server, unknown, 422, "unknown_field").await;
    assert!(unknown["detail"].as_str().unwrap().contains("budget"), "{unknown}");
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 0, "nothing was judged");
}

#[tokio::test]
async fn an_item_for_people_enters_the_queue_once() {
    let server = Server::with(asking(prefers_good));
    let route = |budget: f64| json!({"route": {"budget": budget, "enqueue": true, "reviewers": 2}});
    let first = server.relative(route(1.0)).await;
    let id = first["review_id"].as_str().unwrap().to_owned();
    // The same item, judged again, in another mode and by its own wish.
    let mut other = route(1.0);
    other["mode"] = json!("score");
    assert_eq!(server.relative(other).await["review_id"], id);
    // The judge decides: nobody is asked.
    assert_eq!(server.relative(route(0.0)).await.get("review_id"), None);
    let another = server.relative(json!({"instruction": "Another.", "route": {"budget": 1, "enqueue": true}})).await;
    assert_ne!(another["review_id"], id);
    let listed = server.get_json("/v1/reviews?state=all").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 2, "{listed}");
    let review = &listed["data"][0];
    assert_eq!((&review["id"], &review["wanted"], &review["kind"]), (&json!(id), &json!(2), &json!("relative")));
    assert_eq!(review["request"]["response_a"], "A GOOD answer.");
    assert!(review["request"].get("route").is_none(), "{review}");

    // People's labels are compared with the verdict that was routed.
    let act =
        async |what: &str, body: Value| ok(server.post_json(&format!("/v1/reviews/{id}/{what}"), &body).await).await;
    act("claim", json!({"reviewer": "ada"})).await;
    let seen = act("label", json!({"reviewer": "ada", "label": "A"})).await;
    assert_eq!((&seen["verdict"]["id"], &seen["verdict"]["route"]), (&first["id"], &json!("human")));
    assert_eq!(server.get_json("/v1/reviews/agreement").await["accuracy"], 1.0);
    let exported = server.get("/v1/reviews/export").await.text().await.unwrap();
    assert!(exported.contains("\"label\":\"A\"") && exported.lines().count() == 1, "{exported}");
    // A streamed verdict is routed, too.
    let body = relative(json!({"instruction": "Streamed.", "route": {"budget": 1, "enqueue": true}}));
    let streamed = server.post("/v1/grade/relative").header("accept", "text/event-stream").json(&body).send().await;
    let text = streamed.unwrap().text().await.unwrap();
    assert!(text.contains("event: verdict") && text.contains("\"review_id\":\"rev_"), "{text}");
}

#[tokio::test]
async fn a_named_router_decides_by_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let (by_gap, digest) = written(folder.path(), "gap.json", &content(Kind::Relative, RouteFeature::LongerPreferred));
    let (scores, _) = written(folder.path(), "scores.json", &content(Kind::Absolute, RouteFeature::Entropy));
    let mut of_jury = content(Kind::Relative, RouteFeature::Spread);
    of_jury.jury = true;
    of_jury.made_for.model = format!("sha256:{:064}", 7);
    let (of_jury, _) = written(folder.path(), "jury.json", &of_jury);
    let mut one_rubric = content(Kind::Absolute, RouteFeature::Entropy);
    one_rubric.made_for.rubrics = Some(vec![format!("sha256:{:064}", 5)]);
    one_rubric.made_for.mode = Some(gavel::domain::Mode::Score);
    let (one_rubric, _) = written(folder.path(), "rubric.json", &one_rubric);
    let server = routing(
        &format!(
            "[routers.house]\nfile = '{by_gap}'\nbudget = 0.5\nenqueue = true\nreviewers = 3\n\
             [routers.scores]\nfile = '{scores}'\n[routers.jury]\nfile = '{of_jury}'\n\
             [routers.rubric]\nfile = '{one_rubric}'\n[routers.plain]\nthreshold = 0.0\n"
        ),
        folder,
    );
    server.app.host(asking(prefers_good), None).unwrap();
    // It prefers the longer response: the score is above one half.
    let longer = json!({"response_a": "A GOOD and much longer answer.", "response_b": "BAD.", "route": "house"});
    let verdict = server.relative(longer.clone()).await;
    let expected = (31.0_f64.ln() - 5.0_f64.ln()).exp();
    assert!(near(&verdict["route_score"], expected / (1.0 + expected)), "{verdict}");
    assert_eq!((&verdict["route"], &verdict["router"]), (&json!("human"), &json!({"name": "house", "digest": digest})));
    let review = server.get_json(&format!("/v1/reviews/{}", verdict["review_id"].as_str().unwrap())).await;
    assert_eq!(review["wanted"], 3);
    let shorter =
        server.relative(json!({"response_a": "A GOOD one.", "response_b": "Longer, but BAD.", "route": "house"})).await;
    assert_eq!((&shorter["route"], shorter.get("review_id")), (&json!("ai"), None), "{shorter}");
    // A request may change the budget, and leave people alone.
    let mut changed = longer.clone();
    changed["route"] = json!({"router": "house", "budget": 0, "enqueue": false});
    let changed = server.relative(changed).await;
    assert_eq!((&changed["route"], changed.get("review_id")), (&json!("ai"), None));
    assert_eq!(server.relative(json!({"route": "plain"})).await["route"], "human");
    assert_eq!(server.get_json("/v1/info").await["routers"], json!(["house", "jury", "plain", "rubric", "scores"]));

    let refused = async |path: &str, body: Value, word: &str| {
        let wrong = problem(&server, server.post_json(path, &body).await, 422, "invalid_request").await;
        assert_eq!(wrong["pointer"], "/route/router", "{wrong}");
        assert!(wrong["detail"].as_str().unwrap().contains(word), "{word}: {wrong}");
    };
    let (one, two) = ("/v1/grade/absolute", "/v1/grade/relative");
    refused(one, absolute(json!({"route": "house"})), "made for relative verdicts").await;
    refused(two, relative(json!({"route": "scores"})), "made for absolute verdicts").await;
    refused(two, relative(json!({"route": "jury"})), "made for a jury").await;
    refused(two, relative(json!({"route": "house", "prompt": "prometheus"})), "was made for the prompt").await;
    refused(one, absolute(json!({"route": "rubric"})), "made for the other mode").await;
    refused(one, absolute(json!({"route": "rubric", "mode": "score"})), "made for the rubrics").await;
    refused(two, relative(json!({"route": "hause"})), "did you mean `house`?").await;
    let judges = json!({"route": "house", "judges": ["scripted", {"model": "scripted", "annotator": "parent"}]});
    refused(two, relative(judges), "made for one judge").await;
}

#[tokio::test]
async fn a_router_for_another_model_or_prompt_is_refused_when_the_model_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let other = format!("sha256:{:064}", 9);
    let mut model = content(Kind::Relative, RouteFeature::Entropy);
    model.made_for.model = other.clone();
    let mut prompt = content(Kind::Absolute, RouteFeature::Entropy);
    prompt.made_for.prompt = other.clone();
    let good = content(Kind::Relative, RouteFeature::Entropy);
    // A pair may be compared by scores.
    let mut graded = content(Kind::Relative, RouteFeature::Entropy);
    graded.made_for.prompt = plain(Kind::Absolute);
    let loaded = |name: &str, content: Option<&RouterContent>| {
        let path = folder.path().join(name).display().to_string();
        let path = content.map_or(path, |content| written(folder.path(), name, content).0);
        let config = folder.path().join("gavel.toml");
        std::fs::write(&config, format!("[routers.house]\nfile = '{path}'\n")).unwrap();
        let inside = |name: &str| folder.path().join(name).display().to_string();
        let settings = [("data_dir", inside("data")), ("cache_dir", inside("cache"))];
        let app = App::build(Config::without_environment(Some(&config), &settings).unwrap());
        app.and_then(|app| app.host(example(), None)).map_err(|error| error.to_string())
    };
    assert_eq!(loaded("good.json", Some(&good)), Ok(()));
    assert_eq!(loaded("graded.json", Some(&graded)), Ok(()));
    let refused = |name: &str, content: Option<&RouterContent>, words: &[&str]| {
        let error = loaded(name, content).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    };
    refused("model.json", Some(&model), &["model.json", &other, "was made for the model"]);
    refused("prompt.json", Some(&prompt), &["prompt.json", &other, "plain/absolute"]);
    refused("absent.json", None, &["absent.json", "cannot be read"]);
    std::fs::write(folder.path().join("edited.json"), RouterFile::new(&good).unwrap().to_json().replace("1.0", "2.0"))
        .unwrap();
    refused("edited.json", None, &["edited.json", "was changed after it was made"]);
    std::fs::write(folder.path().join("empty.json"), "").unwrap();
    refused("empty.json", None, &["empty.json", "is not a router"]);
}

#[tokio::test]
async fn a_jury_that_disagrees_sends_more_to_people() {
    // Two annotators of the opposite opinion, both sure.
    let engine = asking(|job: &Job| {
        let sure = if job.prompt.text().contains("optimist") { [0.02, 0.02, 0.96] } else { [0.96, 0.02, 0.02] };
        says("Hm.", &sure)
    });
    let server = Server::with(engine);
    let ask = async |annotators: [&str; 2]| {
        let judges = annotators.map(|who| json!({"model": "scripted", "annotator": format!("You are an {who}.")}));
        server.absolute(json!({"rubric": rubric(1, 3), "judges": judges, "route": {"threshold": 0.9}})).await
    };
    let (same, apart) = (ask(["optimist", "old optimist"]).await, ask(["optimist", "old pessimist"]).await);
    assert_eq!((&same["route"], &apart["route"]), (&json!("ai"), &json!("human")), "{same} {apart}");
    assert!(near(&apart["route_score"], 1.0), "{apart}");
}

#[tokio::test]
async fn preference_pairs_are_routed_and_so_are_those_left_out() {
    // It prefers what it is shown first, but for GOOD answers.
    let engine = asking(|job: &Job| {
        let prompt = job.prompt.text();
        if prompt.contains("GOOD") && prompt.contains("BAD") { prefers_good(job) } else { says("Hm.", &[0.8, 0.1]) }
    });
    let server = Server::with(engine);
    let body = json!({"instruction": "Why?", "rubric": "helpfulness", "mode": "score", "pairs": "all", "method": "pairwise",
        "responses": ["It is BAD.", "It is GOOD.", "It is BAD, too."], "route": {"threshold": 0.6, "enqueue": true}});
    let made = ok(server.post_json("/v1/preferences", &body).await).await;
    assert_eq!((made["pairs"].as_array().unwrap().len(), &made["left_out"][0]["reason"]), (2, &json!("inconsistent")));
    for pair in made["pairs"].as_array().unwrap() {
        assert_eq!((&pair["route"], pair.get("review_id")), (&json!("ai"), None), "{pair}");
    }
    let left_out = &made["left_out"][0];
    assert_eq!((&left_out["route"], &left_out["responses"]), (&json!("human"), &json!([0, 2])), "{left_out}");
    let review = server.get_json(&format!("/v1/reviews/{}", left_out["review_id"].as_str().unwrap())).await;
    assert_eq!(review["request"]["response_a"], "It is BAD.");
    assert_eq!(review["request"]["response_b"], "It is BAD, too.");
    assert!(review["request"].get("responses").is_none() && review["kind"] == "relative", "{review}");
    // The request of a review is one that a reviewer can label, and a judge grade.
    ok(server.post_json("/v1/grade/relative", &review["request"]).await).await;

    let again = ok(server.post_json("/v1/preferences", &body).await).await;
    assert_eq!(again["left_out"][0]["review_id"], left_out["review_id"]);
    let mut plain = body.clone();
    plain.as_object_mut().unwrap().remove("route");
    let plain = ok(server.post_json("/v1/preferences", &plain).await).await;
    assert!(plain["pairs"][0].get("route").is_none(), "{plain}");
    let mut graded = body;
    graded["method"] = json!("absolute");
    let server = Server::with(always(says("Hm.", &[0.2; 5])));
    let graded = ok(server.post_json("/v1/preferences", &graded).await).await;
    assert_eq!(graded["left_out"][0]["route"], "human", "{graded}");
    assert!(near(&graded["left_out"][0]["route_score"], 1.0), "{graded}");
}

#[tokio::test]
async fn lines_of_a_file_are_routed_without_a_server() {
    let server = Server::with(example());
    let body = absolute(json!({"route": {"budget": 1, "enqueue": true}})).to_string();
    let verdict = gavel::api::local::grade(&server.app, Kind::Absolute, body.as_bytes()).await.unwrap();
    let verdict: Value = serde_json::from_str(&verdict).unwrap();
    assert!(verdict["route"] == "human" && verdict["review_id"].is_string(), "{verdict}");
}
