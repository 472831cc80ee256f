//! Loads models at servers again, when the servers are another's or were not there.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{ModelRegistry, SlotState};

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(5);

impl ModelRegistry {
    /// Looks after the models at servers as long as the registry is there.
    pub(super) fn keep(self: &Arc<Self>) {
        if !self.slots.iter().any(|slot| slot.spec.is_remote()) {
            return;
        }
        let registry = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let Some(registry) = Weak::upgrade(&registry) else { return };
                registry.load_again();
            }
        });
    }

    /// Starts to load each model at a server that was not there, or is another one now.
    pub(super) fn load_again(self: &Arc<Self>) {
        for (index, slot) in self.slots.iter().enumerate().filter(|(_, slot)| slot.spec.is_remote()) {
            let wanted = match &*slot.state.borrow() {
                SlotState::Failed(failure) => failure.may_pass(),
                SlotState::Ready { judge, .. } => !judge.alive(),
                SlotState::Unloaded | SlotState::Loading => false,
            };
            if wanted {
                // Asking a server costs little, and one that starts is wanted as soon as it is there.
                slot.backoff().reset();
                self.start_loading(index);
            }
        }
    }
}
