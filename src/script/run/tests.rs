use proptest::prelude::*;

use super::super::toy::Toy;
use super::*;

/// Tokens that are merged of their parts, the first of the list first.
const MERGES: [&str; 34] = [
    "in", " t", "he", "ing", " th", "e ", " the", "an", "er", "aa", "  ", "e t", "and", " and", "\n\n", ". ", "12",
    "23", "123", "3 ", "aaa", " i", " is", "s ", "aaaa", "    ", "re", ".\n", "\n ", "é ", "日本", "g a", " 1", "ee",
];

/// A vocabulary that merges neighbours, the best pair first, as BPE and SPM do; other characters are spelled in bytes.
struct Merging {
    /// Whether all text gets a space of the vocabulary's own before it.
    adds_space: bool,
    /// Whether text is cut into words, numbers and space first, beyond which nothing is merged.
    words: bool,
}

impl Merging {
    fn merged(text: &str) -> Vec<Token> {
        let rank = |piece: &str| MERGES.iter().position(|merge| *merge == piece).unwrap_or(usize::MAX);
        // Where parts begin, the end of the text last; and the rank of each with the one after it.
        let mut starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let pair = |starts: &[usize], at: usize| {
            let piece = starts.get(at + 2).map(|end| &text[starts[at]..*end]);
            piece.map_or(usize::MAX, rank)
        };
        let mut ranks: Vec<usize> = (0..starts.len()).map(|at| pair(&starts, at)).collect();
        while let Some((best, at)) = ranks.iter().copied().zip(0..).min().filter(|(best, _)| *best < usize::MAX) {
            debug_assert_eq!(pair(&starts, at), best);
            starts.remove(at + 1);
            ranks.remove(at + 1);
            (at.saturating_sub(1)..=at).for_each(|changed| ranks[changed] = pair(&starts, changed));
        }
        let spell = |part: &[usize]| {
            let part = &text[part[0]..part[1]];
            match MERGES.iter().position(|merge| *merge == part) {
                Some(index) => vec![256 + index as Token],
                None => part.bytes().map(Token::from).collect(),
            }
        };
        starts.windows(2).flat_map(spell).collect()
    }
}

/// Cuts text as the patterns of byte-level vocabularies do.
fn words(text: &str) -> Vec<&str> {
    let run = |text: &str, fits: fn(char) -> bool| text.find(|c| !fits(c)).unwrap_or(text.len());
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let spaced = rest.strip_prefix(' ').and_then(|word| word.chars().next());
        let other = |c: char| !c.is_whitespace() && !c.is_alphanumeric();
        let len = match (first, spaced) {
            (_, Some(c)) if c.is_alphabetic() => 1 + run(&rest[1..], char::is_alphabetic),
            (c, _) if c.is_alphabetic() => run(rest, char::is_alphabetic),
            (c, _) if c.is_numeric() => run(rest, char::is_numeric).min(3),
            (c, _) if c.is_whitespace() => {
                let all = run(rest, char::is_whitespace);
                // The last space is left to the word after it.
                let last = rest[..all].chars().next_back().map_or(0, char::len_utf8);
                if all < rest.len() && all > last { all - last } else { all }
            }
            (_, _) => {
                let marks = rest.find(|c| !other(c)).unwrap_or(rest.len());
                marks + run(&rest[marks..], |c| c == '\n')
            }
        };
        let (word, after) = rest.split_at(len);
        found.push(word);
        rest = after;
    }
    found
}

impl Vocabulary for Merging {
    fn size(&self) -> usize {
        256 + MERGES.len()
    }
    fn tokenize(&self, text: &str) -> Vec<Token> {
        let text = if self.adds_space { format!(" {text}") } else { text.to_owned() };
        match self.words {
            true => words(&text).into_iter().flat_map(Self::merged).collect(),
            false => Self::merged(&text),
        }
    }
    fn control(&self, _text: &str) -> Option<Token> {
        None
    }
    fn piece(&self, token: Token) -> Vec<u8> {
        match usize::try_from(token - 256) {
            Ok(index) => MERGES[index].into(),
            Err(_) => u8::try_from(token).into_iter().collect(),
        }
    }
    fn longest_piece(&self) -> usize {
        MERGES.iter().map(|merge| merge.len()).max().unwrap_or(1)
    }
    fn ends_turn(&self, _token: Token) -> bool {
        false
    }
    fn adds_space(&self) -> bool {
        self.adds_space
    }
    fn begin(&self) -> Option<Token> {
        None
    }
}

fn vocabularies() -> [(&'static str, Box<dyn Vocabulary>); 5] {
    let merging = |adds_space, words| Box::new(Merging { adds_space, words }) as Box<dyn Vocabulary>;
    [
        ("longest match", Box::new(Toy)),
        ("merging", merging(false, false)),
        ("merging, with a space before", merging(true, false)),
        ("merging in words", merging(false, true)),
        ("merging in words, with a space before", merging(true, true)),
    ]
}

fn tokenized(vocabulary: &dyn Vocabulary, text: &str) -> Vec<Token> {
    if text.is_empty() { Vec::new() } else { vocabulary.tokenize(text) }
}

/// Pieces that have tokens of their own, or parts of such, and characters of several bytes.
fn text(pieces: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        " the",
        "the",
        "ing",
        " and",
        " is",
        "e",
        " t",
        "he",
        "\n",
        "\n\n",
        ".",
        ". ",
        " ",
        "  ",
        "12",
        "3",
        "aa",
        "a",
        "é",
        "日",
        "本",
        " good",
        " response",
        "RESULT",
        " [",
        "[",
        "]",
        " 1",
        "0",
        " A",
    ]);
    prop::collection::vec(piece, pieces).prop_map(|pieces| pieces.concat())
}

#[test]
fn only_a_window_is_tokenised_again() {
    let text = "the response is good, and the reader is told what it is. ".repeat(8);
    for (name, vocabulary) in vocabularies() {
        let mut run = TextRun::new(text.clone(), tokenized(&*vocabulary, &text));
        run.push("\n[RESULT]");
        let tail = run.tokenize(&*vocabulary);
        assert_eq!(run.ids(), tokenized(&*vocabulary, run.text()), "{name}");
        assert!(tail.ids.len() < 60 && tail.keep > 40, "{name}: {} after {}", tail.ids.len(), tail.keep);
    }
}

#[test]
fn an_option_without_tokens_is_noticed() {
    struct Mute;
    impl Vocabulary for Mute {
        fn size(&self) -> usize {
            1
        }
        fn tokenize(&self, _text: &str) -> Vec<Token> {
            Vec::new()
        }
        fn control(&self, _text: &str) -> Option<Token> {
            None
        }
        fn piece(&self, _token: Token) -> Vec<u8> {
            Vec::new()
        }
        fn longest_piece(&self) -> usize {
            1
        }
        fn ends_turn(&self, _token: Token) -> bool {
            false
        }
        fn adds_space(&self) -> bool {
            false
        }
        fn begin(&self) -> Option<Token> {
            None
        }
    }
    let options = ["a".to_owned(), "b".to_owned()];
    assert!(matches!(TextRun::default().options(&Mute, &options), Err(StepError::NoTokens)));
}

proptest! {
    /// However text is added, the ids are those of all of it tokenised at once.
    #[test]
    fn ids_are_those_of_the_whole_text(known in text(0..80), added in prop::collection::vec(text(0..12), 1..4)) {
        for (name, vocabulary) in vocabularies() {
            let mut run = TextRun::new(known.clone(), tokenized(&*vocabulary, &known));
            for added in &added {
                run.push(added);
                run.tokenize(&*vocabulary);
                prop_assert_eq!(run.ids(), &tokenized(&*vocabulary, run.text())[..], "{}: {:?}", name, run.text());
            }
        }
    }

    /// The paths of options are those of the whole text, too.
    #[test]
    fn options_are_those_of_the_whole_text(
        known in text(0..80),
        options in prop::collection::btree_set(text(1..4), 2..5),
    ) {
        let options: Vec<String> = options.into_iter().collect();
        for (name, vocabulary) in vocabularies() {
            let run = TextRun::new(known.clone(), tokenized(&*vocabulary, &known));
            let wholes: Vec<Vec<Token>> = options.iter()
                .map(|option| tokenized(&*vocabulary, &format!("{known}{option}"))).collect();
            let (keep, tree) = run.options(&*vocabulary, &options).unwrap();
            let expected = OptionTree::new(&wholes);
            prop_assert_eq!(&[&run.ids()[..keep], tree.forced()].concat(), expected.forced(), "{}", name);
            for (index, whole) in wholes.iter().enumerate() {
                prop_assert_eq!(tree.path_len(index), expected.path_len(index));
                if expected.path_len(index) > 0 {
                    prop_assert_eq!(&[&run.ids()[..keep], &tree.tokens(index)].concat(), whole, "{}", name);
                }
            }
        }
    }
}
