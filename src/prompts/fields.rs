//! The texts of a request, and their placeholders while templates are rendered.

use minijinja::{Value, context};

use super::examples::{self, ExampleShape};
use super::form::Form;
use super::said::Said;
use super::turn_shape::{ContentShape, TurnShape};
use crate::domain::{Document, Example, ExampleSet, Instruction, Item, JudgedExample, Label, Mode, Part, Rubric, Turn};
use crate::pictures::Shown;

// A placeholder is the index of a field between two private-use characters.
const OPEN: char = '\u{10F0A0}';
const CLOSE: char = '\u{10F0A1}';

/// What a run judges.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// One response.
    Absolute {
        /// The instruction and its context.
        item: &'a Item,
        /// The response.
        response: Said<'a>,
        /// The rubric.
        rubric: &'a Rubric,
    },
    /// Two responses, in the order in which they are shown.
    Relative {
        /// The instruction and its context.
        item: &'a Item,
        /// The response that is shown as A.
        first: Said<'a>,
        /// The response that is shown as B.
        second: Said<'a>,
        /// The caller's name for the first: `response_a` or `response_b`.
        first_field: &'static str,
        /// The caller's name for the second.
        second_field: &'static str,
        /// The rubric.
        rubric: &'a Rubric,
    },
    /// A text that is read for something else than a score.
    Reading(Reading<'a>),
}

/// A text that is read for something else than a score, and what its prompt has beside the text.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// What it is read for; no kind of grading.
    pub form: Form,
    /// The instruction and its context; for a text alone, the instruction is the text.
    pub item: &'a Item,
    /// The response, with the caller's name for it.
    pub response: Option<(&'static str, Said<'a>)>,
    /// The rubric.
    pub rubric: Option<&'a Rubric>,
    /// The labels to choose from.
    pub choices: &'a [Label],
    /// The number of lines to write, if it is fixed.
    pub count: Option<usize>,
    /// Texts that stand in the script and not in the prompt.
    pub quotes: &'a [Quote<'a>],
}

/// A text of the request that the script says in the model's turn.
#[derive(Debug, Clone, Copy)]
pub struct Quote<'a> {
    /// The field that it is from.
    pub field: &'static str,
    /// Its index in the field.
    pub index: usize,
    /// The text.
    pub text: &'a str,
}

impl<'a> Subject<'a> {
    pub(super) fn form(&self) -> Form {
        match self {
            Self::Absolute { .. } => Form::Absolute,
            Self::Relative { .. } => Form::Relative,
            Self::Reading(reading) => reading.form,
        }
    }

    pub(super) fn item(&self) -> &'a Item {
        match self {
            Self::Absolute { item, .. } | Self::Relative { item, .. } => item,
            Self::Reading(reading) => reading.item,
        }
    }

    fn rubric(&self) -> Option<&'a Rubric> {
        match self {
            Self::Absolute { rubric, .. } | Self::Relative { rubric, .. } => Some(rubric),
            Self::Reading(reading) => reading.rubric,
        }
    }

    fn choices(&self) -> &'a [Label] {
        match self {
            Self::Absolute { .. } | Self::Relative { .. } => &[],
            Self::Reading(reading) => reading.choices,
        }
    }

    /// The part that templates can see; grading may have examples.
    pub(super) fn shape(&self, mode: Mode, examples: Option<&ExampleSet>) -> Shape {
        let item = self.item();
        let (responses, count) = match self {
            Self::Absolute { response, .. } => (vec![*response], None),
            Self::Relative { first, second, .. } => (vec![*first, *second], None),
            Self::Reading(reading) => (reading.response.iter().map(|(_, said)| *said).collect(), reading.count),
        };
        let turns = match &item.instruction {
            Instruction::Text(_) => None,
            Instruction::Conversation(turns) => Some(turns.iter().map(TurnShape::of).collect()),
        };
        Shape {
            form: self.form(),
            mode,
            turns,
            reference_answer: item.reference_answer.is_some(),
            annotator: item.annotator.is_some(),
            documents: item.context.iter().map(|document| document.id.is_some()).collect(),
            responses: responses.into_iter().map(ContentShape::of).collect(),
            scale: self.rubric().map(|rubric| (rubric.scale().lowest(), rubric.scale().highest())),
            choices: self.choices().iter().map(|label| label.meaning.is_some()).collect(),
            count,
            examples: examples.map_or_else(Vec::new, examples::shapes),
        }
    }
}

/// Everything that templates can see of a request: all but its texts, which are placeholders. So all requests of one
/// shape have the same layout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) form: Form,
    pub(super) mode: Mode,
    /// The turns of a conversation; `None` for an instruction that is one text.
    pub(super) turns: Option<Vec<TurnShape>>,
    reference_answer: bool,
    annotator: bool,
    /// Whether each document has a name.
    documents: Vec<bool>,
    /// The response, if there is one, or both.
    pub(super) responses: Vec<ContentShape>,
    /// The ends of the rubric's scale, if there is a rubric.
    scale: Option<(i32, i32)>,
    /// Whether each label says what it means.
    choices: Vec<bool>,
    count: Option<usize>,
    /// What is shown before.
    pub(super) examples: Vec<ExampleShape>,
}

impl Shape {
    /// The number of parts of turns, responses, documents, labels and examples together, which has no fixed limit.
    pub(super) fn len(&self) -> usize {
        let parts: usize = self.turns.iter().flatten().map(TurnShape::len).sum();
        let parts = parts + self.responses.iter().map(ContentShape::len).sum::<usize>();
        let examples: usize = self.examples.iter().map(ExampleShape::len).sum();
        parts + self.documents.len() + self.choices.len() + examples
    }

    /// The variables of templates. Placeholders are in the order of [`Fields::of`], after those in `instruction`; `lay`
    /// gives what stands for a response.
    ///
    /// # Errors
    /// Those of `lay`.
    pub(super) fn variables<E>(
        &self,
        placeholders: &mut Placeholders,
        instruction: String,
        labels: &[String],
        mut lay: impl FnMut(&ContentShape, &mut Placeholders) -> Result<String, E>,
    ) -> Result<Value, E> {
        let reference_answer = self.reference_answer.then(|| placeholders.next());
        let annotator = self.annotator.then(|| placeholders.next());
        let documents = self.documents.iter().map(|named| {
            let id = named.then(|| placeholders.next());
            context! { id, text => placeholders.next() }
        });
        let documents: Vec<Value> = documents.collect();
        let responses: Vec<String> =
            self.responses.iter().map(|response| lay(response, placeholders)).collect::<Result<_, E>>()?;
        let responses = match self.form {
            Form::Relative => context! { response_a => responses.first(), response_b => responses.get(1) },
            _ => context! { response => responses.first() },
        };
        let rubric = self.scale.map(|scale| self.rubric(placeholders, scale));
        let choices = self.choices.iter().map(|described| {
            let name = placeholders.next();
            context! { name, text => described.then(|| placeholders.next()) }
        });
        let choices: Vec<Value> = choices.collect();
        Ok(context! {
            instruction, reference_answer, annotator,
            context => documents,
            rubric, choices,
            count => self.count,
            mode => match self.mode { Mode::Feedback => "feedback", Mode::Score => "score" },
            labels => labels.iter().map(|label| label.trim().to_owned()).collect::<Vec<_>>(),
            ..responses
        })
    }

    fn rubric(&self, placeholders: &mut Placeholders, (lowest, highest): (i32, i32)) -> Value {
        let criterion = placeholders.next();
        let mut text = format!("[{criterion}]");
        let mut descriptions = Vec::new();
        for score in lowest..=highest {
            let description = placeholders.next();
            // The format that Prometheus models were trained with; relative grading has only the first line.
            if self.form != Form::Relative {
                text.push_str(&format!("\nScore {score}: {description}"));
            }
            descriptions.push(context! { score, text => description });
        }
        context! { criterion, lowest, highest, descriptions, text }
    }
}

/// Hands out placeholders in order.
#[derive(Default)]
pub(super) struct Placeholders(usize);

impl Placeholders {
    pub(super) fn next(&mut self) -> String {
        self.0 += 1;
        placeholder(self.0 - 1)
    }
}

/// A text or a picture of the request.
struct Field<'a> {
    /// The index of the example that it is of, if it is of one.
    example: Option<usize>,
    /// Its path: a name, an index or score below it, and a name below that.
    name: (&'static str, Option<i64>, &'static str),
    /// Its index in a content of several parts.
    part: Option<usize>,
    value: FieldValue<'a>,
    /// Whether every prompt must contain it.
    required: bool,
}

/// What a prompt has in place of a placeholder.
#[derive(Clone, Copy)]
pub(super) enum FieldValue<'a> {
    Text(&'a str),
    Picture(&'a Shown),
}

/// The texts and pictures of a request, by the index of their placeholders.
#[derive(Default)]
pub(super) struct Fields<'a> {
    all: Vec<Field<'a>>,
    /// The example that fields are added to.
    example: Option<usize>,
    /// How many at the end are said by the script, and have no placeholder.
    quotes: usize,
}

impl<'a> Fields<'a> {
    /// The texts of a request, in the order of their placeholders; those of examples come last.
    pub(super) fn of(subject: &Subject<'a>, mode: Mode, examples: Option<&'a ExampleSet>) -> Self {
        let item = subject.item();
        let index = |index: usize| i64::try_from(index).ok();
        let mut fields = Self::default();
        fields.put_instruction(&item.instruction);
        item.reference_answer.iter().for_each(|text| fields.put("reference_answer", text));
        item.annotator.iter().for_each(|annotator| fields.put("annotator", &annotator.profile));
        fields.put_context(&item.context);
        match *subject {
            Subject::Absolute { response, .. } => fields.put_said("response", None, response),
            Subject::Relative { first, second, first_field, second_field, .. } => {
                fields.put_said(first_field, None, first);
                fields.put_said(second_field, None, second);
            }
            Subject::Reading(reading) => {
                reading.response.iter().for_each(|(field, said)| fields.put_said(field, None, *said));
            }
        }
        if let Some(rubric) = subject.rubric() {
            fields.put("rubric/criterion", rubric.criterion());
            let required = subject.form() == Form::Absolute;
            for (score, description) in rubric.descriptions() {
                fields.put_at("rubric/descriptions", Some(score.into()), "", description, required);
            }
        }
        for (at, label) in subject.choices().iter().enumerate() {
            fields.put_at("labels", index(at), "/name", &label.name, true);
            label.meaning.iter().for_each(|text| fields.put_at("labels", index(at), "", text, true));
        }
        if let Subject::Reading(Reading { quotes, .. }) = subject {
            fields.quotes = quotes.len();
            quotes.iter().for_each(|quote| fields.put_at(quote.field, index(quote.index), "", quote.text, false));
        }
        for (at, example) in examples.iter().flat_map(|set| set.examples()).enumerate() {
            fields.example = Some(at);
            fields.put_example(example, mode);
        }
        fields
    }

    /// Adds an example; its verdict is text of the set.
    fn put_example(&mut self, example: &'a Example, mode: Mode) {
        self.put_instruction(&example.instruction);
        example.reference_answer.iter().for_each(|text| self.put("reference_answer", text));
        self.put_context(&example.context);
        match &example.judged {
            JudgedExample::Response { response, .. } => self.put("response", response),
            JudgedExample::Pair { response_a, response_b, .. } => {
                self.put("response_a", response_a);
                self.put("response_b", response_b);
            }
        }
        if mode == Mode::Feedback {
            self.put("feedback", example.feedback.as_deref().unwrap_or_default());
        }
    }

    /// Adds an instruction or the turns of a conversation.
    fn put_instruction(&mut self, instruction: &'a Instruction) {
        match instruction {
            Instruction::Text(text) => self.put("instruction", text),
            Instruction::Conversation(turns) => {
                turns.iter().zip(0..).for_each(|(turn, at)| self.put_turn(at, turn));
            }
        }
    }

    /// Adds documents with their names.
    fn put_context(&mut self, context: &'a [Document]) {
        for (document, at) in context.iter().zip(0..) {
            document.id.iter().for_each(|id| self.put_at("context", Some(at), "/id", id, false));
            self.put_at("context", Some(at), "", &document.text, true);
        }
    }

    /// Adds a text that every prompt must contain.
    pub(super) fn put(&mut self, name: &'static str, text: &'a str) {
        self.put_at(name, None, "", text, true);
    }

    fn put_at(&mut self, name: &'static str, index: Option<i64>, below: &'static str, text: &'a str, required: bool) {
        let value = FieldValue::Text(text);
        self.all.push(Field { example: self.example, name: (name, index, below), part: None, value, required });
    }

    fn put_turn(&mut self, index: i64, turn: &'a Turn) {
        self.put_said("messages", Some(index), Said::Content(&turn.content));
    }

    /// Adds a text, or the parts of a content, all of which every prompt must contain.
    fn put_said(&mut self, name: &'static str, index: Option<i64>, said: Said<'a>) {
        let parts = match said.as_text() {
            Ok(text) => return self.put_at(name, index, "", text, true),
            Err(parts) => parts,
        };
        for (at, part) in parts.iter().enumerate() {
            let value = match part {
                Part::Text(text) => FieldValue::Text(text),
                Part::Picture(shown) => FieldValue::Picture(shown),
            };
            let (example, name) = (self.example, (name, index, ""));
            self.all.push(Field { example, name, part: Some(at), value, required: true });
        }
    }

    /// The first picture, or the first one of a response.
    pub(super) fn picture_of(&self, response: bool) -> Option<&'a Shown> {
        self.all.iter().find_map(|field| match field.value {
            FieldValue::Picture(shown) if !response || field.name.0 != "messages" => Some(shown),
            FieldValue::Picture(_) | FieldValue::Text(_) => None,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The indexes of the texts that the script says.
    pub(super) fn quotes(&self) -> std::ops::Range<usize> {
        self.all.len() - self.quotes..self.all.len()
    }

    pub(super) fn name(&self, index: usize) -> String {
        let Field { example, name, part, .. } = &self.all[index];
        let within = example.map_or_else(String::new, |example| format!("examples/{example}/"));
        match (*name, part) {
            ((name, None, _), None) => format!("{within}{name}"),
            ((name, None, _), Some(part)) => format!("{within}{name}/{part}"),
            ((name, Some(index), below), None) => format!("{within}{name}/{index}{below}"),
            ((name, Some(index), below), Some(part)) => format!("{within}{name}/{index}{below}/{part}"),
        }
    }

    pub(super) fn value(&self, index: usize) -> FieldValue<'a> {
        self.all[index].value
    }

    /// The top-level name of the first required field that is not among the pieces, and the example that it is of.
    pub(super) fn missing(&self, pieces: &[Piece<'_>]) -> Option<(Option<usize>, &'static str)> {
        let mut there = vec![false; self.all.len()];
        for piece in pieces {
            if let Piece::Field(index) = piece {
                there[*index] = true;
            }
        }
        self.all
            .iter()
            .zip(there)
            .find(|(field, there)| field.required && !there)
            .map(|(field, _)| (field.example, field.name.0))
    }

    /// The pieces as one text, with unchanged fields and mentions of the pictures.
    pub(super) fn fill(&self, pieces: &[Piece<'_>]) -> String {
        let text = |piece: &Piece<'_>| match *piece {
            Piece::Literal(text) => text.to_owned(),
            Piece::Field(index) => match self.value(index) {
                FieldValue::Text(text) => text.to_owned(),
                FieldValue::Picture(shown) => shown.picture.mention(),
            },
        };
        pieces.iter().map(text).collect()
    }
}

/// A piece of a rendered template.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Piece<'t> {
    /// Text of the template.
    Literal(&'t str),
    /// The field with this index.
    Field(usize),
}

/// The placeholder of a field.
pub(super) fn placeholder(index: usize) -> String {
    format!("{OPEN}{index}{CLOSE}")
}

/// Splits a rendered template at its placeholders. `None` if one of them is damaged.
pub(super) fn pieces(text: &str, fields: usize) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once(OPEN) {
        let (index, after) = after.split_once(CLOSE)?;
        let index = index.parse().ok().filter(|index| *index < fields)?;
        pieces.extend([Piece::Literal(literal), Piece::Field(index)]);
        rest = after;
    }
    pieces.push(Piece::Literal(rest));
    let whole = |piece: &Piece<'_>| !matches!(piece, Piece::Literal(text) if text.contains(CLOSE));
    pieces.iter().all(whole).then_some(pieces)
}
