//! The input of a batch: its lines, and what is wrong with them.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::store::NewLine;

/// Why a line of an input, or the whole input, is refused.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// What is wrong, for programs.
    pub code: &'static str,
    /// What is wrong, for people.
    pub message: String,
    /// The field.
    pub param: Option<&'static str>,
    /// The line, from 1; `None`: the whole input.
    pub line: Option<i64>,
}

impl Fault {
    pub(super) fn new(code: &'static str, message: impl Into<String>, line: Option<i64>) -> Self {
        Self { code, message: message.into(), param: None, line }
    }

    fn of(self, param: &'static str) -> Self {
        Self { param: Some(param), ..self }
    }
}

/// Puts lines together from chunks of text.
#[derive(Debug, Default)]
pub struct Lines {
    rest: String,
    /// The number of the next line in the file, from 1.
    next: i64,
    /// The most bytes of a line.
    longest: usize,
}

impl Lines {
    /// For lines of up to `longest` bytes.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        Self { rest: String::new(), next: 1, longest }
    }

    /// Adds a chunk, and gives `line` each line that it completes, with its number in the file from 1. Blank lines count,
    /// and are left out.
    ///
    /// # Errors
    /// If a line is too long.
    pub fn add(&mut self, chunk: &str, mut line: impl FnMut(i64, &str)) -> Result<(), Fault> {
        let mut chunk =
            if self.next == 1 && self.rest.is_empty() { chunk.trim_start_matches('\u{feff}') } else { chunk };
        while let Some((end, rest)) = chunk.split_once('\n') {
            self.push(end)?;
            let complete = std::mem::take(&mut self.rest);
            self.pass(&complete, &mut line);
            chunk = rest;
        }
        self.push(chunk)
    }

    /// Gives `line` the last line, if no line break ends it.
    pub fn end(mut self, mut line: impl FnMut(i64, &str)) {
        let last = std::mem::take(&mut self.rest);
        self.pass(&last, &mut line);
    }

    fn push(&mut self, text: &str) -> Result<(), Fault> {
        if self.rest.len() + text.len() > self.longest {
            let message = format!("the line has more than {} bytes (limits.bulk_body_bytes)", self.longest);
            return Err(Fault::new("line_too_long", message, Some(self.next)));
        }
        self.rest.push_str(text);
        Ok(())
    }

    fn pass(&mut self, text: &str, line: &mut impl FnMut(i64, &str)) {
        let number = self.next;
        self.next += 1;
        let text = text.trim();
        if !text.is_empty() {
            line(number, text);
        }
    }
}

/// A line of OpenAI's batch format.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputLine {
    custom_id: String,
    #[serde(default)]
    method: Option<String>,
    url: String,
    body: Map<String, Value>,
}

/// The most characters of a `custom_id`.
const LONGEST_ID: usize = 512;

/// A line of an input, to be line `number` of the batch, from 0. `at` is its number in the file, from 1. `endpoint` is the
/// batch's; empty: any that `accepts` accepts.
///
/// # Errors
/// With what is wrong with it.
pub fn line(
    text: &str,
    number: i64,
    at: i64,
    endpoint: &str,
    accepts: impl Fn(&str) -> Result<(), String>,
) -> Result<NewLine, Fault> {
    let fault = |code, message: String| Fault::new(code, message, Some(at));
    let read: InputLine = serde_json::from_str(text).map_err(|error| {
        let code = if error.is_data() { "invalid_line" } else { "invalid_json_line" };
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        fault(code, format!("{message}; a line is {{\"custom_id\", \"method\", \"url\", \"body\"}}"))
    })?;
    let InputLine { custom_id, method, url, body } = read;
    if custom_id.is_empty() || custom_id.chars().count() > LONGEST_ID {
        return Err(fault("invalid_custom_id", format!("custom_id has 1 to {LONGEST_ID} characters")).of("custom_id"));
    }
    if method.is_some_and(|method| !method.eq_ignore_ascii_case("post")) {
        return Err(fault("invalid_method", "the method of a line is POST".to_owned()).of("method"));
    }
    if !endpoint.is_empty() && url != endpoint {
        let message = format!("the url is not the batch's endpoint, {endpoint}");
        return Err(fault("mismatched_url", message).of("url"));
    }
    accepts(&url).map_err(|why| fault("invalid_url", why).of("url"))?;
    if body.get("stream").is_some_and(|stream| *stream == Value::Bool(true)) {
        return Err(fault("invalid_body", "a batch cannot stream; leave `stream` out".to_owned()).of("body"));
    }
    let body = Value::Object(body).to_string();
    Ok(NewLine { number, custom_id, url, body })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&str], longest: usize) -> Result<Vec<(i64, String)>, Fault> {
        let (mut lines, mut seen) = (Lines::new(longest), Vec::new());
        for chunk in chunks {
            lines.add(chunk, |number, text| seen.push((number, text.to_owned())))?;
        }
        lines.end(|number, text| seen.push((number, text.to_owned())));
        Ok(seen)
    }

    #[test]
    fn lines_are_put_together_from_chunks() {
        let check = |chunks: &[&str], expected: &[(i64, &str)]| {
            let expected: Vec<_> = expected.iter().map(|(number, text)| (*number, (*text).to_owned())).collect();
            assert_eq!(split(chunks, 8).unwrap(), expected, "{chunks:?}");
        };
        check(&[], &[]);
        check(&["\u{feff}a\n"], &[(1, "a")]);
        check(&["a\r\n", "\n", "b"], &[(1, "a"), (3, "b")]);
        check(&["a", "b\nc", "", "\n"], &[(1, "ab"), (2, "c")]);
        check(&["12345678\n"], &[(1, "12345678")]);
        let fault = split(&["1\n12345", "6789"], 8).unwrap_err();
        assert_eq!((fault.code, fault.line), ("line_too_long", Some(2)));
    }

    proptest! {
        #[test]
        fn where_chunks_end_does_not_matter(text in "[ab\n\r ü]{0,40}", cuts in prop::collection::vec(0_usize..40, 0..5)) {
            let whole = split(&[&text], 100).unwrap();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| text.is_char_boundary(*cut)).collect();
            cuts.sort_unstable();
            let mut parts = Vec::new();
            let mut from = 0;
            for cut in cuts {
                parts.push(&text[from..cut]);
                from = cut;
            }
            parts.push(&text[from..]);
            prop_assert_eq!(split(&parts, 100).unwrap(), whole);
        }

        #[test]
        fn any_text_is_a_line_or_a_fault(text in ".{0,60}") {
            let _ = line(&text, 0, 1, "", |_| Ok(()));
        }
    }

    #[test]
    fn faults_say_what_a_line_should_have() {
        let accepts = |url: &str| if url == "/v1/rank" { Ok(()) } else { Err("not a route of batches".to_owned()) };
        let check = |text: &str, endpoint: &str, expected: (&str, &str)| {
            let fault = line(text, 0, 7, endpoint, accepts).unwrap_err();
            assert_eq!((fault.code, fault.line), (expected.0, Some(7)), "{text}");
            assert!(fault.message.contains(expected.1), "{}", fault.message);
        };
        let good = r#"{"custom_id": "a", "method": "POST", "url": "/v1/rank", "body": {"b": 1}}"#;
        let expected = NewLine { number: 3, custom_id: "a".into(), url: "/v1/rank".into(), body: r#"{"b":1}"#.into() };
        assert_eq!(line(good, 3, 7, "/v1/rank", accepts), Ok(expected));
        check("{", "", ("invalid_json_line", "EOF"));
        check("[]", "", ("invalid_line", "custom_id"));
        check(r#"{"url": "/v1/rank", "body": {}}"#, "", ("invalid_line", "custom_id"));
        check(r#"{"custom_id": "a", "url": "/v1/rank", "body": []}"#, "", ("invalid_line", "a map"));
        check(r#"{"custom_id": "", "url": "/v1/rank", "body": {}}"#, "", ("invalid_custom_id", "512"));
        check(r#"{"custom_id": "a", "url": "/v1/rank", "body": {}, "x": 1}"#, "", ("invalid_line", "`x`"));
        check(&good.replace("POST", "GET"), "", ("invalid_method", "POST"));
        check(good, "/v1/rewards", ("mismatched_url", "/v1/rewards"));
        check(&good.replace("rank", "files"), "", ("invalid_url", "not a route"));
        check(&good.replace(r#""b": 1"#, r#""stream": true"#), "", ("invalid_body", "stream"));
    }
}
