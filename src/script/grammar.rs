//! Grammars restrict a `Generate` step token by token, so that its text always matches.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use super::Token;
use super::schema::{self, SchemaTooLarge};

/// Stack size of the thread that compiles a grammar, in bytes: many times the need of the deepest schema within the
/// limits. Only the used part takes memory.
const STACK: usize = 128 << 20;
/// Maximum length of the reason for an unsupported grammar, in bytes.
const LONGEST_REASON: usize = 500;

/// JSON that matches a schema. It is compiled once, for the first vocabulary that uses it; clones share the result.
#[derive(Clone)]
pub struct Grammar {
    schema: Arc<str>,
    compiled: Arc<OnceLock<Compiled>>,
}

/// A compiled grammar for one vocabulary, before the first token.
struct Compiled {
    vocabulary: Arc<ParserFactory>,
    beginning: Result<Mutex<Matcher>, String>,
}

impl Grammar {
    /// JSON that matches a schema, without white space between its parts, so that generation ends.
    ///
    /// # Errors
    /// If the schema exceeds the limits for safe and fast compilation.
    pub fn schema(schema: &Value) -> Result<Self, SchemaTooLarge> {
        schema::check(schema)?;
        let mut schema = schema.clone();
        if let Some(fields) = schema.as_object_mut() {
            let layout = json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "});
            fields.insert("x-guidance".to_owned(), layout);
        }
        Ok(Self { schema: schema.to_string().into(), compiled: Arc::default() })
    }

    /// The schema, for servers that have a constraint engine of their own.
    #[must_use]
    pub fn json_schema(&self) -> Value {
        let mut schema: Value = serde_json::from_str(&self.schema).expect("it was written from a value");
        if let Some(fields) = schema.as_object_mut() {
            fields.shift_remove("x-guidance");
        }
        schema
    }

    /// Any JSON object.
    #[must_use]
    pub fn object() -> Self {
        Self::schema(&json!({"type": "object"})).expect("it is within every limit")
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Grammar").field(&self.schema).finish()
    }
}

impl PartialEq for Grammar {
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema
    }
}

impl Eq for Grammar {}

impl Hash for Grammar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.schema.hash(state);
    }
}

/// The state of a grammar while text is generated.
pub trait Constraint: Send {
    /// The logits, with -∞ for tokens that are not allowed next. `None` if no token is allowed.
    fn masked(&mut self, logits: &[f32]) -> Option<Vec<f32>>;

    /// Consumes the next token, and returns whether the text is complete, so that no token may follow.
    fn accept(&mut self, token: Token) -> bool;
}

/// Compiles grammars for one vocabulary.
pub struct Grammars {
    factory: Arc<ParserFactory>,
}

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grammars")
    }
}

impl Grammars {
    /// For a vocabulary of `size` tokens: the bytes of each token (empty for control tokens), and the token that ends
    /// the model's turn.
    ///
    /// # Errors
    /// If the vocabulary cannot be used.
    pub fn new(size: usize, piece: impl Fn(Token) -> Vec<u8>, end: Token) -> Result<Self, String> {
        let words: Vec<Vec<u8>> = (0..size).map(|id| piece(id as Token)).collect();
        let info = TokRxInfo::new(u32::try_from(size).map_err(|error| error.to_string())?, end.cast_unsigned());
        let environment = Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, &words)));
        let mut factory = ParserFactory::new_simple(&(environment as _)).map_err(|error| error.to_string())?;
        factory.quiet();
        // Errors are returned to callers, not logged by the library.
        factory.limits_mut().verbose_errors = false;
        Ok(Self { factory: Arc::new(factory) })
    }

    /// Starts a text. The first call for a grammar compiles it, which can take seconds; later calls copy the result.
    ///
    /// # Errors
    /// If the grammar is not supported.
    pub fn begin(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, String> {
        let compiled = grammar.compiled.get_or_init(|| self.compile(grammar));
        let beginning = if Arc::ptr_eq(&compiled.vocabulary, &self.factory) {
            compiled.beginning()
        } else {
            self.compile(grammar).beginning()
        };
        Ok(Box::new(Guided(beginning?)))
    }

    /// Compiles a grammar on a thread with a large stack.
    fn compile(&self, grammar: &Grammar) -> Compiled {
        let understood = || {
            let schema: Value = serde_json::from_str(&grammar.schema).map_err(|error| error.to_string())?;
            let matcher = Matcher::new(self.factory.create_parser(TopLevelGrammar::from_json_schema(schema)));
            match matcher.get_error() {
                Some(error) => Err(error.chars().take(LONGEST_REASON).collect()),
                None => Ok(matcher),
            }
        };
        let beginning = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("grammar".to_owned()).stack_size(STACK);
            let thread = thread.spawn_scoped(scope, understood).map_err(|error| error.to_string())?;
            thread.join().unwrap_or_else(|_| Err("the schema could not be compiled".to_owned()))
        });
        Compiled { vocabulary: Arc::clone(&self.factory), beginning: beginning.map(Mutex::new) }
    }
}

impl Compiled {
    fn beginning(&self) -> Result<Matcher, String> {
        let beginning = self.beginning.as_ref().map_err(String::clone)?;
        // It is never changed, so it is valid even after a panic.
        Ok(beginning.lock().unwrap_or_else(PoisonError::into_inner).deep_clone())
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
    use crate::domain::Finish;
    use crate::script::{Action, Encoded};
    use proptest::prelude::*;

    fn write(grammar: Grammar, max_tokens: usize, seed: u64) -> (String, Finish) {
        let generate = Generate { max_tokens, grammar: Some(grammar), ..Generate::default() };
        let settings = SamplerSettings { temperature: 1.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed };
        let prompt = Encoded { ids: vec![0], run_start: 1, ..Encoded::default() };
        let script = Script(vec![Step::Generate(generate)]).compile(&prompt, &Toy).unwrap();
        let mut machine = Machine::new(Arc::new(Toy), prompt, script, settings);
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
        assert!(grammars.begin(&Grammar::schema(&json!({"type": "nonsense"})).unwrap()).is_err());
        assert!(grammars.begin(&Grammar::object()).is_ok());
    }

    /// The deepest chain of references and the widest object that pass the limits, on a thread with a small stack.
    #[test]
    fn no_schema_within_the_limits_ends_the_process() {
        let defs = |count: usize, entry: fn(usize) -> Value| -> Value {
            (0..=count).map(|at| (format!("a{at}"), entry(at))).collect::<serde_json::Map<_, _>>().into()
        };
        let mut schemas = Vec::new();
        for (links, link) in [
            (490, (|at| json!({"$ref": format!("#/$defs/a{}", at + 1)})) as fn(usize) -> Value),
            (160, |at| json!({"oneOf": [{"$ref": format!("#/$defs/a{}", at + 1)}]})),
            (160, |at| json!({"properties": {"a": {"$ref": format!("#/$defs/a{}", at + 1)}}})),
        ] {
            let mut schema = json!({"$defs": defs(links, link)});
            schema["$defs"][format!("a{links}")] = json!({"type": "integer"});
            schema["$ref"] = json!("#/$defs/a0");
            schemas.push(schema);
        }
        schemas.push(json!({"type": "object", "properties": defs(1_999, |_| json!({"type": "integer"}))}));
        let grammars = Grammars::new(SIZE, |token| Toy.piece(token), END).unwrap();
        let small = std::thread::Builder::new().stack_size(1 << 20);
        let compiled = small.spawn(move || {
            for schema in &schemas {
                let grammar = Grammar::schema(schema).unwrap();
                let first = grammars.begin(&grammar).map(drop);
                assert_eq!(grammars.begin(&grammar).map(drop), first, "the second is a copy of the first");
            }
        });
        compiled.unwrap().join().unwrap();
    }

    #[test]
    fn a_grammar_is_compiled_once_for_each_vocabulary() {
        let new = || Grammars::new(SIZE, |token| Toy.piece(token), END).unwrap();
        let (one, other) = (new(), new());
        let grammar = Grammar::object();
        one.begin(&grammar.clone()).map(drop).unwrap();
        let compiled = grammar.compiled.get().expect("a clone's is shared");
        assert!(Arc::ptr_eq(&compiled.vocabulary, &one.factory));
        other.begin(&grammar).map(drop).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever the logits are, the text matches the schema or reports that it was cut off.
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
            let (text, finish) = write(Grammar::schema(&schema).unwrap(), max_tokens, seed);
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
