//! The models of a server: loaded at the start or at first use, found by name, within a budget of memory.
//!
//! Every model has a place from the beginning; what is there changes. One model is loaded at a time, so that the
//! memory that one needs is not promised to another. A model of first use that no request holds may be unloaded to
//! make room, the one that was used longest ago first. One that cannot be loaded is tried again, but not at once.

mod budget;
mod engines;
mod failure;
mod start;
#[cfg(test)]
mod tests;
mod trial;
mod tries;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};

pub use engines::{Sizes, check_built, open_untried};
pub use failure::{Failure, HostingError, Why};
pub use start::{Spec, StartError, Starter};
pub use trial::TrialError;

use crate::config::{Config, LoadWhen};
use crate::engine::{Engine, EngineInfo, Load};
use crate::models::Progress;
use crate::service::Judge;
use budget::{Budget, Gauge, Needs, ThisMachine};
use failure::Cause;
use tries::Tries;

/// The models of a server. The first is the one of requests that name none.
pub struct Hosting {
    places: Vec<Place>,
    starter: Starter,
    budget: Budget,
    /// Held while one is loaded.
    loading: Mutex<()>,
    /// Counts uses; the smaller a place's count, the longer ago it was used.
    uses: AtomicU64,
    /// How often engines came back that are unloaded now.
    past_restarts: AtomicU64,
}

/// A model, loaded or not.
struct Place {
    spec: Spec,
    state: watch::Sender<State>,
    used: AtomicU64,
    tries: std::sync::Mutex<Tries>,
}

/// How far a model is.
#[derive(Clone, Default)]
enum State {
    #[default]
    Unloaded,
    Loading,
    Ready {
        judge: Arc<Judge>,
        /// Bytes that it counts for.
        memory: u64,
    },
    Failed(Cause),
}

/// Sees to it that a model is not left as one that is being loaded, whatever ends the loading: a panic, or a caller of
/// [`Hosting::load`] that goes away.
struct Unfinished<'a>(&'a Place);

/// A model as it is at one moment.
pub struct Hosted {
    /// What requests call it.
    pub name: String,
    /// When it is loaded.
    pub load: LoadWhen,
    /// `loaded`, `loading`, `unloaded` or `failed`.
    pub state: &'static str,
    /// The judge, if it is loaded.
    pub judge: Option<Arc<Judge>>,
}

impl Hosting {
    /// The models of a configuration, none of them loaded.
    ///
    /// # Errors
    /// When models come and go on a GPU whose memory cannot be measured, and no budget is set.
    pub fn new(config: &Config, starter: Starter) -> Result<Self, StartError> {
        Self::measured(config, starter, &ThisMachine)
    }

    fn measured(config: &Config, starter: Starter, gauge: &dyn Gauge) -> Result<Self, StartError> {
        let specs = Spec::all(config);
        let needs = Needs {
            gpu: specs.iter().any(Spec::in_gpu_memory),
            swaps: specs.iter().any(|spec| spec.load == LoadWhen::FirstUse),
        };
        Ok(Self {
            budget: Budget::new(config.memory_budget_mb, needs, gauge)?,
            places: specs.into_iter().map(Place::new).collect(),
            starter,
            loading: Mutex::new(()),
            uses: AtomicU64::new(1),
            past_restarts: AtomicU64::new(0),
        })
    }

    /// Loads every model that is to be there from the start, one after the other.
    ///
    /// # Errors
    /// At the first that cannot be had; requests are told so, too.
    pub async fn load(&self, progress: &dyn Progress) -> Result<(), StartError> {
        for place in self.places.iter().filter(|place| place.spec.load == LoadWhen::Start) {
            place.state.send_replace(State::Loading);
            self.fill(place, None, progress).await?;
        }
        Ok(())
    }

    /// Puts an engine that is already running into the first place.
    ///
    /// # Errors
    /// When its prompt set is not there, or cannot be rendered with the engine's chat template.
    pub fn host(&self, engine: Arc<dyn Engine>, prompt_set: Option<String>) -> Result<(), StartError> {
        let place = &self.places[0];
        let judge = Arc::new(self.starter.judge(engine, &place.spec, prompt_set)?);
        place.state.send_replace(State::Ready { judge, memory: 0 });
        Ok(())
    }

    /// Whether a request may name that model.
    ///
    /// # Errors
    /// [`HostingError::Unknown`].
    pub fn check_name(&self, name: Option<&str>) -> Result<(), HostingError> {
        self.find(name).map(drop)
    }

    /// The judge of the model of that name, or of the first one. One of first use is loaded if it is not there: the
    /// request that asks first begins it, and all that ask wait for it, `patience` at most. What was begun goes on
    /// when nobody waits any more.
    ///
    /// # Errors
    /// When there is no such model, it is still loading, or it cannot be had.
    pub async fn judge(self: &Arc<Self>, name: Option<&str>, patience: Duration) -> Result<Arc<Judge>, HostingError> {
        let index = self.find(name)?;
        let place = &self.places[index];
        let mut states = place.state.subscribe();
        if place.spec.load == LoadWhen::FirstUse {
            self.begin(index);
            let settled = states.wait_for(|state| !matches!(state, State::Loading));
            // The sender is ours: only time can run out.
            let _ = tokio::time::timeout(patience, settled).await;
        }
        place.used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        place.ready()
    }

    /// Starts loading a model of first use, unless it is there, being loaded, or has failed a moment ago.
    fn begin(self: &Arc<Self>, index: usize) {
        let mut left = None;
        let place = &self.places[index];
        let begun = place.state.send_if_modified(|state| {
            let idle = match state {
                State::Unloaded | State::Failed(Cause::NoRoom(_)) => true,
                State::Loading => false,
                State::Failed(Cause::Load(_)) => place.wait().is_zero(),
                State::Ready { judge, .. } => !judge.alive() && place.wait().is_zero(),
            };
            if idle {
                left = Some(std::mem::replace(state, State::Loading));
            }
            idle
        });
        if begun {
            let hosting = Arc::clone(self);
            tokio::spawn(async move {
                let place = &hosting.places[index];
                tracing::info!(model = place.spec.name, "loading at first use");
                if let Err(error) = hosting.fill(place, left, &()).await {
                    tracing::error!(model = place.spec.name, %error, "it could not be loaded");
                }
            });
        }
    }

    /// Loads a model whose state is `Loading` already, and says how that ended. What was there before goes first.
    async fn fill(&self, place: &Place, left: Option<State>, progress: &dyn Progress) -> Result<(), StartError> {
        let _unfinished = Unfinished(place);
        let filled = async {
            self.forget(left).await;
            let source = self.starter.fetch(&place.spec, progress).await?;
            let memory = self.starter.memory(&place.spec, &source)?;
            let _one_at_a_time = self.loading.lock().await;
            self.make_room(&place.spec, memory).await?;
            progress.stage(&format!("loading {}", place.spec.name));
            let started = self.starter.start(&place.spec, source).await;
            progress.finish();
            let judge = Arc::new(started?);
            place.ended(State::Ready { judge, memory });
            Ok(())
        };
        filled.await.inspect_err(|error: &StartError| place.ended(State::Failed(Cause::of(error))))
    }

    /// Unloads what must go so that `memory` bytes are free.
    async fn make_room(&self, spec: &Spec, memory: u64) -> Result<(), StartError> {
        loop {
            let taken = self.taken();
            if taken.saturating_add(memory) <= self.budget.bytes {
                return Ok(());
            }
            let mut longest_unused: Vec<&Place> = self.places.iter().filter(|place| place.evictable()).collect();
            longest_unused.sort_by_key(|place| place.used.load(Ordering::Relaxed));
            let mut gone = None;
            for place in longest_unused {
                gone = place.leave();
                if gone.is_some() {
                    tracing::info!(model = place.spec.name, "unloaded, to make room for another");
                    break;
                }
            }
            if gone.is_some() {
                self.forget(gone).await;
            } else if spec.load == LoadWhen::Start && !self.budget.strict {
                let (needed, free) = (megabytes(memory), megabytes(self.budget.bytes.saturating_sub(taken)));
                tracing::warn!(model = spec.name, needed, free, "it may need more memory (MB) than there is");
                return Ok(());
            } else {
                let held = self.places.iter().filter(|p| p.memory() > 0).map(|p| p.spec.name.as_str());
                let held = held.collect::<Vec<_>>().join(", ");
                return Err(StartError::NoRoom {
                    name: spec.name.clone(),
                    needed: megabytes(memory),
                    budget: megabytes(self.budget.bytes),
                    taken: megabytes(taken),
                    held: if held.is_empty() { "none".to_owned() } else { held },
                });
            }
        }
    }

    fn taken(&self) -> u64 {
        self.places.iter().map(Place::memory).sum()
    }

    /// Ends a model, and returns once its memory is free.
    async fn forget(&self, gone: Option<State>) {
        let Some(State::Ready { judge, .. }) = gone else { return };
        self.past_restarts.fetch_add(judge.load().restarts, Ordering::Relaxed);
        judge.shut_down().await;
        // Dropping what is left may take a while. It only drops; an engine whose end panics has said so in the log.
        let _ = tokio::task::spawn_blocking(move || drop(judge)).await;
    }

    fn find(&self, name: Option<&str>) -> Result<usize, HostingError> {
        let Some(name) = name else { return Ok(0) };
        if let Some(index) = self.places.iter().position(|place| place.name() == name) {
            return Ok(index);
        }
        // What a single model is called is certain once it is loaded.
        if let [only] = &self.places[..] {
            // Looked at and let go: `ready` looks again.
            let loaded = matches!(*only.state.borrow(), State::Ready { .. });
            if !loaded {
                only.ready()?;
            }
        }
        let known = self.places.iter().map(Place::name).collect::<Vec<_>>().join(", ");
        Err(HostingError::Unknown { name: name.to_owned(), known })
    }

    /// Whether every model that is to be there from the start is there.
    ///
    /// # Errors
    /// Why the first one that is not there is not.
    pub fn ready(&self) -> Result<(), HostingError> {
        let expected = |place: &&Place| place.spec.load == LoadWhen::Start;
        self.places.iter().filter(expected).try_for_each(|place| place.ready().map(drop))
    }

    /// Whether an engine has died for good that nothing but a new process brings back.
    #[must_use]
    pub fn engine_has_died(&self) -> bool {
        let dead = |place: &Place| matches!(&*place.state.borrow(), State::Ready { judge, .. } if !judge.alive());
        self.places.iter().any(|place| place.spec.load == LoadWhen::Start && dead(place))
    }

    /// Every model as it is now, the default one first.
    #[must_use]
    pub fn all(&self) -> Vec<Hosted> {
        self.places.iter().map(Place::show).collect()
    }

    /// The engines that run, and how busy they are.
    #[must_use]
    pub fn engines(&self) -> Vec<(EngineInfo, Load)> {
        let judges = self.all().into_iter().filter_map(|hosted| hosted.judge);
        judges.map(|judge| (judge.engine().clone(), judge.load())).collect()
    }

    /// What happened to engines that are gone.
    #[must_use]
    pub fn past(&self) -> Load {
        Load { restarts: self.past_restarts.load(Ordering::Relaxed), ..Load::default() }
    }
}

impl Place {
    fn new(spec: Spec) -> Self {
        let state = watch::Sender::new(State::default());
        Self { spec, state, used: AtomicU64::new(0), tries: std::sync::Mutex::default() }
    }

    fn tries(&self) -> std::sync::MutexGuard<'_, Tries> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long until it may be tried again.
    fn wait(&self) -> Duration {
        self.tries().wait(Instant::now())
    }

    /// An attempt to load it has ended so.
    fn ended(&self, state: State) {
        if !matches!(state, State::Failed(Cause::NoRoom(_))) {
            self.tries().end(Instant::now());
        }
        self.state.send_replace(state);
    }

    fn failure(&self, why: Why) -> HostingError {
        // What is loaded at the start is tried once.
        let again = (self.spec.load == LoadWhen::FirstUse && why.may_pass()).then(|| self.wait());
        Failure::Load { name: self.spec.name.clone(), why, again }.into()
    }

    fn name(&self) -> String {
        match &*self.state.borrow() {
            State::Ready { judge, .. } => judge.engine().model.clone(),
            _ => self.spec.name.clone(),
        }
    }

    fn ready(&self) -> Result<Arc<Judge>, HostingError> {
        match &*self.state.borrow() {
            State::Unloaded | State::Loading => Err(HostingError::Loading),
            State::Failed(Cause::NoRoom(why)) => Err(Failure::NoRoom(why.clone()).into()),
            State::Failed(Cause::Load(why)) => Err(self.failure(*why)),
            State::Ready { judge, .. } if !judge.alive() => Err(self.failure(Why::Died)),
            State::Ready { judge, .. } => Ok(Arc::clone(judge)),
        }
    }

    fn memory(&self) -> u64 {
        match &*self.state.borrow() {
            State::Ready { memory, .. } => *memory,
            _ => 0,
        }
    }

    fn evictable(&self) -> bool {
        self.spec.load == LoadWhen::FirstUse && matches!(&*self.state.borrow(), State::Ready { .. })
    }

    /// Empties it, unless a request holds what is there.
    fn leave(&self) -> Option<State> {
        let mut gone = None;
        self.state.send_if_modified(|state| {
            let idle = matches!(state, State::Ready { judge, .. } if Arc::strong_count(judge) == 1);
            if idle {
                gone = Some(std::mem::take(state));
                self.tries().forget();
            }
            idle
        });
        gone
    }

    fn show(&self) -> Hosted {
        let (state, judge) = match &*self.state.borrow() {
            State::Unloaded => ("unloaded", None),
            State::Loading => ("loading", None),
            State::Failed(_) => ("failed", None),
            State::Ready { judge, .. } if !judge.alive() => ("failed", None),
            State::Ready { judge, .. } => ("loaded", Some(Arc::clone(judge))),
        };
        Hosted { name: self.name(), load: self.spec.load, state, judge }
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if matches!(*self.0.state.borrow(), State::Loading) {
            self.0.ended(State::Failed(Cause::Load(Why::BrokeOff)));
        }
    }
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}
