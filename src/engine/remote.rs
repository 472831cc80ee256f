//! The engine that judges on servers of others: vLLM, SGLang, llama.cpp's server, or anything that speaks OpenAI's
//! completions.
//!
//! Tokens, templates and stop texts stay here, and token ids are sent: text routes parse control tokens inside judged
//! text. A script is a [`Walk`](crate::script::Walk) that asks; `wire` turns the questions into requests, and `client`
//! sends them. A choice is never read from a position that a grammar or a list of allowed answers masks, and
//! a reply without every token that was asked for is an error.

mod canaries;
mod client;
mod endpoints;
mod events;
mod facts;
mod observer;
mod script_run;
mod servers;
mod settings;
mod turns;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

pub use self::canaries::Check;
pub use self::facts::Facts;
pub use self::observer::{Observer, Outcome};
pub use self::settings::{Kind, LabelMassKind, Settings};
pub use self::wire::Abilities;

use self::canaries::Examined;
use self::client::Client;
use self::servers::Servers;
use self::turns::Turns;
use self::wire::Wire;
use self::wire::chat::Chat;
use self::wire::completions::Completions;
use self::wire::llama_server::LlamaServer;
use self::wire::sglang::Sglang;
use self::wire::vllm::{Method, Vllm};
use super::{Compiled, Engine, EngineError, EngineInfo, Event, Eyes, Job, Load, LoadError, Run, Upstream, compiled};
use crate::prompts::ChatFormat;
use crate::script::{Remembering, Vocabulary};

/// The name of the engine.
pub const NAME: &str = "remote";

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

impl Tokenizer {
    /// That of servers which take messages and tell nothing of their tokens: a byte counts as a token.
    #[must_use]
    pub fn of_messages() -> Self {
        Self { vocabulary: Arc::new(Turns::default()), chat: turns::chat_format(), digest: "messages".to_owned() }
    }
}

impl Contact {
    /// Asks the servers what they are. Those that do not answer are left out until they do.
    ///
    /// # Errors
    /// [`LoadError::Unreachable`] if none answers, [`LoadError::Remote`] if they do not have the model or have different
    /// ones.
    pub async fn new(settings: Settings, observer: Arc<dyn Observer>) -> Result<Self, LoadError> {
        let client =
            Client::new(&settings, observer).map_err(|why| LoadError::Remote("its settings".to_owned(), why))?;
        let (mut facts, mut silent): (Option<Facts>, _) = (None, None);
        for (index, url) in settings.urls.iter().enumerate() {
            let found = match Facts::ask(&client, index, &settings).await {
                Err(error @ LoadError::Unreachable(_)) => {
                    tracing::warn!(url, %error, "the server is skipped until it answers");
                    client.endpoints.bar(index);
                    silent = Some(error);
                    continue;
                }
                found => found?,
            };
            match &facts {
                Some(first) if *first != found => {
                    let why = format!(
                        "it reports {found:?}, but {} reports {first:?}: all servers of a model must be equal",
                        settings.urls[0]
                    );
                    return Err(LoadError::Remote(url.clone(), why));
                }
                _ => facts = Some(found),
            }
        }
        let empty = || LoadError::Remote("remote.urls".to_owned(), "it is empty".to_owned());
        let facts = facts.ok_or_else(|| silent.unwrap_or_else(empty))?;
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
        for wire in protocols(self.facts.kind, &self.settings) {
            let mut passed = true;
            for (index, url) in self.settings.urls.iter().enumerate() {
                if self.client.endpoints.is_barred(index) {
                    continue;
                }
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
        let tokenizer = match (self.facts.kind, self.settings.picture_tokens) {
            (_, 0) => tokenizer,
            (Kind::OpenaiChat, picture_tokens) => {
                Tokenizer { vocabulary: Arc::new(Turns { picture_tokens }), ..tokenizer }
            }
            (kind, _) => {
                let kind = kind.name();
                return Err(refused(format!(
                    "it is of the kind {kind}: remote.picture_tokens is for openai-chat alone"
                )));
            }
        };
        let Examination { wire, checks, gone } = self.examine(&*tokenizer.vocabulary).await;
        if let Some(why) = gone {
            return Err(LoadError::Unreachable(why));
        }
        let Some(wire) = wire else {
            let mut failed =
                checks.into_iter().filter_map(|(url, check)| Some((url, check.name, check.finding.err()?)));
            let (url, name, why) = failed.next_back().unwrap_or_else(|| (url(), "", "no protocol fits it".to_owned()));
            return Err(LoadError::Remote(url, format!("the check that {name} fails: {why}")));
        };
        let told = wire.abilities().label_mass;
        if told > self.settings.accept {
            let probabilities = match told {
                LabelMassKind::Sampled => {
                    "returns no log probabilities, so probabilities are shares of sampled answers"
                }
                _ => "returns only the most probable tokens, so probabilities are lower bounds",
            };
            return Err(refused(format!(
                "it {probabilities}: set remote.accept = \"{}\" to judge with them",
                told.name()
            )));
        }
        let Facts { kind, root, weights, parameters, .. } = &self.facts;
        let identity = format!("{}\n{root}\n{weights}\n{parameters}\n{}\n", kind.name(), tokenizer.digest);
        let info = EngineInfo {
            engine: NAME,
            model: name,
            digest: format!("sha256:{:x}", Sha256::digest(identity)),
            context,
            sequences: self.settings.sequences,
            device: "remote",
            threads: None,
        };
        let turns = Arc::new(Semaphore::new(self.settings.sequences));
        // What judgements by one rubric have in common is tokenised once: that is most of the time of one.
        let vocabulary = Arc::new(Remembering::new(tokenizer.vocabulary));
        let servers = Servers::new((self.settings, self.client, self.facts), wire, vocabulary);
        let health = tokio::spawn(Arc::clone(&servers).watch());
        Ok(Remote { info, chat: tokenizer.chat, servers, turns, waiting: Arc::default(), health })
    }
}

/// The protocols of a kind, the best first.
fn protocols(kind: Kind, settings: &Settings) -> Vec<Box<dyn Wire>> {
    match kind {
        Kind::Vllm => vec![Box::new(Vllm(Method::Ids)), Box::new(Vllm(Method::Allowed))],
        Kind::Sglang => vec![Box::new(Sglang)],
        Kind::LlamaServer => vec![Box::new(LlamaServer)],
        Kind::OpenaiCompletions => vec![Box::new(Completions)],
        Kind::OpenaiChat => {
            let variants = [None, Some(settings.samples)].into_iter().flat_map(|samples| {
                [false, true].map(|new_limit| Box::new(Chat { new_limit, samples }) as Box<dyn Wire>)
            });
            variants.collect()
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

    fn vocabulary(&self) -> Option<Arc<dyn Vocabulary>> {
        // Of a provider of messages, nothing is known of tokens.
        (self.servers.facts.kind != Kind::OpenaiChat).then(|| Arc::clone(&self.servers.vocabulary))
    }

    fn eyes(&self) -> Option<Eyes> {
        // They are those of the model, whose file is not known.
        (self.servers.settings.picture_tokens > 0).then(|| Eyes { digest: self.info.digest.clone() })
    }

    fn compile(&self, job: Job) -> Result<Compiled, EngineError> {
        let Servers { wire, facts, vocabulary, .. } = &*self.servers;
        if let Some(what) = wire.abilities().lacks(&job.prompt, &job.script, &job.sampling) {
            return Err(EngineError::NotSupported { what, kind: facts.kind.name() });
        }
        compiled(job, &self.info, &**vocabulary)
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
        self.servers.are_the_same()
    }

    fn upstream(&self) -> Option<Upstream> {
        let Servers { facts, settings, wire, .. } = &*self.servers;
        Some(Upstream {
            kind: facts.kind.name(),
            urls: settings.urls.clone(),
            model: facts.model.clone(),
            root: facts.root.clone(),
            fingerprints: self.servers.known_fingerprints(),
            abilities: wire.abilities(),
        })
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
