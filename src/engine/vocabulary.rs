//! Vocabularies, read from a model's own files, without its weights.
//!
//! Engines that send token ids elsewhere tokenise with it. A remote server may add a template or control tokens to text.
//! mistral.rs rebuilds the tokenizer of a GGUF file with another pre-tokenizer than that of the model's training, and
//! loses newlines. So they get ids.

mod folder;
mod gguf;
mod kind;
mod parts;
mod spm;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::OnceLock;

use self::kind::Kind;
use self::parts::{Encoder, Parts};
use crate::prompts::ChatFormat;
use crate::script::{Constraint, Grammar, Grammars, Token, Vocabulary};

/// A model's vocabulary.
pub struct ModelVocabulary {
    encoder: Encoder,
    /// The bytes of each token.
    pieces: Vec<Vec<u8>>,
    longest_piece: usize,
    control: HashMap<String, Token>,
    /// User-defined tokens, which are found in plain text, longest first.
    user_defined: Vec<(String, Token)>,
    /// End-of-turn tokens, including every control token.
    ends: HashSet<Token>,
    adds_space: bool,
    begin: Option<Token>,
    eos: Option<Token>,
    /// Created at the first use, because it takes some time and few servers need it.
    grammars: OnceLock<Result<Grammars, String>>,
    chat: ChatFormat,
}

/// End-of-turn tokens, whatever their type in a file.
const ENDS: [&str; 8] =
    ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>", "<EOT>", "<|end_of_text|>"];

impl ModelVocabulary {
    /// Reads the vocabulary of a GGUF file, or of a folder with a tokenizer.json.
    ///
    /// # Errors
    /// With the missing or unsupported part.
    pub fn load(path: &Path) -> Result<Self, String> {
        let parts = if path.is_dir() { folder::read(path)? } else { gguf::read(path)? };
        Ok(Self::new(parts))
    }

    fn new(parts: Parts) -> Self {
        let Parts { encoder, tokens, byte_level, adds_space, begin, bos, eos, ends, template } = parts;
        let id = |index: usize| Token::try_from(index).expect("a vocabulary has fewer than 2^31 tokens");
        let bytes = byte_level.then(bytes_by_character);
        let pieces: Vec<Vec<u8>> = tokens.iter().map(|(text, kind)| piece(text, *kind, bytes.as_ref())).collect();
        let longest_piece = pieces.iter().map(Vec::len).max().unwrap_or(1).max(1);
        let of_kind = |wanted: Kind| {
            let found = tokens.iter().enumerate().filter(move |(_, (text, kind))| *kind == wanted && !text.is_empty());
            found.map(|(index, (text, _))| (text.clone(), id(index)))
        };
        let control: HashMap<String, Token> = of_kind(Kind::Control).collect();
        let mut user_defined: Vec<(String, Token)> = of_kind(Kind::UserDefined).collect();
        user_defined.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        let named = tokens.iter().enumerate().filter(|(_, (text, _))| ENDS.contains(&text.as_str()));
        let ends = named.map(|(index, _)| id(index)).chain(eos).chain(ends).chain(control.values().copied());
        // A file may name a token that it does not have.
        let ends = ends.filter(|token| usize::try_from(*token).is_ok_and(|index| index < tokens.len())).collect();
        let written = |token: Option<Token>| {
            let text = token.and_then(|token| tokens.get(usize::try_from(token).ok()?));
            text.map(|(text, _)| text.clone()).unwrap_or_default()
        };
        let sorted = |texts: Vec<String>| {
            let mut texts = texts;
            texts.sort();
            texts
        };
        let chat = ChatFormat {
            template,
            bos: written(bos),
            eos: written(eos),
            control: sorted(control.keys().cloned().collect()),
            user_defined: sorted(user_defined.iter().map(|(text, _)| text.clone()).collect()),
        };
        let grammars = OnceLock::new();
        Self { encoder, pieces, longest_piece, control, user_defined, ends, adds_space, begin, eos, grammars, chat }
    }

    /// The chat format of the model.
    #[must_use]
    pub fn chat_format(&self) -> &ChatFormat {
        &self.chat
    }

    /// Every token that ends a turn, in ascending order: the control tokens, and the end-of-turn tokens of other types.
    #[must_use]
    pub fn ends(&self) -> Vec<Token> {
        let mut ends: Vec<Token> = self.ends.iter().copied().collect();
        ends.sort_unstable();
        ends
    }

    /// Control tokens, in ascending order.
    #[cfg(feature = "mistralrs")]
    pub(super) fn control_tokens(&self) -> Vec<Token> {
        let mut control: Vec<Token> = self.control.values().copied().collect();
        control.sort_unstable();
        control
    }

    fn encode(&self, text: &str) -> Vec<Token> {
        match &self.encoder {
            Encoder::Spm(spm) => spm.tokenize(text),
            Encoder::Library(tokenizer) => match tokenizer.encode_fast(text, false) {
                Ok(encoding) => encoding.get_ids().iter().filter_map(|id| Token::try_from(*id).ok()).collect(),
                Err(error) => {
                    // Byte-level vocabularies and those with byte tokens can encode any text.
                    tracing::error!(%error, "the tokenizer refuses a text");
                    Vec::new()
                }
            },
        }
    }
}

impl Vocabulary for ModelVocabulary {
    fn size(&self) -> usize {
        self.pieces.len()
    }

    fn tokenize(&self, text: &str) -> Vec<Token> {
        let mut fragments = vec![Err(text)];
        for (mark, token) in &self.user_defined {
            fragments = fragments.into_iter().flat_map(|fragment| split(fragment, mark, *token)).collect();
        }
        fragments.into_iter().flat_map(|fragment| fragment.map_or_else(|text| self.encode(text), |t| vec![t])).collect()
    }

    fn control(&self, text: &str) -> Option<Token> {
        self.control.get(text).copied()
    }

    fn piece(&self, token: Token) -> Vec<u8> {
        usize::try_from(token).ok().and_then(|index| self.pieces.get(index)).cloned().unwrap_or_default()
    }

    fn longest_piece(&self) -> usize {
        self.longest_piece
    }

    fn ends_turn(&self, token: Token) -> bool {
        self.ends.contains(&token)
    }

    fn adds_space(&self) -> bool {
        self.adds_space
    }

    fn begin(&self) -> Option<Token> {
        self.begin
    }

    fn constrain(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, String> {
        let new = || {
            let eos = self.eos.ok_or("the model has no end-of-generation token")?;
            Grammars::new(self.size(), |token| self.piece(token), eos)
        };
        self.grammars.get_or_init(new).as_ref().map_err(String::clone)?.begin(grammar)
    }
}

/// Splits text fragments at a user-defined token; tokens stay unchanged.
fn split<'t>(fragment: Result<Token, &'t str>, mark: &str, token: Token) -> Vec<Result<Token, &'t str>> {
    let Err(text) = fragment else { return vec![fragment] };
    let mut parts = Vec::new();
    for (index, part) in text.split(mark).enumerate() {
        if index > 0 {
            parts.push(Ok(token));
        }
        if !part.is_empty() {
            parts.push(Err(part));
        }
    }
    parts
}

/// The bytes of a token; `bytes` maps GPT-2's characters, if the vocabulary uses them.
fn piece(text: &str, kind: Kind, bytes: Option<&HashMap<char, u8>>) -> Vec<u8> {
    match (kind, bytes) {
        (Kind::Control | Kind::Unknown, _) => Vec::new(),
        (Kind::Byte(byte), _) => vec![byte],
        (Kind::UserDefined, _) => text.as_bytes().to_vec(),
        (Kind::Plain, None) => text.replace('▁', " ").into_bytes(),
        (Kind::Plain, Some(bytes)) => text
            .chars()
            .flat_map(|c| bytes.get(&c).map_or_else(|| c.to_string().into_bytes(), |byte| vec![*byte]))
            .collect(),
    }
}

/// GPT-2's table: printable bytes are their own characters, the others are characters from U+0100 on (Radford et al.
/// 2019).
fn bytes_by_character() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..=u8::MAX).filter(|byte| !printable(*byte));
    let moved = others.zip(0x100_u32..).filter_map(|(byte, code)| Some((char::from_u32(code)?, byte)));
    (0..=u8::MAX).filter(|byte| printable(*byte)).map(|byte| (char::from(byte), byte)).chain(moved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let table = bytes_by_character();
        assert_eq!(table.len(), 256);
        assert_eq!((table[&'Ġ'], table[&'Ċ'], table[&'a']), (b' ', b'\n', b'a'));
    }

    #[test]
    fn user_defined_tokens_are_found_as_they_stand() {
        let parts = split(Err("a<x>b<x>"), "<x>", 7);
        assert_eq!(parts, [Err("a"), Ok(7), Err("b"), Ok(7)]);
        assert_eq!(split(Ok(3), "<x>", 7), [Ok(3)]);
        assert_eq!(split(Err(""), "<x>", 7), []);
    }
}
