//! Servers of the toy model, one of each kind, over real sockets, with faults that can be switched on.

mod chat;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::super::Kind;
use crate::script::toy::{self, Toy};
use crate::script::{Token, Vocabulary};

/// How a server behaves, and what it saw.
pub(super) struct State {
    pub(super) kind: Kind,
    pub(super) model: String,
    pub(super) context: usize,
    pub(super) fingerprint: String,
    /// Whether it does not know the field that names the tokens to be read.
    pub(super) ignores_ids: bool,
    /// Whether it writes -9999 in place of log probabilities.
    pub(super) floors: bool,
    /// Whether its lists of probable tokens have every second one only.
    pub(super) thins: bool,
    /// Whether its log probabilities are those after temperature.
    pub(super) scales: bool,
    /// Whether its log probabilities are of the allowed tokens only, or of a grammar.
    pub(super) masks: bool,
    /// Whether its tokenizer is another.
    pub(super) other_tokenizer: bool,
    /// Statuses, with a `Retry-After`, of the next POST requests; [`ANSWERED`] for one that is no refusal.
    pub(super) refusals: VecDeque<(u16, &'static str)>,
    /// Number of chunks after which the next streams break off.
    pub(super) cuts: VecDeque<usize>,
    /// Whether replies to POST requests never come.
    pub(super) hangs: bool,
    /// Whether connections are closed at once.
    pub(super) down: bool,
    /// Whether texts never end.
    pub(super) endless: bool,
    /// Whether a reply is longer than any may be.
    pub(super) floods: bool,
    /// Whether a chat provider tells log probabilities.
    pub(super) silent: bool,
    /// Whether a chat provider leaves pictures out without a word.
    pub(super) blind: bool,
    /// Whether a chat provider takes `max_completion_tokens` only.
    pub(super) new_limit: bool,
    /// The wanted `Authorization` header.
    pub(super) key: Option<&'static str>,
    pub(super) seen: Vec<(String, Value)>,
    pub(super) sessions: Vec<String>,
}

/// No refusal.
pub(super) const ANSWERED: (u16, &str) = (200, "");

/// A server.
pub(super) struct Fake {
    pub(super) url: String,
    state: Arc<Mutex<State>>,
    /// Told when a caller leaves in the middle of a stream.
    pub(super) left: Arc<Notify>,
    serving: tokio::task::JoinHandle<()>,
}

enum Reply {
    Json(Value),
    Status(u16, String),
    /// The data of each event, and whether the stream is whole.
    Stream(Vec<String>, bool),
    Endless(String),
    Nothing,
    Flood,
}

impl Fake {
    pub(super) async fn new(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            kind,
            model: "toy".into(),
            context: 4096,
            fingerprint: "v1".into(),
            ignores_ids: false,
            floors: false,
            thins: false,
            scales: false,
            masks: false,
            other_tokenizer: false,
            refusals: VecDeque::new(),
            cuts: VecDeque::new(),
            hangs: false,
            down: false,
            endless: false,
            floods: false,
            silent: false,
            blind: false,
            new_limit: false,
            key: None,
            seen: Vec::new(),
            sessions: Vec::new(),
        }));
        let left = Arc::new(Notify::new());
        let serving = tokio::spawn(serve(listener, Arc::clone(&state), Arc::clone(&left)));
        Self { url, state, left, serving }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Bodies of the POST requests to a path.
    pub(super) fn posted(&self, path: &str) -> Vec<Value> {
        self.state().seen.iter().filter(|(seen, _)| seen == path).map(|(_, body)| body.clone()).collect()
    }

    pub(super) fn forget(&self) {
        let mut state = self.state();
        state.seen.clear();
        state.sessions.clear();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>, left: Arc<Notify>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, Arc::clone(&state), Arc::clone(&left)));
    }
}

async fn connection(mut stream: TcpStream, state: Arc<Mutex<State>>, left: Arc<Notify>) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let header = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(|value| value.trim().to_owned()))
        };
        let length: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while buffer.len() < end + 4 + length {
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        }
        let body = serde_json::from_slice(&buffer[end + 4..end + 4 + length]).unwrap_or(Value::Null);
        let mut line = head.lines().next().unwrap_or_default().split(' ');
        let (method, path) = (line.next()?.to_owned(), line.next()?.to_owned());
        let reply = {
            let mut state = state.lock().unwrap();
            if state.down {
                return None;
            }
            state.sessions.extend(header("x-session-id"));
            let wanted = state.key.map(str::to_ascii_lowercase);
            if wanted.is_some() && header("authorization") != wanted {
                Reply::Status(401, String::new())
            } else {
                state.answer(&method, &path, &body)
            }
        };
        buffer.drain(..end + 4 + length);
        match reply {
            Reply::Json(value) => {
                let text = value.to_string();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    text.len()
                );
                stream.write_all([head, text].concat().as_bytes()).await.ok()?;
            }
            Reply::Status(status, header) => {
                let text = json!({"error": {"message": "not now"}}).to_string();
                let head = format!("HTTP/1.1 {status} X\r\n{header}Content-Length: {}\r\n\r\n", text.len());
                stream.write_all([head, text].concat().as_bytes()).await.ok()?;
            }
            Reply::Stream(events, whole) => {
                stream.write_all(STREAM).await.ok()?;
                for event in events {
                    chunk(&mut stream, format!("data: {event}\n\n").as_bytes()).await.ok()?;
                }
                if !whole {
                    return None;
                }
                chunk(&mut stream, b"").await.ok()?;
            }
            Reply::Endless(event) => {
                stream.write_all(STREAM).await.ok()?;
                loop {
                    if chunk(&mut stream, format!("data: {event}\n\n").as_bytes()).await.is_err() {
                        left.notify_one();
                        return None;
                    }
                    tokio::task::yield_now().await;
                }
            }
            Reply::Nothing => {
                std::future::pending::<()>().await;
            }
            Reply::Flood => {
                stream.write_all(STREAM).await.ok()?;
                loop {
                    chunk(&mut stream, &[b' '; 1 << 16]).await.ok()?;
                }
            }
        }
    }
}

async fn chunk(stream: &mut TcpStream, data: &[u8]) -> std::io::Result<()> {
    let whole = [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat();
    stream.write_all(&whole).await
}

const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn ids(value: &Value) -> Vec<Token> {
    value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap() as Token).collect()
}

impl State {
    fn answer(&mut self, method: &str, path: &str, body: &Value) -> Reply {
        if method == "get" {
            return self.page(path);
        }
        self.seen.push((path.to_owned(), body.clone()));
        if self.hangs {
            return Reply::Nothing;
        }
        if self.floods {
            return Reply::Flood;
        }
        if let Some((status, header)) = self.refusals.pop_front().filter(|refusal| *refusal != ANSWERED) {
            return Reply::Status(status, header.into());
        }
        match (self.kind, path) {
            (Kind::OpenaiCompletions, "/tokenize") => Reply::Status(404, String::new()),
            (_, "/tokenize") => {
                let text = body["prompt"].as_str().or(body["content"].as_str()).unwrap();
                Reply::Json(json!({"tokens": self.tokenize(text)}))
            }
            (Kind::Vllm | Kind::OpenaiCompletions, "/v1/completions") => self.completions(body),
            (Kind::OpenaiChat, "/v1/chat/completions") => self.chat(body),
            (Kind::Sglang, "/generate") => self.generate(body),
            (Kind::LlamaServer, "/completion") => self.completion(body),
            _ => Reply::Status(404, String::new()),
        }
    }

    fn page(&self, path: &str) -> Reply {
        let (model, context) = (&self.model, self.context);
        match (self.kind, path) {
            (Kind::Vllm, "/v1/models") => Reply::Json(json!({"data": [
                {"id": model, "owned_by": "vllm", "root": model, "parent": null, "max_model_len": context}]})),
            (Kind::Sglang, "/v1/models") => Reply::Json(json!({"data": [
                {"id": model, "owned_by": "sglang", "root": model, "max_model_len": context}]})),
            (Kind::Sglang, "/model_info") => Reply::Json(json!({"model_path": model, "weight_version": "default"})),
            (Kind::LlamaServer, "/v1/models") => Reply::Json(json!({"data": [
                {"id": model, "owned_by": "llamacpp", "meta": {"n_vocab": toy::SIZE}}]})),
            (Kind::LlamaServer, "/props") => Reply::Json(json!({"model_path": model, "build_info": "b1",
                "default_generation_settings": {"n_ctx": context}})),
            (Kind::OpenaiCompletions, "/v1/models") => Reply::Json(json!({"data": [{"id": model, "owned_by": "me"}]})),
            _ => Reply::Status(404, String::new()),
        }
    }

    fn tokenize(&self, text: &str) -> Vec<Token> {
        if self.other_tokenizer { text.bytes().map(Token::from).collect() } else { Toy.tokenize(text) }
    }

    /// Log probabilities of all tokens after a context.
    fn logprobs(&self, context: &[Token], temperature: f64, allowed: Option<&[Token]>) -> Vec<f64> {
        let divisor = if self.scales && temperature > 0.0 { temperature } else { 1.0 };
        let of = |(token, logit): (usize, f32)| {
            let out = self.masks && allowed.is_some_and(|allowed| !allowed.contains(&(token as Token)));
            if out { f64::NEG_INFINITY } else { f64::from(logit) / divisor }
        };
        let logits: Vec<f64> = toy::logits(context).into_iter().enumerate().map(of).collect();
        normalised(&logits)
    }

    fn floor(&self, logprob: f64) -> f64 {
        if self.floors { -9999.0 } else { logprob }
    }

    /// What it writes after a context: tokens, and whether the model ended.
    fn text(&self, context: &[Token], most: usize, stops: &[String]) -> (Vec<Token>, String, bool) {
        let (mut context, mut tokens, mut text) = (context.to_vec(), Vec::new(), Vec::new());
        while tokens.len() < most {
            let logits = toy::logits(&context);
            let token = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a))).unwrap();
            let token = token as Token;
            tokens.push(token);
            if Toy.ends_turn(token) {
                return (tokens, String::from_utf8_lossy(&text).into_owned(), true);
            }
            context.push(token);
            text.extend(Toy.piece(token));
            let so_far = String::from_utf8_lossy(&text).into_owned();
            if let Some(at) = stops.iter().filter_map(|stop| so_far.find(stop.as_str())).min() {
                return (tokens, so_far[..at].to_owned(), true);
            }
        }
        (tokens, String::from_utf8_lossy(&text).into_owned(), false)
    }

    fn completions(&mut self, body: &Value) -> Reply {
        let prompts: Vec<Vec<Token>> = match &body["prompt"] {
            Value::String(text) => vec![self.tokenize(text)],
            Value::Array(list) if list[0].is_array() => list.iter().map(ids).collect(),
            list => vec![ids(list)],
        };
        let temperature = body["temperature"].as_f64().unwrap_or(1.0);
        let most = body["max_tokens"].as_u64().unwrap() as usize;
        if body["stream"] == true {
            return self.stream(&prompts[0], most, &stops(&body["stop"]));
        }
        if let Some(most) = body["prompt_logprobs"].as_u64() {
            return Reply::Json(
                json!({"choices": [{"prompt_logprobs": self.prompt_logprobs(&prompts[0], most as usize)}]}),
            );
        }
        let choice = |(index, prompt): (usize, &Vec<Token>)| {
            let allowed = body["allowed_token_ids"].as_array().map(|_| ids(&body["allowed_token_ids"]));
            let all = self.logprobs(prompt, temperature, allowed.as_deref());
            let wanted = body["logprob_token_ids"].as_array().filter(|_| !self.ignores_ids);
            let sampled = match &allowed {
                Some(allowed) => allowed[0],
                None => (0..all.len()).max_by(|a, b| all[*a].total_cmp(&all[*b])).unwrap() as Token,
            };
            let name = |token: Token| match self.kind {
                Kind::Vllm => format!("token_id:{token}"),
                _ => String::from_utf8_lossy(&Toy.piece(token)).into_owned(),
            };
            let listed: Vec<Token> = match wanted {
                Some(_) => ids(&body["logprob_token_ids"]),
                None => ranked(&all).into_iter().take(body["logprobs"].as_u64().unwrap_or(0) as usize).collect(),
            };
            let mut top = Map::new();
            for token in listed.into_iter().chain([sampled]) {
                top.entry(name(token)).or_insert(json!(self.floor(all[token as usize])));
            }
            json!({"index": index, "text": "", "finish_reason": "length", "logprobs": {
                "tokens": [name(sampled)], "token_logprobs": [self.floor(all[sampled as usize])], "top_logprobs": [top]}})
        };
        // In any order: `index` tells which is which.
        let choices: Vec<Value> = prompts.iter().enumerate().map(choice).rev().collect();
        let read: usize = prompts.iter().map(Vec::len).sum();
        Reply::Json(json!({"choices": choices, "system_fingerprint": self.fingerprint,
            "usage": {"prompt_tokens": read, "prompt_tokens_details": {"cached_tokens": 3}}}))
    }

    fn stream(&mut self, prompt: &[Token], most: usize, stops: &[String]) -> Reply {
        if self.endless {
            let id = Toy.tokenize("the")[0];
            return Reply::Endless(json!({"choices": [{"text": "the", "token_ids": [id]}]}).to_string());
        }
        let (tokens, text, ended) = self.text(prompt, most, stops);
        let with_ids = self.kind == Kind::Vllm;
        let mut events: Vec<String> = if with_ids {
            let event = |token: &Token| json!({"choices": [{"text": "", "token_ids": [token]}]}).to_string();
            tokens.iter().map(event).collect()
        } else {
            let event = |part: char| json!({"choices": [{"text": part}]}).to_string();
            text.chars().map(event).collect()
        };
        let cut = self.cuts.pop_front();
        if let Some(cut) = cut {
            events.truncate(cut);
            return Reply::Stream(events, false);
        }
        let reason = if ended { "stop" } else { "length" };
        let last = json!({"choices": [{"text": "", "finish_reason": reason}], "system_fingerprint": self.fingerprint,
            "usage": {"completion_tokens": tokens.len()}});
        events.push(last.to_string());
        events.push("[DONE]".to_owned());
        Reply::Stream(events, true)
    }

    fn prompt_logprobs(&self, prompt: &[Token], most: usize) -> Vec<Value> {
        let each = (0..prompt.len()).map(|at| {
            if at == 0 {
                return Value::Null;
            }
            let all = self.logprobs(&prompt[..at], 0.0, None);
            let order = ranked(&all);
            let mut told = Map::new();
            for token in order.iter().take(most).chain([&prompt[at]]) {
                let rank = order.iter().position(|other| other == token).unwrap() + 1;
                told.insert(token.to_string(), json!({"logprob": all[*token as usize], "rank": rank}));
            }
            Value::Object(told)
        });
        each.collect()
    }

    fn generate(&mut self, body: &Value) -> Reply {
        let settings = &body["sampling_params"];
        let most = settings["max_new_tokens"].as_u64().unwrap() as usize;
        if body["stream"] == true {
            let (tokens, text, ended) = self.text(&ids(&body["input_ids"]), most, &stops(&settings["stop"]));
            let reason = json!({"type": if ended { "stop" } else { "length" }});
            let event = |end: usize| {
                let last = end == text.len();
                json!({"text": text[..end], "meta_info": {"completion_tokens": tokens.len(),
                    "finish_reason": if last { reason.clone() } else { Value::Null }}})
                .to_string()
            };
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            return Reply::Stream(ends.map(event).chain(["[DONE]".to_owned()]).collect(), true);
        }
        if body.get("logprob_start_len").is_some() {
            let prompt = ids(&body["input_ids"]);
            let told = self.prompt_logprobs(&prompt, 0);
            let entry = |(at, told): (usize, &Value)| match told {
                Value::Null => json!([null, prompt[at], null]),
                told => json!([told[prompt[at].to_string()]["logprob"], prompt[at], null]),
            };
            let told: Vec<Value> = told.iter().enumerate().map(entry).collect();
            return Reply::Json(json!({"text": "", "meta_info": {"input_token_logprobs": told}}));
        }
        let temperature = settings["temperature"].as_f64().unwrap();
        let prompts = body["input_ids"].as_array().unwrap().iter().zip(body["token_ids_logprob"].as_array().unwrap());
        let answer = |(prompt, wanted): (&Value, &Value)| {
            let all = self.logprobs(&ids(prompt), temperature, None);
            let told = ids(wanted).into_iter().map(|token| json!([self.floor(all[token as usize]), token, null]));
            let mut meta = json!({"cached_tokens": 3, "weight_version": self.fingerprint});
            if !self.ignores_ids {
                meta["output_token_ids_logprobs"] = json!([told.collect::<Vec<_>>()]);
            }
            json!({"text": "", "meta_info": meta})
        };
        Reply::Json(prompts.map(answer).collect())
    }

    fn completion(&mut self, body: &Value) -> Reply {
        let prompt = ids(&body["prompt"]);
        let temperature = body["temperature"].as_f64().unwrap();
        if body["stream"] == true {
            let most = body["n_predict"].as_u64().unwrap() as usize;
            let (tokens, text, ended) = self.text(&prompt, most, &stops(&body["stop"]));
            let event = |part: char| json!({"content": part, "stop": false}).to_string();
            let last = json!({"content": "", "stop": true, "model": self.model, "tokens_predicted": tokens.len(),
                "stop_type": if ended { "word" } else { "limit" }});
            return Reply::Stream(text.chars().map(event).chain([last.to_string()]).collect(), true);
        }
        let listed = body["n_probs"].as_u64().unwrap() as usize;
        let every = if self.thins { 2 } else { 1 };
        let mut entry = Map::new();
        if body["post_sampling_probs"] == true {
            let mut logits: Vec<f64> = toy::logits(&prompt).into_iter().map(f64::from).collect();
            for pair in body["logit_bias"].as_array().unwrap() {
                logits[pair[0].as_u64().unwrap() as usize] += pair[1].as_f64().unwrap();
            }
            let all = normalised(&logits);
            let told = ranked(&all).into_iter().take(listed).step_by(every);
            let told = told.map(|id| json!({"id": id, "prob": all[id as usize].exp()}));
            entry.insert("top_probs".into(), told.collect());
        } else {
            let all = self.logprobs(&prompt, temperature, None);
            let told = ranked(&all).into_iter().take(listed).step_by(every);
            let told = told.map(|id| json!({"id": id, "logprob": self.floor(all[id as usize])}));
            entry.insert("top_logprobs".into(), told.collect());
        }
        Reply::Json(json!({"content": "", "completion_probabilities": [entry], "model": self.model,
            "timings": {"cache_n": 3}}))
    }
}

fn stops(value: &Value) -> Vec<String> {
    value
        .as_array()
        .map(|stops| stops.iter().map(|stop| stop.as_str().unwrap().to_owned()).collect())
        .unwrap_or_default()
}

fn normalised(logits: &[f64]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - highest).exp()).sum();
    logits.iter().map(|logit| logit - highest - sum.ln()).collect()
}

/// All tokens, the most probable first.
fn ranked(logprobs: &[f64]) -> Vec<Token> {
    let mut order: Vec<usize> = (0..logprobs.len()).collect();
    order.sort_by(|a, b| logprobs[*b].total_cmp(&logprobs[*a]).then(a.cmp(b)));
    order.into_iter().map(|token| token as Token).collect()
}
