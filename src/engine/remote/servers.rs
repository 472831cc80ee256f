//! The servers of one model, and what is known of them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::canaries::{Check, Examined};
use super::client::Client;
use super::facts::Facts;
use super::settings::Settings;
use super::wire::Wire;
use crate::engine::EngineError;
use crate::script::Vocabulary;

/// How often servers are asked whether they are well.
const HEALTH: Duration = Duration::from_secs(5);
/// A server that has not answered that often in a row may be another one when it does.
const GONE: u32 = 2;

/// The servers of one model.
pub(super) struct Servers {
    pub(super) settings: Settings,
    pub(super) client: Client,
    pub(super) facts: Facts,
    pub(super) wire: Box<dyn Wire>,
    pub(super) vocabulary: Arc<dyn Vocabulary>,
    /// What trusted replies said of the servers.
    fingerprints: Mutex<BTreeSet<String>>,
    /// One examination at a time.
    examining: tokio::sync::Mutex<()>,
    /// Whether the servers are still those that were examined.
    same: AtomicBool,
}

impl Servers {
    /// Servers that have been examined.
    pub(super) fn new(
        (settings, client, facts): (Settings, Client, Facts),
        wire: Box<dyn Wire>,
        vocabulary: Arc<dyn Vocabulary>,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            client,
            facts,
            wire,
            vocabulary,
            fingerprints: Mutex::default(),
            examining: tokio::sync::Mutex::default(),
            same: AtomicBool::new(true),
        })
    }

    /// Whether they are still those that were examined.
    pub(super) fn are_the_same(&self) -> bool {
        self.same.load(Ordering::Relaxed)
    }

    /// What trusted replies said of them.
    pub(super) fn known_fingerprints(&self) -> Vec<String> {
        self.fingerprints().iter().cloned().collect()
    }

    /// Checks what a reply says of its server. One that was not seen before is examined again.
    ///
    /// # Errors
    /// [`EngineError::Untrusted`] if the server is not what it was.
    pub(super) async fn check_fingerprint(&self, fingerprint: Option<&str>) -> Result<(), EngineError> {
        let Some(fingerprint) = fingerprint else { return Ok(()) };
        if self.knows(fingerprint) {
            return Ok(());
        }
        let _one_at_a_time = self.examining.lock().await;
        if self.knows(fingerprint) {
            return Ok(());
        }
        if !self.fingerprints().is_empty() {
            tracing::warn!(fingerprint, "a server has changed; it is checked again");
            for index in (0..self.settings.urls.len()).filter(|index| !self.client.endpoints.is_barred(*index)) {
                if let Err(name) = self.examine(index).await {
                    self.same.store(false, Ordering::Relaxed);
                    return Err(EngineError::Untrusted(format!("it has changed: the check that {name} fails")));
                }
            }
        }
        self.fingerprints().insert(fingerprint.to_owned());
        Ok(())
    }

    /// Runs the checks of a server again.
    ///
    /// # Errors
    /// With the name of the first that fails; the log has the reason.
    async fn examine(&self, index: usize) -> Result<(), &'static str> {
        let Self { client, facts, wire, vocabulary, settings, .. } = self;
        let examined = Examined { client, index, facts, vocabulary: &**vocabulary };
        for Check { name, finding } in examined.checks(&**wire).await {
            if let Err(why) = finding {
                tracing::error!(
                    url = settings.urls[index],
                    check = name,
                    why,
                    "a server that has changed cannot be used"
                );
                return Err(name);
            }
        }
        Ok(())
    }

    fn fingerprints(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.fingerprints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, fingerprint: &str) -> bool {
        self.fingerprints().contains(fingerprint)
    }

    /// Looks after the servers again and again.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut silent = vec![0; self.settings.urls.len()];
        loop {
            tokio::time::sleep(HEALTH).await;
            self.look(&mut silent).await;
        }
    }

    /// Asks each server whether it is well, and still the same. One that comes back is examined before it is used.
    /// `silent` counts for each how often it has not answered since it last did.
    pub(super) async fn look(&self, silent: &mut [u32]) {
        let endpoints = &self.client.endpoints;
        for (index, url) in self.settings.urls.iter().enumerate() {
            match Facts::ask(&self.client, index, &self.settings).await {
                Ok(facts) if facts != self.facts => {
                    tracing::error!(url, ?facts, before = ?self.facts, "the server has another model now");
                    // The others go on, if there are any.
                    endpoints.bar(index);
                    if (0..self.settings.urls.len()).all(|other| endpoints.is_barred(other)) {
                        self.same.store(false, Ordering::Relaxed);
                    }
                }
                Ok(_) => {
                    silent[index] = 0;
                    if endpoints.is_barred(index) && self.examine(index).await.is_ok() {
                        tracing::info!(url, "the server is used again");
                        endpoints.admit(index);
                    }
                    if !endpoints.is_barred(index) {
                        self.client.note(index, true);
                    }
                }
                Err(error) => {
                    tracing::debug!(url, %error, "a server does not answer");
                    silent[index] += 1;
                    self.client.note(index, false);
                    if silent[index] >= GONE {
                        endpoints.bar(index);
                    }
                }
            }
        }
    }
}
