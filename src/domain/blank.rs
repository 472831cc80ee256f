//! Blank texts.

/// Whether a text is blank: only white space, control characters, and invisible characters.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    let unseen = |c: char| {
        matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
    };
    text.chars().all(|c| c.is_whitespace() || c.is_control() || unseen(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_nothing_is_blank() {
        for blank in ["", " \n\t", "\u{a0}\u{3000}", "\u{200b}", "\u{feff} \u{2060}\u{200d}", "\0", "\u{2800}\u{3164}"]
        {
            assert!(is_blank(blank), "{blank:?}");
        }
        for seen in [".", " a ", "\u{200b}0", "\u{fffd}", "é", "👍\u{fe0f}", "日"] {
            assert!(!is_blank(seen), "{seen:?}");
        }
    }
}
