//! Tolerant JSON: with a byte order mark, or with lone surrogates.

use std::borrow::Cow;

const LONE: [u8; 6] = *b"\\ufffd";

/// Converts a text into JSON that a parser accepts.
///
/// Removes a byte order mark at the beginning (RFC 8259, section 8.1, allows readers to ignore it). A lone surrogate
/// such as `\ud83d` is valid JSON grammar, but not a character; Python writes one if a text was cut inside an emoji. It
/// becomes the replacement character U+FFFD. Line and column numbers do not change.
#[must_use]
pub fn readable(text: &str) -> Cow<'_, str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Fast path: most texts have no such escape.
    if !text.contains("\\u") {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let unit = |at: usize| -> Option<u16> {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut at, mut lone) = (0, Vec::new());
    while let Some(backslash) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        let escape = at + backslash;
        at = match unit(escape) {
            Some(0xd800..=0xdbff) if matches!(unit(escape + 6), Some(0xdc00..=0xdfff)) => escape + 12,
            Some(0xd800..=0xdfff) => {
                lone.push(escape);
                escape + 6
            }
            // The backslash and the escaped character, which may be a backslash.
            _ => escape + 2,
        };
    }
    if lone.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut whole = bytes.to_vec();
    for escape in lone {
        whole[escape..escape + LONE.len()].copy_from_slice(&LONE);
    }
    Cow::Owned(String::from_utf8(whole).expect("ASCII in place of as much ASCII"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn half_a_character_is_replaced_and_nothing_else() {
        let check = |text: &str, expected: &str| assert_eq!(readable(text), expected, "{text}");
        check(r#""cut \ud83d""#, r#""cut \ufffd""#);
        check(r#""\uDE00 \uD83D\uDE00 \ud83d\ud83d\ude00""#, r#""\ufffd \uD83D\uDE00 \ufffd\ud83d\ude00""#);
        check(r#""\\ud83d \\\ud83d \u00e9 \u2028""#, r#""\\ud83d \\\ufffd \u00e9 \u2028""#);
        check("\u{feff}{}", "{}");
        check("\u{feff}", "");
        // Invalid JSON stays invalid.
        for wrong in [r"\ud83", r"\u", r"\", r"\ü\ud83", r"\u+123", "\"\\ud83d\\ude0"] {
            assert_eq!(readable(wrong).len(), wrong.len());
        }
    }

    proptest! {
        #[test]
        fn every_string_of_escapes_parses_and_keeps_its_pairs(units in prop::collection::vec(any::<u16>(), 0..12)) {
            let json: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let parsed: Value = serde_json::from_str(&readable(&format!("\"{json}\""))).unwrap();
            prop_assert_eq!(parsed, Value::String(String::from_utf16_lossy(&units)));
        }

        #[test]
        fn whatever_is_written_is_read_back(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(readable(&json), json.as_str());
        }
    }
}
