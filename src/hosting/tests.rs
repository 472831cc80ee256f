//! Models that fail, die and go, with engines that a test steers.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::engine::scripted::{Answer, Scripted};
use crate::engine::{Compiled, EngineError, Job, LoadError, Run};
use crate::metrics::Metrics;
use crate::models::{HubSettings, ModelStore};
use crate::prompts::{ChatFormat, PromptLibrary};
use crate::service::admission::Admission;

/// How long something may take that must come.
const PATIENCE: Duration = Duration::from_secs(15);

/// A server's models by a configuration file, in a folder of their own.
struct House {
    hosting: Arc<Hosting>,
    folder: tempfile::TempDir,
}

impl House {
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
        let starter = Starter::new(store, prompts, shared, 10);
        Self { hosting: Arc::new(Hosting::new(&config, starter).unwrap()), folder }
    }

    fn place(&self, name: &str) -> &Place {
        self.hosting.places.iter().find(|place| place.spec.name == name).unwrap()
    }

    async fn asked(&self, name: &str) -> Result<Arc<Judge>, HostingError> {
        self.hosting.judge(Some(name), PATIENCE).await
    }

    /// Puts an engine that takes so much memory into a model's place.
    fn put(&self, name: &str, engine: Arc<dyn Engine>, memory: u64) {
        let place = self.place(name);
        let judge = Arc::new(self.hosting.starter.judge(engine, &place.spec, None).unwrap());
        place.ended(State::Ready { judge, memory });
    }

    /// Has the last attempt at a model be so long ago that another is due.
    fn wait_for(&self, name: &str) {
        let mut tries = self.place(name).tries();
        let wait = tries.wait(Instant::now());
        tries.age(wait);
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

fn why(error: HostingError) -> (Why, Option<Duration>) {
    match error {
        HostingError::Failed(Failure::Load { why, again, .. }) => (why, again),
        other => panic!("{other}"),
    }
}

const BROKEN: &str = "[[models]]\nname = \"broken\"\nengine = \"scripted\"\nload = \"first_use\"\n\
                      scripted_answers = \"[folder]/answers.toml\"\n";

#[tokio::test]
async fn what_failed_is_tried_again_when_some_time_has_passed() {
    let house = House::new(BROKEN);
    let failed = async || why(house.asked("broken").await.err().unwrap());
    assert_eq!(failed().await, (Why::Engine, None));
    std::fs::write(house.folder.path().join("answers.toml"), "answer = []\n").unwrap();
    for _ in 0..3 {
        assert_eq!(failed().await, (Why::Engine, None), "it is not read again for each request");
    }
    house.wait_for("broken");
    assert!(house.asked("broken").await.is_ok());
}

#[tokio::test]
async fn an_engine_that_dies_comes_back_but_not_at_once_for_ever() {
    let house = House::new(&BROKEN.replace("[folder]/answers.toml", ""));
    let dead = Steered::new("broken");
    dead.alive.store(false, Ordering::SeqCst);
    dead.end.send_replace(2);
    house.put("broken", dead, 0);
    // It was there a moment ago.
    let (reason, again) = why(house.asked("broken").await.err().unwrap());
    assert_eq!(reason, Why::Died);
    assert!(again.is_some_and(|again| !again.is_zero()), "{again:?}");
    house.wait_for("broken");
    assert!(house.asked("broken").await.is_ok());
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
    let house = House::new("engine = \"scripted\"\n");
    let hosting = Arc::clone(&house.hosting);
    assert!(tokio::spawn(async move { hosting.load(&Panics).await }).await.is_err());
    assert_eq!(why(house.hosting.ready().unwrap_err()), (Why::BrokeOff, None));
}

#[tokio::test]
async fn a_model_is_loaded_when_the_one_that_made_room_has_ended() {
    let first_use = |name: &str| {
        format!("[[models]]\nname = \"{name}\"\nengine = \"scripted\"\nload = \"first_use\"\nmemory_mb = 60\n")
    };
    let house = House::new(&format!("memory_budget_mb = 100\n{}{}", first_use("old"), first_use("new")));
    let engine = Steered::new("old");
    house.put("old", Arc::clone(&engine) as Arc<dyn Engine>, 60_000_000);
    let hosting = Arc::clone(&house.hosting);
    let asked = tokio::spawn(async move { hosting.judge(Some("new"), PATIENCE).await.is_ok() });
    engine.end.subscribe().wait_for(|end| *end == 1).await.unwrap();
    let names = |house: &House| house.hosting.all().iter().map(|hosted| hosted.state).collect::<Vec<_>>();
    assert_eq!(names(&house), ["unloaded", "loading"], "the memory is not free yet");
    engine.end.send_replace(2);
    assert!(asked.await.unwrap());
    assert_eq!(names(&house), ["unloaded", "loaded"]);
    assert_eq!(Arc::strong_count(&engine), 1, "nothing of it is left");
}

#[tokio::test]
async fn a_template_that_cannot_be_rendered_is_found_before_a_model_counts_as_loaded() {
    let house = House::new("engine = \"scripted\"\n");
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
    let error = house.hosting.host(spoken("{{ messages | nosuchfilter }}"), None).unwrap_err();
    assert!(error.to_string().contains("nosuchfilter"), "{error}");
    assert!(house.hosting.ready().is_err());
    house.hosting.host(spoken("{% for m in messages %}{{ m.content }}{% endfor %}"), None).unwrap();
    house.hosting.ready().unwrap();
}

#[test]
fn callers_are_told_what_it_is_and_no_path() {
    let path = "/srv/models/secret.gguf".to_owned();
    let errors = [
        StartError::Model(crate::models::ModelError::NoSuchFile { path: path.clone().into() }),
        StartError::Engine(LoadError::Model { path, reason: "unknown architecture in /srv/models".into() }),
        StartError::Trial("secret".into(), Box::new(TrialError::NotNumbers)),
        StartError::Trial("secret".into(), Box::new(TrialError::Engine(EngineError::Failed("/srv/cuda".into())))),
    ];
    let mut told = Vec::new();
    for error in errors {
        let Cause::Load(why) = Cause::of(&error) else { panic!("{error}") };
        told.push(Failure::Load { name: "secret".into(), why, again: None }.to_string());
    }
    assert!(told.iter().all(|text| !text.contains('/') && text.contains("`secret`")), "{told:?}");
    told.dedup();
    assert_eq!(told.len(), 4, "each is something else: {told:?}");
}
