//! Request bodies of a load, serialised in advance.

use hyper::body::Bytes;
use serde_json::{Value, json};

use super::super::items::{Item, KindArg, ModeArg, Route};

/// Number of made-up responses to one instruction, as in a group of a reward run.
const GROUP_SIZE: u64 = 8;
/// Default number of made-up requests.
const DEFAULT_REQUESTS: u64 = 64;

/// Options of the command line for every request.
pub(super) struct Settings {
    pub(super) model: Option<String>,
    pub(super) prompt: Option<String>,
    pub(super) max_feedback_tokens: Option<u32>,
    pub(super) no_cache: bool,
}

/// Request bodies by number.
pub(super) enum Requests {
    /// Items of a file, repeated.
    Items(Vec<(KindArg, Bytes)>),
    /// Made-up items, all different.
    Synthetic(Template),
}

/// A body with places for numbers.
pub(super) struct Template {
    kind: KindArg,
    seed: u64,
    /// The text before each number, and the number; the last part has no number.
    parts: Vec<(String, Option<Number>)>,
}

#[derive(Clone, Copy)]
enum Number {
    Seed,
    Group,
    Item,
}

/// The placeholders of numbers in the body, which JSON does not escape.
const PLACES: [(char, Number); 3] =
    [('\u{E000}', Number::Seed), ('\u{E001}', Number::Group), ('\u{E002}', Number::Item)];

impl Settings {
    fn put(&self, body: &mut Value) {
        if let Some(model) = &self.model {
            body["model"] = json!(model);
        }
        if let Some(prompt) = &self.prompt {
            body["prompt"] = json!(prompt);
        }
        if let Some(tokens) = self.max_feedback_tokens {
            match &mut body["sampling"] {
                Value::Object(sampling) => drop(sampling.insert("max_feedback_tokens".into(), json!(tokens))),
                other => *other = json!({"max_feedback_tokens": tokens}),
            }
        }
        if self.no_cache {
            body["cache"] = json!(false);
        }
    }
}

impl Requests {
    pub(super) fn of_items(items: Vec<Item>, settings: &Settings) -> Self {
        let body = |Item { route, mut body, .. }: Item| {
            let Route::Grade(kind) = route else { return None };
            settings.put(&mut body);
            Some((kind, Bytes::from(body.to_string())))
        };
        Self::Items(items.into_iter().filter_map(body).collect())
    }

    pub(super) fn synthetic(
        kind: KindArg,
        rubric: &Value,
        mode: Option<ModeArg>,
        seed: u64,
        settings: &Settings,
    ) -> Self {
        let mut body = json!({
            "instruction": "A customer writes: \"My parcel \u{E001} of list \u{E000} should have been here ten days ago. \
                The last message said that it had left the warehouse, and nobody answers the telephone. What happens \
                now?\" Answer in a few friendly sentences, and say what the customer can do.",
            "reference_answer": "I am sorry that your parcel is so late. Please give us two working days to ask the \
                carrier; we write to you as soon as we know where it is. If it is lost, you choose between a new one \
                and your money back, and either costs you nothing.",
            "rubric": rubric,
        });
        let answer = "Thank you for writing. Parcel \u{E001} left our warehouse on time, so the delay is the carrier's. \
             We opened case \u{E002} with them today and expect an answer within two days.";
        match kind {
            KindArg::Absolute => body["response"] = json!(answer),
            KindArg::Relative => {
                body["response_a"] = json!(answer);
                body["response_b"] =
                    json!("Parcels are sometimes late. Please wait, and mention case \u{E002} next time.");
            }
        }
        if let Some(mode) = mode {
            body["mode"] = json!(mode.name());
        }
        settings.put(&mut body);
        Self::Synthetic(Template::new(kind, seed, &body.to_string()))
    }

    /// The kind and body of the request with this number.
    pub(super) fn get(&self, number: u64) -> (KindArg, Bytes) {
        match self {
            Self::Items(items) => {
                let index = usize::try_from(number % items.len() as u64).expect("below a length");
                let (kind, body) = &items[index];
                (*kind, body.clone())
            }
            Self::Synthetic(template) => (template.kind, template.body(number)),
        }
    }

    /// Default number of requests: each item once, including those of the warm-up.
    pub(super) fn by_default(&self, warmup: u64) -> u64 {
        match self {
            Self::Items(items) => (items.len() as u64).saturating_sub(warmup).max(1),
            Self::Synthetic(_) => DEFAULT_REQUESTS,
        }
    }
}

impl Template {
    fn new(kind: KindArg, seed: u64, mut rest: &str) -> Self {
        let mut parts = Vec::new();
        let next = |text: &str| {
            PLACES.iter().filter_map(|(mark, n)| Some((text.find(*mark)?, *mark, *n))).min_by_key(|(at, ..)| *at)
        };
        while let Some((at, mark, number)) = next(rest) {
            parts.push((rest[..at].to_owned(), Some(number)));
            rest = &rest[at + mark.len_utf8()..];
        }
        parts.push((rest.to_owned(), None));
        Self { kind, seed, parts }
    }

    fn body(&self, number: u64) -> Bytes {
        let mut body = String::with_capacity(self.parts.iter().map(|(text, _)| text.len() + 20).sum());
        for (text, place) in &self.parts {
            body.push_str(text);
            let number = match place {
                None => continue,
                Some(Number::Seed) => self.seed,
                Some(Number::Group) => number / GROUP_SIZE,
                Some(Number::Item) => number,
            };
            body.push_str(&number.to_string());
        }
        Bytes::from(body)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const BARE: Settings = Settings { model: None, prompt: None, max_feedback_tokens: None, no_cache: false };

    #[test]
    fn made_up_items_are_all_different_and_the_same_for_a_seed() {
        let requests =
            |seed| Requests::synthetic(KindArg::Absolute, &json!("helpfulness"), Some(ModeArg::Score), seed, &BARE);
        let (ones, same, others) = (requests(1), requests(1), requests(2));
        let mut seen = HashSet::new();
        for number in 0..20 {
            let (kind, body) = ones.get(number);
            assert_eq!((kind, &body), (KindArg::Absolute, &same.get(number).1));
            assert!(seen.insert(body) && seen.insert(others.get(number).1));
        }
        let body = |number| serde_json::from_slice::<Value>(&ones.get(number).1).unwrap();
        assert_eq!(body(0)["instruction"], body(7)["instruction"], "eight responses share an instruction");
        assert_ne!(body(7)["instruction"], body(8)["instruction"]);
        assert_eq!(body(3)["mode"], "score");
        assert!(!body(3).to_string().contains(PLACES.map(|(mark, _)| mark)));
    }

    #[test]
    fn settings_are_put_into_every_body() {
        let settings = Settings {
            model: Some("m".into()),
            prompt: Some("plain".into()),
            max_feedback_tokens: Some(9),
            no_cache: true,
        };
        let items = vec![Item {
            id: "a".into(),
            route: Route::Grade(KindArg::Relative),
            input: None,
            body: json!({"response_a": "x", "sampling": {"seed": 3}}),
        }];
        let (kind, body) = Requests::of_items(items, &settings).get(5);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(kind, KindArg::Relative);
        assert_eq!(
            body,
            json!({"response_a": "x", "sampling": {"seed": 3, "max_feedback_tokens": 9}, "model": "m", "prompt": "plain", "cache": false})
        );
    }
}
