//! The shutdown of a server, as its requests see it.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// The server shut down before the end of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server shut down before this request was finished; retry later or on another server")]
pub struct CutOff;

/// How far the shutdown of a server is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Serving,
    Draining,
    Closing,
    CutOff,
}

/// Tells the requests of a server how far its shutdown is. Stages only advance.
#[derive(Debug, Default)]
pub struct Shutdown {
    stage: watch::Sender<Stage>,
    cut: AtomicUsize,
    /// The port of the server, so that it can be closed while its requests go on.
    port: Mutex<Option<TcpListener>>,
}

impl Shutdown {
    /// Keeps the port of the server.
    pub fn keep_port(&self, port: TcpListener) {
        *self.port.lock().unwrap_or_else(PoisonError::into_inner) = Some(port);
    }

    /// Gives the port of the server away, to close it.
    pub fn take_port(&self) -> Option<TcpListener> {
        self.port.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Begins the shutdown: the server is not ready any more, but still serves, so that load balancers can notice.
    pub fn drain(&self) {
        self.advance(Stage::Draining);
    }

    /// Refuses new requests; those in flight go on.
    pub fn close(&self) {
        self.advance(Stage::Closing);
    }

    /// Ends the requests that are still in flight with [`CutOff`].
    pub fn cut_off(&self) {
        self.advance(Stage::CutOff);
    }

    /// Whether the shutdown has begun.
    #[must_use]
    pub fn draining(&self) -> bool {
        *self.stage.borrow() >= Stage::Draining
    }

    /// Whether new requests are refused.
    #[must_use]
    pub fn closing(&self) -> bool {
        *self.stage.borrow() >= Stage::Closing
    }

    /// Waits until the requests in flight are cut off.
    pub async fn is_cut_off(&self) {
        // The sender is this one, so waiting cannot fail.
        let _ = self.stage.subscribe().wait_for(|stage| *stage == Stage::CutOff).await;
    }

    /// Work of a request, until it is cut off.
    ///
    /// # Errors
    /// [`CutOff`]; the work is dropped, and counts in [`Shutdown::cut`].
    pub async fn unless_cut_off<T>(&self, work: impl Future<Output = T>) -> Result<T, CutOff> {
        tokio::select! {
            // Most work ends without a look at the shutdown.
            biased;
            done = work => Ok(done),
            () = self.is_cut_off() => {
                self.cut.fetch_add(1, Ordering::Relaxed);
                Err(CutOff)
            }
        }
    }

    /// How many pieces of work were cut off: each verdict and each body that was not complete.
    #[must_use]
    pub fn cut(&self) -> usize {
        self.cut.load(Ordering::Relaxed)
    }

    fn advance(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let later = to > *stage;
            *stage = to.max(*stage);
            later
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_is_unfinished_is_cut_off() {
        let shutdown = Shutdown::default();
        assert!(!shutdown.draining() && !shutdown.closing());
        shutdown.drain();
        assert!(shutdown.draining() && !shutdown.closing());
        let never = shutdown.unless_cut_off(std::future::pending::<()>());
        let (ended, ()) = tokio::join!(never, async {
            shutdown.close();
            assert_eq!(shutdown.unless_cut_off(async { 1 }).await, Ok(1));
            shutdown.cut_off();
            shutdown.drain();
        });
        assert_eq!((ended, shutdown.cut(), shutdown.closing()), (Err(CutOff), 1, true));
        assert_eq!(shutdown.unless_cut_off(async { 2 }).await, Ok(2), "an answer that is there is given");
    }
}
