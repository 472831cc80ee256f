//! llama.cpp's server: its own `/completion`, with token ids.
//!
//! It lists the most probable tokens only, from the raw distribution. A token outside of the list is read again with a
//! bias that brings it into a second list. A bias B multiplies the odds of a token against an unbiased one by e^B, and
//! nothing else. So with a token a that both lists have, where p and p' are the two distributions:
//! ln p(i) = ln p'(i) - ln p'(a) + ln p(a) - B.

use serde_json::{Value, json};

use super::{Abilities, Context, Piece, Question, Reading, Request, Wanted, Wire, WireError, check, count, stops};
use crate::domain::Finish;
use crate::engine::remote::settings::{Kind, LabelMassKind};
use crate::script::{Generate, NodeAsk, NodeReading, SamplerSettings, Token};

const PATH: &str = "/completion";
/// The number of tokens in a list.
const LISTED: usize = 64;
/// The bias of each further read, in nats. A token that even the last one does not bring into the list has less than
/// e^-40 of the most probable one, and counts as impossible.
const BIASES: [f64; 3] = [10.0, 25.0, 40.0];

/// llama-server's protocol.
pub(in crate::engine::remote) struct LlamaServer;

/// A request with every setting that has a default other than none.
fn request(prompt: &[Token], fresh: bool, settings: &Value) -> Request {
    let mut body = json!({
        "prompt": prompt,
        "cache_prompt": !fresh,
        "repeat_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "dry_multiplier": 0.0,
        "xtc_probability": 0.0,
        "typical_p": 1.0,
        "mirostat": 0,
        "dynatemp_range": 0.0,
    });
    let fields = body.as_object_mut().expect("it is an object");
    fields.extend(settings.as_object().expect("it is an object").clone());
    Request { path: PATH, body }
}

impl Wire for LlamaServer {
    fn kind(&self) -> Kind {
        Kind::LlamaServer
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            reads: "n_probs and logit_bias",
            label_mass: LabelMassKind::Exact,
            batches: false,
            structured_output: true,
            prompt_logprobs: false,
            min_tokens: false,
            truncation: true,
            raw_prompts: true,
        }
    }

    fn in_turn(&self) -> bool {
        true
    }

    fn ask(&self, context: Context<'_>, Wanted { nodes, .. }: Wanted<'_>) -> Question {
        let node = |node: &NodeAsk| Node {
            prompt: context.then(&node.path),
            children: node.children.clone(),
            logprobs: vec![None; node.children.len()],
            anchor: None,
            biased: 0,
        };
        let (fresh, vocabulary) = (context.fresh, context.vocabulary.size());
        let nodes = nodes.iter().map(node).collect();
        Question::Nodes(Box::new(Lists { nodes, fresh, vocabulary, asked: Vec::new() }))
    }

    fn write(&self, context: Context<'_>, limits: &Generate, sampling: &SamplerSettings) -> Request {
        let mut settings = json!({
            "n_predict": limits.max_tokens,
            "stream": true,
            "stop": stops(limits, usize::MAX),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "samplers": ["top_k", "top_p", "min_p", "temperature"],
            "seed": sampling.seed & 0x7fff_ffff,
        });
        if let Some(grammar) = &limits.grammar {
            settings["json_schema"] = grammar.json_schema();
        }
        request(context.ids, context.fresh, &settings)
    }

    fn chunk(&self, chunk: &Value, _: &mut usize) -> Result<Vec<Piece>, WireError> {
        // Tokens are not told where a character has several of them; the text is whole.
        let text = chunk["content"].as_str().ok_or(WireError::Missing("content"))?;
        let mut pieces = vec![Piece::Text(text.to_owned())];
        if chunk["stop"].as_bool() == Some(true) {
            let limit = chunk["stop_type"].as_str() == Some("limit");
            let finish = if limit { Finish::Length } else { Finish::Stop };
            pieces.push(Piece::End { finish, tokens: count(&chunk["tokens_predicted"]) });
        }
        Ok(pieces)
    }

    fn cached_tokens(&self, reply: &Value) -> Option<usize> {
        count(&reply["timings"]["cache_n"])
    }

    fn fingerprint<'a>(&self, reply: &'a Value) -> Option<&'a str> {
        // The file, which a server that was started anew may have exchanged. Of a stream, the last chunk tells it.
        reply["model"].as_str()
    }
}

/// The reading of nodes: a list for each, then lists with a bias for what is not in them.
struct Lists {
    nodes: Vec<Node>,
    fresh: bool,
    /// The number of tokens that there are.
    vocabulary: usize,
    /// The nodes that the last round asked for.
    asked: Vec<usize>,
}

struct Node {
    prompt: Vec<Token>,
    children: Vec<Token>,
    logprobs: Vec<Option<f64>>,
    /// The most probable token.
    anchor: Option<(Token, f64)>,
    /// The number of reads with a bias.
    biased: usize,
}

impl Node {
    fn missing(&self) -> Vec<Token> {
        self.children.iter().zip(&self.logprobs).filter(|(_, told)| told.is_none()).map(|(token, _)| *token).collect()
    }

    /// The number of tokens in the next list.
    fn listed(&self) -> usize {
        LISTED + if self.anchor.is_some() { self.missing().len() } else { 0 }
    }

    fn request(&self, fresh: bool) -> Request {
        let listed = self.listed();
        let settings = match self.anchor {
            None => json!({"n_predict": 1, "n_probs": listed, "temperature": 0.0}),
            Some(_) => {
                let bias: Vec<Value> = self.missing().iter().map(|token| json!([token, BIASES[self.biased]])).collect();
                json!({
                    "n_predict": 1,
                    "n_probs": listed,
                    "temperature": 1.0,
                    "samplers": [],
                    "post_sampling_probs": true,
                    "logit_bias": bias,
                })
            }
        };
        request(&self.prompt, fresh, &settings)
    }

    fn read(&mut self, reply: &Value, vocabulary: usize) -> Result<(), WireError> {
        let least = self.listed().min(vocabulary);
        let listed = &reply["completion_probabilities"][0];
        let Some((anchor, known)) = self.anchor else {
            let listed = list(&listed["top_logprobs"], "logprob", least)?;
            let (tokens, values): (Vec<Token>, Vec<f64>) = listed.iter().copied().unzip();
            check(&tokens, &values)?;
            self.anchor = listed.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
            self.take(&listed);
            return self.anchor.map(drop).ok_or(WireError::Missing("log probabilities"));
        };
        let listed = list(&listed["top_probs"], "prob", least)?;
        let of_anchor = listed.iter().find(|(token, _)| *token == anchor).map(|(_, p)| *p);
        let of_anchor = of_anchor.filter(|p| *p > 0.0).ok_or(WireError::NoToken(anchor))?;
        let bias = BIASES[self.biased];
        let unbiased: Vec<(Token, f64)> = listed
            .iter()
            .filter(|(_, p)| *p > 0.0)
            .map(|(token, p)| (*token, p.ln() - of_anchor.ln() + known - bias))
            .collect();
        self.biased += 1;
        self.take(&unbiased);
        if self.biased == BIASES.len() {
            self.logprobs.iter_mut().for_each(|logprob| *logprob = logprob.or(Some(f64::NEG_INFINITY)));
        }
        let possible = |(token, told): (&Token, &Option<f64>)| Some((*token, told.filter(|told| told.is_finite())?));
        let (tokens, told): (Vec<Token>, Vec<f64>) =
            self.children.iter().zip(&self.logprobs).filter_map(possible).unzip();
        check(&tokens, &told)
    }

    /// Takes those that are still missing.
    fn take(&mut self, listed: &[(Token, f64)]) {
        for (token, logprob) in self.children.iter().zip(&mut self.logprobs) {
            let told = || listed.iter().find(|(listed, _)| listed == token).map(|(_, told)| told.min(0.0));
            *logprob = logprob.or_else(told);
        }
    }
}

impl Reading for Lists {
    fn requests(&mut self) -> Vec<Request> {
        let unfinished = |node: &Node| node.anchor.is_none() || !node.missing().is_empty();
        self.asked = (0..self.nodes.len()).filter(|node| unfinished(&self.nodes[*node])).collect();
        self.asked.iter().map(|node| self.nodes[*node].request(self.fresh)).collect()
    }

    fn replies(&mut self, replies: &[Value]) -> Result<Option<Vec<NodeReading>>, WireError> {
        for (node, reply) in self.asked.iter().zip(replies) {
            self.nodes[*node].read(reply, self.vocabulary)?;
        }
        if self.nodes.iter().any(|node| !node.missing().is_empty()) {
            return Ok(None);
        }
        let reading = |node: &Node| NodeReading { logprobs: node.logprobs.clone(), unseen: 0.0 };
        Ok(Some(self.nodes.iter().map(reading).collect()))
    }
}

/// The entries of a list, by token. A token that is left out of it would count as improbable, so a list that is shorter
/// than `least` is none.
fn list(listed: &Value, value: &str, least: usize) -> Result<Vec<(Token, f64)>, WireError> {
    let listed = listed.as_array().ok_or(WireError::Missing("list of probable tokens"))?;
    if listed.len() < least {
        let found = listed.len();
        return Err(WireError::Impossible(format!("requested {least} probable tokens, got {found}")));
    }
    let entry = |entry: &Value| Some((Token::try_from(entry["id"].as_i64()?).ok()?, entry[value].as_f64()?));
    listed.iter().map(entry).collect::<Option<_>>().ok_or(WireError::Missing("id and probability of each token"))
}
