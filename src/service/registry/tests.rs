//! Models that fail, die and go, with engines that a test steers.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::domain::Method;
use crate::engine::scripted::{Answer, Scripted};
use crate::engine::{Compiled, EngineError, Job, LoadError, Run};
use crate::metrics::Metrics;
use crate::models::{HubSettings, ModelStore};
use crate::prompts::{ChatFormat, PromptLibrary};
use crate::rubrics::RubricLibrary;
use crate::service::admission::Admission;

/// How long something may take that must come.
const PATIENCE: Duration = Duration::from_secs(15);

/// A server's models by a configuration file, in a folder of their own.
struct Fixture {
    registry: Arc<ModelRegistry>,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new(file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(inside("gavel.toml"), file.replace("[folder]", &folder.path().display().to_string())).unwrap();
        let overrides = [("data_dir", inside("data")), ("cache_dir", inside("cache")), ("offline", "true".into())];
        let config = Config::load(Some(&folder.path().join("gavel.toml")), &overrides).unwrap();
        let hub =
            HubSettings { endpoint: "http://hub.test".into(), token: String::new(), cache_dir: inside("hub").into() };
        let store = ModelStore::new(config.cache_dir.clone(), hub, true).unwrap();
        let prompts = Arc::new(PromptLibrary::load(None).unwrap());
        let shared = (Arc::new(Admission::new(8, 8)), Arc::new(Metrics::new()));
        let rubrics = RubricLibrary::load(config.data_dir.join("rubrics"));
        let loader = ModelLoader::new(store, (prompts, rubrics, Arc::default()), shared, 10);
        Self { registry: Arc::new(ModelRegistry::new(&config, loader).unwrap()), folder }
    }

    fn slot(&self, name: &str) -> &ModelSlot {
        self.registry.slots.iter().find(|slot| slot.spec.name == name).unwrap()
    }

    async fn asked(&self, name: &str) -> Result<Arc<Judge>, RegistryError> {
        self.registry.judge(Some(name), PATIENCE).await
    }

    /// Puts an engine that takes so much memory into a model's slot.
    fn put(&self, name: &str, engine: Arc<dyn Engine>, memory: u64) {
        let slot = self.slot(name);
        let judge = Arc::new(self.registry.loader.judge(engine, &slot.spec, JudgeTraits::default()).unwrap());
        slot.finish_attempt(SlotState::Ready { judge, memory });
    }

    /// Has the last attempt at a model be so long ago that another is due.
    fn wait_for(&self, name: &str) {
        let mut backoff = self.slot(name).backoff();
        let wait = backoff.wait(Instant::now());
        backoff.age(wait);
    }
}

/// The scripted engine, which dies when told and says when it is shut down.
struct Steered {
    inner: Scripted,
    alive: AtomicBool,
    /// How far its end is: 0 before it was asked for, then 1, and 2 once the test lets it be over.
    end: watch::Sender<u8>,
}

impl Steered {
    fn new(name: &str) -> Arc<Self> {
        let inner = Scripted::new(|_| Answer::default()).named(name);
        Arc::new(Self { inner, alive: AtomicBool::new(true), end: watch::Sender::new(0) })
    }
}

impl Engine for Steered {
    fn info(&self) -> &EngineInfo {
        self.inner.info()
    }

    fn chat_format(&self) -> &ChatFormat {
        self.inner.chat_format()
    }

    fn compile(&self, job: Job) -> Result<Compiled, EngineError> {
        self.inner.compile(job)
    }

    fn start(&self, compiled: Compiled) -> Run {
        self.inner.start(compiled)
    }

    fn load(&self) -> Load {
        self.inner.load()
    }

    fn alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }

    fn shut_down(&self) -> futures::future::BoxFuture<'_, ()> {
        Box::pin(async {
            self.end.send_modify(|end| *end = 1.max(*end));
            self.end.subscribe().wait_for(|end| *end == 2).await.unwrap();
        })
    }
}

fn why(error: RegistryError) -> (FailureReason, Option<Duration>) {
    match error {
        RegistryError::Failed(LoadFailure::Unusable { why, again, .. }) => (why, again),
        other => panic!("{other}"),
    }
}

#[test]
fn a_setting_decides_how_responses_are_compared_and_else_the_model() {
    let fixture = Fixture::new(
        "preference_method = \"pairwise\"\n[[models]]\nname = \"common\"\nengine = \"scripted\"\n\
         [[models]]\nname = \"auto\"\nengine = \"scripted\"\npreference_method = \"auto\"\n\
         [[models]]\nname = \"alone\"\nengine = \"scripted\"\npreference_method = \"absolute\"\n",
    );
    let check = |name: &str, own: Option<Method>, expected: Method| {
        let traits = JudgeTraits { preference_method: own, ..JudgeTraits::default() };
        let judge = fixture.registry.loader.judge(Steered::new(name), &fixture.slot(name).spec, traits).unwrap();
        assert_eq!(judge.preference_method(), expected, "{name} {own:?}");
    };
    for own in [None, Some(Method::Pairwise), Some(Method::Absolute)] {
        check("common", own, Method::Pairwise);
        check("auto", own, own.unwrap_or(Method::Pairwise));
        check("alone", own, Method::Absolute);
    }
}

const BROKEN: &str = "[[models]]\nname = \"broken\"\nengine = \"scripted\"\nload = \"first_use\"\n\
                      scripted_answers = \"[folder]/answers.toml\"\n";

#[tokio::test]
async fn what_failed_is_tried_again_when_some_time_has_passed() {
    let fixture = Fixture::new(BROKEN);
    let failed = async || why(fixture.asked("broken").await.err().unwrap());
    assert_eq!(failed().await, (FailureReason::Engine, None));
    std::fs::write(fixture.folder.path().join("answers.toml"), "answer = []\n").unwrap();
    for _ in 0..3 {
        assert_eq!(failed().await, (FailureReason::Engine, None), "it is not read again for each request");
    }
    fixture.wait_for("broken");
    assert!(fixture.asked("broken").await.is_ok());
}

#[tokio::test]
async fn an_engine_that_dies_comes_back_but_not_at_once_for_ever() {
    let fixture = Fixture::new(&BROKEN.replace("[folder]/answers.toml", ""));
    let dead = Steered::new("broken");
    dead.alive.store(false, Ordering::SeqCst);
    dead.end.send_replace(2);
    fixture.put("broken", dead, 0);
    // It was there a moment ago.
    let (reason, again) = why(fixture.asked("broken").await.err().unwrap());
    assert_eq!(reason, FailureReason::Died);
    assert!(again.is_some_and(|again| !again.is_zero()), "{again:?}");
    fixture.wait_for("broken");
    assert!(fixture.asked("broken").await.is_ok());
}

#[tokio::test]
async fn a_panic_while_loading_is_a_failure_and_not_a_model_that_loads_for_ever() {
    struct Panics;
    impl Progress for Panics {
        fn start(&self, _: &str, _: Option<u64>, _: u64) {}
        fn advance(&self, _: u64) {}
        fn finish(&self) {}
        fn stage(&self, _: &str) {
            panic!("the bar is broken");
        }
    }
    let fixture = Fixture::new("engine = \"scripted\"\n");
    let registry = Arc::clone(&fixture.registry);
    assert!(tokio::spawn(async move { registry.load(&Panics).await }).await.is_err());
    assert_eq!(why(fixture.registry.ready().unwrap_err()), (FailureReason::BrokeOff, None));
}

#[tokio::test]
async fn a_model_is_loaded_when_the_one_that_made_room_has_ended() {
    let first_use = |name: &str| {
        format!("[[models]]\nname = \"{name}\"\nengine = \"scripted\"\nload = \"first_use\"\nmemory_mb = 60\n")
    };
    let fixture = Fixture::new(&format!("memory_budget_mb = 100\n{}{}", first_use("old"), first_use("new")));
    let engine = Steered::new("old");
    fixture.put("old", Arc::clone(&engine) as Arc<dyn Engine>, 60_000_000);
    let registry = Arc::clone(&fixture.registry);
    let asked = tokio::spawn(async move { registry.judge(Some("new"), PATIENCE).await.is_ok() });
    engine.end.subscribe().wait_for(|end| *end == 1).await.unwrap();
    let names = |fixture: &Fixture| fixture.registry.all().iter().map(|status| status.state).collect::<Vec<_>>();
    assert_eq!(names(&fixture), ["unloaded", "loading"], "the memory is not free yet");
    engine.end.send_replace(2);
    assert!(asked.await.unwrap());
    assert_eq!(names(&fixture), ["unloaded", "loaded"]);
    assert_eq!(Arc::strong_count(&engine), 1, "nothing of it is left");
}

#[tokio::test]
async fn a_template_that_cannot_be_rendered_is_found_before_a_model_counts_as_loaded() {
    let fixture = Fixture::new("engine = \"scripted\"\n");
    struct Spoken(Scripted, ChatFormat);
    impl Engine for Spoken {
        fn info(&self) -> &EngineInfo {
            self.0.info()
        }

        fn chat_format(&self) -> &ChatFormat {
            &self.1
        }

        fn compile(&self, job: Job) -> Result<Compiled, EngineError> {
            self.0.compile(job)
        }

        fn start(&self, _: Compiled) -> Run {
            panic!("nothing is run on an engine that was given")
        }

        fn load(&self) -> Load {
            Load::default()
        }
    }
    let chat = |template: &str| ChatFormat { template: Some(template.into()), ..ChatFormat::default() };
    let spoken = |template: &str| Arc::new(Spoken(Scripted::new(|_| Answer::default()), chat(template)));
    let error = fixture.registry.host(spoken("{{ messages | nosuchfilter }}"), None).unwrap_err();
    assert!(error.to_string().contains("nosuchfilter"), "{error}");
    assert!(fixture.registry.ready().is_err());
    fixture.registry.host(spoken("{% for m in messages %}{{ m.content }}{% endfor %}"), None).unwrap();
    fixture.registry.ready().unwrap();
}

#[test]
fn callers_are_told_what_it_is_and_no_path() {
    let path = "/srv/models/secret.gguf".to_owned();
    let errors = [
        StartError::Model(crate::models::ModelError::NoSuchFile { path: path.clone().into() }),
        StartError::Engine(LoadError::Model { path, reason: "unknown architecture in /srv/models".into() }),
        StartError::SelfTest("secret".into(), Box::new(SelfTestError::NotNumbers)),
        StartError::SelfTest("secret".into(), Box::new(SelfTestError::Engine(EngineError::Failed("/srv/cuda".into())))),
    ];
    let mut told = Vec::new();
    for error in errors {
        let SlotFailure::Load(why) = SlotFailure::of(&error) else { panic!("{error}") };
        told.push(LoadFailure::Unusable { name: "secret".into(), why, again: None }.to_string());
    }
    assert!(told.iter().all(|text| !text.contains('/') && text.contains("`secret`")), "{told:?}");
    told.dedup();
    assert_eq!(told.len(), 4, "each is something else: {told:?}");
}

#[cfg(feature = "remote")]
#[tokio::test]
async fn a_model_at_a_server_that_does_not_answer_is_tried_again() {
    let file = "engine = \"remote\"\n[remote]\nurls = \"http://127.0.0.1:1\"\ntokenizer = \"[folder]\"\n";
    let fixture = Fixture::new(file);
    fixture.registry.load(&()).await.unwrap();
    let (reason, again) = why(fixture.registry.ready().unwrap_err());
    assert_eq!(reason, FailureReason::Unreachable);
    assert!(again.is_some(), "callers are told when");
    fixture.registry.load_again();
    assert_eq!(fixture.registry.all()[0].state, "loading");
    assert!(!fixture.registry.engine_has_died(), "a server of others is no reason to end this process");
}
