//! What a remote engine is told.

use std::time::Duration;

use crate::script::Token;

/// The kind of a server, which decides the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// llama.cpp's server.
    LlamaServer,
    /// Completions of any OpenAI-compatible server.
    OpenaiCompletions,
    /// Chat completions of any provider.
    OpenaiChat,
}

/// What label masses are, the most exact first; in verdicts `label_mass_kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LabelMassKind {
    /// Sums of probabilities over the whole vocabulary.
    Exact,
    /// Lower bounds, out of the most probable tokens.
    Bounded,
    /// Shares of sampled answers.
    Sampled,
}

impl LabelMassKind {
    /// The name in settings and verdicts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Bounded => "bounded",
            Self::Sampled => "sampled",
        }
    }
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Vllm, Self::Sglang, Self::LlamaServer, Self::OpenaiCompletions, Self::OpenaiChat];

    /// The name in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::LlamaServer => "llama-server",
            Self::OpenaiCompletions => "openai-completions",
            Self::OpenaiChat => "openai-chat",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Where the servers are, and how to talk to them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The addresses of servers of one model, without a path; or of one router.
    pub urls: Vec<String>,
    /// The kind of the servers; `None` finds out.
    pub kind: Option<Kind>,
    /// The model's name at the server; empty: the only one that it has.
    pub model: String,
    /// Sent as a bearer token; empty: none.
    pub api_key: String,
    /// More headers.
    pub headers: Vec<(String, String)>,
    /// A file of root certificates (PEM), in place of the platform's.
    pub ca_file: Option<std::path::PathBuf>,
    /// Maximum number of judgements in flight, at all addresses together.
    pub sequences: usize,
    /// Maximum number of tokens of prompt and answer; 0: what the server says.
    pub context: usize,
    /// Maximum time to connect.
    pub connect: Duration,
    /// Maximum time to the first byte of a reply, which includes the server's queue.
    pub queue: Duration,
    /// Maximum time between two parts of a reply.
    pub idle: Duration,
    /// Maximum number of retries of one request.
    pub retries: u32,
    /// Whether requests name the prefix that they share, for routers (`X-Session-ID`).
    pub affinity: bool,
    /// The least exact kind of label mass that may be used.
    pub accept: LabelMassKind,
    /// The number of sampled answers where a provider tells no log probabilities.
    pub samples: u32,
    /// The tokens that a picture counts as, for providers of messages whose model sees pictures; 0: it does not.
    pub picture_tokens: usize,
}

/// The number of first tokens of a prompt that decide where it is sent: judgements of one rubric and instruction share
/// them.
const SHARED: usize = 256;

/// The name of the prefix that a prompt shares with others.
pub(super) fn session(ids: &[Token]) -> u64 {
    hash(ids.iter().take(SHARED).flat_map(|token| token.to_le_bytes()))
}

/// FNV-1a: stable between processes and versions, so that several of them send one prefix to one server.
pub(super) fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let hashed = bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    // The last bytes have to reach all bits.
    let mixed = (hashed ^ (hashed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}
