//! Tests of what tasks have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::domain::segments::Span;
use crate::domain::{
    AbsoluteRequest, Content, Document, ExampleSet, Item, Label, LabelSet, ManyRequest, Method, Mode, NamedRubric,
    RelativeRequest, Role, Rubric, Sampling, Weight,
};

fn options() -> Options {
    let sampling = Sampling {
        temperature: 0.7,
        top_p: 0.95,
        top_k: 40,
        min_p: 0.05,
        seed: u64::MAX,
        seeded: true,
        max_feedback_tokens: 64,
        min_feedback_tokens: 1,
        max_thought_tokens: None,
    };
    Options {
        mode: Mode::Feedback,
        samples: 1,
        settle: None,
        sampling,
        prompt: None,
        examples: None,
        cache: true,
        deterministic: false,
        debug: false,
    }
}

/// A task is the same after it was stored.
fn check<T: Task + Serialize + DeserializeOwned>(task: &T) {
    let stored = serde_json::to_string(task).unwrap();
    let read: T = serde_json::from_str(&stored).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), stored);
    assert_eq!(
        (read.runs(), read.options(), read.rubric(), read.check()),
        (task.runs(), task.options(), task.rubric(), task.check())
    );
}

#[test]
fn tasks_can_be_stored() {
    let levels = [("-1", "Bad."), ("0", "Fair."), ("1", "Good.")];
    let levels: BTreeMap<_, _> = levels.map(|(score, text)| (score.to_owned(), text.to_owned())).into();
    let rubric = Arc::new(Rubric::new("Is it good?", &levels).unwrap());
    let rubric = NamedRubric { name: "inline".into(), rubric };
    let rubrics = vec![WeightedRubric { rubric, weight: Weight::new(0.25).unwrap(), gate: Some(-1) }];
    let turns = vec![Turn::new(Role::System, "Be brief."), Turn::new(Role::User, "Why?\u{0}")];
    let item = Item {
        instruction: turns.clone().into(),
        reference_answer: Some("So.".into()),
        context: vec![Document { id: None, text: "It is so.".into() }],
        annotator: None,
    };
    let (response, options, multi) = (Content::from("A \"word\"."), options(), true);
    let shown = r#"{"name": "house", "scale": [-1, 1], "examples": [{"instruction": {"text": "Why?"}, "context": [],
        "reference_answer": null, "judged": {"response": {"response": "So?", "score": 0}}, "feedback": "Fair."}]}"#;
    let examples = Some(Arc::new(serde_json::from_str::<ExampleSet>(shown).unwrap()));
    check(&AbsoluteRequest {
        item: item.clone(),
        response: response.clone(),
        rubrics: rubrics.clone(),
        multi,
        options: Options { examples, ..options.clone() },
    });
    check(&RelativeRequest {
        item: item.clone(),
        response_a: response.clone(),
        response_b: "Another.".into(),
        rubrics: rubrics.clone(),
        multi,
        swap: true,
        tie_margin: 0.1,
        method: Some(Method::Pairwise),
        options: options.clone(),
    });
    let responses = vec![response, "Another.".into(), "A third.".into()];
    for method in [Some(Method::Pairwise), Some(Method::Absolute), None] {
        let request = ManyRequest {
            item: item.clone(),
            responses: responses.clone(),
            rubrics: rubrics.clone(),
            multi,
            swap: false,
            tie_margin: 0.0,
            method,
            options: options.clone(),
        };
        check(&JudgeParts::of(request.clone(), Ranking));
        check(&JudgeParts::of(request, PairRules { all: true, min_margin: 0.1, min_label_mass: 0.05 }));
    }
    let label = |name: &str, reward| Label { name: name.to_owned(), meaning: None, reward: Some(reward) };
    let labels = LabelSet::new("inline", vec![label("none", 0.0), label("object", -0.1)]).unwrap();
    let unsampled = Options { mode: Mode::Score, samples: 1, ..options.clone() };
    let spans = vec![Span { start: 0, end: 1 }, Span { start: 2, end: 9 }];
    check(&Segments {
        item: item.clone(),
        response: "A \"word\".".into(),
        spans,
        labels: labels.clone(),
        scope: Scope::Before,
        options: unsampled.clone(),
    });
    check(&Labelling { item: item.clone(), turns: vec![0, 1], labels, options: unsampled.clone() });
    check(&Checks {
        item: item.clone(),
        response: "So.".into(),
        about: About::Question,
        questions: vec!["Is it?".into(), "Was it?".into()],
        gates: vec![1],
        options: unsampled.clone(),
    });
    let named = Some(rubrics[0].rubric.clone());
    check(&Questions { item: item.clone(), rubric: named.clone(), count: 3, options: unsampled.clone() });
    let texts = vec![Stated::Response("So.".into()), Stated::Reference("No.".into())];
    check(&ClaimLists { item: item.clone(), texts, options: unsampled.clone() });
    check(&Claims {
        item: item.clone(),
        response: "So.".into(),
        against: Against::Reference,
        claims: vec!["It is so.".into()],
        reference_claims: vec!["It is not.".into()],
        options: unsampled.clone(),
    });
    check(&Critique { item: item.clone(), response: None, rubric: named, options: options.clone() });
    let kind = QuestionKind::Predicate { if_true: Some("It is.".into()), if_false: None };
    let questions = vec![Question { instructions: "Is it so?".into(), kind }];
    check(&Checklist { purpose: "decisions".into(), turns, questions, options, field: "/input".into() });
    let invalid = r#"{"rubric": {"name": "x", "rubric": {"criterion": "", "descriptions": {}}}, "weight": 1}"#;
    assert!(serde_json::from_str::<WeightedRubric>(invalid).is_err(), "what is stored is checked");
}
