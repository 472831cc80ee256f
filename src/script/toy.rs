//! A toy vocabulary and model for tests: longest-match tokens over a list of strings, and logits that are a
//! fixed function of the whole context.

use std::sync::Arc;

use super::{Constraint, Glance, Grammar, Grammars, Token, Unseen, Vocabulary};
use crate::pictures::{Picture, Shown};

/// Control tokens first, then the strings of `PIECES`, then the 256 bytes.
#[derive(Clone)]
pub(crate) struct Toy;

const CONTROL: [&str; 3] = ["<begin>", "<end>", "<user>"];
const PIECES: [&str; 22] = [
    " [",
    "RESULT",
    "[RESULT]",
    "]",
    " 1",
    " 10",
    "10",
    " A",
    " B",
    " good",
    " bad",
    "good",
    "ood",
    " response",
    "the",
    " the",
    ". [",
    "Feed",
    "feedback",
    " is",
    ".\n",
    " ",
];
pub(crate) const SIZE: usize = CONTROL.len() + PIECES.len() + 256;
pub(crate) const END: Token = 1;

impl Vocabulary for Toy {
    fn size(&self) -> usize {
        SIZE
    }

    fn tokenize(&self, text: &str) -> Vec<Token> {
        let mut rest = text.as_bytes();
        let mut ids = Vec::new();
        while let Some(byte) = rest.first() {
            let longest =
                PIECES.iter().enumerate().filter(|(_, p)| rest.starts_with(p.as_bytes())).max_by_key(|(_, p)| p.len());
            let (id, len) = match longest {
                Some((index, piece)) => (CONTROL.len() + index, piece.len()),
                None => (CONTROL.len() + PIECES.len() + usize::from(*byte), 1),
            };
            ids.push(id as Token);
            rest = &rest[len..];
        }
        ids
    }

    fn control(&self, text: &str) -> Option<Token> {
        CONTROL.iter().position(|c| *c == text).map(|i| i as Token)
    }

    fn piece(&self, token: Token) -> Vec<u8> {
        let id = token as usize;
        if id < CONTROL.len() {
            Vec::new()
        } else if id < CONTROL.len() + PIECES.len() {
            PIECES[id - CONTROL.len()].as_bytes().to_vec()
        } else {
            vec![(id - CONTROL.len() - PIECES.len()) as u8]
        }
    }

    fn longest_piece(&self) -> usize {
        PIECES.iter().map(|piece| piece.len()).max().unwrap_or(1)
    }

    fn ends_turn(&self, token: Token) -> bool {
        (token as usize) < CONTROL.len()
    }

    fn adds_space(&self) -> bool {
        false
    }

    fn begin(&self) -> Option<Token> {
        Some(0)
    }

    /// Pictures of [`picture`]: 5 to 47 tokens, and a third as many positions.
    fn look(&self, picture: &Arc<Picture>) -> Result<Glance, Unseen> {
        let number = picture.file().last().copied().unwrap_or_default();
        let tokens = 5 + 6 * usize::from(number % 8);
        Ok(Glance { id: -1 - Token::from(number), tokens, positions: tokens.div_ceil(3) })
    }

    fn constrain(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, String> {
        Grammars::new(SIZE, |token| self.piece(token), END)?.begin(grammar)
    }
}

/// A picture that the toy sees, with a number.
pub(crate) fn picture(number: u8) -> Shown {
    let file = [b"GIF89a", &[number][..]].concat();
    let picture = Picture::new(file, usize::MAX).expect("it begins as a GIF file");
    Shown { picture: Arc::new(picture), pointer: format!("/{number}").into() }
}

/// Logits after `context`: a fixed pseudo-random function of it.
pub(crate) fn logits(context: &[Token]) -> Vec<f32> {
    let mut seed = 0xcbf2_9ce4_8422_2325_u64;
    for token in context {
        seed = (seed ^ (*token as u64).wrapping_add(1)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (0..SIZE as u64)
        .map(|id| {
            let mut h = (seed ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            h ^= h >> 29;
            h = h.wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let plain = (CONTROL.len() as u64..(CONTROL.len() + PIECES.len()) as u64).contains(&id);
            ((h >> 40) % 4096) as f32 / 512.0 + if plain { 3.0 } else { 0.0 }
        })
        .collect()
}
