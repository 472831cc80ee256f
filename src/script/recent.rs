//! A vocabulary that does not tokenise again what a text has in common with a recent one.
//!
//! Judgements by one rubric begin alike. The tokens of such a beginning are taken from the recent text, up to a window
//! shortly before the two texts part, and the rest is tokenised. The ids equal those of the whole text for the reasons
//! that `run` gives: it is the same method, for a text that was not appended to but replaced.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::run::TailTokenizer;
use super::{Constraint, Glance, Grammar, Token, Unseen, Vocabulary};
use crate::pictures::Picture;

/// Shorter texts are tokenised as a whole, in bytes.
const SHORT: usize = 512;
/// The number of texts that are remembered.
const TEXTS: usize = 16;
/// A text is remembered if it has less than this share of its beginning in common with those that are.
const ALIKE: f64 = 0.6;

/// A vocabulary with a memory of recent texts.
pub struct Remembering {
    inner: Arc<dyn Vocabulary>,
    recent: Mutex<VecDeque<Arc<Known>>>,
}

/// A tokenised text.
struct Known {
    text: String,
    ids: Vec<Token>,
    /// The end of each token in the text, in bytes; 0 for those whose place is not known.
    ends: Vec<usize>,
}

impl Known {
    fn new(text: &str, ids: &[Token], vocabulary: &dyn Vocabulary) -> Self {
        let (mut ends, mut end) = (vec![0; ids.len()], text.len());
        for (slot, id) in ends.iter_mut().zip(ids).rev() {
            let piece = vocabulary.piece(*id);
            // Tokenizers may add spaces or change characters; before those, places are unknown.
            if piece.is_empty() || !text.as_bytes()[..end].ends_with(&piece) {
                break;
            }
            *slot = end;
            end -= piece.len();
        }
        Self { text: text.to_owned(), ids: ids.to_vec(), ends }
    }

    /// The number of bytes that both texts begin with.
    fn in_common(&self, text: &str) -> usize {
        self.text.bytes().zip(text.bytes()).take_while(|(one, other)| one == other).count()
    }
}

impl Remembering {
    /// A vocabulary that remembers nothing yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Vocabulary>) -> Self {
        Self { inner, recent: Mutex::default() }
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Known>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, text: &str, ids: &[Token]) {
        let known = Arc::new(Known::new(text, ids, &*self.inner));
        let mut recent = self.recent();
        recent.truncate(TEXTS - 1);
        recent.push_front(known);
    }
}

impl Vocabulary for Remembering {
    fn tokenize(&self, text: &str) -> Vec<Token> {
        if text.len() < SHORT {
            return self.inner.tokenize(text);
        }
        let recent: Vec<Arc<Known>> = self.recent().iter().cloned().collect();
        let alike = recent.iter().map(|known| (known.in_common(text), known)).max_by_key(|(common, _)| *common);
        let ids = alike.as_ref().and_then(|(common, known)| {
            let tokens = known.ends.partition_point(|end| end <= common);
            let end = *known.ends[..tokens].last().filter(|end| **end > 0)?;
            let (beginning, ids) = (text.get(..end)?, &known.ids[..tokens]);
            let tail = TailTokenizer::new(&*self.inner, beginning, ids).append(&text[end..]);
            Some([&ids[..tail.keep], &tail.ids].concat())
        });
        let ids = ids.unwrap_or_else(|| self.inner.tokenize(text));
        if alike.is_none_or(|(common, _)| (common as f64) < ALIKE * text.len() as f64) {
            self.remember(text, &ids);
        }
        ids
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn control(&self, text: &str) -> Option<Token> {
        self.inner.control(text)
    }

    fn piece(&self, token: Token) -> Vec<u8> {
        self.inner.piece(token)
    }

    fn longest_piece(&self) -> usize {
        self.inner.longest_piece()
    }

    fn ends_turn(&self, token: Token) -> bool {
        self.inner.ends_turn(token)
    }

    fn adds_space(&self) -> bool {
        self.inner.adds_space()
    }

    fn begin(&self) -> Option<Token> {
        self.inner.begin()
    }

    fn look(&self, picture: &Arc<Picture>) -> Result<Glance, Unseen> {
        self.inner.look(picture)
    }

    fn constrain(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, String> {
        self.inner.constrain(grammar)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::script::toy::Toy;

    proptest! {
        #[test]
        fn ids_are_those_of_the_whole_text(
            beginning in "([a-z]{1,6}[ .\n]){80,160}",
            ends in proptest::collection::vec("([a-zé ]{1,8}[ \n,]?){0,80}", 1..6),
        ) {
            let remembering = Remembering::new(Arc::new(Toy));
            for end in ends {
                let text = format!("{beginning}{end}");
                prop_assert_eq!(remembering.tokenize(&text), Toy.tokenize(&text));
            }
        }
    }

    /// A vocabulary that counts the bytes that it tokenises.
    struct Counting(Toy, AtomicUsize);

    impl Vocabulary for Counting {
        fn tokenize(&self, text: &str) -> Vec<Token> {
            self.1.fetch_add(text.len(), Ordering::Relaxed);
            self.0.tokenize(text)
        }
        fn size(&self) -> usize {
            self.0.size()
        }
        fn control(&self, text: &str) -> Option<Token> {
            self.0.control(text)
        }
        fn piece(&self, token: Token) -> Vec<u8> {
            self.0.piece(token)
        }
        fn longest_piece(&self) -> usize {
            self.0.longest_piece()
        }
        fn ends_turn(&self, token: Token) -> bool {
            self.0.ends_turn(token)
        }
        fn adds_space(&self) -> bool {
            self.0.adds_space()
        }
        fn begin(&self) -> Option<Token> {
            self.0.begin()
        }
    }

    #[test]
    fn a_common_beginning_is_tokenised_once() {
        let counting = Arc::new(Counting(Toy, AtomicUsize::new(0)));
        let remembering = Remembering::new(Arc::clone(&counting) as _);
        let beginning = "the rubric says what is good ".repeat(100);
        for number in 0..50 {
            remembering.tokenize(&format!("{beginning}and this is response number {number}"));
        }
        let whole = beginning.len() + 40;
        let read = counting.1.load(Ordering::Relaxed);
        assert!(read < whole + 50 * 200, "{read} bytes for 50 texts of {whole}");
        assert_eq!(remembering.recent().len(), 1, "they are all alike");
    }
}
