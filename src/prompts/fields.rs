//! The texts of a request, and the sentinels that stand for them while templates are rendered.

use minijinja::{Value, context};

use crate::domain::{Instruction, Item, Kind, Mode, Role, Rubric};

/// Private-use characters; between them stands the index of a field.
const OPEN: char = '\u{10F0A0}';
const CLOSE: char = '\u{10F0A1}';

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// One response.
    Absolute {
        /// What it answers.
        item: &'a Item,
        /// The response.
        response: &'a str,
        /// What it is judged by.
        rubric: &'a Rubric,
    },
    /// Two responses, in the order in which they are shown.
    Relative {
        /// What they answer.
        item: &'a Item,
        /// The response that is shown as A.
        first: &'a str,
        /// The response that is shown as B.
        second: &'a str,
        /// The caller's name for the first: `response_a` or `response_b`.
        first_field: &'static str,
        /// The caller's name for the second.
        second_field: &'static str,
        /// What they are judged by.
        rubric: &'a Rubric,
    },
}

impl<'a> Subject<'a> {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Absolute { .. } => Kind::Absolute,
            Self::Relative { .. } => Kind::Relative,
        }
    }

    pub(super) fn item(&self) -> &'a Item {
        match self {
            Self::Absolute { item, .. } | Self::Relative { item, .. } => item,
        }
    }

    fn rubric(&self) -> &'a Rubric {
        match self {
            Self::Absolute { rubric, .. } | Self::Relative { rubric, .. } => rubric,
        }
    }

    /// What templates can see of it.
    pub(super) fn shape(&self, mode: Mode) -> Shape {
        let (item, scale) = (self.item(), self.rubric().scale());
        let turns = match &item.instruction {
            Instruction::Text(_) => None,
            Instruction::Conversation(turns) => Some(turns.iter().map(|turn| turn.role).collect()),
        };
        Shape {
            kind: self.kind(),
            mode,
            turns,
            reference_answer: item.reference_answer.is_some(),
            annotator: item.annotator.is_some(),
            documents: item.context.iter().map(|document| document.id.is_some()).collect(),
            lowest: scale.lowest(),
            highest: scale.highest(),
        }
    }
}

/// Everything that templates can see of a request: all but its texts, for which sentinels stand. So prompts of one
/// shape are laid out alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    mode: Mode,
    /// The roles of a conversation; `None` for an instruction that is one text.
    pub(super) turns: Option<Vec<Role>>,
    reference_answer: bool,
    annotator: bool,
    /// Whether each document has a name.
    documents: Vec<bool>,
    lowest: i32,
    highest: i32,
}

impl Shape {
    /// How many things it has that a request may have any number of.
    pub(super) fn len(&self) -> usize {
        self.turns.as_ref().map_or(0, Vec::len) + self.documents.len()
    }

    /// What the templates of its kind see. Sentinels are taken in the order of [`Fields::of`], after those that
    /// stand in `instruction`.
    pub(super) fn variables(&self, sentinels: &mut Sentinels, instruction: String, labels: &[String]) -> Value {
        let reference_answer = self.reference_answer.then(|| sentinels.next());
        let annotator = self.annotator.then(|| sentinels.next());
        let documents = self.documents.iter().map(|named| {
            let id = named.then(|| sentinels.next());
            context! { id, text => sentinels.next() }
        });
        let documents: Vec<Value> = documents.collect();
        let responses = match self.kind {
            Kind::Absolute => context! { response => sentinels.next() },
            Kind::Relative => context! { response_a => sentinels.next(), response_b => sentinels.next() },
        };
        context! {
            instruction, reference_answer, annotator,
            context => documents,
            rubric => self.rubric(sentinels),
            mode => match self.mode { Mode::Feedback => "feedback", Mode::Score => "score" },
            labels => labels.iter().map(|label| label.trim().to_owned()).collect::<Vec<_>>(),
            ..responses
        }
    }

    fn rubric(&self, sentinels: &mut Sentinels) -> Value {
        let criterion = sentinels.next();
        let mut text = format!("[{criterion}]");
        let mut descriptions = Vec::new();
        for score in self.lowest..=self.highest {
            let description = sentinels.next();
            // The form that Prometheus models were trained with; the relative one is its first line.
            if self.kind == Kind::Absolute {
                text.push_str(&format!("\nScore {score}: {description}"));
            }
            descriptions.push(context! { score, text => description });
        }
        let (lowest, highest) = (self.lowest, self.highest);
        context! { criterion, lowest, highest, descriptions, text }
    }
}

/// Sentinels, one after the other.
#[derive(Default)]
pub(super) struct Sentinels(usize);

impl Sentinels {
    pub(super) fn next(&mut self) -> String {
        self.0 += 1;
        sentinel(self.0 - 1)
    }
}

/// A text that came with the request.
struct Field<'a> {
    /// Where it stood there: a name, an index or score below it, and a name below that.
    name: (&'static str, Option<i64>, &'static str),
    text: &'a str,
    /// Whether a prompt without it would judge something else than what was asked.
    required: bool,
}

/// The texts of a request, by the index that their sentinels hold.
#[derive(Default)]
pub(super) struct Fields<'a>(Vec<Field<'a>>);

impl<'a> Fields<'a> {
    /// The texts of a request, in the order in which their sentinels are given out.
    pub(super) fn of(subject: &Subject<'a>) -> Self {
        let item = subject.item();
        let index = |index: usize| i64::try_from(index).ok();
        let mut fields = Self::default();
        match &item.instruction {
            Instruction::Text(text) => fields.put("instruction", text),
            Instruction::Conversation(turns) => {
                turns
                    .iter()
                    .enumerate()
                    .for_each(|(at, turn)| fields.put_at("messages", index(at), "", &turn.content, true));
            }
        }
        item.reference_answer.iter().for_each(|text| fields.put("reference_answer", text));
        item.annotator.iter().for_each(|text| fields.put("annotator", text));
        for (at, document) in item.context.iter().enumerate() {
            document.id.iter().for_each(|id| fields.put_at("context", index(at), "/id", id, false));
            fields.put_at("context", index(at), "", &document.text, true);
        }
        match *subject {
            Subject::Absolute { response, .. } => fields.put("response", response),
            Subject::Relative { first, second, first_field, second_field, .. } => {
                fields.put(first_field, first);
                fields.put(second_field, second);
            }
        }
        let rubric = subject.rubric();
        fields.put("rubric/criterion", rubric.criterion());
        let absolute = subject.kind() == Kind::Absolute;
        for (score, description) in rubric.descriptions() {
            fields.put_at("rubric/descriptions", Some(score.into()), "", description, absolute);
        }
        fields
    }

    /// Takes up a text that no prompt may leave out.
    pub(super) fn put(&mut self, name: &'static str, text: &'a str) {
        self.put_at(name, None, "", text, true);
    }

    fn put_at(&mut self, name: &'static str, index: Option<i64>, below: &'static str, text: &'a str, required: bool) {
        self.0.push(Field { name: (name, index, below), text, required });
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn name(&self, index: usize) -> String {
        match self.0[index].name {
            (name, None, _) => name.to_owned(),
            (name, Some(index), below) => format!("{name}/{index}{below}"),
        }
    }

    pub(super) fn text(&self, index: usize) -> &'a str {
        self.0[index].text
    }

    /// The name of the first required field that is not among the pieces, without what stands below it.
    pub(super) fn missing(&self, pieces: &[Piece<'_>]) -> Option<&'static str> {
        let mut there = vec![false; self.0.len()];
        for piece in pieces {
            if let Piece::Field(index) = piece {
                there[*index] = true;
            }
        }
        self.0.iter().zip(there).find(|(field, there)| field.required && !there).map(|(field, _)| field.name.0)
    }

    /// The pieces as one text, every field as it is.
    pub(super) fn fill(&self, pieces: &[Piece<'_>]) -> String {
        let text = |piece: &Piece<'_>| match *piece {
            Piece::Literal(text) => text.to_owned(),
            Piece::Field(index) => self.text(index).to_owned(),
        };
        pieces.iter().map(text).collect()
    }
}

/// A piece of a rendered template.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Piece<'t> {
    /// What the template itself wrote.
    Literal(&'t str),
    /// The place of a field.
    Field(usize),
}

/// What stands for the field of that index while templates are rendered.
pub(super) fn sentinel(index: usize) -> String {
    format!("{OPEN}{index}{CLOSE}")
}

/// Takes a rendered template apart at its sentinels. `None` when one of them is damaged.
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
