//! vLLM's completions, with token ids in both directions.
//!
//! `logprob_token_ids` (from 0.26 on) reads the raw log probabilities of up to 128 tokens of choice. Servers without it
//! are read one token at a time with `allowed_token_ids`. The log probability of the sampled token is raw, too.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    Abilities, Batch, Context, Part, Piece, Question, Request, Wanted, Wire, WireError, completion, count, finish,
    stops,
};
use crate::domain::TokenLogprob;
use crate::engine::remote::settings::{Kind, LabelMassKind};
use crate::script::{Generate, SamplerSettings, Token};

/// vLLM's maximum of tokens in one `logprob_token_ids`.
const MOST_IDS: usize = 128;
const PATH: &str = "/v1/completions";

/// How the log probabilities of tokens of choice are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::remote) enum Method {
    /// `logprob_token_ids`.
    Ids,
    /// `allowed_token_ids`, one request a token.
    Allowed,
}

/// vLLM's protocol.
pub(in crate::engine::remote) struct Vllm(pub(in crate::engine::remote) Method);

impl Vllm {
    fn reading(context: Context<'_>, prompts: Vec<Vec<Token>>) -> Map<String, Value> {
        let mut body = completion(context, json!(prompts), 1);
        let fields = body.as_object_mut().expect("it is an object");
        fields.insert("temperature".into(), json!(0));
        fields.insert("return_tokens_as_token_ids".into(), json!(true));
        unshared(fields, context);
        std::mem::take(fields)
    }
}

/// Where no prefix is to be reused, gives the request a part of the cache to itself.
fn unshared(fields: &mut Map<String, Value>, context: Context<'_>) {
    if context.fresh {
        fields.insert("cache_salt".into(), json!(ulid::Ulid::new().to_string()));
    }
}

impl Wire for Vllm {
    fn kind(&self) -> Kind {
        Kind::Vllm
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            reads: if self.0 == Method::Ids { "logprob_token_ids" } else { "allowed_token_ids" },
            label_mass: LabelMassKind::Exact,
            batches: self.0 == Method::Ids,
            structured_output: true,
            prompt_logprobs: true,
            min_tokens: true,
            truncation: true,
            raw_prompts: true,
        }
    }

    fn ask(&self, context: Context<'_>, Wanted { nodes, .. }: Wanted<'_>) -> Question {
        let mut parts = Vec::new();
        let union: BTreeSet<Token> = nodes.iter().flat_map(|node| node.children.iter().copied()).collect();
        if self.0 == Method::Ids && union.len() <= MOST_IDS {
            let prompts = nodes.iter().map(|node| context.then(&node.path)).collect();
            let mut body = Self::reading(context, prompts);
            body.insert("logprobs".into(), json!(1));
            body.insert("logprob_token_ids".into(), json!(union));
            parts.push(Part {
                request: Request { path: PATH, body: Value::Object(body) },
                reads: nodes.iter().map(|node| node.children.clone()).enumerate().collect(),
                offsets: vec![0; nodes.len()],
            });
            return Question::Nodes(Box::new(Batch::new(nodes, parts, parse)));
        }
        let size = if self.0 == Method::Ids { MOST_IDS } else { 1 };
        for (index, node) in nodes.iter().enumerate() {
            for (chunk, tokens) in node.children.chunks(size).enumerate() {
                let mut body = Self::reading(context, vec![context.then(&node.path)]);
                if self.0 == Method::Ids {
                    body.insert("logprobs".into(), json!(1));
                    body.insert("logprob_token_ids".into(), json!(tokens));
                } else {
                    body.insert("logprobs".into(), json!(0));
                    body.insert("allowed_token_ids".into(), json!(tokens));
                }
                parts.push(Part {
                    request: Request { path: PATH, body: Value::Object(body) },
                    reads: vec![(index, tokens.to_vec())],
                    offsets: vec![chunk * size],
                });
            }
        }
        Question::Nodes(Box::new(Batch::new(nodes, parts, parse)))
    }

    fn write(&self, context: Context<'_>, limits: &Generate, sampling: &SamplerSettings) -> Request {
        let mut body = completion(context, json!(context.ids), limits.max_tokens);
        let fields = body.as_object_mut().expect("it is an object");
        let settings = json!({
            "stream": true,
            "stream_options": {"include_usage": true},
            "return_token_ids": true,
            "min_tokens": limits.min_tokens,
            "stop": stops(limits, usize::MAX),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": if sampling.top_k == 0 { -1 } else { i64::try_from(sampling.top_k).unwrap_or(i64::MAX) },
            "min_p": sampling.min_p,
            "seed": i64::from_ne_bytes(sampling.seed.to_ne_bytes()),
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "skip_special_tokens": true,
            "ignore_eos": false,
        });
        fields.extend(settings.as_object().expect("it is an object").clone());
        if let Some(grammar) = &limits.grammar {
            fields.insert("structured_outputs".into(), json!({"json": grammar.json_schema()}));
        }
        unshared(fields, context);
        Request { path: PATH, body }
    }

    fn chunk(&self, chunk: &Value, _: &mut usize) -> Result<Vec<Piece>, WireError> {
        let mut pieces = Vec::new();
        let choice = &chunk["choices"][0];
        if choice.is_null() {
            return Ok(pieces);
        }
        match choice["token_ids"].as_array() {
            Some(ids) => {
                let token = |id: &Value| id.as_i64().and_then(|id| Token::try_from(id).ok());
                let ids: Option<Vec<Token>> = ids.iter().map(token).collect();
                pieces.push(Piece::Tokens(ids.ok_or(WireError::Missing("token ids that are numbers"))?));
            }
            None => pieces.push(Piece::Text(choice["text"].as_str().unwrap_or_default().to_owned())),
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            pieces.push(Piece::End { finish: finish(reason), tokens: None });
        }
        Ok(pieces)
    }

    fn prompt_logprobs(&self, context: Context<'_>, most: usize) -> Option<Request> {
        let mut body = completion(context, json!(context.ids), 1);
        body["temperature"] = json!(0);
        body["prompt_logprobs"] = json!(most);
        Some(Request { path: PATH, body })
    }

    fn read_prompt_logprobs(&self, context: Context<'_>, reply: &Value) -> Result<Vec<TokenLogprob>, WireError> {
        let told = reply["choices"][0]["prompt_logprobs"].as_array();
        let told = told.ok_or(WireError::Missing("log probabilities of the prompt"))?;
        if told.len() != context.ids.len() {
            return Err(WireError::Missing("log probabilities of every token of the prompt"));
        }
        let each = context.ids.iter().zip(told).enumerate().map(|(at, (token, told))| {
            let bytes = context.vocabulary.piece(*token);
            if at == 0 {
                return Ok(TokenLogprob { bytes, logprob: None, top: Vec::new() });
            }
            let own = told[token.to_string()]["logprob"].as_f64().ok_or(WireError::NoToken(*token))?;
            check_one(*token, own)?;
            let others = told.as_object().ok_or(WireError::NoToken(*token))?;
            let ranked = |(id, told): (&String, &Value)| {
                let id: Token = id.parse().ok()?;
                Some((told["rank"].as_u64()?, context.vocabulary.piece(id), told["logprob"].as_f64()?))
            };
            let mut top: Vec<(u64, Vec<u8>, f64)> = others.iter().filter_map(ranked).collect();
            top.sort_by_key(|(rank, ..)| *rank);
            let top = top.into_iter().map(|(_, bytes, logprob)| (bytes, logprob)).collect();
            Ok(TokenLogprob { bytes, logprob: Some(own), top })
        });
        each.collect()
    }

    fn cached_tokens(&self, reply: &Value) -> Option<usize> {
        count(&reply["usage"]["prompt_tokens_details"]["cached_tokens"])
    }

    fn fingerprint<'a>(&self, reply: &'a Value) -> Option<&'a str> {
        reply["system_fingerprint"].as_str()
    }
}

fn check_one(token: Token, logprob: f64) -> Result<(), WireError> {
    super::check(&[token], &[logprob])
}

/// Reads the log probabilities of the tokens at each position of a batch of prompts.
fn parse(reply: &Value, reads: &[(usize, Vec<Token>)]) -> Result<Vec<Vec<f64>>, WireError> {
    let choices = reply["choices"].as_array().ok_or(WireError::Missing("choices"))?;
    let read = reads.iter().enumerate().map(|(at, (_, tokens))| {
        let choice = choices.iter().find(|choice| count(&choice["index"]).unwrap_or(0) == at);
        let told = &choice.ok_or(WireError::Missing("choice for every prompt"))?["logprobs"];
        let (listed, sampled) = (&told["top_logprobs"][0], (&told["tokens"][0], &told["token_logprobs"][0]));
        let logprob = |token: &Token| {
            let name = format!("token_id:{token}");
            let of_sampled = || sampled.1.as_f64().filter(|_| sampled.0.as_str() == Some(&name));
            listed[&name].as_f64().or_else(of_sampled).ok_or(WireError::NoToken(*token))
        };
        tokens.iter().map(logprob).collect()
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_without_every_token_is_refused() {
        let reply = |logprobs: Value| json!({"choices": [{"index": 0, "logprobs": logprobs}]});
        let check = |logprobs: Value, expected: Result<Vec<Vec<f64>>, WireError>| {
            assert_eq!(parse(&reply(logprobs.clone()), &[(0, vec![33, 34])]), expected, "{logprobs}");
        };
        check(json!({"top_logprobs": [{"token_id:33": -0.5, "token_id:34": -2.0}]}), Ok(vec![vec![-0.5, -2.0]]));
        check(json!({"top_logprobs": [{"token_id:33": -0.5}]}), Err(WireError::NoToken(34)));
        check(json!({"top_logprobs": [{"!": -0.5, "\"": -1.0}]}), Err(WireError::NoToken(33)));
        check(Value::Null, Err(WireError::NoToken(33)));
        let one = json!({"tokens": ["token_id:33"], "token_logprobs": [-0.25]});
        assert_eq!(parse(&reply(one), &[(0, vec![33])]), Ok(vec![vec![-0.25]]));
        assert_eq!(
            parse(&json!({"choices": []}), &[(0, vec![33])]),
            Err(WireError::Missing("choice for every prompt"))
        );
    }
}
