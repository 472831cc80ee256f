use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Error, Gavel, ManyResponses, OneResponse, Request};
use crate::domain::jury::JurorSettings;
use crate::domain::{Document, Example, JudgedExample, Method, Mode, Preference, Role, Rubric, Turn};
use crate::engine::Job;
use crate::engine::scripted::{Answer, Scripted};
use crate::tasks::ByMethod;

/// A judge that answers so.
async fn judge(answers: impl Fn(&Job) -> Answer + Send + Sync + 'static) -> Gavel {
    let nowhere = std::env::temp_dir().join("gavel-no-such-folder");
    Gavel::builder().data_dir(nowhere).own_engine(Scripted::new(answers)).build().await.unwrap()
}

/// One that answers as the scripted engine does, and the jobs that it gets.
async fn listening() -> (Gavel, Arc<Mutex<Vec<Job>>>) {
    let jobs = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&jobs);
    let gavel = judge(move |job| {
        heard.lock().unwrap().push(job.clone());
        Answer::default()
    });
    (gavel.await, jobs)
}

#[tokio::test]
async fn all_that_a_request_says_reaches_the_model() {
    let (gavel, jobs) = listening().await;
    let turns = vec![Turn::new(Role::System, "Be brief."), Turn::new(Role::User, "Why is it blue?")];
    let rubric = Rubric::with_scores("Is it right?", [(0, "It is wrong."), (1, "It is right.")]).unwrap();
    let graded = gavel
        .absolute(turns, "The sea does it.")
        .rubric(rubric.clone())
        .reference_answer("Air scatters blue.")
        .context([Document { id: Some("optics".into()), text: "Short waves scatter most.".into() }])
        .annotator("a physicist")
        .samples(2)
        .temperature(0.5)
        .top_p(0.9)
        .top_k(7)
        .min_p(0.1)
        .seed(42)
        .max_feedback_tokens(33)
        .min_feedback_tokens(3)
        .deterministic(true)
        .prompt_set("prometheus")
        .await
        .unwrap();
    let jobs = std::mem::take(&mut *jobs.lock().unwrap());
    assert_eq!(jobs.len(), 2);
    let prompt = jobs[0].prompt.text();
    let texts = ["Be brief.", "Why is it blue?", "The sea does it.", "Air scatters blue.", "Short waves scatter most."];
    for text in texts.into_iter().chain(["optics", "a physicist", "Is it right?", "It is wrong."]) {
        assert!(prompt.contains(text), "{text}: {prompt}");
    }
    let settings = |job: &Job| (job.sampling.temperature, job.sampling.top_p, job.sampling.top_k, job.sampling.min_p);
    assert!(jobs.iter().all(|job| settings(job) == (0.5, 0.9, 7, 0.1) && job.deterministic));
    let mut seeds: Vec<u64> = jobs.iter().map(|job| job.sampling.seed).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [42, 43]);
    assert_eq!(jobs[0].script.most_generated(), 33);
    assert_eq!(graded.verdict.score(), Some(1));
    assert!(graded.id.starts_with("vrd_"));
    let provenance = graded.provenance;
    assert_eq!(provenance.rubric.map(|named| (named.name, named.digest)), {
        Some(("inline".to_owned(), rubric.digest().to_owned()))
    });
    assert_eq!(provenance.prompt.map(|named| named.name).as_deref(), Some("prometheus/absolute"));
    assert_eq!((provenance.model.name.as_str(), provenance.sampling.min_feedback_tokens), ("scripted", 3));
}

#[tokio::test]
async fn a_pair_is_compared_as_it_is_asked() {
    let (gavel, jobs) = listening().await;
    let asked = || gavel.relative("Why?", "So.", "Thus.").rubric("reasoning").cache(false);
    let both = asked().await.unwrap();
    assert_eq!((both.verdict.preference(), both.verdict.consistent()), (Preference::Tie, Some(false)));
    assert_eq!(jobs.lock().unwrap().drain(..).count(), 2);
    let one = asked().swap(false).await.unwrap();
    assert_eq!((one.verdict.preference(), one.verdict.consistent()), (Preference::B, None));
    assert_eq!(jobs.lock().unwrap().drain(..).count(), 1);
    let near = asked().swap(false).tie_margin(0.5).await.unwrap();
    assert_eq!(near.verdict.preference(), Preference::Tie);
    let rubrics = || [("reasoning".into(), 2.0), ("helpfulness".into(), 1.0)];
    let alone = asked().method(Method::Absolute).rubrics(rubrics()).await.unwrap();
    assert_eq!(alone.verdict.preference(), Preference::Tie, "both get the same score");
    let refused = asked().rubrics(rubrics()).await.unwrap_err();
    assert!(matches!(refused, Error::Invalid(error) if error.pointer == "/rubric"));
}

#[tokio::test]
async fn responses_are_put_in_order() {
    let gavel = judge(|job| {
        let best = job.prompt.text().contains("the best one");
        Answer { masses: Some(if best { vec![0.0, 0.0, 0.0, 0.1, 0.9] } else { vec![0.9, 0.1] }), ..Answer::default() }
    });
    let ranked = gavel
        .await
        .rank("Why?", ["a bad one", "the best one", "another"])
        .rubric("helpfulness")
        .method(Method::Absolute)
        .mode(Mode::Score)
        .await
        .unwrap();
    assert_eq!((ranked.verdict.ranking[0], &ranked.verdict.ties[..]), (1, &[[0, 2]][..]));
    assert!(matches!(ranked.verdict.verdicts, ByMethod::Pointwise(grades) if grades.len() == 3));
}

#[tokio::test]
async fn several_judges_and_examples_reach_the_model() {
    let (gavel, jobs) = listening().await;
    let by = |annotator: &str| JurorSettings { annotator: Some(annotator.into()), ..JurorSettings::default() };
    let asked = || gavel.rank("Why?", ["So.", "Thus."]).rubric("helpfulness").method(Method::Absolute);
    let ranked = asked().judges([by("a parent"), by("an owl")]).await.unwrap();
    assert_eq!((ranked.jury.unwrap().jurors.len(), jobs.lock().unwrap().drain(..).count()), (2, 4));
    let example = |score: i32| Example {
        instruction: "How?".into(),
        reference_answer: None,
        context: Vec::new(),
        judged: JudgedExample::Response { response: "Thus and so.".into(), score },
        feedback: Some("Thin.".into()),
    };
    let graded = asked().examples([example(2)]).await.unwrap();
    assert_eq!(graded.provenance.examples.unwrap().name, "inline");
    assert!(jobs.lock().unwrap().drain(..).all(|job| job.prompt.text().contains("Thin. [RESULT] 2")));
    let field = async |request: Request<ManyResponses>| match request.await.unwrap_err() {
        Error::Invalid(error) => error.pointer,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(asked().examples([example(6)])).await, "/examples/0/score");
    assert_eq!(field(asked().quorum(1)).await, "/judges");
    assert_eq!(field(asked().model("scripted").judges([by("an owl")])).await, "/model");
    assert_eq!(field(asked().judges([by("an owl")]).quorum(2)).await, "/quorum");
}

#[tokio::test]
async fn feedback_is_heard_as_it_is_written() {
    let gavel = judge(|_| Answer { say: Some("It is a good one.".into()), ..Answer::default() }).await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = Arc::clone(&heard);
    let asked = gavel.absolute("Why?", "So.").rubric("helpfulness").cache(false);
    let graded = asked.on_delta(move |delta| hearing.lock().unwrap().push(delta.text)).await.unwrap();
    let heard = heard.lock().unwrap().clone();
    assert!(heard.len() > 1, "{heard:?}");
    assert_eq!(Some(heard.concat().as_str()), graded.verdict.feedback());
}

#[tokio::test]
async fn prompts_are_shown_and_nobody_is_asked() {
    let (gavel, jobs) = listening().await;
    let prompts = gavel.relative("Why?", "So.", "Thus.").rubric("reasoning").prompts().await.unwrap();
    assert_eq!(prompts.len(), 2);
    assert!(prompts[0].find("So.") < prompts[0].find("Thus.") && prompts[1].find("Thus.") < prompts[1].find("So."));
    assert!(jobs.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_be_judged_has_a_type() {
    let gavel = judge(|_| Answer { hold: true, ..Answer::default() }).await;
    let asked = || gavel.absolute("Why?", "So.").rubric("helpfulness");
    let refused = async |request: Request<OneResponse>| request.await.unwrap_err();
    let field = async |request: Request<OneResponse>| match refused(request).await {
        Error::Invalid(error) => error.pointer,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(gavel.absolute(" ", "So.").rubric("helpfulness")).await, "/instruction");
    assert_eq!(field(gavel.absolute(Vec::new(), "So.").rubric("helpfulness")).await, "/messages");
    assert_eq!(field(gavel.absolute("Why?", "\u{200b}").rubric("helpfulness")).await, "/response");
    assert_eq!(field(gavel.absolute("Why?", "So.")).await, "/rubric");
    assert_eq!(field(asked().samples(2)).await, "/samples");
    assert_eq!(field(asked().temperature(3.0)).await, "/sampling/temperature");
    assert_eq!(field(asked().rubrics([("helpfulness".into(), 0.0)])).await, "/rubric/0/weight");
    assert!(matches!(refused(asked().rubric("nothing")).await, Error::UnknownRubric { name, .. } if name == "nothing"));
    assert!(matches!(refused(asked().model("nobody")).await, Error::UnknownModel { name, .. } if name == "nobody"));
    let unknown = refused(asked().prompt_set("none")).await;
    assert!(matches!(unknown, Error::UnknownPromptSet { known, .. } if known.contains("prometheus")));
    assert!(matches!(refused(asked().deadline(Duration::from_millis(1))).await, Error::Deadline(_)));
    let long = gavel.absolute("Why?", "word ".repeat(9000)).rubric("helpfulness");
    assert!(matches!(refused(long).await, Error::TooLong { longest, .. } if longest == "/response"));
    assert!(gavel.rank("Why?", ["So."]).rubric("helpfulness").await.is_err());
}

#[tokio::test]
async fn an_engine_that_fails_is_named() {
    let gavel = judge(|_| Answer { fail: Some("no luck".into()), ..Answer::default() }).await;
    let failed = gavel.absolute("Why?", "So.").rubric("helpfulness").await.unwrap_err();
    assert!(matches!(&failed, Error::Engine(_)) && failed.to_string().contains("no luck"), "{failed}");
}

#[tokio::test]
async fn a_builder_takes_file_and_settings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gavel.toml");
    std::fs::write(&file, "engine = \"scripted\"\n[grading]\nrubric = \"honesty\"\nseed = 7\n").unwrap();
    let builder = || Gavel::builder().config_file(&file).data_dir(folder.path().join("data"));
    let gavel = builder().setting("grading.seed", 9).build().await.unwrap();
    assert_eq!(format!("{gavel:?}"), "Gavel { models: [\"scripted\"], .. }");
    let graded = gavel.clone().absolute("Why?", "So.").await.unwrap();
    assert_eq!(graded.provenance.rubric.unwrap().name, "honesty");
    assert_eq!(graded.provenance.sampling.seed, 9, "a setting wins over the file");
    let wrong = builder().setting("grading.min_label_mass", 2).build().await.unwrap_err();
    assert!(matches!(wrong, Error::Config(_)), "{wrong}");
    let nowhere = builder().setting("scripted_answers", "nowhere.toml").build().await.unwrap_err();
    assert!(matches!(&nowhere, Error::Start(_)) && nowhere.to_string().contains("nowhere.toml"), "{nowhere}");
}
