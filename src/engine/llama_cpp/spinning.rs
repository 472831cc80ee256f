//! How long llama.cpp's threads spin at a barrier before they sleep: long on an idle machine, briefly on a busy one.
//!
//! They meet at some hundred barriers for each token. libgomp spins there for milliseconds. On an idle machine that is
//! the fastest way to wait. On a busy machine, a spinning thread occupies the core that the thread it waits for needs;
//! docs/performance.md has the figures.
//!
//! The spin count itself is read from the environment before `main`. But libgomp spins only about a hundred rounds while
//! a process has more OpenMP threads than it has processors (`do_spin` in libgomp's config/linux/wait.h). So a second
//! team of threads, which sleeps, is kept for as long as the machine is busy.
#![expect(unsafe_code, reason = "libgomp has no other interface for a team of threads than C functions")]

use std::ffi::{c_int, c_uint, c_void};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// Computing time after which it is decided again whether the machine is busy.
const WINDOW: Duration = Duration::from_millis(200);
/// A pause after which the last decision says nothing about now.
const STALE: Duration = Duration::from_secs(1);
/// The machine is busy if a thread waits this share of the computing time for a processor. 0.01 was measured on an idle
/// machine; beside as many busy loops as processors, a fair share is to wait half of the time.
const BUSY: f64 = 0.05;

unsafe extern "C" {
    /// The number of processors that this process may run on.
    safe fn omp_get_num_procs() -> c_int;
    /// Calls `body(data)` in each of `threads` threads, this one included; returns when all have returned. What GCC makes
    /// of `#pragma omp parallel`, in libgomp since GCC 4.9.
    fn GOMP_parallel(body: extern "C" fn(*mut c_void), data: *mut c_void, threads: c_uint, flags: c_uint);
}

/// Decides for one context how its threads wait.
pub(super) struct Spinning {
    /// Number of threads that compute; 1 if there is nothing to decide, because the user has chosen (`GOMP_SPINCOUNT`,
    /// `OMP_WAIT_POLICY`), or the kernel has no statistics.
    threads: u32,
    /// Computing time since the last decision.
    computed: Duration,
    /// When a computation ended last.
    ended: Option<Instant>,
    /// Time that all threads of this process had waited for a processor at the last decision.
    waited: Duration,
    /// The sleeping team, while the machine is busy or not known to be idle.
    sleepers: Option<Sleepers>,
}

impl Spinning {
    pub(super) fn new(threads: u32) -> Self {
        let chosen = ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"].iter().any(|name| env::var_os(name).is_some());
        let threads = if chosen || waited().is_none() { 1 } else { threads };
        Self { threads, computed: Duration::ZERO, ended: None, waited: Duration::ZERO, sleepers: None }
    }

    /// Computes, with the threads spinning as is right for the machine now.
    pub(super) fn during<T>(&mut self, compute: impl FnOnce() -> T) -> T {
        if self.threads < 2 {
            return compute();
        }
        let stale = self.ended.is_none_or(|ended| ended.elapsed() > STALE);
        if stale || self.computed >= WINDOW {
            let waited = waited().unwrap_or_default();
            let since = waited.saturating_sub(self.waited);
            self.decide(stale || is_busy(since, self.computed, self.threads));
            (self.computed, self.waited) = (Duration::ZERO, waited);
        }
        let began = Instant::now();
        let result = compute();
        let ended = Instant::now();
        self.computed += ended - began;
        self.ended = Some(ended);
        result
    }

    fn decide(&mut self, busy: bool) {
        if !busy {
            self.sleepers = None;
        } else if self.sleepers.is_none() {
            self.sleepers = Sleepers::gather(self.threads);
        }
    }
}

/// Whether `threads` threads that waited for a processor for `waited` altogether, while they computed for `computed`,
/// share their processors with others.
fn is_busy(waited: Duration, computed: Duration, threads: u32) -> bool {
    waited.as_secs_f64() > BUSY * f64::from(threads) * computed.as_secs_f64()
}

/// Time that all threads of this process have waited for a processor; `None` where the kernel does not say.
fn waited() -> Option<Duration> {
    let tasks = fs::read_dir("/proc/self/task").ok()?;
    let times = tasks.flatten().filter_map(|task| {
        let statistics = fs::read_to_string(task.path().join("schedstat")).ok()?;
        waited_in(&statistics)
    });
    times.reduce(|sum, time| sum + time)
}

/// The waiting time in the text of a `schedstat` file: nanoseconds on a processor, nanoseconds of waiting for one, and
/// the number of time slices.
fn waited_in(statistics: &str) -> Option<Duration> {
    statistics.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

/// A team of sleeping threads.
struct Sleepers {
    gate: Arc<Gate>,
    leader: Option<JoinHandle<()>>,
}

/// Opens once.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Sleepers {
    /// A team that makes the process have more OpenMP threads than processors, beside a team of `threads`: two threads, and
    /// more only where fewer compute than there are processors. `None` if the system refuses the first; libgomp ends the
    /// process if it refuses another, as it does for llama.cpp's own threads.
    fn gather(threads: u32) -> Option<Self> {
        let processors = u32::try_from(omp_get_num_procs()).unwrap_or(1);
        // Counted are the first thread of the process, and of each team all but the thread that called for it.
        let size = (processors + 2).saturating_sub(threads).max(2);
        let gate = Arc::new(Gate::default());
        let leader = thread::Builder::new().name("gavel-sleepers".into()).spawn({
            let gate = Arc::clone(&gate);
            // SAFETY: `data` points to the gate, which this thread keeps until all calls of `body` have returned, and
            // `body` takes it for that. It does not unwind.
            move || unsafe { GOMP_parallel(sleep, Arc::as_ptr(&gate).cast_mut().cast(), size, 0) }
        });
        match leader {
            Ok(leader) => Some(Self { gate, leader: Some(leader) }),
            Err(error) => {
                tracing::warn!(%error, "cannot start the threads that limit spinning");
                None
            }
        }
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        *self.gate.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.gate.opened.notify_all();
        // The threads of a team count until the thread that called for them has ended.
        if let Some(leader) = self.leader.take()
            && leader.join().is_err()
        {
            tracing::error!("a thread that limits spinning has panicked");
        }
    }
}

/// Waits until the gate at `data` is open.
extern "C" fn sleep(data: *mut c_void) {
    // SAFETY: `Sleepers::gather` gives a pointer to a gate that lives until this returns.
    let gate = unsafe { &*data.cast::<Gate>() };
    let open = gate.open.lock().unwrap_or_else(PoisonError::into_inner);
    drop(gate.opened.wait_while(open, |open| !*open));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_number_of_schedstat_is_the_waiting_time() {
        assert_eq!(waited_in("51 70816 1\n"), Some(Duration::from_nanos(70816)));
        assert_eq!(waited_in(""), None);
        assert_eq!(waited_in("51 -"), None);
    }

    #[test]
    fn a_machine_is_busy_if_threads_wait_for_processors() {
        let of = |waited, computed, threads| {
            is_busy(Duration::from_millis(waited), Duration::from_millis(computed), threads)
        };
        assert!(!of(0, 200, 2));
        assert!(!of(20, 200, 2));
        assert!(of(21, 200, 2));
        // More threads wait more often, altogether.
        assert!(!of(21, 200, 4));
    }

    #[test]
    fn a_calm_window_lets_threads_spin_and_a_pause_ends_that() {
        let mut spinning = Spinning::new(2);
        if spinning.threads < 2 {
            return;
        }
        spinning.during(|| ());
        assert!(spinning.sleepers.is_some(), "nothing is known yet");
        spinning.decide(false);
        spinning.during(|| ());
        assert!(spinning.sleepers.is_none());
        spinning.ended = spinning.ended.and_then(|ended| ended.checked_sub(2 * STALE));
        spinning.during(|| ());
        assert!(spinning.sleepers.is_some());
    }
}
