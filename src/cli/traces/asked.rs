//! What a judge is asked for traces: labelled items, and the same with the label as a hint.

use serde_json::{Value, json};

use super::super::CliError;
use super::super::items::{Item, KindArg, Route};
use super::groups::Shown;
use crate::domain::Preference;
use crate::labelled::{Labelled, LabelledItem};

/// How judgements are sampled.
pub(super) struct Settings<'a> {
    /// The rubric of items without one.
    pub(super) rubric: &'a str,
    /// The name that requests to a server use.
    pub(super) model: Option<&'a str>,
    pub(super) prompt: Option<&'a str>,
    pub(super) samples: u32,
    pub(super) temperature: f64,
    pub(super) seed: u64,
    pub(super) max_feedback_tokens: Option<u32>,
}

impl Settings<'_> {
    /// The request for an item.
    ///
    /// # Errors
    /// For an item with several rubrics.
    pub(super) fn request(&self, item: &LabelledItem) -> Result<Item, CliError> {
        if item.body.get("rubric").is_some_and(Value::is_array) {
            let what = "has several rubrics; a trace is of one, so give the label of each as an item of its own";
            return Err(CliError::because(&item.place, what));
        }
        let kind = match item.labelled {
            Labelled::Score { .. } => KindArg::Absolute,
            Labelled::Pair { .. } => KindArg::Relative,
        };
        Ok(Item { id: item.id.clone(), route: Route::Grade(kind), body: self.body(item, self.samples), input: None })
    }

    fn body(&self, item: &LabelledItem, samples: u32) -> Value {
        let mut body = Value::Object(item.body.clone());
        if body["instruction"].is_array() {
            body["messages"] = body["instruction"].take();
        }
        if body["rubric"].is_null() {
            body["rubric"] = json!(self.rubric);
        }
        for (field, value) in [("model", self.model), ("prompt", self.prompt)] {
            if let Some(value) = value {
                body[field] = json!(value);
            }
        }
        body["mode"] = json!("feedback");
        body["samples"] = json!(samples);
        body["sampling"] = json!({"temperature": self.temperature, "seed": self.seed});
        if let Some(tokens) = self.max_feedback_tokens {
            body["sampling"]["max_feedback_tokens"] = json!(tokens);
        }
        body["debug"] = json!(true);
        if matches!(item.labelled, Labelled::Pair { .. }) {
            // A judgement on both responses in one prompt, in each order.
            (body["method"], body["swap"]) = (json!("pairwise"), json!(true));
        }
        body
    }

    /// The request with the label as a hint, which shows a pair in one order; `None` if no judgement could match.
    pub(super) fn hinted(&self, item: &LabelledItem, shown: Shown) -> Option<Item> {
        let mut body = self.body(item, 1);
        let verdict = match &item.labelled {
            Labelled::Score { label, .. } => format!("the score {}", label.round()),
            Labelled::Pair { label, .. } => {
                if shown == Shown::BA {
                    let a = body["response_a"].take();
                    body["response_a"] = body["response_b"].take();
                    body["response_b"] = a;
                }
                body["swap"] = json!(false);
                let first = match label {
                    Preference::A => shown != Shown::BA,
                    Preference::B => shown == Shown::BA,
                    Preference::Tie => return None,
                };
                format!("that response {} is better", if first { "A" } else { "B" })
            }
        };
        let text = format!(
            "The right verdict is known: {verdict}. Give the reasons for it that the texts themselves have, and do not \
             mention this note."
        );
        let hint = json!({"id": "note", "text": text});
        match &mut body["context"] {
            Value::Array(documents) => documents.push(hint),
            context => *context = json!([hint]),
        }
        let kind = match item.labelled {
            Labelled::Score { .. } => KindArg::Absolute,
            Labelled::Pair { .. } => KindArg::Relative,
        };
        Some(Item { id: shown.name_of(&item.id), route: Route::Grade(kind), body, input: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(labelled: Labelled, body: Value) -> LabelledItem {
        let Value::Object(body) = body else { panic!("{body}") };
        let (id, place, set) = ("a".to_owned(), "items.jsonl:1".to_owned(), "items".to_owned());
        LabelledItem { id, place, set, subset: None, instruction: "Why?".to_owned(), body, labelled }
    }

    fn settings() -> Settings<'static> {
        Settings {
            rubric: "helpfulness",
            model: None,
            prompt: Some("plain"),
            samples: 4,
            temperature: 0.8,
            seed: 7,
            max_feedback_tokens: Some(64),
        }
    }

    fn pair(label: Preference) -> LabelledItem {
        let labelled = Labelled::Pair { label, votes: Vec::new(), lengths: [3, 3], chosen: None };
        item(labelled, json!({"instruction": "Why?", "response_a": "So.", "response_b": "No."}))
    }

    #[test]
    fn the_hint_follows_the_order_that_is_shown() {
        let check = |label, shown, first: &str, better: &str| {
            let Item { body, id, .. } = settings().hinted(&pair(label), shown).unwrap();
            assert_eq!((&body["response_a"], &body["swap"]), (&json!(first), &json!(false)));
            let hint = body["context"][0]["text"].as_str().unwrap();
            assert!(hint.contains(&format!("response {better} is better")), "{hint}");
            assert_eq!(id, if shown == Shown::BA { "a#BA" } else { "a#AB" });
        };
        check(Preference::A, Shown::AB, "So.", "A");
        check(Preference::A, Shown::BA, "No.", "B");
        check(Preference::B, Shown::AB, "So.", "B");
        check(Preference::B, Shown::BA, "No.", "A");
        assert!(settings().hinted(&pair(Preference::Tie), Shown::AB).is_none());
    }

    #[test]
    fn a_request_samples_feedback_and_a_hint_adds_a_document() {
        let labelled = Labelled::Score { label: 4.0, scale: None, length: 3 };
        let turns = json!([{"role": "user", "content": "Why?"}]);
        let scored = item(labelled, json!({"instruction": turns, "response": "So.", "context": [{"text": "It is."}]}));
        let asked = settings().request(&scored).unwrap();
        let expected = json!({
            "instruction": null, "response": "So.", "context": [{"text": "It is."}], "messages": turns,
            "rubric": "helpfulness", "prompt": "plain", "mode": "feedback", "samples": 4, "debug": true,
            "sampling": {"temperature": 0.8, "seed": 7, "max_feedback_tokens": 64},
        });
        assert_eq!(asked.body, expected);
        let hinted = settings().hinted(&scored, Shown::Alone).unwrap().body;
        assert_eq!((&hinted["samples"], hinted["context"].as_array().unwrap().len()), (&json!(1), 2));
        assert!(hinted["context"][1]["text"].as_str().unwrap().contains("the score 4"), "{hinted}");
        let several = LabelledItem { body: json!({"rubric": []}).as_object().unwrap().clone(), ..scored };
        assert!(settings().request(&several).err().unwrap().to_string().contains("several rubrics"));
    }
}
