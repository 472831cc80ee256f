//! The engine that judges on servers of others: vLLM, SGLang, llama.cpp's server, or anything that speaks OpenAI's
//! completions.
//!
//! Tokens, templates and stop texts stay here, and token ids are sent: text routes parse control tokens inside judged
//! text. A script is a [`Walk`](crate::script::Walk) that asks; a [`wire`] turns the questions into requests; the
//! [`client`] sends them. A choice is never read from a position that a grammar or a list of allowed answers masks, and
//! a reply without every token that was asked for is an error.

mod canaries;
mod client;
mod endpoints;
mod events;
mod facts;
mod observer;
mod script_run;
mod settings;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

pub use self::canaries::Check;
pub use self::facts::Facts;
pub use self::observer::{Observer, Outcome};
pub use self::settings::{Kind, Settings};

use self::canaries::Examined;
use self::client::Client;
use self::wire::Wire;
use self::wire::completions::Completions;
use self::wire::llama_server::LlamaServer;
use self::wire::sglang::Sglang;
use self::wire::vllm::{Method, Vllm};
use super::{Compiled, Engine, EngineError, EngineInfo, Event, Job, Load, LoadError, Run, compiled};
use crate::prompts::ChatFormat;
use crate::script::Vocabulary;

/// How often servers are asked whether they are well.
const HEALTH: Duration = Duration::from_secs(5);

/// Servers whose facts are known, but not whether they are true.
pub struct Contact {
    settings: Settings,
    client: Client,
    facts: Facts,
}

/// What the checks of servers found.
struct Examination {
    /// The best protocol that all servers passed the checks of.
    wire: Option<Box<dyn Wire>>,
    /// All checks, by the server's address.
    checks: Vec<(String, Check)>,
    /// Why they are not complete: a server did not answer, or was busy.
    gone: Option<String>,
}

/// A vocabulary for the servers' model.
pub struct Tokenizer {
    /// The vocabulary.
    pub vocabulary: Arc<dyn Vocabulary>,
    /// The chat format.
    pub chat: ChatFormat,
    /// `sha256:<hex>` of its files.
    pub digest: String,
}

/// An engine on servers.
pub struct Remote {
    info: EngineInfo,
    chat: ChatFormat,
    servers: Arc<Servers>,
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    health: tokio::task::JoinHandle<()>,
}

/// A job that waits for its turn; counted until it is dropped.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The servers of one model.
struct Servers {
    settings: Settings,
    client: Client,
    facts: Facts,
    wire: Box<dyn Wire>,
    vocabulary: Arc<dyn Vocabulary>,
    /// What trusted replies said of the servers.
    fingerprints: Mutex<BTreeSet<String>>,
    /// One examination at a time.
    examining: tokio::sync::Mutex<()>,
    /// Whether the servers are still those that were examined.
    same: AtomicBool,
}

impl Contact {
    /// Asks the servers what they are.
    ///
    /// # Errors
    /// [`LoadError::Unreachable`] if one does not answer, [`LoadError::Remote`] if they do not have the model or have
    /// different ones.
    pub async fn new(settings: Settings, observer: Arc<dyn Observer>) -> Result<Self, LoadError> {
        let client =
            Client::new(&settings, observer).map_err(|why| LoadError::Remote("its settings".to_owned(), why))?;
        let mut facts: Option<Facts> = None;
        for (index, url) in settings.urls.iter().enumerate() {
            let found = Facts::ask(&client, index, &settings).await?;
            match &facts {
                Some(first) if *first != found => {
                    let why = format!(
                        "it has {found:?}, and {} has {first:?}: one model needs equal servers",
                        settings.urls[0]
                    );
                    return Err(LoadError::Remote(url.clone(), why));
                }
                _ => facts = Some(found),
            }
        }
        let facts = facts.ok_or_else(|| LoadError::Remote("remote.urls".to_owned(), "it is empty".to_owned()))?;
        Ok(Self { settings, client, facts })
    }

    /// What the servers say of themselves.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The best protocol that each server passes the checks of, with all checks of each server; or the checks that
    /// failed.
    async fn examine(&self, vocabulary: &dyn Vocabulary) -> Examination {
        let mut all = Vec::new();
        for wire in protocols(self.facts.kind) {
            let mut passed = true;
            for (index, url) in self.settings.urls.iter().enumerate() {
                let examined = Examined::new(&self.client, index, &self.facts, vocabulary);
                let checks = examined.checks(&*wire).await;
                passed &= checks.iter().all(|check| check.finding.is_ok());
                all.extend(checks.into_iter().map(|check| (url.clone(), check)));
                if let Some(why) = examined.gone() {
                    return Examination { wire: None, checks: all, gone: Some(why) };
                }
            }
            if passed {
                return Examination { wire: Some(wire), checks: all, gone: None };
            }
        }
        Examination { wire: None, checks: all, gone: None }
    }

    /// All checks of each server, by its address.
    pub async fn checks(&self, vocabulary: &dyn Vocabulary) -> Vec<(String, Check)> {
        self.examine(vocabulary).await.checks
    }

    /// Proves what the servers do, and makes an engine of them. `name` is the model's name in requests.
    ///
    /// # Errors
    /// With the check that failed, or the setting that does not fit; [`LoadError::Unreachable`] if a server did not
    /// answer, or was busy.
    pub async fn engine(self, name: String, tokenizer: Tokenizer) -> Result<Remote, LoadError> {
        let url = || self.settings.urls.join(", ");
        let refused = |why: String| LoadError::Remote(url(), why);
        let context = self.facts.usable_context(self.settings.context).map_err(&refused)?;
        let Examination { wire, checks, gone } = self.examine(&*tokenizer.vocabulary).await;
        if let Some(why) = gone {
            return Err(LoadError::Unreachable(why));
        }
        let Some(wire) = wire else {
            let failed = checks.into_iter().filter_map(|(url, check)| Some((url, check.name, check.finding.err()?)));
            let (url, name, why) = failed.last().unwrap_or_else(|| (url(), "", "no protocol fits it".to_owned()));
            return Err(LoadError::Remote(url, format!("the check that {name} fails: {why}")));
        };
        if !wire.exact() && !self.settings.accept_bounded {
            return Err(refused(format!(
                "servers of the kind {} tell the most probable tokens only, so probabilities are bounds: set \
                 remote.accept = \"bounded\" to judge with them",
                wire.kind().name()
            )));
        }
        let Facts { kind, root, weights, parameters, .. } = &self.facts;
        let identity = format!("{}\n{root}\n{weights}\n{parameters}\n{}\n", kind.name(), tokenizer.digest);
        let info = EngineInfo {
            engine: "remote",
            model: name,
            digest: format!("sha256:{:x}", Sha256::digest(identity)),
            context,
            sequences: self.settings.sequences,
        };
        let turns = Arc::new(Semaphore::new(self.settings.sequences));
        let servers = Arc::new(Servers {
            settings: self.settings,
            client: self.client,
            facts: self.facts,
            wire,
            vocabulary: tokenizer.vocabulary,
            fingerprints: Mutex::default(),
            examining: tokio::sync::Mutex::default(),
            same: AtomicBool::new(true),
        });
        let health = tokio::spawn(Arc::clone(&servers).watch());
        Ok(Remote { info, chat: tokenizer.chat, servers, turns, waiting: Arc::default(), health })
    }
}

/// The protocols of a kind, the best first.
fn protocols(kind: Kind) -> Vec<Box<dyn Wire>> {
    match kind {
        Kind::Vllm => vec![Box::new(Vllm(Method::Ids)), Box::new(Vllm(Method::Allowed))],
        Kind::Sglang => vec![Box::new(Sglang)],
        Kind::LlamaServer => vec![Box::new(LlamaServer)],
        Kind::OpenaiCompletions => vec![Box::new(Completions)],
    }
}

impl Servers {
    /// Checks what a reply says of its server. One that was not seen before is asked again what it is, and examined.
    ///
    /// # Errors
    /// [`EngineError::Untrusted`] if the server is not what it was.
    async fn check_fingerprint(&self, fingerprint: Option<&str>) -> Result<(), EngineError> {
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
            if let Ok(facts) = Facts::ask(&self.client, index, &self.settings).await {
                self.check_facts(url, &facts)?;
            }
        }
        if !first {
            tracing::warn!(fingerprint, "a server has changed; it is checked again");
            for (index, url) in self.settings.urls.iter().enumerate() {
                let examined = Examined::new(&self.client, index, &self.facts, &*self.vocabulary);
                let checks = examined.checks(&*self.wire).await;
                if let Some(why) = examined.gone() {
                    return Err(EngineError::Unavailable { why, retry_after: HEALTH });
                }
                for Check { name, finding } in checks {
                    if let Err(why) = finding {
                        self.same.store(false, Ordering::Relaxed);
                        tracing::error!(url, check = name, why, "a server that has changed cannot be used");
                        return Err(EngineError::Untrusted(format!("it has changed: the check that {name} fails")));
                    }
                }
            }
        }
        self.fingerprints().insert(fingerprint.to_owned());
        Ok(())
    }

    /// Checks what a server says of itself.
    ///
    /// # Errors
    /// [`EngineError::Untrusted`] if it is not what it was.
    fn check_facts(&self, url: &str, facts: &Facts) -> Result<(), EngineError> {
        if *facts == self.facts {
            return Ok(());
        }
        self.same.store(false, Ordering::Relaxed);
        tracing::error!(url, ?facts, before = ?self.facts, "the server has another model now");
        Err(EngineError::Untrusted("it is of another model than the one that was loaded".to_owned()))
    }

    fn fingerprints(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.fingerprints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, fingerprint: &str) -> bool {
        self.fingerprints().contains(fingerprint)
    }

    /// Asks the servers again and again whether they are well, and still the same.
    async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(HEALTH).await;
            for (index, url) in self.settings.urls.iter().enumerate() {
                match Facts::ask(&self.client, index, &self.settings).await {
                    Ok(facts) => {
                        if self.check_facts(url, &facts).is_ok() {
                            self.client.note(index, true);
                        }
                    }
                    Err(error) => {
                        tracing::debug!(url, %error, "a server does not answer");
                        self.client.note(index, false);
                    }
                }
            }
        }
    }
}

impl Remote {
    /// What the servers say of themselves.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.servers.facts
    }
}

impl Engine for Remote {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn chat_format(&self) -> &ChatFormat {
        &self.chat
    }

    fn compile(&self, job: Job) -> Result<Compiled, EngineError> {
        compiled(job, &self.info, &*self.servers.vocabulary)
    }

    fn start(&self, compiled: Compiled) -> Run {
        let (sender, run) = Run::channel();
        let (servers, turns) = (Arc::clone(&self.servers), Arc::clone(&self.turns));
        let (asked, waiting) = (Instant::now(), Waiting::new(&self.waiting));
        tokio::spawn(async move {
            let told = sender.clone();
            let work = async move {
                let Ok(_turn) = turns.acquire().await else { return Err(EngineError::Stopped) };
                drop(waiting);
                if compiled.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Err(EngineError::TooLate);
                }
                script_run::run(&servers, compiled, asked, &told).await
            };
            let event = tokio::select! {
                result = work => match result {
                    Ok(completion) => Event::Done(Box::new(completion)),
                    Err(error) => Event::Failed(error),
                },
                () = sender.closed() => return,
            };
            let _ = sender.send(event);
        });
        run
    }

    fn load(&self) -> Load {
        let running = self.servers.settings.sequences.saturating_sub(self.turns.available_permits());
        Load { waiting: self.waiting.load(Ordering::Relaxed), running, ..Load::default() }
    }

    fn alive(&self) -> bool {
        self.servers.same.load(Ordering::Relaxed)
    }

    fn available(&self) -> bool {
        self.servers.client.endpoints.available(Instant::now())
    }

    fn shut_down(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let all = u32::try_from(self.servers.settings.sequences).unwrap_or(u32::MAX);
            // Running jobs hold the other permits.
            let _ = self.turns.acquire_many(all).await;
            self.turns.close();
            self.health.abort();
        })
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.health.abort();
    }
}
