//! Requests that prove what a server does, because fields that it does not know are often ignored without a word. They
//! run at the start, and when a server says that it has changed.

use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::client::Client;
use super::facts::Facts;
use super::settings::Kind;
use super::wire::vllm::{Method, Vllm};
use super::wire::{Choice, Context, Question, Request, Wanted, Wire};
use crate::engine::EngineError;
use crate::engine::conformance::Finding;
use crate::pictures::{Picture, Shown};
use crate::script::{Look, NodeAsk, NodeReading, Prompt, Segment, Token, Vocabulary};

/// Maximum difference of a log probability that is read in two ways, in nats. A prefix from the cache and one that is
/// computed anew differ in rounding, by up to 0.09 with quantised weights.
const MOST_APART: f64 = 0.15;
/// Texts that different tokenizers cut differently.
const TEXTS: [&str; 8] = [
    "The capital of France is Paris.",
    "  two spaces, a tab\tand\n\ntwo lines \n",
    "1234567890 12,345.67 3.14159e-10",
    "don't can't I'LL we've",
    "Grüße, naïve façade, 北京, 東京, Привет, مرحبا",
    "emoji \u{1f469}\u{200d}\u{1f52c} and \u{1f1e9}\u{1f1ea}",
    "fn main() { println!(\"{}\", x[0]); } // ==> !=",
    "###Feedback: [RESULT] 5",
];
/// The prompt whose next token is read.
const PROMPT: &str = "Is the sky blue on a clear day? Answer with A for yes or B for no.\nAnswer:";
/// A model that was asked for one of two letters, and replies with another text more often than not, is no judge.
const LEAST_MASS: f64 = 0.5;
/// Answers, one of them improbable.
const ANSWERS: [&str; 4] = [" A", " B", " Yes", " zebra"];

/// A PNG file of 64 by 64 red pixels, in base64.
const SQUARE: &str = "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAAS0lEQVR42u3PQQkAAAgAsetfWiP4FgYrsKZeS0BAQEBAQEBAQEBAQE\
                      BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEDgsqnc8OJg6Ln3AAAAAElFTkSuQmCC";

/// A check with its result.
#[derive(Debug, Clone)]
pub struct Check {
    /// What is checked.
    pub name: &'static str,
    /// The measured result, or what is wrong.
    pub finding: Finding,
}

/// A server under examination.
pub(super) struct Examined<'a> {
    pub(super) client: &'a Client,
    pub(super) index: usize,
    pub(super) facts: &'a Facts,
    pub(super) vocabulary: &'a dyn Vocabulary,
    /// Why a check failed for a reason that passes: the server did not answer, or was busy.
    gone: OnceLock<String>,
}

impl<'a> Examined<'a> {
    pub(super) fn new(client: &'a Client, index: usize, facts: &'a Facts, vocabulary: &'a dyn Vocabulary) -> Self {
        Self { client, index, facts, vocabulary, gone: OnceLock::new() }
    }

    /// Why the server could not be examined to the end, if it did not answer or was busy: its checks say nothing then.
    pub(super) fn gone(self) -> Option<String> {
        self.gone.into_inner()
    }
}

impl Examined<'_> {
    /// Runs the checks of a protocol.
    pub(super) async fn checks(&self, wire: &dyn Wire) -> Vec<Check> {
        if wire.kind() == Kind::OpenaiChat {
            let mut checks =
                vec![Check { name: "it replies with one of the options", finding: self.replies(wire).await }];
            if self.vocabulary.look(&square()).is_ok() && checks[0].finding.is_ok() {
                checks.push(Check { name: "it takes pictures", finding: self.sees(wire).await });
            }
            return checks;
        }
        let mut checks = vec![Check { name: "the tokenizer matches", finding: self.tokenizer().await }];
        let read = self.read(wire, None).await;
        let finding = read.as_ref().map(|readings| shown(readings)).map_err(Clone::clone);
        checks.push(Check { name: "requested log probabilities are present and sum to at most 1", finding });
        let Ok(readings) = read else { return checks };
        // SGLang divides by the temperature; reads are always at 0, which it turns into 1.
        if wire.kind() != Kind::Sglang {
            let hot = self.read(wire, Some(2.0)).await.and_then(|hot| same(&readings, &hot));
            checks.push(Check { name: "log probabilities do not change with the temperature", finding: hot });
        }
        if wire.kind() == Kind::Vllm && wire.abilities().batches {
            let other = self.read(&Vllm(Method::Allowed), None).await.and_then(|other| same(&readings, &other));
            checks.push(Check { name: "a second way to read them gives the same values", finding: other });
        }
        if wire.kind() == Kind::LlamaServer {
            let finding = self.long_list(wire).await;
            checks.push(Check { name: "reads with a logit bias match a long list", finding });
        }
        checks
    }

    /// The server and the vocabulary cut texts in the same way.
    async fn tokenizer(&self) -> Finding {
        for text in TEXTS {
            let expected = self.vocabulary.tokenize(text);
            let found = self.tokenize(text).await.map_err(|error| format!("it does not tokenise {text:?}: {error}"))?;
            let Some(found) = found else { return self.counted().await };
            if found != expected {
                let at = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
                return Err(format!(
                    "the server uses a different tokenizer: {text:?} has {} tokens there and {} here (they differ from \
                     token {} on); set remote.tokenizer to the tokenizer of the server's model",
                    found.len(),
                    expected.len(),
                    at + 1
                ));
            }
        }
        Ok(format!("{} texts have the same tokens", TEXTS.len()))
    }

    /// The tokens of a text at the server; `None` if it does not tell them.
    async fn tokenize(&self, text: &str) -> Result<Option<Vec<Token>>, EngineError> {
        let body = match self.facts.kind {
            Kind::LlamaServer => json!({"content": text, "add_special": false, "parse_special": false}),
            Kind::Vllm | Kind::Sglang => {
                json!({"model": self.facts.model, "prompt": text, "add_special_tokens": false})
            }
            Kind::OpenaiCompletions | Kind::OpenaiChat => return Ok(None),
        };
        let reply = match self.post(&Request { path: "/tokenize", body }).await {
            Ok(reply) => reply,
            Err(EngineError::Refused { status: 404 | 405 | 501, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let ids = reply["tokens"].as_array().map(|ids| ids.iter().map(Value::as_i64).collect::<Option<Vec<_>>>());
        let ids = ids.flatten().ok_or_else(|| EngineError::Untrusted("/tokenize returns no token ids".to_owned()))?;
        Ok(Some(ids.into_iter().map(|id| Token::try_from(id).unwrap_or(Token::MAX)).collect()))
    }

    /// Where a server does not tell tokens: texts have as many there as here.
    async fn counted(&self) -> Finding {
        for text in TEXTS {
            let body = json!({"model": self.facts.model, "prompt": text, "max_tokens": 1, "temperature": 0});
            let reply = self.post(&Request { path: "/v1/completions", body }).await.map_err(|e| e.to_string())?;
            let Some(found) = reply["usage"]["prompt_tokens"].as_u64() else {
                let why = "the server reports neither token ids nor their number, so its tokenizer cannot be checked";
                return Err(why.to_owned());
            };
            let own = self.vocabulary.tokenize(text).len() as u64;
            // Text routes may add a token that begins the text.
            if found != own && found != own + 1 {
                return Err(format!(
                    "the server uses a different tokenizer: {text:?} has {found} tokens there and {own} here; set \
                     remote.tokenizer to the tokenizer of the server's model"
                ));
            }
        }
        Ok(format!("{} texts have as many tokens", TEXTS.len()))
    }

    fn node(&self) -> (Vec<Token>, NodeAsk) {
        let ids: Vec<Token> = self.vocabulary.begin().into_iter().chain(self.vocabulary.tokenize(PROMPT)).collect();
        let mut children: Vec<Token> = Vec::new();
        for answer in ANSWERS {
            let token = self.vocabulary.tokenize(answer).first().copied();
            children.extend(token.filter(|token| !children.contains(token)));
        }
        (ids, NodeAsk { path: Vec::new(), children })
    }

    /// Reads the answers, at another temperature if one is given.
    async fn read(&self, wire: &dyn Wire, temperature: Option<f64>) -> Result<Vec<NodeReading>, String> {
        let (ids, node) = self.node();
        let context = self.context(&ids, &[]);
        let wanted = Wanted { nodes: std::slice::from_ref(&node), answer: "", options: &[] };
        let Question::Nodes(mut reading) = wire.ask(context, wanted) else {
            return Err("the protocol reads no tokens".into());
        };
        loop {
            let mut replies = Vec::new();
            for mut request in reading.requests() {
                if let Some(temperature) = temperature {
                    request.body["temperature"] = json!(temperature);
                }
                replies.push(self.post(&request).await.map_err(|error| error.to_string())?);
            }
            let read = reading.replies(&replies).map_err(|error| match self.facts.kind {
                Kind::Vllm => format!(
                    "{error}; it takes vLLM 0.26 or newer with --logprobs-mode raw_logprobs, and proxies that pass every \
                     field on"
                ),
                _ => format!("{error}; proxies have to pass every field on"),
            })?;
            if let Some(readings) = read {
                return Ok(readings);
            }
        }
    }

    /// Compares the read with a bias with a list that is long enough to have all answers.
    async fn long_list(&self, wire: &dyn Wire) -> Finding {
        let (ids, node) = self.node();
        let size = self.vocabulary.size().min(1 << 18);
        let body = json!({"prompt": ids, "n_predict": 1, "n_probs": size, "temperature": 0.0, "cache_prompt": true});
        let reply = self.post(&Request { path: "/completion", body }).await.map_err(|error| error.to_string())?;
        let listed = reply["completion_probabilities"][0]["top_logprobs"].as_array();
        let listed = listed.ok_or("the long list has no log probabilities")?;
        let of = |token: &Token| {
            let entry = listed.iter().find(|entry| entry["id"].as_i64() == Some(i64::from(*token)));
            entry.and_then(|entry| entry["logprob"].as_f64())
        };
        let expected = NodeReading { logprobs: node.children.iter().map(of).collect(), unseen: 0.0 };
        same(&[expected], &self.read(wire, None).await?)
    }

    /// A provider of messages answers a question, and its probabilities can be read.
    async fn replies(&self, wire: &dyn Wire) -> Finding {
        let choice = self.question(wire, Vec::new())?;
        let mut replies = Vec::new();
        for request in choice.requests() {
            replies.push(self.post(&request).await.map_err(|error| error.to_string())?);
        }
        let (masses, kind) = choice.masses(&replies).map_err(|error| error.to_string())?;
        let sum: f64 = masses.iter().map(|mass| mass.exp()).sum();
        let found = format!("{} probabilities {:.3} and {:.3}", kind.name(), masses[0].exp(), masses[1].exp());
        match sum >= LEAST_MASS {
            true => Ok(found),
            false => Err(format!(
                "{found}: it replies with something else, as models do that think before they answer; choose a model \
                 without thinking, or switch that off at the provider"
            )),
        }
    }

    /// The simple question, after these segments.
    fn question(&self, wire: &dyn Wire, before: Vec<Segment>) -> Result<Box<dyn Choice>, String> {
        let user = std::iter::once(Segment::Control("<|user|>".into()));
        let asked = [Segment::Text(PROMPT.into()), Segment::Control("<|assistant|>".into())];
        let prompt = Prompt(user.chain(before).chain(asked).collect());
        let encoded = prompt.encode_seeing(self.vocabulary).map_err(|error| error.to_string())?;
        let options = ["A".to_owned(), "B".to_owned()];
        let wanted = Wanted { nodes: &[], answer: "", options: &options };
        match wire.ask(self.context(&encoded.ids, &encoded.looks), wanted) {
            Question::Whole(choice) => Ok(choice),
            Question::Nodes(_) => Err("the protocol asks for no whole choice".into()),
        }
    }

    /// A provider of messages counts more tokens for a question with a picture than for the same without it.
    async fn sees(&self, wire: &dyn Wire) -> Finding {
        let mut counts = [0; 2];
        let picture = Segment::Picture(Shown { picture: square(), pointer: "".into() });
        for (count, before) in counts.iter_mut().zip([Vec::new(), vec![picture]]) {
            let Some(request) = self.question(wire, before)?.requests().into_iter().next() else { continue };
            let reply = self.post(&request).await.map_err(|error| format!("it refuses a picture: {error}"))?;
            let told = wire.prompt_tokens(&reply);
            *count =
                told.ok_or("it does not tell the number of prompt tokens, which shows whether it sees pictures")?;
        }
        match counts {
            [without, with] if with > without => Ok(format!("a picture takes {} tokens", with - without)),
            [without, with] => Err(format!(
                "a question has {without} tokens without a picture and {with} with one, so the picture was left out; \
                 remove remote.picture_tokens, or choose a model that sees pictures"
            )),
        }
    }

    fn context<'c>(&'c self, ids: &'c [Token], looks: &'c [Look]) -> Context<'c> {
        Context { ids, model: &self.facts.model, vocabulary: self.vocabulary, fresh: false, looks }
    }

    async fn post(&self, request: &Request) -> Result<Value, EngineError> {
        let reply = self.client.call_at(self.index, "probe", request).await;
        if let Err(EngineError::Unavailable { why, .. }) = &reply {
            // The first reason counts.
            let _ = self.gone.set(why.clone());
        }
        reply
    }
}

/// A red square.
fn square() -> Arc<Picture> {
    let file = BASE64.decode(SQUARE).expect("it is base64");
    Arc::new(Picture::new(file, usize::MAX).expect("it is a PNG file"))
}

/// A reading in words.
fn shown(readings: &[NodeReading]) -> String {
    let told = readings.iter().flat_map(|reading| &reading.logprobs);
    let told: Vec<String> = told.map(|told| told.map_or("not told".to_owned(), |told| format!("{told:.3}"))).collect();
    told.join(", ")
}

/// Compares two readings of the same tokens.
fn same(one: &[NodeReading], other: &[NodeReading]) -> Finding {
    let pairs = one.iter().zip(other).flat_map(|(one, other)| one.logprobs.iter().zip(&other.logprobs));
    let mut furthest = 0.0_f64;
    for (a, b) in pairs {
        let (Some(a), Some(b)) = (a, b) else { continue };
        // What is as good as impossible may be so in different degrees.
        if *a > -20.0 || *b > -20.0 {
            furthest = furthest.max((a - b).abs());
        }
    }
    let measured = format!("largest difference {furthest:.4} nat");
    if furthest <= MOST_APART { Ok(measured) } else { Err(measured) }
}
