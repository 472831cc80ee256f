//! Validation of a set when it is loaded, so that template errors are not found by a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::PromptError;
use super::fields::{Reading, Subject};
use super::form::Form;
use super::library::PromptSet;
use super::said::Said;
use super::set::OPTIONAL;
use crate::domain::{Content, Document, Instruction, Item, Label, Mode, Part, Role, Rubric, Turn};
use crate::pictures::{Picture, Shown};

impl PromptSet {
    /// Renders every template, with and without the optional fields.
    ///
    /// # Errors
    /// At the first template that fails or lacks a required field.
    pub(super) fn validate(&self) -> Result<(), PromptError> {
        let text = || "text".to_owned();
        let rubric = Rubric::new("criterion", &BTreeMap::from([("0", "bad"), ("1", "good")].map(owned)))
            .expect("both scores are described");
        let turn = Turn::new(Role::User, text());
        let bare = |instruction| Item { instruction, reference_answer: None, context: Vec::new(), annotator: None };
        let mut items = vec![
            bare(Instruction::Text(text())),
            bare(Instruction::Conversation(vec![turn])),
            Item {
                instruction: Instruction::Text(text()),
                reference_answer: Some(text()),
                context: vec![Document { id: Some(text()), text: text() }, Document { id: None, text: text() }],
                annotator: Some(text().into()),
            },
        ];
        if self.takes_pictures() {
            let file = Picture::new(b"GIF89a".to_vec(), usize::MAX).expect("it begins as a GIF file");
            let mut content = Content::from(Shown { picture: Arc::new(file), pointer: "".into() });
            content.push(Part::Text(text()));
            items.push(bare(Instruction::Conversation(vec![Turn::new(Role::User, content)])));
        }
        let meanings = [None, Some(text())];
        let labels = meanings.map(|meaning| Label { name: text(), meaning, reward: None });
        for item in &items {
            let (first, second) = (Said::Text("first"), Said::Text("second"));
            let (first_field, second_field) = ("response_a", "response_b");
            let subjects = [
                Subject::Absolute { item, response: first, rubric: &rubric },
                Subject::Relative { item, first, second, first_field, second_field, rubric: &rubric },
            ];
            let (response, rubric) = (Some(("response", first)), Some(&rubric));
            let reading =
                |form| Reading { form, item, response: None, rubric: None, choices: &[], count: None, quotes: &[] };
            let readings = [
                Reading { choices: &labels, ..reading(Form::Label) },
                Reading { choices: &labels, response, ..reading(Form::Label) },
                reading(Form::Checklist),
                Reading { response, ..reading(Form::Checklist) },
                Reading { response, ..reading(Form::Critique) },
                Reading { response, rubric, ..reading(Form::Critique) },
                Reading { count: Some(8), ..reading(Form::Questions) },
                Reading { count: Some(8), rubric, ..reading(Form::Questions) },
                Reading { response, ..reading(Form::Claims) },
            ];
            let subjects = subjects.into_iter().chain(readings.map(Subject::Reading));
            for subject in subjects.filter(|subject| self.templates.has(subject.form())) {
                for mode in [Mode::Feedback, Mode::Score] {
                    self.validate_for(&subject, mode)?;
                }
            }
        }
        Ok(())
    }

    fn validate_for(&self, subject: &Subject<'_>, mode: Mode) -> Result<(), PromptError> {
        match self.turns(subject, mode) {
            Err(PromptError::Unsupported { pointer, .. }) if !OPTIONAL.contains(&&pointer[1..]) => {
                let file = self.templates.file(subject.form());
                let shown = pointer[1..].to_owned();
                Err(PromptError::Template { file, line: None, reason: format!("it does not contain `{shown}`") })
            }
            Err(PromptError::Unsupported { .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn owned((score, description): (&str, &str)) -> (String, String) {
    (score.to_owned(), description.to_owned())
}
