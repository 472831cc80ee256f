//! Providers of chat completions.

use super::*;

fn conversation(steps: Vec<Step>) -> Job {
    let segments = [
        Segment::Control("<|system|>".into()),
        Segment::Text("You are a judge.".into()),
        Segment::Control("<|user|>".into()),
        Segment::Text("Is <|assistant|> a good answer?".into()),
        Segment::Control("<|assistant|>".into()),
    ];
    Job { prompt: Prompt(segments.into()), ..job("", steps) }
}

/// An engine on a provider of chat completions.
async fn chat_engine(fake: &Fake, accept: LabelMassKind) -> Result<Remote, LoadError> {
    let settings = Settings {
        kind: Some(Kind::OpenaiChat),
        model: "gpt".into(),
        context: 4096,
        samples: 20,
        accept,
        ..settings(vec![fake.url.clone()])
    };
    Contact::new(settings, Arc::new(())).await?.engine("judge".into(), Tokenizer::of_messages()).await
}

#[tokio::test]
async fn a_chat_provider_is_asked_for_the_verdict_in_a_turn_of_its_own() {
    let fake = Fake::new(Kind::OpenaiChat).await;
    let engine = chat_engine(&fake, LabelMassKind::Bounded).await.unwrap();
    fake.forget();
    let steps = vec![generate(40), Step::Say("\n[RESULT] ".into()), choose(&["A", "B"])];
    let (completion, shown) = run(&engine, conversation(steps)).await.unwrap();
    assert_eq!(shown, "It is good.");
    assert_eq!((completion.prompt_tokens, completion.cached_tokens), (70, 64), "as the provider counts");
    let Outcome::Chosen { index, log_masses, mass } = &completion.transcript.outcomes[2] else { panic!("no choice") };
    assert_eq!(*index, 0);
    assert!((log_masses[0].exp() - 0.6).abs() < 1e-9 && (log_masses[1].exp() - 0.3).abs() < 1e-9, "{log_masses:?}");
    assert!(matches!(mass, MassKind::Bounded { unseen } if (unseen - 0.06).abs() < 1e-9), "{mass:?}");
    insta::assert_json_snapshot!(fake.posted("/v1/chat/completions"));
    // Without feedback, the question ends the user's turn.
    fake.forget();
    run(&engine, conversation(vec![choose(&["A", "B"])])).await.unwrap();
    let [body] = &fake.posted("/v1/chat/completions")[..] else { panic!("one request") };
    let asked = "Is <|assistant|> a good answer?\n\nReply with exactly one of these, and with nothing else: A, B";
    assert_eq!(body["messages"][1], serde_json::json!({"role": "user", "content": asked}));
    // A text cannot be continued.
    let raw = Job { prompt: Prompt(vec![Segment::Text("Once".into())]), ..job("", vec![generate(4)]) };
    assert!(matches!(run(&engine, raw).await, Err(EngineError::NotSupported { .. })));
}

#[tokio::test]
async fn a_chat_provider_without_log_probabilities_is_sampled_if_that_is_accepted() {
    let fake = Fake::new(Kind::OpenaiChat).await;
    fake.state().silent = true;
    fake.state().new_limit = true;
    let error = chat_engine(&fake, LabelMassKind::Bounded).await.err().unwrap().to_string();
    assert!(error.contains("remote.accept = \"sampled\""), "{error}");
    let engine = chat_engine(&fake, LabelMassKind::Sampled).await.unwrap();
    let (completion, _) = run(&engine, conversation(vec![choose(&["A", "B"])])).await.unwrap();
    let Outcome::Chosen { log_masses, mass, .. } = &completion.transcript.outcomes[0] else { panic!("no choice") };
    assert_eq!(*mass, MassKind::Sampled { samples: 20 });
    assert!((log_masses[0].exp() - 0.6).abs() < 1e-9 && (log_masses[1].exp() - 0.3).abs() < 1e-9, "{log_masses:?}");
}
