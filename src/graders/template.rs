//! `{{item.field}}` and `{{sample.output_text}}`: placeholders and nothing more, so that no text of an item can make
//! work of its own.

use serde_json::{Value, json};

/// What placeholders stand for.
#[derive(Debug, Clone)]
pub struct Variables(Value);

/// The most bytes that a template for a model may come to: placeholders can multiply what a request holds.
pub const MOST: usize = 1 << 24;

/// Why a template cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// A placeholder that stands for nothing.
    #[error(
        "`{{{{{0}}}}}` stands for nothing; there are `item` with its fields, `sample.output_text`, and `sample.output_json` if the sample is JSON"
    )]
    Unknown(String),
    /// What it comes to is too long.
    #[error("filled in, it is longer than {0} bytes; use fewer placeholders, or shorter texts")]
    TooLong(usize),
}

impl Variables {
    /// Those of an item and a model's output.
    #[must_use]
    pub fn new(item: &Value, output: &str) -> Self {
        let mut sample = json!({"output_text": output});
        if let Ok(parsed) = serde_json::from_str::<Value>(output) {
            sample["output_json"] = parsed;
        }
        Self(json!({"item": item, "sample": sample}))
    }

    /// Fills in a template, up to `most` bytes. Strings are put in as they are, all else as JSON.
    ///
    /// # Errors
    /// At the first placeholder that stands for nothing, or makes the text too long.
    pub fn fill(&self, template: &str, most: usize) -> Result<String, BadTemplate> {
        let (mut out, mut rest) = (String::new(), template);
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((path, after)) = after.split_once("}}") else { break };
            out.push_str(before);
            match self.find(path.trim()) {
                Some(Value::String(text)) => out.push_str(text),
                Some(other) => out.push_str(&other.to_string()),
                None => return Err(BadTemplate::Unknown(path.trim().to_owned())),
            }
            if out.len() > most {
                return Err(BadTemplate::TooLong(most));
            }
            rest = after;
        }
        if out.len() + rest.len() > most {
            return Err(BadTemplate::TooLong(most));
        }
        Ok(out + rest)
    }

    fn find(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.0, |value, key| match value {
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            other => other.get(key),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_once() {
        let item = json!({"q": "{{item.secret}}", "n": 3, "deep": {"list": [{"x": "y"}]}, "none": null});
        let variables = Variables::new(&item, "{\"a\": [1]}");
        let check = |template: &str, expected: Result<&str, &str>| {
            let filled = variables.fill(template, MOST);
            let expected = expected.map(str::to_owned).map_err(|name| BadTemplate::Unknown(name.into()));
            assert_eq!(filled, expected, "{template}");
        };
        check("Q: {{ item.q }} {{item.n}}", Ok("Q: {{item.secret}} 3"));
        check("{{item.deep.list.0.x}} {{item.none}}", Ok("y null"));
        check("{{sample.output_text}} {{sample.output_json.a}}", Ok("{\"a\": [1]} [1]"));
        check("{{item.secret}}", Err("item.secret"));
        check("{{secret}}", Err("secret"));
        check("{{", Ok("{{"));
        assert!(Variables::new(&item, "plain").fill("{{sample.output_json}}", MOST).is_err());
        let long = Variables::new(&item, &"x".repeat(MOST / 4));
        assert_eq!(long.fill(&"{{sample.output_text}}".repeat(100), MOST), Err(BadTemplate::TooLong(MOST)));
        assert_eq!(long.fill("just a text", 10), Err(BadTemplate::TooLong(10)));
    }
}
