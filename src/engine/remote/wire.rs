//! The protocols of servers. A [`Wire`] is pure: it builds requests and reads replies, and never guesses: a reply that
//! lacks what was asked for, or that cannot be true, is a [`WireError`].

pub(super) mod chat;
pub(super) mod completions;
pub(super) mod llama_server;
pub(super) mod sglang;
pub(super) mod vllm;

use serde_json::{Value, json};

use super::settings::{Kind, LabelMassKind};
use crate::domain::{Finish, MassKind, TokenLogprob};
use crate::script::{
    Generate, Look, NodeAsk, NodeReading, Prompt, SamplerSettings, Script, Segment, Step, Token, Vocabulary,
};

/// How far a log probability may be above 0, and a sum of probabilities above 1, by rounding.
const ROUNDING: f64 = 1e-3;
/// Servers write this, or less, in place of a log probability that they do not have.
const NO_LOGPROB: f64 = -9000.0;

/// A request to a server: a POST of JSON.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Request {
    pub(super) path: &'static str,
    pub(super) body: Value,
}

/// What a request is about.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// The tokens of the context.
    pub(super) ids: &'a [Token],
    /// The model's name at the server.
    pub(super) model: &'a str,
    pub(super) vocabulary: &'a dyn Vocabulary,
    /// Whether the server is to reuse no prefix.
    pub(super) fresh: bool,
    /// The pictures among the tokens.
    pub(super) looks: &'a [Look],
}

impl Context<'_> {
    /// The context with more tokens.
    pub(super) fn then(&self, path: &[Token]) -> Vec<Token> {
        [self.ids, path].concat()
    }
}

/// A part of a generated text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Tokens(Vec<Token>),
    /// Where the server does not tell the tokens.
    Text(String),
    /// The number of generated tokens, after the end.
    Counted(usize),
    End {
        finish: Finish,
        /// The number of generated tokens, if the server tells it.
        tokens: Option<usize>,
    },
}

/// A reply that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// Something that was asked for is not there.
    #[error("the reply has no {0}")]
    Missing(&'static str),
    /// The log probability of a token that was asked for is not there.
    #[error("the reply has no log probability for the requested token {0}")]
    NoToken(Token),
    /// A value that cannot be true.
    #[error("{0}")]
    Impossible(String),
}

/// The reading of some nodes, in one or several rounds.
pub(super) trait Reading: Send {
    /// The requests of this round.
    fn requests(&mut self) -> Vec<Request>;

    /// Takes their replies, in order; `None` if another round is needed.
    fn replies(&mut self, replies: &[Value]) -> Result<Option<Vec<NodeReading>>, WireError>;
}

/// A choice that is asked for as a whole.
pub(super) trait Choice: Send + Sync {
    /// The requests, all sent at once.
    fn requests(&self) -> Vec<Request>;

    /// The masses of the options by the replies, as natural logarithms.
    fn masses(&self, replies: &[Value]) -> Result<(Vec<f64>, MassKind), WireError>;
}

/// A choice whose probabilities are wanted, in the two ways in which protocols know one.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// By the tokens of its options: the nodes of their tree.
    pub(super) nodes: &'a [NodeAsk],
    /// By their texts: the answer so far, and what may follow.
    pub(super) answer: &'a str,
    pub(super) options: &'a [String],
}

/// What a protocol asks for a choice.
pub(super) enum Question {
    /// The probabilities of tokens at nodes.
    Nodes(Box<dyn Reading>),
    /// The whole choice, of which the protocol knows the texts alone.
    Whole(Box<dyn Choice>),
}

/// What a protocol can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// How probabilities are read.
    pub reads: &'static str,
    /// What label masses are: exact where every token that is asked for is told.
    pub label_mass: LabelMassKind,
    /// Whether one request reads several nodes of an option tree.
    pub batches: bool,
    /// Structured output.
    pub structured_output: bool,
    /// Log probabilities of the prompt.
    pub prompt_logprobs: bool,
    /// A minimum of generated tokens.
    pub min_tokens: bool,
    /// Sampling from the most probable tokens only: `top_k` and `min_p`.
    pub truncation: bool,
    /// Any prompt, not only conversations.
    pub raw_prompts: bool,
}

impl Abilities {
    /// What a job needs that the protocol cannot do.
    pub(super) fn lacks(&self, prompt: &Prompt, script: &Script, sampling: &SamplerSettings) -> Option<&'static str> {
        let marked = prompt.0.iter().any(|segment| matches!(segment, Segment::Control(_)));
        let raw = (!marked && !self.raw_prompts).then_some("the continuation of a text");
        raw.or_else(|| self.script_lacks(script, sampling))
    }

    fn script_lacks(&self, script: &Script, sampling: &SamplerSettings) -> Option<&'static str> {
        let truncates = sampling.temperature > 0.0 && (sampling.top_k > 0 || sampling.min_p > 0.0);
        script.0.iter().find_map(|step| match step {
            Step::PromptLogprobs(_) => (!self.prompt_logprobs).then_some("log probabilities of the prompt"),
            Step::Say(_) | Step::Choose(_) => None,
            Step::Branch(scripts) => scripts.iter().find_map(|script| self.script_lacks(script, sampling)),
            Step::Generate(limits) if limits.logprobs.is_some() => Some("log probabilities of generated tokens"),
            Step::Generate(limits) if limits.min_tokens > 0 && !self.min_tokens => Some("a minimum number of tokens"),
            Step::Generate(limits) if limits.grammar.is_some() && !self.structured_output => Some("structured output"),
            Step::Generate(_) => (truncates && !self.truncation).then_some("top_k and min_p"),
        })
    }
}

/// A protocol.
pub(super) trait Wire: Send + Sync {
    fn kind(&self) -> Kind;

    fn abilities(&self) -> Abilities;

    /// Whether requests of one round have to be sent one after another, because the server would compute the same
    /// prefix for each of them.
    fn in_turn(&self) -> bool {
        false
    }

    /// What has to be asked for the probabilities of a choice.
    fn ask(&self, context: Context<'_>, wanted: Wanted<'_>) -> Question;

    /// A request that generates text and streams it, within the [`Abilities`].
    fn write(&self, context: Context<'_>, limits: &Generate, sampling: &SamplerSettings) -> Request;

    /// Reads a chunk of a stream. `seen` is the length of the text so far in bytes, 0 at the beginning, for the use of
    /// the protocol alone.
    fn chunk(&self, chunk: &Value, seen: &mut usize) -> Result<Vec<Piece>, WireError>;

    /// A request for the log probabilities of the tokens of the context, if the protocol has one.
    fn prompt_logprobs(&self, _context: Context<'_>, _most: usize) -> Option<Request> {
        None
    }

    /// Reads its reply.
    fn read_prompt_logprobs(&self, _context: Context<'_>, _reply: &Value) -> Result<Vec<TokenLogprob>, WireError> {
        Err(WireError::Missing("log probabilities of the prompt"))
    }

    /// The number of prompt tokens, if they are not known here and a reply tells it.
    fn prompt_tokens(&self, _reply: &Value) -> Option<usize> {
        None
    }

    /// The number of prompt tokens that the server took from its cache, if a reply tells it.
    fn cached_tokens(&self, reply: &Value) -> Option<usize>;

    /// What a reply says about the server and its weights; it changes only with them.
    fn fingerprint<'a>(&self, _reply: &'a Value) -> Option<&'a str> {
        None
    }
}

/// Reads the reply of a part: the log probabilities of the tokens of each of its nodes.
type Parse = fn(&Value, &[(usize, Vec<Token>)]) -> Result<Vec<Vec<f64>>, WireError>;

/// A list of requests that are all sent at once, each with the nodes and tokens that it reads.
pub(super) struct Batch {
    /// The tokens of each node.
    asked: Vec<Vec<Token>>,
    nodes: Vec<NodeReading>,
    parts: Vec<Part>,
    parse: Parse,
}

/// A request with the nodes that it reads, and the positions of tokens among the children of each.
pub(super) struct Part {
    pub(super) request: Request,
    /// Index of a node, and the tokens that are read there.
    pub(super) reads: Vec<(usize, Vec<Token>)>,
    /// For each of them, the position of the first token among the children.
    pub(super) offsets: Vec<usize>,
}

impl Batch {
    pub(super) fn new(nodes: &[NodeAsk], parts: Vec<Part>, parse: Parse) -> Self {
        let empty = |node: &NodeAsk| NodeReading { logprobs: vec![None; node.children.len()], unseen: 0.0 };
        let asked = nodes.iter().map(|node| node.children.clone()).collect();
        Self { asked, nodes: nodes.iter().map(empty).collect(), parts, parse }
    }
}

impl Reading for Batch {
    fn requests(&mut self) -> Vec<Request> {
        // There is one round.
        self.parts.iter_mut().map(|part| std::mem::take(&mut part.request)).collect()
    }

    fn replies(&mut self, replies: &[Value]) -> Result<Option<Vec<NodeReading>>, WireError> {
        for (part, reply) in self.parts.iter().zip(replies) {
            let read = (self.parse)(reply, &part.reads)?;
            for (((node, tokens), offset), logprobs) in part.reads.iter().zip(&part.offsets).zip(read) {
                check(tokens, &logprobs)?;
                let slots = &mut self.nodes[*node].logprobs[*offset..];
                slots.iter_mut().zip(logprobs).for_each(|(slot, logprob)| *slot = Some(logprob.min(0.0)));
            }
        }
        // Those of one node may have come in several replies.
        for (node, reading) in self.asked.iter().zip(&self.nodes) {
            let told: Vec<f64> = reading.logprobs.iter().copied().flatten().collect();
            check(node, &told)?;
        }
        Ok(Some(std::mem::take(&mut self.nodes)))
    }
}

/// Checks that log probabilities of different tokens at one position can be true.
pub(super) fn check(tokens: &[Token], logprobs: &[f64]) -> Result<(), WireError> {
    for (token, logprob) in tokens.iter().zip(logprobs) {
        if logprob.is_nan() || *logprob > ROUNDING {
            return Err(WireError::Impossible(format!(
                "the log probability {logprob} of the token {token} is above 0"
            )));
        }
        if *logprob <= NO_LOGPROB {
            return Err(WireError::NoToken(*token));
        }
    }
    let sum: f64 = logprobs.iter().map(|logprob| logprob.exp()).sum();
    if sum > 1.0 + ROUNDING {
        return Err(WireError::Impossible(format!("the probabilities of different tokens sum to {sum:.4}")));
    }
    Ok(())
}

/// The stop texts that a server can look for; all are looked for here, too.
pub(super) fn stops(limits: &Generate, most: usize) -> Vec<&str> {
    let plain =
        limits.stop.iter().filter(|stop| !stop.case_insensitive && !stop.at_line_start && !stop.text.is_empty());
    plain.map(|stop| stop.text.as_str()).take(most).collect()
}

/// The fields of OpenAI's completions that every request has, so that no default of the server counts.
pub(super) fn completion(context: Context<'_>, prompt: Value, max_tokens: usize) -> Value {
    json!({"model": context.model, "prompt": prompt, "max_tokens": max_tokens})
}

/// The finish reason of OpenAI's completions.
pub(super) fn finish(reason: &str) -> Finish {
    if reason == "length" { Finish::Length } else { Finish::Stop }
}

/// A number in a reply.
pub(super) fn count(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|count| usize::try_from(count).ok())
}
