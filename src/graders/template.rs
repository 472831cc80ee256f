//! Templates with placeholders, `{{item.field}}` and `{{sample.output_text}}`, and no other syntax, so that texts of an
//! item cannot run code.

use serde_json::{Value, json};

/// The values of placeholders.
#[derive(Debug, Clone)]
pub struct Variables(Value);

/// Maximum size of a filled-in template for a model, in bytes: placeholders can multiply the texts of a request.
pub const MAX_BYTES: usize = 1 << 24;

/// Why a template cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// An undefined placeholder.
    #[error(
        "`{{{{{0}}}}}` is undefined; defined are `item` with its fields, `sample.output_text`, and, if the sample is JSON, `sample.output_json`"
    )]
    Unknown(String),
    /// The filled-in template is too long.
    #[error("the filled-in template is longer than {0} bytes; use fewer placeholders or shorter texts")]
    TooLong(usize),
}

impl Variables {
    /// The values of an item and a model's output.
    #[must_use]
    pub fn new(item: &Value, output: &str) -> Self {
        let mut sample = json!({"output_text": output});
        if let Ok(parsed) = serde_json::from_str::<Value>(output) {
            sample["output_json"] = parsed;
        }
        Self(json!({"item": item, "sample": sample}))
    }

    /// Fills in a template, up to `max_bytes` bytes. Strings are inserted as they are, other values as JSON.
    ///
    /// # Errors
    /// At the first placeholder that is undefined, or makes the text too long.
    pub fn fill(&self, template: &str, max_bytes: usize) -> Result<String, TemplateError> {
        let (mut out, mut rest) = (String::new(), template);
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((path, after)) = after.split_once("}}") else { break };
            out.push_str(before);
            match self.find(path.trim()) {
                Some(Value::String(text)) => out.push_str(text),
                Some(other) => out.push_str(&other.to_string()),
                None => return Err(TemplateError::Unknown(path.trim().to_owned())),
            }
            if out.len() > max_bytes {
                return Err(TemplateError::TooLong(max_bytes));
            }
            rest = after;
        }
        if out.len() + rest.len() > max_bytes {
            return Err(TemplateError::TooLong(max_bytes));
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
            let filled = variables.fill(template, MAX_BYTES);
            let expected = expected.map(str::to_owned).map_err(|name| TemplateError::Unknown(name.into()));
            assert_eq!(filled, expected, "{template}");
        };
        check("Q: {{ item.q }} {{item.n}}", Ok("Q: {{item.secret}} 3"));
        check("{{item.deep.list.0.x}} {{item.none}}", Ok("y null"));
        check("{{sample.output_text}} {{sample.output_json.a}}", Ok("{\"a\": [1]} [1]"));
        check("{{item.secret}}", Err("item.secret"));
        check("{{secret}}", Err("secret"));
        check("{{", Ok("{{"));
        assert!(Variables::new(&item, "plain").fill("{{sample.output_json}}", MAX_BYTES).is_err());
        let long = Variables::new(&item, &"x".repeat(MAX_BYTES / 4));
        assert_eq!(long.fill(&"{{sample.output_text}}".repeat(100), MAX_BYTES), Err(TemplateError::TooLong(MAX_BYTES)));
        assert_eq!(long.fill("just a text", 10), Err(TemplateError::TooLong(10)));
    }
}
