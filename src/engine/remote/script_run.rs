//! Runs a script at the servers: asks what its walk asks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use super::client::Flow;
use super::servers::Servers;
use super::settings::session;
use super::wire::{Choice, Context, Piece, Question, Reading, Request, Wanted, WireError};
use crate::domain::Finish;
use crate::engine::{Compiled, Completion, EngineError, Event, Stages};
use crate::script::{Ask, Look, SamplerSettings, Transcript, Walk};

/// A script that runs at the servers.
struct ScriptRun<'a> {
    servers: &'a Servers,
    sampling: SamplerSettings,
    /// Whether the server reuses no prefix for it.
    fresh: bool,
    /// The prefix that it shares with others.
    key: u64,
    /// The pictures of the prompt.
    looks: Vec<Look>,
    sender: &'a UnboundedSender<Event>,
    first_reply: std::sync::OnceLock<Instant>,
    /// By the first reply; 0 if that does not tell it.
    prompt_tokens: AtomicUsize,
    cached_tokens: AtomicUsize,
}

/// Runs a job that has its turn; `asked` is when it was started.
///
/// # Errors
/// When a server cannot be used, refuses, or answers with what cannot be true.
pub(super) async fn run(
    servers: &Servers,
    compiled: Compiled,
    asked: Instant,
    sender: &UnboundedSender<Event>,
) -> Result<Completion, EngineError> {
    let (begun, prompt_tokens) = (Instant::now(), compiled.prompt_tokens);
    let run = ScriptRun {
        servers,
        sampling: compiled.job.sampling,
        fresh: compiled.job.deterministic,
        key: session(&compiled.encoded.ids),
        looks: compiled.encoded.looks.clone(),
        sender,
        first_reply: std::sync::OnceLock::new(),
        prompt_tokens: AtomicUsize::new(0),
        cached_tokens: AtomicUsize::new(0),
    };
    let vocabulary = std::sync::Arc::clone(&servers.vocabulary) as _;
    let walk = Walk::new(vocabulary, compiled.encoded, compiled.script, servers.wire.abilities().batches);
    let transcript = run.drive(walk, true).await?;
    let replied = run.first_reply.get().copied().unwrap_or(begun);
    let told = run.prompt_tokens.load(Ordering::Relaxed);
    let prompt_tokens = if told > 0 { told } else { prompt_tokens };
    Ok(Completion {
        transcript,
        prompt_tokens,
        cached_tokens: run.cached_tokens.load(Ordering::Relaxed).min(prompt_tokens),
        stages: Stages { queue: begun - asked, prefill: replied - begun, decode: replied.elapsed() },
    })
}

impl ScriptRun<'_> {
    /// Answers a walk until it ends. Only the text of the script itself is shown, not that of branches.
    fn drive(&self, mut walk: Walk, shown: bool) -> BoxFuture<'_, Result<Transcript, EngineError>> {
        async move {
            let mut ask = walk.advance();
            loop {
                if shown {
                    self.show(&mut walk);
                }
                ask = match ask {
                    Ask::Generate => self.generate(&mut walk, shown).await?,
                    Ask::Read(nodes) => {
                        let wanted = Wanted { nodes: &nodes, answer: walk.run_text(), options: walk.options() };
                        match self.servers.wire.ask(self.context(&walk), wanted) {
                            Question::Nodes(reading) => self.read(&mut walk, reading).await?,
                            Question::Whole(choice) => self.choose(&mut walk, &*choice).await?,
                        }
                    }
                    Ask::PromptLogprobs(most) => {
                        let wire = &self.servers.wire;
                        let request =
                            wire.prompt_logprobs(self.context(&walk), most).ok_or(EngineError::NotSupported {
                                what: "log probabilities of the prompt",
                                kind: self.servers.facts.kind.name(),
                            })?;
                        let reply = self.call("prompt_logprobs", &request).await?;
                        let told = wire.read_prompt_logprobs(self.context(&walk), &reply);
                        let told = told.map_err(|error| Self::untrusted(&error))?;
                        walk.on_prompt_logprobs(told)
                    }
                    Ask::Fork(count) => {
                        // The first branch reads the prefix, which the others find in the server's cache.
                        let mut transcripts = vec![self.drive(walk.branch(0), false).await?];
                        let others = (1..count).map(|index| self.drive(walk.branch(index), false));
                        transcripts.extend(try_join_all(others).await?);
                        walk.on_branches(transcripts)
                    }
                    Ask::Done(transcript) => return Ok(transcript),
                    Ask::Failed(error) => return Err(error.into()),
                }
            }
        }
        .boxed()
    }

    fn show(&self, walk: &mut Walk) {
        if let Some(delta) = walk.take_delta() {
            // A caller that has left is noticed elsewhere.
            let _ = self.sender.send(Event::Delta(delta));
        }
    }

    fn context<'c>(&'c self, walk: &'c Walk) -> Context<'c> {
        Context {
            ids: walk.ids(),
            model: &self.servers.facts.model,
            vocabulary: &*self.servers.vocabulary,
            fresh: self.fresh,
            looks: &self.looks,
        }
    }

    async fn generate(&self, walk: &mut Walk, shown: bool) -> Result<Ask, EngineError> {
        let wire = &self.servers.wire;
        let limits = walk.limits().cloned().unwrap_or_default();
        let request = wire.write(self.context(walk), &limits, &self.sampling);
        let (mut seen, mut ended, mut counted, mut by_token) = (0, None, None, 0);
        let mut fingerprint = None;
        let on_chunk = |chunk: &Value| {
            let pieces = wire.chunk(chunk, &mut seen).map_err(|error| Self::untrusted(&error))?;
            self.first_reply.get_or_init(Instant::now);
            self.note_prompt_tokens(chunk);
            if let Some(cached) = wire.cached_tokens(chunk) {
                self.cached_tokens.fetch_max(cached, Ordering::Relaxed);
            }
            fingerprint = fingerprint.take().or_else(|| wire.fingerprint(chunk).map(str::to_owned));
            for piece in pieces {
                let finish = match piece {
                    Piece::Tokens(tokens) => tokens.into_iter().find_map(|token| {
                        by_token += 1;
                        walk.on_token(token)
                    }),
                    Piece::Text(text) => walk.on_text(&text),
                    Piece::Counted(tokens) => {
                        counted = Some(tokens);
                        None
                    }
                    Piece::End { finish, tokens } => {
                        ended = ended.or(Some(finish));
                        counted = tokens.or(counted);
                        return Ok(Flow::Ended);
                    }
                };
                if finish.is_some() && ended.is_none() {
                    // Found here: the server may write on, so its stream is dropped, unless it says that it has ended.
                    ended = finish;
                }
            }
            if shown {
                self.show(walk);
            }
            Ok(if ended.is_some() { Flow::Stop } else { Flow::More })
        };
        self.servers.client.stream("generate", self.key, &request, on_chunk).await?;
        self.servers.check_fingerprint(fingerprint.as_deref()).await?;
        let tokens = counted.filter(|_| by_token == 0).unwrap_or(0);
        Ok(walk.on_end(ended.unwrap_or(Finish::Length), tokens))
    }

    async fn read(&self, walk: &mut Walk, mut reading: Box<dyn Reading>) -> Result<Ask, EngineError> {
        loop {
            let requests = reading.requests();
            let replies = if self.servers.wire.in_turn() {
                let mut replies = Vec::with_capacity(requests.len());
                for request in &requests {
                    replies.push(self.call("read", request).await?);
                }
                replies
            } else {
                try_join_all(requests.iter().map(|request| self.call("read", request))).await?
            };
            if let Some(readings) = reading.replies(&replies).map_err(|error| Self::untrusted(&error))? {
                return Ok(walk.on_readings(&readings));
            }
        }
    }

    async fn choose(&self, walk: &mut Walk, choice: &dyn Choice) -> Result<Ask, EngineError> {
        let requests = choice.requests();
        let replies = try_join_all(requests.iter().map(|request| self.call("read", request))).await?;
        let (masses, kind) = choice.masses(&replies).map_err(|error| Self::untrusted(&error))?;
        Ok(walk.on_masses(masses, kind))
    }

    async fn call(&self, op: &'static str, request: &Request) -> Result<Value, EngineError> {
        let wire = &self.servers.wire;
        let reply = self.servers.client.call(op, self.key, request).await?;
        // The number of the first reply counts: later ones find what it has read.
        if self.first_reply.set(Instant::now()).is_ok() {
            self.cached_tokens.store(wire.cached_tokens(&reply).unwrap_or(0), Ordering::Relaxed);
        }
        self.note_prompt_tokens(&reply);
        self.servers.check_fingerprint(wire.fingerprint(&reply)).await?;
        Ok(reply)
    }

    /// The first reply that tells the number of prompt tokens counts.
    fn note_prompt_tokens(&self, reply: &Value) {
        if let Some(told) = self.servers.wire.prompt_tokens(reply) {
            let _ = self.prompt_tokens.compare_exchange(0, told, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn untrusted(error: &WireError) -> EngineError {
        EngineError::Untrusted(error.to_string())
    }
}
