//! Graded examples in a prompt: each is an earlier turn of the user, with the same templates as the item that is
//! judged, and the answer that a judge gives to it.

use minijinja::{Value, context};

use super::form::Form;
use super::turn_shape::TurnShape;
use crate::domain::{Example, ExampleSet, Instruction, JudgedExample, Preference};

/// What an example has beside its texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ExampleShape {
    /// The turns of a conversation; `None` for an instruction that is one text.
    pub(super) turns: Option<Vec<TurnShape>>,
    reference_answer: bool,
    /// Whether each document has a name.
    documents: Vec<bool>,
    pub(super) verdict: ExampleVerdict,
}

/// The verdict of an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ExampleVerdict {
    Score(i32),
    /// The index of the label.
    Preference(usize),
}

/// The shapes of the examples of a set.
pub(super) fn shapes(set: &ExampleSet) -> Vec<ExampleShape> {
    let shape = |example: &Example| ExampleShape {
        turns: match &example.instruction {
            Instruction::Text(_) => None,
            Instruction::Conversation(turns) => Some(turns.iter().map(TurnShape::of).collect()),
        },
        reference_answer: example.reference_answer.is_some(),
        documents: example.context.iter().map(|document| document.id.is_some()).collect(),
        verdict: match example.judged {
            JudgedExample::Response { score, .. } => ExampleVerdict::Score(score),
            JudgedExample::Pair { preference, .. } => {
                ExampleVerdict::Preference(usize::from(preference != Preference::A))
            }
        },
    };
    set.examples().iter().map(shape).collect()
}

impl ExampleShape {
    /// The number of parts of its turns and of its documents, and 1.
    pub(super) fn len(&self) -> usize {
        let parts: usize = self.turns.iter().flatten().map(TurnShape::len).sum();
        1 + parts + self.documents.len()
    }

    /// The variables of templates: those of the request, with the example in place of what is judged. `next` gives the
    /// placeholders after those in `instruction`.
    pub(super) fn variables(
        &self,
        form: Form,
        request: &Value,
        instruction: String,
        next: &mut dyn FnMut() -> String,
    ) -> Value {
        let reference_answer = self.reference_answer.then(&mut *next);
        let documents = self.documents.iter().map(|named| {
            let id = named.then(&mut *next);
            context! { id, text => next() }
        });
        let documents: Vec<Value> = documents.collect();
        let responses = match form {
            Form::Relative => context! { response_a => next(), response_b => next() },
            _ => context! { response => next() },
        };
        let own = context! { instruction, reference_answer, context => documents };
        context! { ..own, ..responses, ..request.clone() }
    }
}
