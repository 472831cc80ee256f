//! SGLang's own `/generate`, with token ids in both directions.
//!
//! Its log probabilities are taken after temperature and bias; at temperature 0, which it turns into 1, they are raw.

use serde_json::{Value, json};

use super::{
    Abilities, Batch, Context, Part, Piece, Question, Request, Wanted, Wire, WireError, check, count, finish, stops,
};
use crate::domain::TokenLogprob;
use crate::engine::remote::settings::{Kind, LabelMassKind};
use crate::script::{Generate, SamplerSettings, Token};

const PATH: &str = "/generate";

/// SGLang's protocol.
pub(in crate::engine::remote) struct Sglang;

impl Wire for Sglang {
    fn kind(&self) -> Kind {
        Kind::Sglang
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            reads: "token_ids_logprob",
            label_mass: LabelMassKind::Exact,
            batches: true,
            structured_output: true,
            prompt_logprobs: true,
            min_tokens: true,
            truncation: true,
            raw_prompts: true,
        }
    }

    fn ask(&self, context: Context<'_>, Wanted { nodes, .. }: Wanted<'_>) -> Question {
        let prompts: Vec<Vec<Token>> = nodes.iter().map(|node| context.then(&node.path)).collect();
        let tokens: Vec<&[Token]> = nodes.iter().map(|node| &node.children[..]).collect();
        let body = json!({
            "input_ids": prompts,
            "return_logprob": true,
            "token_ids_logprob": tokens,
            "sampling_params": {"max_new_tokens": 0, "temperature": 0},
        });
        let part = Part {
            request: Request { path: PATH, body },
            reads: nodes.iter().map(|node| node.children.clone()).enumerate().collect(),
            offsets: vec![0; nodes.len()],
        };
        Question::Nodes(Box::new(Batch::new(nodes, vec![part], parse)))
    }

    fn write(&self, context: Context<'_>, limits: &Generate, sampling: &SamplerSettings) -> Request {
        let mut settings = json!({
            "max_new_tokens": limits.max_tokens,
            "min_new_tokens": limits.min_tokens,
            "stop": stops(limits, usize::MAX),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": if sampling.top_k == 0 { -1 } else { i64::try_from(sampling.top_k).unwrap_or(i64::MAX) },
            "min_p": sampling.min_p,
            "sampling_seed": sampling.seed >> 1,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "skip_special_tokens": true,
            "ignore_eos": false,
        });
        if let Some(grammar) = &limits.grammar {
            settings["json_schema"] = json!(grammar.json_schema().to_string());
        }
        let body = json!({"input_ids": context.ids, "stream": true, "sampling_params": settings});
        Request { path: PATH, body }
    }

    fn chunk(&self, chunk: &Value, seen: &mut usize) -> Result<Vec<Piece>, WireError> {
        // The text is that since the beginning, unless the server was told to stream the new part only.
        let text = chunk["text"].as_str().ok_or(WireError::Missing("text"))?;
        let meta = &chunk["meta_info"];
        let new = text.get(*seen..).unwrap_or_default();
        *seen = text.len().max(*seen);
        let mut pieces = vec![Piece::Text(new.to_owned())];
        if let Some(reason) = meta["finish_reason"]["type"].as_str() {
            if reason == "abort" {
                let why = meta["finish_reason"]["message"].as_str().unwrap_or("no reason");
                return Err(WireError::Impossible(format!("the server gave up: {why}")));
            }
            pieces.push(Piece::End { finish: finish(reason), tokens: count(&meta["completion_tokens"]) });
        }
        Ok(pieces)
    }

    fn prompt_logprobs(&self, context: Context<'_>, most: usize) -> Option<Request> {
        let body = json!({
            "input_ids": context.ids,
            "return_logprob": true,
            "logprob_start_len": 0,
            "top_logprobs_num": most,
            "sampling_params": {"max_new_tokens": 0, "temperature": 0},
        });
        Some(Request { path: PATH, body })
    }

    fn read_prompt_logprobs(&self, context: Context<'_>, reply: &Value) -> Result<Vec<TokenLogprob>, WireError> {
        let meta = &reply["meta_info"];
        let told = meta["input_token_logprobs"].as_array();
        let told = told.filter(|told| told.len() == context.ids.len());
        let told = told.ok_or(WireError::Missing("log probabilities of every token of the prompt"))?;
        let each = context.ids.iter().zip(told).enumerate().map(|(at, (token, told))| {
            let bytes = context.vocabulary.piece(*token);
            if at == 0 {
                return Ok(TokenLogprob { bytes, logprob: None, top: Vec::new() });
            }
            let logprob = told[0].as_f64().filter(|_| told[1].as_i64() == Some(i64::from(*token)));
            let logprob = logprob.ok_or(WireError::NoToken(*token))?;
            check(&[*token], &[logprob])?;
            let listed = meta["input_top_logprobs"][at].as_array().map_or(&[][..], Vec::as_slice);
            let other = |entry: &Value| {
                let token = Token::try_from(entry[1].as_i64()?).ok()?;
                Some((context.vocabulary.piece(token), entry[0].as_f64()?))
            };
            Ok(TokenLogprob { bytes, logprob: Some(logprob), top: listed.iter().filter_map(other).collect() })
        });
        each.collect()
    }

    fn cached_tokens(&self, reply: &Value) -> Option<usize> {
        count(&first(reply)["meta_info"]["cached_tokens"])
    }

    fn fingerprint<'a>(&self, reply: &'a Value) -> Option<&'a str> {
        first(reply)["meta_info"]["weight_version"].as_str()
    }
}

/// The reply to the first prompt of a batch.
fn first(reply: &Value) -> &Value {
    if reply.is_array() { &reply[0] } else { reply }
}

fn parse(reply: &Value, reads: &[(usize, Vec<Token>)]) -> Result<Vec<Vec<f64>>, WireError> {
    let replies = reply.as_array().filter(|replies| replies.len() == reads.len());
    let replies = replies.ok_or(WireError::Missing("answer for every prompt"))?;
    let read = replies.iter().zip(reads).map(|(reply, (_, tokens))| {
        let listed = reply["meta_info"]["output_token_ids_logprobs"][0].as_array();
        let listed = listed.ok_or(WireError::Missing("log probabilities (output_token_ids_logprobs)"))?;
        let logprob = |token: &Token| {
            let entry = listed.iter().find(|entry| entry[1].as_i64() == Some(i64::from(*token)));
            entry.and_then(|entry| entry[0].as_f64()).ok_or(WireError::NoToken(*token))
        };
        tokens.iter().map(logprob).collect()
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_are_found_by_token() {
        let reply = json!([{"meta_info": {"output_token_ids_logprobs": [[[-0.5, 33, null], [-2.0, 34, null]]]}}]);
        assert_eq!(parse(&reply, &[(0, vec![34, 33])]), Ok(vec![vec![-2.0, -0.5]]));
        assert_eq!(parse(&reply, &[(0, vec![35])]), Err(WireError::NoToken(35)));
        assert_eq!(parse(&json!([]), &[(0, vec![35])]), Err(WireError::Missing("answer for every prompt")));
    }

    #[test]
    fn text_is_told_from_the_beginning() {
        let mut seen = 0;
        let chunk =
            |text: &str, end: Value| json!({"text": text, "meta_info": {"finish_reason": end, "completion_tokens": 2}});
        assert_eq!(Sglang.chunk(&chunk("ab", Value::Null), &mut seen), Ok(vec![Piece::Text("ab".into())]));
        let pieces = Sglang.chunk(&chunk("abc", json!({"type": "length"})), &mut seen).unwrap();
        assert_eq!(pieces[0], Piece::Text("c".into()));
        assert_eq!(pieces[1], Piece::End { finish: crate::domain::Finish::Length, tokens: Some(2) });
        assert!(Sglang.chunk(&chunk("abc", json!({"type": "abort", "message": "full"})), &mut seen).is_err());
    }
}
