//! Finding stop texts in text that arrives in pieces.
//!
//! Each stop text is matched byte by byte (Knuth, Morris and Pratt 1977, doi:10.1137/0206024), so that the cost of a
//! piece of text is its length times the number of stop texts, however much text came before.

use super::{Generate, StopString};

/// The compiled stop texts of a generation.
pub(super) struct Stops(Vec<Pattern>);

/// A pattern to search for; in lower case if case is ignored.
struct Pattern {
    bytes: Vec<u8>,
    case_insensitive: bool,
    /// Whether it matches only at the beginning of the text, after white space.
    opens: bool,
    /// The failure function: for each prefix, the length of its longest proper prefix that is also a suffix.
    borders: Vec<u32>,
}

/// The state of the search in a text.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// Number of bytes read.
    read: usize,
    /// Whether there was any text other than white space.
    begun: bool,
    /// For each pattern, the number of its first bytes that the text ends with; `None` if it can no longer match.
    matched: Vec<Option<usize>>,
}

impl Stops {
    /// The patterns of a generation's stop texts.
    pub(super) fn new(generate: &Generate) -> Self {
        let patterns = generate.stop.iter().flat_map(|StopString { text, case_insensitive, at_line_start }| {
            let anywhere = match at_line_start {
                true => Pattern::new(&format!("\n{text}"), *case_insensitive, false),
                false => Pattern::new(text, *case_insensitive, false),
            };
            let opens = *at_line_start && !text.trim().is_empty();
            [Some(anywhere), opens.then(|| Pattern::new(text, *case_insensitive, true))]
        });
        Self(patterns.flatten().filter(|pattern| !pattern.bytes.is_empty()).collect())
    }

    /// The state before the first piece of a text.
    pub(super) fn begin(&self) -> Progress {
        Progress { read: 0, begun: false, matched: vec![Some(0); self.0.len()] }
    }

    /// Reads the next piece of a text, and returns the start of the earliest stop text that it completes.
    pub(super) fn read(&self, progress: &mut Progress, piece: &str) -> Option<usize> {
        let blank = if progress.begun { 0 } else { piece.len() - piece.trim_start().len() };
        let ends = self.0.iter().zip(&mut progress.matched).filter_map(|(pattern, matched)| {
            let end = if pattern.opens {
                blank + pattern.open(matched, &piece.as_bytes()[blank..])?
            } else {
                pattern.find(matched, piece.as_bytes())?
            };
            Some(progress.read + end - pattern.bytes.len())
        });
        let first = ends.min();
        progress.read += piece.len();
        progress.begun |= blank < piece.len();
        first
    }

    /// Number of bytes of `text`, which is all text read so far, that can be shown. The rest may be the beginning of a
    /// stop text, or white space before one.
    pub(super) fn safe_len(&self, progress: &Progress, text: &str) -> usize {
        let held = progress.matched.iter().copied().flatten().max().unwrap_or(0);
        text[..text.len() - held].trim_end().len()
    }
}

impl Pattern {
    fn new(text: &str, case_insensitive: bool, opens: bool) -> Self {
        let bytes = if case_insensitive { text.to_ascii_lowercase() } else { text.to_owned() }.into_bytes();
        let mut borders = vec![0; bytes.len()];
        let mut border = 0;
        for at in 1..bytes.len() {
            while border > 0 && bytes[border] != bytes[at] {
                border = borders[border - 1] as usize;
            }
            border += usize::from(bytes[border] == bytes[at]);
            borders[at] = u32::try_from(border).expect("a stop text is shorter than 4 GB");
        }
        Self { bytes, case_insensitive, opens, borders }
    }

    fn is_next(&self, matched: usize, byte: u8) -> bool {
        self.bytes[matched] == if self.case_insensitive { byte.to_ascii_lowercase() } else { byte }
    }

    /// Searches a piece of text, and returns the end of the first match.
    fn find(&self, matched: &mut Option<usize>, piece: &[u8]) -> Option<usize> {
        let (mut held, mut end) = (matched.unwrap_or(0), None);
        for (at, byte) in piece.iter().enumerate() {
            while held > 0 && !self.is_next(held, *byte) {
                held = self.borders[held - 1] as usize;
            }
            held += usize::from(self.is_next(held, *byte));
            if held == self.bytes.len() {
                end.get_or_insert(at + 1);
                held = self.borders[held - 1] as usize;
            }
        }
        *matched = Some(held);
        end
    }

    /// The same for a match at the beginning of the text.
    fn open(&self, matched: &mut Option<usize>, piece: &[u8]) -> Option<usize> {
        for (at, byte) in piece.iter().enumerate() {
            let held = matched.filter(|held| self.is_next(*held, *byte));
            *matched = held.map(|held| held + 1).filter(|held| *held < self.bytes.len());
            if held? + 1 == self.bytes.len() {
                return Some(at + 1);
            }
        }
        None
    }
}

/// The start of the earliest stop text in a whole text, if there is one.
pub(crate) fn find(text: &str, generate: &Generate) -> Option<usize> {
    let stops = Stops::new(generate);
    stops.read(&mut stops.begin(), text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a text character by character up to the first stop text: its start, and the text that can be shown.
    fn read<'t>(text: &'t str, generate: &Generate) -> (Option<usize>, &'t str) {
        let stops = Stops::new(generate);
        let (mut progress, mut found) = (stops.begin(), None);
        for (at, c) in text.char_indices() {
            found = found.or(stops.read(&mut progress, &text[at..at + c.len_utf8()]));
        }
        (found, &text[..stops.safe_len(&progress, text)])
    }

    /// The expected result, computed simply: the whole text is searched for every stop text.
    fn plainly(text: &str, generate: &Generate) -> (Option<usize>, usize) {
        let same = |a: &[u8], b: &str, ignore_case| {
            if ignore_case { a.eq_ignore_ascii_case(b.as_bytes()) } else { a == b.as_bytes() }
        };
        let whole = |stop: &StopString| format!("{}{}", if stop.at_line_start { "\n" } else { "" }, stop.text);
        let stops: Vec<_> = generate.stop.iter().map(|stop| (whole(stop), stop.case_insensitive)).collect();
        let first = text.trim_start();
        let openings = generate.stop.iter().filter(|stop| stop.at_line_start).map(|stop| stop.text.as_str());
        let openings: Vec<&str> = openings.filter(|line| !line.trim().is_empty()).collect();
        let anywhere = |(stop, ignore_case): &(String, bool)| {
            text.as_bytes().windows(stop.len()).position(|part| same(part, stop, *ignore_case))
        };
        let opens = |line: &&&str| first.as_bytes().get(..line.len()).is_some_and(|part| same(part, line, true));
        let opened = openings.iter().find(opens).map(|_| text.len() - first.len());
        let held = |(stop, ignore_case): &(String, bool)| {
            (1..stop.len().min(text.len() + 1)).rev().find(|n| {
                stop.is_char_boundary(*n) && same(&text.as_bytes()[text.len() - n..], &stop[..*n], *ignore_case)
            })
        };
        let opening = openings.iter().filter(|line| {
            first.len() < line.len() && same(first.as_bytes(), line.get(..first.len()).unwrap_or("\n"), true)
        });
        let held = stops.iter().filter_map(held).chain(opening.map(|_| first.len())).max().unwrap_or(0);
        (stops.iter().filter_map(anywhere).chain(opened).min(), text[..text.len() - held].trim_end().len())
    }

    proptest! {
        /// Incremental search gives the same result as searching the whole text.
        #[test]
        fn nothing_is_missed_between_pieces(
            pieces in prop::collection::vec("[aAbB\\n\u{3000}é ]{0,4}", 0..12),
            stop in prop::collection::vec("\\n?[abAé]{1,2}[ab\\n é]{0,3}", 0..4),
            exact in prop::collection::vec("[abAé\\n ]{1,4}", 0..3),
        ) {
            let stop = stop.iter().map(|stop| StopString::ignoring_case(stop));
            let stop = stop.chain(exact.into_iter().map(StopString::from)).collect();
            let generate = Generate { stop, ..Generate::default() };
            let stops = Stops::new(&generate);
            let (mut progress, mut text) = (stops.begin(), String::new());
            for piece in pieces {
                let before = progress.clone();
                let found = stops.read(&mut progress, &piece);
                text.push_str(&piece);
                let (expected, shown) = plainly(&text, &generate);
                prop_assert_eq!(found, expected, "{:?}", text);
                prop_assert_eq!(find(&text, &generate).is_some(), expected.is_some());
                if found.is_some() {
                    // Take back a piece that completes a stop text.
                    progress = before;
                    text.truncate(text.len() - piece.len());
                } else {
                    prop_assert_eq!(stops.safe_len(&progress, &text), shown, "{:?}", text);
                }
            }
        }
    }

    #[test]
    fn what_may_be_a_stop_is_held_back() {
        let stops = Generate { stop: vec!["[RESULT]".into(), "</s>".into()], ..Generate::default() };
        let check = |text: &str, shown: &str| assert_eq!(read(text, &stops).1, shown, "{text:?}");
        check("good", "good");
        check("good [", "good");
        check("good [RES", "good");
        check("good [REX", "good [REX");
        check("good. \n", "good.");
        check("a <", "a");
        check("[", "");
        check("", "");
        assert_eq!(find("ab [RESULT] </s>", &stops), Some(3));
        assert_eq!(find("ab [RESULT", &stops), None);
    }

    #[test]
    fn in_any_case_and_at_the_start_of_a_line() {
        let stop = ["[result", "\nresult"].map(StopString::ignoring_case).to_vec();
        let stops = Generate { stop, ..Generate::default() };
        let check = |text: &str, stopped: Option<usize>, shown: &str| {
            assert_eq!(read(text, &stops), (stopped, shown), "{text:?}");
            assert_eq!(find(text, &stops), stopped);
        };
        check("fine [Result", Some(5), "fine [Result");
        check("fine\nRESULT", Some(4), "fine\nRESULT");
        check(" Result: B", Some(1), " Result: B");
        check("the result", None, "the result");
        check("fine [ReS", None, "fine");
        check("fine\nRes", None, "fine");
        check("Res", None, "");
        check("é", None, "é");
        check("", None, "");
    }

    #[test]
    fn some_in_any_case_and_others_as_they_stand() {
        let stop = vec![StopString::ignoring_case("[RESULT]"), "So".into(), "\nThus".into()];
        let stops = Generate { stop, ..Generate::default() };
        let check = |text: &str, stopped: Option<usize>, shown: &str| {
            assert_eq!(read(text, &stops), (stopped, shown), "{text:?}");
            assert_eq!(find(text, &stops), stopped);
        };
        check("also [result]", Some(5), "also [result]");
        check("So be it", Some(0), "So be it");
        check("it is S", None, "it is");
        check("it is s", None, "it is s");
        check("Thus", None, "Thus");
        check("a\nThus", Some(1), "a\nThus");
    }
}
