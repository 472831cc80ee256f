//! A llama.cpp model's vocabulary and chat format.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;
use llama_cpp_2::vocab::VocabType;

use super::eyes::Eyes;
use crate::pictures::Picture;
use crate::prompts::ChatFormat;
use crate::script::{Constraint, Glance, Grammar, Grammars, Token, Unseen, Vocabulary};

/// The vocabulary of a loaded model.
pub(super) struct ModelVocabulary {
    model: Arc<LlamaModel>,
    eyes: Option<Arc<Eyes>>,
    control: HashMap<String, Token>,
    user_defined: Vec<String>,
    size: usize,
    adds_space: bool,
    begin: Option<Token>,
    longest_piece: usize,
    /// Created at the first use, because it takes some time and few servers need it.
    grammars: OnceLock<Result<Grammars, String>>,
}

impl ModelVocabulary {
    pub(super) fn new(model: Arc<LlamaModel>, eyes: Option<Arc<Eyes>>) -> Self {
        let vocab = model.vocab();
        let with = |attr: LlamaTokenAttr| -> HashMap<String, Token> {
            let tokens = vocab.tokens().filter(|token| vocab.attr(*token).contains(attr));
            let written = tokens.filter_map(|t| Some((vocab.text(t)?.to_string_lossy().into_owned(), t.0)));
            written.filter(|(text, _)| !text.is_empty()).collect()
        };
        let (control, user_defined) = (with(LlamaTokenAttr::Control), with(LlamaTokenAttr::UserDefined));
        let adds_space = vocab.vocab_type() == VocabType::SPM
            && model.meta_val_str("tokenizer.ggml.add_space_prefix").map_or(true, |value| value != "false");
        let begin = vocab.should_add_bos().then(|| vocab.bos().0).filter(|bos| *bos >= 0);
        let (user_defined, size) = (user_defined.into_keys().collect(), vocab.tokens().count());
        let longest_piece = vocab.tokens().map(|token| vocab.token_to_piece(token, false, None).len()).max();
        let longest_piece = longest_piece.unwrap_or(1).max(1);
        let grammars = OnceLock::new();
        Self { control, user_defined, size, adds_space, begin, longest_piece, grammars, model, eyes }
    }

    /// The chat format of the model.
    pub(super) fn chat_format(&self) -> ChatFormat {
        let vocab = self.model.vocab();
        let written =
            |token: LlamaToken| vocab.text(token).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
        let mut control: Vec<String> = self.control.keys().cloned().collect();
        control.sort();
        let mut user_defined = self.user_defined.clone();
        user_defined.sort();
        ChatFormat {
            template: self.model.chat_template(None).ok().and_then(|template| template.to_string().ok()),
            bos: written(vocab.bos()),
            eos: written(vocab.eos()),
            control,
            user_defined,
        }
    }
}

impl Vocabulary for ModelVocabulary {
    fn size(&self) -> usize {
        self.size
    }

    fn tokenize(&self, text: &str) -> Vec<Token> {
        self.model.vocab().tokenize(text.as_bytes(), false, false).into_iter().map(|token| token.0).collect()
    }

    fn control(&self, text: &str) -> Option<Token> {
        self.control.get(text).copied()
    }

    fn piece(&self, token: Token) -> Vec<u8> {
        self.model.vocab().token_to_piece(LlamaToken(token), false, None)
    }

    fn longest_piece(&self) -> usize {
        self.longest_piece
    }

    fn ends_turn(&self, token: Token) -> bool {
        let vocab = self.model.vocab();
        vocab.is_eog(LlamaToken(token)) || vocab.is_control(LlamaToken(token))
    }

    fn adds_space(&self) -> bool {
        self.adds_space
    }

    fn begin(&self) -> Option<Token> {
        self.begin
    }

    fn look(&self, picture: &Arc<Picture>) -> Result<Glance, Unseen> {
        self.eyes.as_ref().ok_or(Unseen::NoEyes)?.look(picture)
    }

    fn constrain(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, String> {
        let vocab = self.model.vocab();
        let new = || Grammars::new(self.size, |token| self.piece(token), vocab.eos().0);
        self.grammars.get_or_init(new).as_ref().map_err(String::clone)?.begin(grammar)
    }
}
