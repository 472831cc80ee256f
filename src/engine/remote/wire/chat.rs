//! Chat completions of any provider: messages go in, text comes out.
//!
//! A verdict is asked for by a question of its own, because an answer that has begun cannot be continued: "Reply with
//! exactly one of these". Its probabilities are read from the most probable tokens of the reply, or, where a provider
//! tells none, are the shares of sampled replies.

use serde_json::{Map, Value, json};

use super::{Abilities, Choice, Context, Piece, Question, Request, Wanted, Wire, WireError, count, finish, stops};
use crate::domain::{MassKind, Role};
use crate::engine::remote::settings::{Kind, LabelMassKind};
use crate::engine::remote::turns::{messages, turns};
use crate::script::{Generate, SamplerSettings};

const PATH: &str = "/v1/chat/completions";
/// The number of probable tokens that OpenAI tells at most.
const LISTED: usize = 20;
/// The maximum of stop texts.
const MOST_STOPS: usize = 4;
/// The number of tokens of a sampled reply, beside those of the longest option: some models begin with a mark.
const SPARE_TOKENS: usize = 4;

/// The protocol of OpenAI's chat completions, in one of its variants.
pub(in crate::engine::remote) struct Chat {
    /// Whether the limit of a reply is called `max_completion_tokens`, as by OpenAI today, or `max_tokens`, as by most.
    pub(in crate::engine::remote) new_limit: bool,
    /// The number of replies whose shares are the probabilities; `None` where log probabilities are told.
    pub(in crate::engine::remote) samples: Option<u32>,
}

impl Chat {
    fn body(&self, context: Context<'_>, messages: Value, tokens: usize) -> Map<String, Value> {
        let limit = if self.new_limit { "max_completion_tokens" } else { "max_tokens" };
        Map::from_iter([
            ("model".to_owned(), json!(context.model)),
            ("messages".to_owned(), messages),
            (limit.to_owned(), json!(tokens)),
        ])
    }
}

impl Wire for Chat {
    fn kind(&self) -> Kind {
        Kind::OpenaiChat
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            reads: if self.samples.is_some() { "samples" } else { "top_logprobs" },
            label_mass: if self.samples.is_some() { LabelMassKind::Sampled } else { LabelMassKind::Bounded },
            batches: false,
            structured_output: false,
            prompt_logprobs: false,
            min_tokens: false,
            truncation: false,
            raw_prompts: false,
        }
    }

    fn ask(&self, context: Context<'_>, Wanted { answer, options, .. }: Wanted<'_>) -> Question {
        let texts: Vec<&str> = options.iter().map(|option| option.trim()).collect();
        let question = format!("Reply with exactly one of these, and with nothing else: {}", texts.join(", "));
        let asked = vec![(Role::Assistant, answer.trim_end().into()), (Role::User, question.into())];
        let messages = messages([turns(context.ids, context.looks), asked].concat());
        let tokens = match self.samples {
            None => 1,
            Some(_) => texts.iter().map(|text| text.len()).max().unwrap_or(1) + SPARE_TOKENS,
        };
        let mut body = self.body(context, messages, tokens);
        // At 1 the probabilities are the model's own, wherever a provider takes them from.
        body.insert("temperature".to_owned(), json!(1));
        body.insert("top_p".to_owned(), json!(1));
        if self.samples.is_none() {
            body.insert("logprobs".to_owned(), json!(true));
            body.insert("top_logprobs".to_owned(), json!(LISTED));
        }
        let texts = texts.into_iter().map(str::to_owned).collect();
        let request = Request { path: PATH, body: body.into() };
        Question::Whole(Box::new(Verdict { request, texts, samples: self.samples }))
    }

    fn write(&self, context: Context<'_>, limits: &Generate, sampling: &SamplerSettings) -> Request {
        let mut body = self.body(context, messages(turns(context.ids, context.looks)), limits.max_tokens);
        let stops = stops(limits, MOST_STOPS);
        let settings = json!({
            "stream": true,
            "stream_options": {"include_usage": true},
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed >> 1,
        });
        body.extend(settings.as_object().expect("it is an object").clone());
        if !stops.is_empty() {
            body.insert("stop".to_owned(), json!(stops));
        }
        Request { path: PATH, body: body.into() }
    }

    fn chunk(&self, chunk: &Value, _: &mut usize) -> Result<Vec<Piece>, WireError> {
        let choice = &chunk["choices"][0];
        if choice.is_null() {
            // The last chunk has the usage alone.
            let tokens = count(&chunk["usage"]["completion_tokens"]);
            return Ok(tokens.map(Piece::Counted).into_iter().collect());
        }
        let mut pieces = vec![Piece::Text(choice["delta"]["content"].as_str().unwrap_or_default().to_owned())];
        if let Some(reason) = choice["finish_reason"].as_str() {
            pieces.push(Piece::End { finish: finish(reason), tokens: count(&chunk["usage"]["completion_tokens"]) });
        }
        Ok(pieces)
    }

    fn prompt_tokens(&self, reply: &Value) -> Option<usize> {
        count(&reply["usage"]["prompt_tokens"])
    }

    fn cached_tokens(&self, reply: &Value) -> Option<usize> {
        count(&reply["usage"]["prompt_tokens_details"]["cached_tokens"])
    }

    fn fingerprint<'a>(&self, reply: &'a Value) -> Option<&'a str> {
        reply["model"].as_str()
    }
}

/// A choice, asked as a question.
struct Verdict {
    request: Request,
    texts: Vec<String>,
    samples: Option<u32>,
}

impl Choice for Verdict {
    fn requests(&self) -> Vec<Request> {
        vec![self.request.clone(); self.samples.map_or(1, |samples| samples as usize)]
    }

    fn masses(&self, replies: &[Value]) -> Result<(Vec<f64>, MassKind), WireError> {
        match self.samples {
            Some(samples) => shares(replies, &self.texts).map(|masses| (masses, MassKind::Sampled { samples })),
            None => {
                let (masses, unseen) = listed(&replies[0], &self.texts)?;
                Ok((masses, MassKind::Bounded { unseen }))
            }
        }
    }
}

/// The masses of options among the most probable first tokens, as natural logarithms, and what options may have beside
/// them: tokens that are not listed, and those with which several options begin.
fn listed(reply: &Value, texts: &[String]) -> Result<(Vec<f64>, f64), WireError> {
    let entries = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"].as_array();
    let entries = entries.filter(|entries| !entries.is_empty()).ok_or(WireError::Missing("log probabilities"))?;
    let (mut masses, mut sum, mut unclear) = (vec![0.0; texts.len()], 0.0, 0.0);
    for entry in entries {
        let (Some(token), Some(logprob)) = (entry["token"].as_str(), entry["logprob"].as_f64()) else {
            return Err(WireError::Missing("tokens with log probabilities"));
        };
        super::check(&[0], &[logprob]).or_else(|error| match error {
            // As good as impossible.
            WireError::NoToken(_) => Ok(()),
            error => Err(error),
        })?;
        let p = logprob.exp().min(1.0);
        sum += p;
        let token = token.trim();
        let begun: Vec<usize> =
            (0..texts.len()).filter(|i| !token.is_empty() && texts[*i].starts_with(token)).collect();
        match begun[..] {
            [] => {}
            [only] => masses[only] += p,
            _ => unclear += p,
        }
    }
    if sum > 1.0 + super::ROUNDING {
        return Err(WireError::Impossible(format!("the probabilities of different tokens sum to {sum:.4}")));
    }
    Ok((masses.into_iter().map(f64::ln).collect(), ((1.0 - sum).max(0.0) + unclear).min(1.0)))
}

/// The shares of options among replies, as natural logarithms.
fn shares(replies: &[Value], texts: &[String]) -> Result<Vec<f64>, WireError> {
    let mut counts = vec![0_u32; texts.len()];
    for reply in replies {
        let content = &reply["choices"][0]["message"]["content"];
        // A model that refuses, or only thinks, has no text: no option.
        if !reply["choices"][0]["message"].is_object() {
            return Err(WireError::Missing("message"));
        }
        if let Some(option) = content.as_str().and_then(|said| option_of(said, texts)) {
            counts[option] += 1;
        }
    }
    let all = replies.len().max(1) as f64;
    Ok(counts.into_iter().map(|count| (f64::from(count) / all).ln()).collect())
}

/// The longest option that a text begins with as a word.
fn option_of(said: &str, texts: &[String]) -> Option<usize> {
    let said = said.trim_start_matches(|c: char| !c.is_alphanumeric());
    let fits = |text: &&String| {
        let text = text.trim_start_matches(|c: char| !c.is_alphanumeric());
        said.strip_prefix(text).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    (0..texts.len()).filter(|i| fits(&&texts[*i])).max_by_key(|i| texts[*i].len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masses_are_those_of_tokens_that_begin_one_option() {
        let check = |options: &[&str], tokens: &[(&str, f64)], expected: &[f64], unseen: f64| {
            let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
            let top: Vec<Value> = tokens.iter().map(|(token, p)| json!({"token": token, "logprob": p.ln()})).collect();
            let reply = json!({"choices": [{"logprobs": {"content": [{"top_logprobs": top}]}}]});
            let (masses, found) = listed(&reply, &options).unwrap();
            for (mass, expected) in masses.iter().zip(expected) {
                assert!((mass.exp() - expected).abs() < 1e-9, "{options:?}: {masses:?}");
            }
            assert!((found - unseen).abs() < 1e-9, "{options:?}: {found}");
        };
        check(&["1", "2"], &[("1", 0.5), (" 1", 0.1), ("2", 0.2), ("The", 0.1)], &[0.6, 0.2], 0.1);
        check(&["A", "B"], &[("A", 0.7), ("\n", 0.1), ("**", 0.1)], &[0.7, 0.0], 0.1);
        // What several options begin with may be of each.
        check(&["1", "10"], &[("1", 0.5), ("10", 0.3)], &[0.0, 0.3], 0.7);
        check(&["good", "bad"], &[("go", 0.5), ("ba", 0.25)], &[0.5, 0.25], 0.25);
    }

    #[test]
    fn impossible_lists_and_replies_without_lists_are_refused() {
        let options = ["1".to_owned(), "2".to_owned()];
        let of =
            |top: Value| listed(&json!({"choices": [{"logprobs": {"content": [{"top_logprobs": top}]}}]}), &options);
        assert!(of(json!([])).is_err());
        assert!(of(json!([{"token": "1", "logprob": 0.7}])).is_err());
        assert!(of(json!([{"token": "1", "logprob": -0.1}, {"token": "2", "logprob": -0.1}])).is_err());
        assert!(of(json!([{"token": "1"}])).is_err());
        assert!(of(json!([{"token": "1", "logprob": -0.1}, {"token": "2", "logprob": -9999.0}])).is_ok());
        assert!(listed(&json!({"choices": [{"logprobs": null}]}), &options).is_err());
    }

    #[test]
    fn a_sampled_reply_is_the_option_that_it_begins_with() {
        let options: Vec<String> = ["1", "10", "2", "A"].map(str::to_owned).into();
        let check = |said: &str, expected: Option<usize>| assert_eq!(option_of(said, &options), expected, "{said}");
        check("1", Some(0));
        check(" **10**", Some(1));
        check("2.", Some(2));
        check("A: because", Some(3));
        check("Answer", None);
        check("100", None);
        check("", None);
    }
}
