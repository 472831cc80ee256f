//! Coalescing of equal work in flight, and a bounded cache of what came of it.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

/// How a value was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lookup {
    /// It was cached.
    Hit,
    /// Somebody else was just computing it.
    Coalesced,
    /// It was computed.
    Miss,
}

impl Lookup {
    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Coalesced => "coalesced",
            Self::Miss => "miss",
        }
    }
}

type Work<V, E> = Shared<BoxFuture<'static, Result<V, E>>>;
type InFlight<K, V, E> = DashMap<K, (u64, WeakShared<BoxFuture<'static, Result<V, E>>>)>;

/// Values by key. Equal keys that are asked for at the same time are computed once; the work goes on as long as
/// at least one caller waits for it, and is dropped with the last. Errors are not kept.
pub struct Cache<K: Eq + Hash, V: Clone, E: Clone> {
    kept: moka::sync::Cache<K, V>,
    in_flight: Arc<InFlight<K, V, E>>,
    next: AtomicU64,
}

impl<K, V, E> Cache<K, V, E>
where
    K: Eq + Hash + Copy + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// A cache of at most `capacity` values.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self { kept: moka::sync::Cache::new(capacity), in_flight: Arc::default(), next: AtomicU64::new(0) }
    }

    /// The cached value, if there is one.
    pub fn peek(&self, key: &K) -> Option<V> {
        self.kept.get(key)
    }

    /// Keeps a value.
    pub fn insert(&self, key: K, value: V) {
        self.kept.insert(key, value);
    }

    /// The value of `key`: cached, computed by somebody else just now, or computed by `work`.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn get_or_run<F>(&self, key: K, work: impl FnOnce() -> F) -> (Result<V, E>, Lookup)
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        let (work, lookup) = match self.kept.get(&key) {
            Some(value) => return (Ok(value), Lookup::Hit),
            None => match self.join(key, work) {
                Ok(value) => return (Ok(value), Lookup::Hit),
                Err(joined) => joined,
            },
        };
        (work.await, lookup)
    }

    /// Joins the work in flight for a key, or begins it; a value that was kept meanwhile is given at once.
    fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> Result<V, (Work<V, E>, Lookup)>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        // The entry locks the key: looking, joining and beginning are one step.
        let entry = self.in_flight.entry(key);
        if let Entry::Occupied(occupied) = &entry
            && let Some(running) = occupied.get().1.upgrade()
        {
            return Err((running, Lookup::Coalesced));
        }
        if let Some(value) = self.kept.get(&key) {
            return Ok(value);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let leave = Leave { in_flight: Arc::clone(&self.in_flight), key, id };
        let (kept, work) = (self.kept.clone(), work());
        let shared = async move {
            let leave = leave;
            let result = work.await;
            if let Ok(value) = &result {
                kept.insert(leave.key, value.clone());
            }
            result
        }
        .boxed()
        .shared();
        let weak = shared.downgrade().expect("it has not been polled yet");
        entry.insert((id, weak));
        Err((shared, Lookup::Miss))
    }
}

/// Takes work out of the map when it ends or is dropped.
struct Leave<K: Eq + Hash, V, E> {
    in_flight: Arc<InFlight<K, V, E>>,
    key: K,
    id: u64,
}

impl<K: Eq + Hash, V, E> Drop for Leave<K, V, E> {
    fn drop(&mut self) {
        self.in_flight.remove_if(&self.key, |_, (id, _)| *id == self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Notify;

    use super::*;

    type Numbers = Cache<u32, u32, String>;

    #[tokio::test]
    async fn equal_work_in_flight_is_done_once() {
        let (cache, runs, gate) = (Numbers::new(8), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let ask = || {
            cache.get_or_run(1, || {
                let (runs, gate) = (Arc::clone(&runs), Arc::clone(&gate));
                async move {
                    runs.fetch_add(1, Ordering::SeqCst);
                    gate.notified().await;
                    Ok(7)
                }
            })
        };
        let (a, b, c, ()) = tokio::join!(ask(), ask(), ask(), async { gate.notify_one() });
        assert_eq!((a, b, c), ((Ok(7), Lookup::Miss), (Ok(7), Lookup::Coalesced), (Ok(7), Lookup::Coalesced)));
        assert_eq!(ask().await, (Ok(7), Lookup::Hit));
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert!(cache.in_flight.is_empty());
    }

    #[tokio::test]
    async fn work_lives_as_long_as_a_caller_waits() {
        let cache = Numbers::new(8);
        let alive = Arc::new(());
        let work = || {
            let alive = Arc::clone(&alive);
            async move {
                let _alive = alive;
                std::future::pending::<Result<u32, String>>().await
            }
        };
        let mut first = Box::pin(cache.get_or_run(1, work));
        let mut second = Box::pin(cache.get_or_run(1, work));
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
        drop(first);
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(Arc::strong_count(&alive), 2);
        drop(second);
        assert_eq!(Arc::strong_count(&alive), 1, "the work is dropped with its last caller");
        assert!(cache.in_flight.is_empty());
    }

    #[tokio::test]
    async fn errors_are_shared_but_not_kept() {
        let cache = Numbers::new(8);
        let (failed, _) = cache.get_or_run(1, || async { Err("no".to_owned()) }).await;
        assert_eq!(failed, Err("no".into()));
        assert_eq!(cache.get_or_run(1, || async { Ok(2) }).await, (Ok(2), Lookup::Miss));
    }
}
