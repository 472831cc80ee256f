//! The pictures that a model saw.

use std::sync::Arc;

use crate::engine::Compiled;
use crate::pictures::Shown;
use crate::script::Look;

/// A picture that a model saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPicture {
    /// JSON pointer to the picture in the request.
    pub pointer: Arc<str>,
    /// SHA-256 of its file, in hexadecimal digits.
    pub sha256: String,
    /// Columns of pixels, upright.
    pub width: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Tokens that it took of the context.
    pub tokens: usize,
}

/// Where the pictures of a prompt are among its tokens: the index of the first token of each, and their number.
pub(super) struct LooksOfPrompt(Vec<(usize, usize)>);

impl LooksOfPrompt {
    pub(super) fn of(compiled: &Compiled) -> Self {
        Self(compiled.encoded.looks.iter().map(|look| (look.at, look.glance.tokens)).collect())
    }

    /// The number of pictures.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Tokens of all pictures together.
    pub(super) fn tokens(&self) -> u64 {
        self.0.iter().map(|(_, tokens)| *tokens as u64).sum()
    }

    /// The number of pictures that had to be encoded, if the first `cached` tokens of the prompt were there. A picture is
    /// never there in part.
    pub(super) fn encoded_after(&self, cached: usize) -> usize {
        self.0.iter().filter(|(at, tokens)| at + tokens > cached).count()
    }
}

/// Adds the pictures of a request that are not there yet, by their pointers.
pub(super) fn add_seen(all: &mut Arc<[SeenPicture]>, more: &Arc<[SeenPicture]>) {
    let is_new = |picture: &&SeenPicture| all.iter().all(|known| known.pointer != picture.pointer);
    if all.is_empty() {
        *all = Arc::clone(more);
    } else if more.iter().any(|picture| is_new(&picture)) {
        *all = all.iter().chain(more.iter().filter(is_new)).cloned().collect();
    }
}

/// The pictures of a prompt, with what they take of the context.
pub(super) fn seen(compiled: &Compiled) -> Arc<[SeenPicture]> {
    let looks = compiled.job.prompt.pictures().zip(&compiled.encoded.looks);
    let seen = |(Shown { picture, pointer }, look): (&Shown, &Look)| {
        let (width, height) = picture.pixels().map(|pixels| (pixels.width, pixels.height)).unwrap_or_default();
        SeenPicture {
            pointer: Arc::clone(pointer),
            sha256: picture.sha256(),
            width,
            height,
            tokens: look.glance.tokens,
        }
    };
    looks.map(seen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_encoded_unless_all_its_tokens_are_there() {
        let looks = LooksOfPrompt(vec![(3, 10), (20, 5)]);
        let encoded = [0, 12, 13, 24, 25, 99].map(|cached| looks.encoded_after(cached));
        assert_eq!((encoded, looks.count(), looks.tokens()), ([2, 2, 1, 1, 0, 0], 2, 15));
    }

    #[test]
    fn a_picture_is_listed_once_by_its_place() {
        let seen = |pointer: &str| SeenPicture {
            pointer: pointer.into(),
            sha256: String::new(),
            width: 1,
            height: 1,
            tokens: 1,
        };
        let mut all: Arc<[SeenPicture]> = Arc::default();
        for more in [vec!["/a", "/b"], vec![], vec!["/a"], vec!["/c", "/b"]] {
            add_seen(&mut all, &more.into_iter().map(seen).collect());
        }
        assert_eq!(all.iter().map(|picture| &*picture.pointer).collect::<Vec<_>>(), ["/a", "/b", "/c"]);
    }
}
