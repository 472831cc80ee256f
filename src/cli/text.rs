//! Text for a terminal of 80 columns.

use std::io::Write;

/// Number of columns used, of 80.
pub(super) const WIDTH: usize = 78;

/// Wraps a text to lines of at most [`WIDTH`] columns with an indent. Longer words are on their own lines.
pub(super) fn wrap(text: &str, indent: usize) -> String {
    let mut out = Vec::new();
    let mut flow = Flow::new(&mut out, indent);
    // Writing to memory does not fail.
    let _ = flow.push(text).and_then(|()| flow.end());
    String::from_utf8_lossy(&out).into_owned()
}

/// Wraps streamed text as [`wrap`] does, and writes each word as soon as it is complete.
pub(super) struct Flow<W> {
    to: W,
    indent: usize,
    column: usize,
    word: String,
}

impl<W: Write> Flow<W> {
    pub(super) fn new(to: W, indent: usize) -> Self {
        Self { to, indent, column: 0, word: String::new() }
    }

    /// Adds a piece, which may end in the middle of a word. Line breaks are kept; other white space becomes one space.
    pub(super) fn push(&mut self, piece: &str) -> std::io::Result<()> {
        for c in piece.chars() {
            if c.is_whitespace() {
                self.put_word()?;
                if c == '\n' {
                    self.end_line()?;
                }
            } else {
                self.word.push(c);
            }
        }
        self.to.flush()
    }

    /// Ends the text and its last line.
    pub(super) fn end(&mut self) -> std::io::Result<()> {
        self.put_word()?;
        self.end_line()?;
        self.to.flush()
    }

    /// Skips empty lines.
    fn end_line(&mut self) -> std::io::Result<()> {
        if std::mem::take(&mut self.column) == 0 {
            return Ok(());
        }
        writeln!(self.to)
    }

    fn put_word(&mut self) -> std::io::Result<()> {
        if self.word.is_empty() {
            return Ok(());
        }
        let length = self.word.chars().count();
        if self.column > 0 && self.column + 1 + length > WIDTH {
            self.end_line()?;
        }
        if self.column == 0 {
            write!(self.to, "{:1$}{2}", "", self.indent, self.word)?;
            self.column = self.indent + length;
        } else {
            write!(self.to, " {}", self.word)?;
            self.column += 1 + length;
        }
        self.word.clear();
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_words_and_stay_within_the_width() {
        let text = "word ".repeat(60);
        let wrapped = wrap(&text, 4);
        assert!(wrapped.lines().all(|line| line.starts_with("    word") && line.chars().count() <= WIDTH), "{wrapped}");
        assert_eq!(wrapped.split_whitespace().count(), 60);
        assert_eq!(wrap("a\n\n  b\tc\n", 1), " a\n b c\n");
        assert_eq!(wrap("", 2), "");
        let long = "x".repeat(100);
        assert_eq!(wrap(&format!("a {long} b"), 0), format!("a\n{long}\nb\n"));
    }

    #[test]
    fn pieces_come_to_the_same_as_the_whole() {
        let text = "The response is right.\nIt says why, and 'für' whom; ".repeat(9);
        for size in [1, 2, 7, 50] {
            let mut out = Vec::new();
            let mut flow = Flow::new(&mut out, 2);
            let chars: Vec<char> = text.chars().collect();
            chars.chunks(size).for_each(|piece| flow.push(&piece.iter().collect::<String>()).unwrap());
            flow.end().unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), wrap(&text, 2));
        }
    }
}
