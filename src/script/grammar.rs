//! Grammars: what a `Generate` step may write, token by token, so that what is written always fits.

use std::fmt;
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use super::Token;

/// What may be written: JSON that fits a schema.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grammar(String);

impl Grammar {
    /// JSON that fits a schema, without white space of its own, so that it comes to an end.
    #[must_use]
    pub fn schema(schema: &Value) -> Self {
        let mut schema = schema.clone();
        if let Some(fields) = schema.as_object_mut() {
            let layout = json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "});
            fields.insert("x-guidance".to_owned(), layout);
        }
        Self(schema.to_string())
    }

    /// Any JSON object.
    #[must_use]
    pub fn object() -> Self {
        Self::schema(&json!({"type": "object"}))
    }
}

/// What may come next, as it is being written.
pub trait Constraint: Send {
    /// The logits with those of tokens that may not come next at -∞. `None` when nothing may.
    fn masked(&mut self, logits: &[f32]) -> Option<Vec<f32>>;

    /// Takes the next token, and says whether the text is complete now, so that nothing may follow.
    fn accept(&mut self, token: Token) -> bool;
}

/// The grammars of one vocabulary.
pub struct Grammars {
    factory: ParserFactory,
}

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grammars")
    }
}

impl Grammars {
    /// Those of a vocabulary of `size` tokens: the bytes of each, empty for control tokens, and the one that ends
    /// the model's turn.
    ///
    /// # Errors
    /// When the vocabulary cannot be used.
    pub fn new(size: usize, piece: impl Fn(Token) -> Vec<u8>, end: Token) -> Result<Self, String> {
        let words: Vec<Vec<u8>> = (0..size).map(|id| piece(id as Token)).collect();
        let info = TokRxInfo::new(u32::try_from(size).map_err(|error| error.to_string())?, end.cast_unsigned());
        let environment = Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, &words)));
        let mut factory = ParserFactory::new_simple(&(environment as _)).map_err(|error| error.to_string())?;
        factory.quiet();
        Ok(Self { factory })
    }

    /// Begins a text.
    ///
    /// # Errors
    /// When the grammar cannot be understood.
    pub fn begin(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, String> {
        let schema: Value = serde_json::from_str(&grammar.0).map_err(|error| error.to_string())?;
        let parser = self.factory.create_parser(TopLevelGrammar::from_json_schema(schema));
        let matcher = Matcher::new(parser);
        match matcher.get_error() {
            Some(error) => Err(error),
            None => Ok(Box::new(Guided(matcher))),
        }
    }
}

struct Guided(Matcher);

impl Constraint for Guided {
    fn masked(&mut self, logits: &[f32]) -> Option<Vec<f32>> {
        let mask = self.0.compute_mask().ok()?;
        let mut masked = vec![f32::NEG_INFINITY; logits.len()];
        let mut any = false;
        mask.iter_set_entries(|id| {
            if let Some(logit) = logits.get(id) {
                masked[id] = *logit;
                any = true;
            }
        });
        any.then_some(masked)
    }

    fn accept(&mut self, token: Token) -> bool {
        self.0.consume_token(token.cast_unsigned()).is_err() || self.0.is_stopped()
    }
}

#[cfg(test)]
mod tests {
    use super::super::toy::{END, SIZE, Toy, logits};
    use super::super::{Generate, Machine, Outcome, SamplerSettings, Script, Step, Vocabulary};
    use super::*;
    use crate::grading::Finish;
    use crate::script::{Action, Encoded};
    use proptest::prelude::*;

    fn write(grammar: Grammar, max_tokens: usize, seed: u64) -> (String, Finish) {
        let generate = Generate { max_tokens, grammar: Some(grammar), ..Generate::default() };
        let settings = SamplerSettings { temperature: 1.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed };
        let prompt = Encoded { ids: vec![0], run_start: 1, run_text: String::new() };
        let mut machine = Machine::new(Arc::new(Toy), prompt, Script(vec![Step::Generate(generate)]), settings);
        let mut action = machine.start();
        loop {
            match action {
                Action::Feed => {
                    let next = logits(machine.ids());
                    action = machine.on_logits(&next);
                }
                Action::Fork(_) | Action::Failed(_) => unreachable!("the script has no branch, and sound logits"),
                Action::Done(transcript) => match &transcript.outcomes[0] {
                    Outcome::Generated { text, finish } => return (text.clone(), *finish),
                    other => panic!("{other:?}"),
                },
            }
        }
    }

    #[test]
    fn grammars_that_are_none_are_refused() {
        let grammars = Grammars::new(SIZE, |token| Toy.piece(token), END).unwrap();
        assert!(grammars.begin(&Grammar::schema(&json!({"type": "nonsense"}))).is_err());
        assert!(grammars.begin(&Grammar::object()).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever the model wants to write, what it has written fits, or says that it was cut off.
        #[test]
        fn what_is_written_fits(seed in any::<u64>(), max_tokens in 1usize..120) {
            let schema = json!({
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 6},
                    "score": {"type": "integer", "minimum": 1, "maximum": 5},
                    "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
                    "ok": {"$ref": "#/$defs/flag"}
                },
                "required": ["name", "score", "tags", "ok"],
                "additionalProperties": false,
                "$defs": {"flag": {"type": "boolean"}}
            });
            let (text, finish) = write(Grammar::schema(&schema), max_tokens, seed);
            match finish {
                Finish::Length => prop_assert!(text.starts_with('{'), "{text}"),
                Finish::Stop => {
                    let value: Value = serde_json::from_str(&text).expect("JSON");
                    prop_assert!((1..=5).contains(&value["score"].as_i64().expect("an integer")), "{text}");
                    prop_assert!(value["ok"].is_boolean() && value["tags"].is_array(), "{text}");
                }
            }
        }
    }
}
