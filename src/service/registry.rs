//! The models of a server: loaded at the start or at first use, found by name, within a budget of memory.
//!
//! Every configured model has a slot for as long as the server runs; the slot's state changes. Models are loaded one at
//! a time, so that free memory is not promised twice. A model that is loaded on first use and that no request holds may
//! be unloaded to make room, the least recently used first. A load that failed is retried with exponential backoff.

mod backoff;
mod budget;
mod calibrated;
mod engines;
mod failure;
mod keeper;
mod loader;
mod remote;
mod self_test;
mod start_error;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};

pub use engines::{EngineSizes, check_built, open_unchecked};
pub use failure::{FailureReason, LoadFailure, RegistryError};
pub use loader::{ModelLoader, ModelSpec};
pub use remote::{RemoteSource, contact};
pub use self_test::SelfTestError;
pub use start_error::StartError;

use crate::config::{Config, LoadWhen};
use crate::engine::{Engine, EngineInfo, Load, LoadError};
use crate::models::{JudgeTraits, Progress};
use crate::service::judge::Judge;
use backoff::RetryBackoff;
use budget::{Budget, MemoryGauge, Needs, SystemGauge};
use failure::SlotFailure;

/// The models of a server. The first is the one of requests that name none.
pub struct ModelRegistry {
    slots: Vec<ModelSlot>,
    loader: ModelLoader,
    budget: Budget,
    /// Held while a model is loaded, so that loads are serialised.
    loading: Mutex<()>,
    /// A logical clock for the LRU order: its value is stored in a slot at each use.
    uses: AtomicU64,
    /// Restarts of the engines that have been unloaded since, so that the counter never decreases.
    past_restarts: AtomicU64,
}

/// The slot of one configured model, whether it is loaded or not.
struct ModelSlot {
    spec: ModelSpec,
    state: watch::Sender<SlotState>,
    last_used: AtomicU64,
    backoff: std::sync::Mutex<RetryBackoff>,
}

/// The state of a slot.
#[derive(Clone, Default)]
enum SlotState {
    #[default]
    Unloaded,
    Loading,
    Ready {
        judge: Arc<Judge>,
        /// Bytes that it counts for in the memory budget.
        memory: u64,
    },
    Failed(SlotFailure),
}

/// Marks a slot as failed if it is still `Loading` when the load ends: after a panic, or when the caller of
/// [`ModelRegistry::load`] drops its future.
struct LoadGuard<'a>(&'a ModelSlot);

/// A snapshot of a slot.
pub struct SlotStatus {
    /// The model's name in requests.
    pub name: String,
    /// When it is loaded.
    pub load: LoadWhen,
    /// `loaded`, `loading`, `unloaded` or `failed`.
    pub state: &'static str,
    /// The judge, if it is loaded.
    pub judge: Option<Arc<Judge>>,
    /// Bytes that it counts for in the memory budget: what its files and its settings need, by an estimate.
    pub counted: u64,
}

impl ModelRegistry {
    /// The registry of a configuration's models, none of them loaded yet.
    ///
    /// # Errors
    /// When models are loaded on first use on a GPU whose free memory cannot be measured, and no budget is set.
    pub fn new(config: &Config, loader: ModelLoader) -> Result<Self, StartError> {
        Self::measured(config, loader, &SystemGauge)
    }

    fn measured(config: &Config, loader: ModelLoader, gauge: &dyn MemoryGauge) -> Result<Self, StartError> {
        let specs = ModelSpec::all(config);
        let needs = Needs {
            gpu: specs.iter().any(ModelSpec::in_gpu_memory),
            swaps: specs.iter().any(|spec| spec.load == LoadWhen::FirstUse),
        };
        Ok(Self {
            budget: Budget::new(config.memory_budget_mb, needs, gauge)?,
            slots: specs.into_iter().map(ModelSlot::new).collect(),
            loader,
            loading: Mutex::new(()),
            uses: AtomicU64::new(1),
            past_restarts: AtomicU64::new(0),
        })
    }

    /// Loads every model with `load = "start"`, one after the other. One at a server that does not answer is tried
    /// again later.
    ///
    /// # Errors
    /// At the first model that cannot be loaded; requests for it fail with that reason, too.
    pub async fn load(self: &Arc<Self>, progress: &dyn Progress) -> Result<(), StartError> {
        self.keep();
        for slot in self.slots.iter().filter(|slot| slot.spec.load == LoadWhen::Start) {
            slot.state.send_replace(SlotState::Loading);
            match self.load_slot(slot, None, progress).await {
                Err(StartError::Engine(error @ LoadError::Unreachable(_))) => {
                    tracing::warn!(model = slot.spec.name, %error, "retrying periodically");
                }
                loaded => loaded?,
            }
        }
        Ok(())
    }

    /// Puts an engine that is already running into the default slot.
    ///
    /// # Errors
    /// When its prompt set does not exist, or cannot be rendered with the engine's chat template.
    pub fn host(&self, engine: Arc<dyn Engine>, prompt_set: Option<String>) -> Result<(), StartError> {
        let slot = &self.slots[0];
        let traits = JudgeTraits { prompt_set, ..JudgeTraits::default() };
        let judge = Arc::new(self.loader.judge(engine, &slot.spec, traits)?);
        slot.state.send_replace(SlotState::Ready { judge, memory: 0 });
        Ok(())
    }

    /// The name of the default model.
    #[must_use]
    pub fn default_name(&self) -> String {
        self.slots[0].name()
    }

    /// Checks that a request may name that model.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`].
    pub fn check_name(&self, name: Option<&str>) -> Result<(), RegistryError> {
        self.find(name).map(drop)
    }

    /// The judge of the model of that name, or of the default one. A model that is loaded on first use is loaded if
    /// it is not: the first request starts the load, and all requests wait for it, at most `patience`. The load goes on
    /// when no request waits any more.
    ///
    /// # Errors
    /// When there is no such model, it is still loading, or it cannot be loaded.
    pub async fn judge(self: &Arc<Self>, name: Option<&str>, patience: Duration) -> Result<Arc<Judge>, RegistryError> {
        let index = self.find(name)?;
        let slot = &self.slots[index];
        let mut states = slot.state.subscribe();
        if slot.spec.load == LoadWhen::FirstUse {
            self.start_loading(index);
            let settled = states.wait_for(|state| !matches!(state, SlotState::Loading));
            // The sender is ours: only time can run out.
            let _ = tokio::time::timeout(patience, settled).await;
        }
        slot.last_used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        slot.ready()
    }

    /// Starts loading a model, unless it is loaded, being loaded, or in the pause after a failed attempt.
    fn start_loading(self: &Arc<Self>, index: usize) {
        let mut left = None;
        let slot = &self.slots[index];
        let begun = slot.state.send_if_modified(|state| {
            let idle = match state {
                SlotState::Unloaded | SlotState::Failed(SlotFailure::NoRoom(_)) => true,
                SlotState::Loading => false,
                SlotState::Failed(SlotFailure::Load(_) | SlotFailure::NeverFits(_)) => slot.wait().is_zero(),
                SlotState::Ready { judge, .. } => !judge.alive() && slot.wait().is_zero(),
            };
            if idle {
                left = Some(std::mem::replace(state, SlotState::Loading));
            }
            idle
        });
        if begun {
            let registry = Arc::clone(self);
            tokio::spawn(async move {
                let slot = &registry.slots[index];
                tracing::info!(model = slot.spec.name, "loading");
                if let Err(error) = registry.load_slot(slot, left, &()).await {
                    tracing::error!(model = slot.spec.name, %error, "the model could not be loaded");
                }
            });
        }
    }

    /// Loads the model of a slot whose state is `Loading` already, and records the result. `left` is the slot's
    /// previous state, whose engine is shut down first.
    async fn load_slot(
        &self,
        slot: &ModelSlot,
        left: Option<SlotState>,
        progress: &dyn Progress,
    ) -> Result<(), StartError> {
        let _guard = LoadGuard(slot);
        let filled = async {
            self.unload(left).await;
            let source = self.loader.fetch(&slot.spec, progress).await?;
            let memory = self.loader.memory(&slot.spec, &source)?;
            let _one_at_a_time = self.loading.lock().await;
            self.make_room(&slot.spec, memory).await?;
            progress.stage(&format!("loading {}", slot.spec.name));
            let started = self.loader.start(&slot.spec, source).await;
            progress.finish();
            let judge = Arc::new(started?);
            slot.finish_attempt(SlotState::Ready { judge, memory });
            Ok(())
        };
        filled.await.inspect_err(|error: &StartError| slot.finish_attempt(SlotState::Failed(SlotFailure::of(error))))
    }

    /// Unloads idle models, the least recently used first, until `memory` bytes fit the budget.
    async fn make_room(&self, spec: &ModelSpec, memory: u64) -> Result<(), StartError> {
        loop {
            let taken = self.taken();
            if taken.saturating_add(memory) <= self.budget.bytes {
                return Ok(());
            }
            let mut longest_unused: Vec<&ModelSlot> = self.slots.iter().filter(|slot| slot.evictable()).collect();
            longest_unused.sort_by_key(|slot| slot.last_used.load(Ordering::Relaxed));
            let mut gone = None;
            for slot in longest_unused {
                gone = slot.try_unload();
                if gone.is_some() {
                    tracing::info!(model = slot.spec.name, "unloaded to free memory for another model");
                    break;
                }
            }
            if gone.is_some() {
                self.unload(gone).await;
            } else if spec.load == LoadWhen::Start && !self.budget.strict {
                let (needed, free) = (megabytes(memory), megabytes(self.budget.bytes.saturating_sub(taken)));
                tracing::warn!(model = spec.name, needed, free, "it may need more memory (MB) than is free");
                return Ok(());
            } else {
                return Err(self.no_room(spec, memory));
            }
        }
    }

    /// Why a model does not fit: what stays and what is in use takes the memory, or what stays alone.
    fn no_room(&self, spec: &ModelSpec, memory: u64) -> StartError {
        let holders = |all: bool| {
            let holds = move |slot: &&ModelSlot| slot.memory() > 0 && (all || slot.spec.load == LoadWhen::Start);
            let names: Vec<&str> = self.slots.iter().filter(holds).map(|slot| slot.spec.name.as_str()).collect();
            let taken: u64 = self.slots.iter().filter(holds).map(ModelSlot::memory).sum();
            (taken, if names.is_empty() { "none".to_owned() } else { names.join(", ") })
        };
        let (name, needed, budget) = (spec.name.clone(), megabytes(memory), megabytes(self.budget.bytes));
        let (taken, held) = holders(false);
        if taken.saturating_add(memory) > self.budget.bytes {
            return StartError::NeverFits { name, needed, budget, taken: megabytes(taken), held };
        }
        let (taken, held) = holders(true);
        StartError::NoRoom { name, needed, budget, taken: megabytes(taken), held }
    }

    fn taken(&self) -> u64 {
        self.slots.iter().map(ModelSlot::memory).sum()
    }

    /// Shuts down the engine of an unloaded slot, and returns once its memory is free.
    async fn unload(&self, gone: Option<SlotState>) {
        let Some(SlotState::Ready { judge, .. }) = gone else { return };
        self.past_restarts.fetch_add(judge.load().restarts, Ordering::Relaxed);
        judge.shut_down().await;
        // Dropping weights may block for a while. A panic of the engine's destructor is already in the log.
        let _ = tokio::task::spawn_blocking(move || drop(judge)).await;
    }

    fn find(&self, name: Option<&str>) -> Result<usize, RegistryError> {
        let Some(name) = name else { return Ok(0) };
        if let Some(index) = self.slots.iter().position(|slot| slot.name() == name) {
            return Ok(index);
        }
        // The name of a single model is only certain once it is loaded.
        if let [only] = &self.slots[..] {
            // The borrow ends here, since `ready` borrows the state again.
            let loaded = matches!(*only.state.borrow(), SlotState::Ready { .. });
            if !loaded {
                only.ready()?;
            }
        }
        let known = self.slots.iter().map(ModelSlot::name).collect::<Vec<_>>().join(", ");
        Err(RegistryError::Unknown { name: name.to_owned(), known })
    }

    /// Checks that every model with `load = "start"` is loaded, and can take work.
    ///
    /// # Errors
    /// The reason of the first that is not.
    pub fn ready(&self) -> Result<(), RegistryError> {
        let expected = |slot: &&ModelSlot| slot.spec.load == LoadWhen::Start;
        let ready = |slot: &ModelSlot| match slot.ready()?.available() {
            true => Ok(()),
            false => Err(slot.failure(FailureReason::Unreachable)),
        };
        self.slots.iter().filter(expected).try_for_each(ready)
    }

    /// Whether the engine of a model with `load = "start"` has died, which only a new process repairs.
    #[must_use]
    pub fn engine_has_died(&self) -> bool {
        let dead = |slot: &ModelSlot| matches!(&*slot.state.borrow(), SlotState::Ready { judge, .. } if !judge.alive());
        let ours = |slot: &ModelSlot| slot.spec.load == LoadWhen::Start && !slot.spec.is_remote();
        self.slots.iter().any(|slot| ours(slot) && dead(slot))
    }

    /// Whether a step of a model has taken longer than this: no thread can be taken from what computes it.
    #[must_use]
    pub fn engine_hangs(&self, limit: Duration) -> bool {
        let hangs = |slot: &ModelSlot| match &*slot.state.borrow() {
            SlotState::Ready { judge, .. } => judge.stepping().is_some_and(|time| time > limit),
            _ => false,
        };
        self.slots.iter().any(hangs)
    }

    /// A snapshot of every slot, the default model first.
    #[must_use]
    pub fn all(&self) -> Vec<SlotStatus> {
        self.slots.iter().map(ModelSlot::status).collect()
    }

    /// The engines that run, and their load.
    #[must_use]
    pub fn engines(&self) -> Vec<(EngineInfo, Load)> {
        let judges = self.all().into_iter().filter_map(|status| status.judge);
        judges.map(|judge| (judge.engine().clone(), judge.load())).collect()
    }

    /// The accumulated counters of engines that were unloaded.
    #[must_use]
    pub fn past_load(&self) -> Load {
        Load { restarts: self.past_restarts.load(Ordering::Relaxed), ..Load::default() }
    }
}

impl ModelSlot {
    fn new(spec: ModelSpec) -> Self {
        let state = watch::Sender::new(SlotState::default());
        Self { spec, state, last_used: AtomicU64::new(0), backoff: std::sync::Mutex::default() }
    }

    fn backoff(&self) -> std::sync::MutexGuard<'_, RetryBackoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long until the next attempt is allowed.
    fn wait(&self) -> Duration {
        self.backoff().wait(Instant::now())
    }

    /// Records the result of an attempt to load it.
    fn finish_attempt(&self, state: SlotState) {
        if !matches!(state, SlotState::Failed(SlotFailure::NoRoom(_))) {
            self.backoff().end(Instant::now());
        }
        self.state.send_replace(state);
    }

    fn failure(&self, why: FailureReason) -> RegistryError {
        // Models with `load = "start"` are tried once, unless they are at servers.
        let tried = self.spec.load == LoadWhen::FirstUse || self.spec.is_remote();
        let again = (tried && why.may_pass()).then(|| self.wait());
        LoadFailure::Unusable { name: self.spec.name.clone(), why, again }.into()
    }

    fn name(&self) -> String {
        match &*self.state.borrow() {
            SlotState::Ready { judge, .. } => judge.engine().model.clone(),
            _ => self.spec.name.clone(),
        }
    }

    fn ready(&self) -> Result<Arc<Judge>, RegistryError> {
        match &*self.state.borrow() {
            SlotState::Unloaded | SlotState::Loading => Err(RegistryError::Loading),
            SlotState::Failed(SlotFailure::NoRoom(why)) => Err(LoadFailure::NoRoom(why.clone()).into()),
            SlotState::Failed(SlotFailure::NeverFits(why)) => Err(LoadFailure::NeverFits(why.clone()).into()),
            SlotState::Failed(SlotFailure::Load(why)) => Err(self.failure(*why)),
            SlotState::Ready { judge, .. } if !judge.alive() => Err(self.failure(FailureReason::Died)),
            SlotState::Ready { judge, .. } => Ok(Arc::clone(judge)),
        }
    }

    fn memory(&self) -> u64 {
        match &*self.state.borrow() {
            SlotState::Ready { memory, .. } => *memory,
            _ => 0,
        }
    }

    fn evictable(&self) -> bool {
        self.spec.load == LoadWhen::FirstUse && matches!(&*self.state.borrow(), SlotState::Ready { .. })
    }

    /// Unloads it, unless a request holds its judge; gives the previous state, whose engine has to be shut down.
    fn try_unload(&self) -> Option<SlotState> {
        let mut gone = None;
        self.state.send_if_modified(|state| {
            let idle = matches!(state, SlotState::Ready { judge, .. } if Arc::strong_count(judge) == 1);
            if idle {
                gone = Some(std::mem::take(state));
                self.backoff().reset();
            }
            idle
        });
        gone
    }

    fn status(&self) -> SlotStatus {
        let (state, judge) = match &*self.state.borrow() {
            SlotState::Unloaded => ("unloaded", None),
            SlotState::Loading => ("loading", None),
            SlotState::Failed(_) => ("failed", None),
            SlotState::Ready { judge, .. } if !judge.alive() => ("failed", None),
            SlotState::Ready { judge, .. } => ("loaded", Some(Arc::clone(judge))),
        };
        SlotStatus { name: self.name(), load: self.spec.load, state, judge, counted: self.memory() }
    }
}

impl Drop for LoadGuard<'_> {
    fn drop(&mut self) {
        if matches!(*self.0.state.borrow(), SlotState::Loading) {
            self.0.finish_attempt(SlotState::Failed(SlotFailure::Load(FailureReason::BrokeOff)));
        }
    }
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}
