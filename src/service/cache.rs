//! A bounded cache with coalescing of equal work in flight. Work may stream text, which every waiting caller gets from
//! its beginning.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::sync::watch;

use crate::metrics::CACHE_RESULTS;

/// The result of a cache lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lookup {
    /// The value was cached.
    Hit,
    /// Equal work was in flight.
    Coalesced,
    /// The value was computed.
    Miss,
}

impl Lookup {
    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => CACHE_RESULTS[0],
            Self::Coalesced => CACHE_RESULTS[1],
            Self::Miss => CACHE_RESULTS[2],
        }
    }
}

/// Streams the text of work in flight.
pub struct Writer(watch::Sender<String>);

impl Writer {
    /// Appends to the text.
    pub fn write(&self, text: &str) {
        self.0.send_modify(|written| written.push_str(text));
    }
}

/// Work in flight that a caller waits for, and its text so far.
struct SharedWork<V, E> {
    work: Shared<BoxFuture<'static, Result<V, E>>>,
    written: watch::Receiver<String>,
    lookup: Lookup,
}

/// Work in flight: its id, the work itself while a caller waits for it, and its text so far.
type InFlightWork<V, E> = (u64, WeakShared<BoxFuture<'static, Result<V, E>>>, watch::Receiver<String>);
type InFlight<K, V, E> = DashMap<K, InFlightWork<V, E>>;

/// Values by key. Concurrent requests for one key are computed once. The work runs while at least one caller waits for
/// it, and is dropped with the last caller. Errors are not cached.
pub struct Cache<K: Eq + Hash, V: Clone, E: Clone> {
    cached: moka::sync::Cache<K, V>,
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
        Self { cached: moka::sync::Cache::new(capacity), in_flight: Arc::default(), next: AtomicU64::new(0) }
    }

    /// The value of `key`: cached, from equal work in flight, or computed by `work`. `on_text` gets the streamed text
    /// of the work from its beginning, and nothing if the value was cached.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn get_or_run<F>(
        &self,
        key: K,
        work: impl FnOnce(Writer) -> F,
        on_text: Option<&(dyn Fn(&str) + Send + Sync)>,
    ) -> (Result<V, E>, Lookup)
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        let shared_work = match self.cached.get(&key) {
            Some(value) => return (Ok(value), Lookup::Hit),
            None => match self.join(key, work) {
                Ok(value) => return (Ok(value), Lookup::Hit),
                Err(shared_work) => shared_work,
            },
        };
        let lookup = shared_work.lookup;
        let result = match on_text {
            None => shared_work.work.await,
            Some(on_text) => shared_work.follow(on_text).await,
        };
        (result, lookup)
    }

    /// Joins the work in flight for a key, or starts it; returns a value that was cached in the meantime.
    fn join<F>(&self, key: K, work: impl FnOnce(Writer) -> F) -> Result<V, SharedWork<V, E>>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        // The entry locks the key: lookup, joining and starting are one step.
        let entry = self.in_flight.entry(key);
        if let Entry::Occupied(occupied) = &entry
            && let (_, weak, written) = occupied.get()
            && let Some(work) = weak.upgrade()
        {
            return Err(SharedWork { work, written: written.clone(), lookup: Lookup::Coalesced });
        }
        if let Some(value) = self.cached.get(&key) {
            return Ok(value);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let guard = InFlightGuard { in_flight: Arc::clone(&self.in_flight), key, id };
        let (writer, written) = watch::channel(String::new());
        let (cached, work) = (self.cached.clone(), work(Writer(writer)));
        let shared = async move {
            let guard = guard;
            let result = work.await;
            if let Ok(value) = &result {
                cached.insert(guard.key, value.clone());
            }
            result
        }
        .boxed()
        .shared();
        let weak = shared.downgrade().expect("it has not been polled yet");
        entry.insert((id, weak, written.clone()));
        Err(SharedWork { work: shared, written, lookup: Lookup::Miss })
    }
}

impl<V: Clone, E: Clone> SharedWork<V, E> {
    /// Waits for the result, and passes on the streamed text.
    async fn follow(self, on_text: &(dyn Fn(&str) + Send + Sync)) -> Result<V, E> {
        let Self { mut work, mut written, .. } = self;
        let mut reported = 0;
        let mut report_rest = |written: &mut watch::Receiver<String>| {
            let text = written.borrow_and_update();
            if text.len() > reported {
                on_text(&text[reported..]);
                reported = text.len();
            }
        };
        loop {
            tokio::select! {
                biased;
                // Fails after the work has ended and its writer is dropped.
                Ok(()) = written.changed() => report_rest(&mut written),
                result = &mut work => {
                    report_rest(&mut written);
                    return result;
                }
            }
        }
    }
}

/// Removes work from the map when it ends or is dropped.
struct InFlightGuard<K: Eq + Hash, V, E> {
    in_flight: Arc<InFlight<K, V, E>>,
    key: K,
    id: u64,
}

impl<K: Eq + Hash, V, E> Drop for InFlightGuard<K, V, E> {
    fn drop(&mut self) {
        self.in_flight.remove_if(&self.key, |_, (id, ..)| *id == self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Notify;

    use super::*;

    type Numbers = Cache<u32, u32, String>;

    #[tokio::test]
    async fn equal_work_in_flight_is_done_once() {
        let (cache, runs, gate) = (Numbers::new(8), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let ask = || {
            let work = |_| {
                let (runs, gate) = (Arc::clone(&runs), Arc::clone(&gate));
                async move {
                    runs.fetch_add(1, Ordering::SeqCst);
                    gate.notified().await;
                    Ok(7)
                }
            };
            cache.get_or_run(1, work, None)
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
        let work = |_| {
            let alive = Arc::clone(&alive);
            async move {
                let _alive = alive;
                std::future::pending::<Result<u32, String>>().await
            }
        };
        let mut first = Box::pin(cache.get_or_run(1, work, None));
        let mut second = Box::pin(cache.get_or_run(1, work, None));
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
        drop(first);
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(Arc::strong_count(&alive), 2);
        drop(second);
        assert_eq!(Arc::strong_count(&alive), 1, "the work is dropped with its last caller");
        assert!(cache.in_flight.is_empty());
    }

    #[tokio::test]
    async fn what_is_written_is_shown_from_its_beginning() {
        let (cache, gate) = (Numbers::new(8), Arc::new(Notify::new()));
        let work = |writer: Writer| {
            let gate = Arc::clone(&gate);
            async move {
                writer.write("One ");
                gate.notified().await;
                writer.write("two.");
                Ok(2)
            }
        };
        let seen = [const { Mutex::new(String::new()) }; 2];
        let shows = [0, 1].map(|reader: usize| {
            let text = &seen[reader];
            move |piece: &str| text.lock().unwrap().push_str(piece)
        });
        let texts = || [0, 1].map(|reader: usize| seen[reader].lock().unwrap().clone());
        let mut plain = Box::pin(cache.get_or_run(1, work, None));
        assert!(futures::poll!(&mut plain).is_pending());
        let mut first = Box::pin(cache.get_or_run(1, work, Some(&shows[0])));
        assert!(futures::poll!(&mut first).is_pending());
        assert_eq!(texts(), ["One ", ""]);
        // The work continues without its first caller, and a late caller gets the whole text.
        drop(plain);
        let mut second = Box::pin(cache.get_or_run(1, work, Some(&shows[1])));
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(texts(), ["One ", "One "]);
        gate.notify_one();
        assert_eq!(tokio::join!(first, second), ((Ok(2), Lookup::Coalesced), (Ok(2), Lookup::Coalesced)));
        assert_eq!(texts(), ["One two.", "One two."]);
        let hit = cache.get_or_run(1, work, Some(&shows[0])).await;
        assert_eq!((hit, texts()), ((Ok(2), Lookup::Hit), ["One two.", "One two."].map(str::to_owned)));
    }

    #[tokio::test]
    async fn errors_are_shared_but_not_kept() {
        let cache = Numbers::new(8);
        let (failed, _) = cache.get_or_run(1, |_| async { Err("no".to_owned()) }, None).await;
        assert_eq!(failed, Err("no".into()));
        assert_eq!(cache.get_or_run(1, |_| async { Ok(2) }, None).await, (Ok(2), Lookup::Miss));
    }
}
