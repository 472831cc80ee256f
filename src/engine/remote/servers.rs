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

/// Why a server cannot be used.
enum Unfit {
    /// It did not answer, or was busy.
    Gone(String),
    /// This check fails.
    Fails(&'static str),
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
        let first = self.fingerprints().is_empty();
        for (index, url) in self.settings.urls.iter().enumerate() {
            // One that does not answer is noticed elsewhere.
            if let Ok(facts) = Facts::ask(&self.client, index, &self.settings).await
                && facts != self.facts
            {
                self.exclude(index, url, &facts);
                return Err(EngineError::Untrusted("it is of another model than the one that was loaded".to_owned()));
            }
        }
        if !first {
            tracing::warn!(fingerprint, "a server has changed; checking it again");
            for index in (0..self.settings.urls.len()).filter(|index| !self.client.endpoints.is_barred(*index)) {
                match self.examine(index).await {
                    Ok(()) => {}
                    Err(Unfit::Gone(why)) => return Err(EngineError::Unavailable { why, retry_after: HEALTH }),
                    Err(Unfit::Fails(name)) => {
                        self.same.store(false, Ordering::Relaxed);
                        return Err(EngineError::Untrusted(format!("it has changed: the check that {name} fails")));
                    }
                }
            }
        }
        self.fingerprints().insert(fingerprint.to_owned());
        Ok(())
    }

    /// Leaves out a server that has another model now. The others go on, if there are any.
    fn exclude(&self, index: usize, url: &str, facts: &Facts) {
        tracing::error!(url, ?facts, before = ?self.facts, "the server has another model now");
        let endpoints = &self.client.endpoints;
        endpoints.bar(index);
        if (0..self.settings.urls.len()).all(|other| endpoints.is_barred(other)) {
            self.same.store(false, Ordering::Relaxed);
        }
    }

    /// Runs the checks of a server again; the log has the reason of one that fails.
    async fn examine(&self, index: usize) -> Result<(), Unfit> {
        let examined = Examined::new(&self.client, index, &self.facts, &*self.vocabulary);
        let checks = examined.checks(&*self.wire).await;
        if let Some(why) = examined.gone() {
            return Err(Unfit::Gone(why));
        }
        for Check { name, finding } in checks {
            if let Err(why) = finding {
                let url = &self.settings.urls[index];
                tracing::error!(url, check = name, why, "a changed server failed its check; skipping it");
                return Err(Unfit::Fails(name));
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
                Ok(facts) if facts != self.facts => self.exclude(index, url, &facts),
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
