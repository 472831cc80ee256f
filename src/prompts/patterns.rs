//! Search for a set of strings.

/// A set of strings to search for; of those that match at one position, the longest is found.
#[derive(Debug)]
pub(super) struct PatternSet {
    /// Sorted, so that common prefixes are adjacent; in lower case if case is ignored.
    texts: Vec<String>,
    /// The possible first bytes.
    first: [bool; 256],
    ignore_case: bool,
}

impl PatternSet {
    /// Strings that match exactly: control tokens.
    pub(super) fn exact(texts: &[String]) -> Self {
        Self::new(texts.iter().filter(|text| !text.is_empty()).cloned().collect(), false)
    }

    /// Strings that match in any ASCII case, without surrounding white space. Single characters are left out, because a
    /// space cannot escape them.
    pub(super) fn markers(texts: &[String]) -> Self {
        let trimmed = texts.iter().map(|text| text.trim());
        Self::new(trimmed.filter(|text| text.chars().nth(1).is_some()).map(str::to_owned).collect(), true)
    }

    fn new(mut texts: Vec<String>, ignore_case: bool) -> Self {
        if ignore_case {
            texts.iter_mut().for_each(|text| text.make_ascii_lowercase());
        }
        texts.sort();
        texts.dedup();
        let mut first = [false; 256];
        for byte in texts.iter().filter_map(|text| text.bytes().next()) {
            first[usize::from(byte)] = true;
            if ignore_case {
                first[usize::from(byte.to_ascii_lowercase())] = true;
                first[usize::from(byte.to_ascii_uppercase())] = true;
            }
        }
        Self { texts, first, ignore_case }
    }

    /// The first match at or after `from`: its start and length, in bytes.
    pub(super) fn find(&self, text: &str, from: usize) -> Option<(usize, usize)> {
        let bytes = text.as_bytes();
        let mut starts = (from..bytes.len()).filter(|at| self.first[usize::from(bytes[*at])]);
        starts.find_map(|at| self.longest(&bytes[at..]).map(|len| (at, len)))
    }

    /// The length of the longest string that `bytes` begin with. Vocabularies have thousands of tokens with common
    /// prefixes, so each byte narrows the range of candidates.
    fn longest(&self, bytes: &[u8]) -> Option<usize> {
        let (mut fitting, mut longest) = (&self.texts[..], None);
        for (at, byte) in bytes.iter().enumerate() {
            let byte = if self.ignore_case { byte.to_ascii_lowercase() } else { *byte };
            let next = |text: &String| text.as_bytes().get(at).copied();
            let start = fitting.partition_point(|text| next(text) < Some(byte));
            let end = fitting.partition_point(|text| next(text) <= Some(byte));
            fitting = &fitting[start..end];
            match fitting.first() {
                Some(shortest) if shortest.len() == at + 1 => longest = Some(at + 1),
                Some(_) => {}
                None => break,
            }
        }
        longest
    }

    /// Splits a text into matches (true) and the text between them (false). Pieces are never empty.
    pub(super) fn split<'t>(&self, text: &'t str) -> Vec<(bool, &'t str)> {
        let mut pieces = Vec::new();
        let mut from = 0;
        while let Some((at, len)) = self.find(text, from) {
            pieces.extend([(false, &text[from..at]), (true, &text[at..at + len])]);
            from = at + len;
        }
        pieces.push((false, &text[from..]));
        pieces.retain(|(_, piece)| !piece.is_empty());
        pieces
    }
}
