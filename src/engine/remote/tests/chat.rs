//! Providers of chat completions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::*;
use crate::pictures::{Picture, Shown};
use crate::script::{Unseen, UnseenPicture};

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
    seeing_engine(fake, accept, 0).await
}

/// The same for pictures, each of which counts as so many tokens.
async fn seeing_engine(fake: &Fake, accept: LabelMassKind, picture_tokens: usize) -> Result<Remote, LoadError> {
    let settings = Settings {
        picture_tokens,
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

fn shown(file: &[u8]) -> Segment {
    let picture = Arc::new(Picture::new(file.to_vec(), usize::MAX).unwrap());
    Segment::Picture(Shown { picture, pointer: "/messages/0/content/1".into() })
}

#[tokio::test]
async fn pictures_are_parts_of_the_messages_of_a_chat_provider() {
    let fake = Fake::new(Kind::OpenaiChat).await;
    let engine = seeing_engine(&fake, LabelMassKind::Bounded, 500).await.unwrap();
    assert!(engine.eyes().is_some());
    fake.forget();
    let (before, after) = (b"GIF89a before".as_slice(), b"\x89PNG\r\n\x1a\n after".as_slice());
    let segments = vec![
        Segment::Control("<|user|>".into()),
        shown(before),
        Segment::Text("Make <|assistant|> it blue:".into()),
        shown(after),
        shown(after),
        Segment::Control("<|assistant|>".into()),
    ];
    let steps = vec![generate(40), Step::Say("\n[RESULT] ".into()), choose(&["A", "B"])];
    let (completion, _) = run(&engine, Job { prompt: Prompt(segments.clone()), ..job("", steps) }).await.unwrap();
    assert_eq!(completion.prompt_tokens, 70 + 3 * 85, "as the provider counts");
    let url = |media: &str, file: &[u8]| {
        let url = format!("data:image/{media};base64,{}", BASE64.encode(file));
        serde_json::json!({"type": "image_url", "image_url": {"url": url}})
    };
    let text = serde_json::json!({"type": "text", "text": "Make <|assistant|> it blue:"});
    let expected = serde_json::json!([url("gif", before), text, url("png", after), url("png", after)]);
    let bodies = fake.posted("/v1/chat/completions");
    assert_eq!(bodies.len(), 2, "the feedback and the verdict");
    for body in &bodies {
        assert_eq!(body["messages"][0]["content"], expected, "{body}");
    }
    // Without feedback, the question stands after the pictures.
    fake.forget();
    let (completion, _) =
        run(&engine, Job { prompt: Prompt(segments), ..job("", vec![choose(&["A", "B"])]) }).await.unwrap();
    let Outcome::Chosen { mass, .. } = &completion.transcript.outcomes[0] else { panic!("no choice") };
    assert!(matches!(mass, MassKind::Bounded { .. }), "{mass:?}");
    let [body] = &fake.posted("/v1/chat/completions")[..] else { panic!("one request") };
    let asked = "Reply with exactly one of these, and with nothing else: A, B";
    assert_eq!(body["messages"][0]["content"][4], serde_json::json!({"type": "text", "text": asked}));
}

#[tokio::test]
async fn a_provider_that_does_not_see_pictures_is_refused_and_others_get_none() {
    let fake = Fake::new(Kind::OpenaiChat).await;
    fake.state().blind = true;
    let error = seeing_engine(&fake, LabelMassKind::Bounded, 500).await.err().unwrap().to_string();
    assert!(error.contains("it takes pictures") && error.contains("so the picture was left out"), "{error}");
    let engine = chat_engine(&fake, LabelMassKind::Bounded).await.unwrap();
    assert!(engine.eyes().is_none());
    let segments =
        vec![Segment::Control("<|user|>".into()), shown(b"GIF89a"), Segment::Control("<|assistant|>".into())];
    let pictured = Job { prompt: Prompt(segments), ..job("", vec![choose(&["A", "B"])]) };
    let refused = run(&engine, pictured).await.err().unwrap();
    assert!(matches!(refused, EngineError::Unseen(UnseenPicture { reason: Unseen::NoEyes, .. })), "{refused}");

    let fake = Fake::new(Kind::LlamaServer).await;
    let settings = Settings { picture_tokens: 500, ..settings(vec![fake.url.clone()]) };
    let contact = Contact::new(settings, Arc::new(())).await.unwrap();
    let error = contact.engine("judge".into(), tokenizer()).await.err().unwrap().to_string();
    assert!(error.contains("remote.picture_tokens is for openai-chat alone"), "{error}");
}
