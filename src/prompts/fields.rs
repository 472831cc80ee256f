//! The texts of a request, and the sentinels that stand for them while templates are rendered.

use minijinja::{Value, context};

use crate::grading::{Item, Kind, Mode, Rubric};

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

    /// What the templates of its kind see. `instruction` holds sentinels already.
    pub(super) fn variables(
        &self,
        fields: &mut Fields<'a>,
        instruction: String,
        mode: Mode,
        labels: &[String],
    ) -> Value {
        let item = self.item();
        let reference_answer = item.reference_answer.as_deref().map(|text| fields.put("reference_answer", text, true));
        let annotator = item.annotator.as_deref().map(|text| fields.put("annotator", text, true));
        let documents = item.context.iter().enumerate().map(|(index, document)| {
            let id = document.id.as_deref().map(|id| fields.put(format!("context/{index}/id"), id, false));
            let text = fields.put(format!("context/{index}"), &document.text, true);
            context! { id, text }
        });
        let documents: Vec<Value> = documents.collect();
        let responses = match *self {
            Self::Absolute { response, .. } => context! { response => fields.put("response", response, true) },
            Self::Relative { first, second, first_field, second_field, .. } => context! {
                response_a => fields.put(first_field, first, true),
                response_b => fields.put(second_field, second, true),
            },
        };
        context! {
            instruction, reference_answer, annotator,
            context => documents,
            rubric => self.rubric(fields),
            mode => match mode { Mode::Feedback => "feedback", Mode::Score => "score" },
            labels => labels.iter().map(|label| label.trim().to_owned()).collect::<Vec<_>>(),
            ..responses
        }
    }

    fn rubric(&self, fields: &mut Fields<'a>) -> Value {
        let (Self::Absolute { rubric, .. } | Self::Relative { rubric, .. }) = *self;
        let absolute = self.kind() == Kind::Absolute;
        let criterion = fields.put("rubric/criterion", rubric.criterion(), true);
        let mut text = format!("[{criterion}]");
        let mut descriptions = Vec::new();
        for (score, description) in rubric.descriptions() {
            let description = fields.put(format!("rubric/descriptions/{score}"), description, absolute);
            // The form that Prometheus models were trained with; the relative one is its first line.
            if absolute {
                text.push_str(&format!("\nScore {score}: {description}"));
            }
            descriptions.push(context! { score, text => description });
        }
        let (lowest, highest) = (rubric.scale().lowest(), rubric.scale().highest());
        context! { criterion, lowest, highest, descriptions, text }
    }
}

/// A text that came with the request.
struct Field<'a> {
    /// Where it stood there.
    name: String,
    text: &'a str,
    /// Whether a prompt without it would judge something else than what was asked.
    required: bool,
}

/// The texts of a request, by the index that their sentinels hold.
#[derive(Default)]
pub(super) struct Fields<'a>(Vec<Field<'a>>);

impl<'a> Fields<'a> {
    /// Takes a text up and gives the sentinel that stands for it.
    pub(super) fn put(&mut self, name: impl Into<String>, text: &'a str, required: bool) -> String {
        self.0.push(Field { name: name.into(), text, required });
        sentinel(self.0.len() - 1)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn name(&self, index: usize) -> &str {
        &self.0[index].name
    }

    pub(super) fn text(&self, index: usize) -> &'a str {
        self.0[index].text
    }

    /// The name of the first required field that is not among the pieces.
    pub(super) fn missing(&self, pieces: &[Piece<'_>]) -> Option<&str> {
        let mut there = vec![false; self.0.len()];
        for piece in pieces {
            if let Piece::Field(index) = piece {
                there[*index] = true;
            }
        }
        self.0.iter().zip(there).find(|(field, there)| field.required && !there).map(|(field, _)| field.name.as_str())
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
