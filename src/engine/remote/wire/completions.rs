//! Completions of any OpenAI-compatible server: token ids go in, the few most probable tokens come out as texts. What
//! is not among them is bounded by the least probable of them.

use serde_json::{Value, json};

use super::{
    Abilities, Context, Piece, Question, Reading, Request, Wanted, Wire, WireError, check, completion, count, finish,
    stops,
};
use crate::engine::remote::settings::{Kind, LabelMassKind};
use crate::script::{Generate, NodeAsk, NodeReading, SamplerSettings, Token};

const PATH: &str = "/v1/completions";
/// The number of probable tokens that the classic completions tell.
const LISTED: usize = 5;
/// The maximum of stop texts.
const MOST_STOPS: usize = 4;

/// The protocol of OpenAI's completions.
pub(in crate::engine::remote) struct Completions;

impl Wire for Completions {
    fn kind(&self) -> Kind {
        Kind::OpenaiCompletions
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            reads: "logprobs",
            label_mass: LabelMassKind::Bounded,
            batches: false,
            structured_output: false,
            prompt_logprobs: false,
            min_tokens: false,
            truncation: false,
            raw_prompts: true,
        }
    }

    fn ask(&self, context: Context<'_>, Wanted { nodes, .. }: Wanted<'_>) -> Question {
        let request = |node: &NodeAsk| {
            let mut body = completion(context, json!(context.then(&node.path)), 1);
            body["temperature"] = json!(0);
            body["logprobs"] = json!(LISTED);
            Request { path: PATH, body }
        };
        let texts = |node: &NodeAsk| {
            let text = |token: &Token| String::from_utf8_lossy(&context.vocabulary.piece(*token)).into_owned();
            node.children.iter().map(text).collect()
        };
        let (requests, texts) = (nodes.iter().map(request).collect(), nodes.iter().map(texts).collect());
        Question::Nodes(Box::new(Top { requests, texts }))
    }

    fn write(&self, context: Context<'_>, limits: &Generate, sampling: &SamplerSettings) -> Request {
        let mut body = completion(context, json!(context.ids), limits.max_tokens);
        let settings = json!({
            "stream": true,
            "stop": stops(limits, MOST_STOPS),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed >> 1,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
        });
        body.as_object_mut().expect("it is an object").extend(settings.as_object().expect("it is an object").clone());
        Request { path: PATH, body }
    }

    fn chunk(&self, chunk: &Value, _: &mut usize) -> Result<Vec<Piece>, WireError> {
        let choice = &chunk["choices"][0];
        if choice.is_null() {
            return Ok(Vec::new());
        }
        let mut pieces = vec![Piece::Text(choice["text"].as_str().unwrap_or_default().to_owned())];
        if let Some(reason) = choice["finish_reason"].as_str() {
            pieces.push(Piece::End { finish: finish(reason), tokens: count(&chunk["usage"]["completion_tokens"]) });
        }
        Ok(pieces)
    }

    fn cached_tokens(&self, reply: &Value) -> Option<usize> {
        count(&reply["usage"]["prompt_tokens_details"]["cached_tokens"])
    }

    fn fingerprint<'a>(&self, reply: &'a Value) -> Option<&'a str> {
        reply["system_fingerprint"].as_str()
    }
}

/// One request a node, and the texts of its tokens.
struct Top {
    requests: Vec<Request>,
    texts: Vec<Vec<String>>,
}

impl Reading for Top {
    fn requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    fn replies(&mut self, replies: &[Value]) -> Result<Option<Vec<NodeReading>>, WireError> {
        let read = replies.iter().zip(&self.texts).map(|(reply, texts)| top(reply, texts));
        read.collect::<Result<_, _>>().map(Some)
    }
}

/// Reads a list of probable tokens by their texts.
fn top(reply: &Value, texts: &[String]) -> Result<NodeReading, WireError> {
    let listed = reply["choices"][0]["logprobs"]["top_logprobs"][0].as_object();
    let listed = listed.filter(|listed| !listed.is_empty()).ok_or(WireError::Missing("log probabilities"))?;
    let values: Option<Vec<f64>> = listed.values().map(Value::as_f64).collect();
    let values = values.ok_or(WireError::Missing("log probabilities that are numbers"))?;
    let positions: Vec<Token> = (0..).take(values.len()).collect();
    check(&positions, &values)?;
    // Two tokens of one text are one entry, which may be of either.
    let unique = |text: &String| texts.iter().filter(|other| *other == text).count() == 1;
    let logprob = |text: &String| listed.get(text).and_then(Value::as_f64).filter(|_| unique(text)).map(|p| p.min(0.0));
    let least = values.iter().copied().fold(0.0, f64::min);
    Ok(NodeReading { logprobs: texts.iter().map(logprob).collect(), unseen: least.exp() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_bounded_by_what_is() {
        let reply = json!({"choices": [{"logprobs": {"top_logprobs": [{" A": -0.5, " the": -2.0}]}}]});
        let read = top(&reply, &[" A".into(), " B".into()]).unwrap();
        assert_eq!(read, NodeReading { logprobs: vec![Some(-0.5), None], unseen: (-2.0f64).exp() });
        let twice = top(&reply, &[" A".into(), " A".into()]).unwrap();
        assert_eq!(twice.logprobs, [None, None], "an entry of two tokens");
        let none = json!({"choices": [{"logprobs": null}]});
        assert_eq!(top(&none, &[" A".into()]), Err(WireError::Missing("log probabilities")));
    }
}
