//! Threads wait as the system's OpenMP lets them: only libgomp on Linux is known well enough to change that.

/// Changes nothing.
pub(super) struct Spinning;

impl Spinning {
    pub(super) fn new(_threads: u32) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "as on Linux")]
    pub(super) fn during<T>(&mut self, compute: impl FnOnce() -> T) -> T {
        compute()
    }
}
