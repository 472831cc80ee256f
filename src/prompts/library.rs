//! Prompt sets and the library of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

use super::chat::ChatFormat;
use super::error::PromptError;
use super::escape::{self, Rendered};
use super::fields::{self, Fields, Sentinels, Shape, Subject};
use super::layout::Layout;
use super::patterns::PatternSet;
use super::set::{self, Places, SetFile, Source, Templates};
use crate::domain::{Kind, Mode, Scale};
use crate::script::{Generate, Script, Step};

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/prompts");

/// All prompt sets, by name.
#[derive(Debug)]
pub struct PromptLibrary {
    pub(super) sets: BTreeMap<String, PromptSet>,
}

/// What judges of one family are asked, and how they answer.
#[derive(Debug)]
pub struct PromptSet {
    pub(super) name: Arc<str>,
    built_in: bool,
    pub(super) file: SetFile,
    pub(super) templates: Templates,
    /// Which sets of the library have a place for which optional field.
    places: Arc<Places>,
    /// Of the absolute and of the relative kind.
    digests: [String; 2],
}

impl PromptLibrary {
    /// Loads the built-in sets, then those in the folders of `local_dir`, which replace built-in ones of the same
    /// name as a whole. A `local_dir` that does not exist holds none.
    ///
    /// # Errors
    /// When a set cannot be read or used: everything is checked here, by rendering every template.
    pub fn load(local_dir: Option<&Path>) -> Result<Self, PromptError> {
        let mut sets = BTreeMap::new();
        for (name, source) in set::built_in(&BUILT_IN)? {
            sets.insert(name.clone(), PromptSet::new(name, true, &source)?);
        }
        for (name, source) in local_dir.map(set::local).transpose()?.unwrap_or_default() {
            sets.insert(name.clone(), PromptSet::new(name, false, &source)?);
        }
        let places = Arc::new(Places::of(sets.values().map(|set| (&*set.name, &set.templates))));
        for set in sets.values_mut() {
            set.places = Arc::clone(&places);
        }
        Ok(Self { sets })
    }

    /// The names of all sets, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sets.keys().map(String::as_str)
    }

    /// The set of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&PromptSet> {
        self.sets.get(name)
    }
}

impl PromptSet {
    pub(super) fn new(name: String, built_in: bool, source: &Source) -> Result<Self, PromptError> {
        let (file, templates) = source.parse()?;
        let digests = [Kind::Absolute, Kind::Relative].map(|kind| digest(&file, &templates, kind));
        let set = Self { name: name.into(), built_in, file, templates, places: Arc::default(), digests };
        set.validate()?;
        Ok(set)
    }

    /// The name of its folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One line that says what it is for.
    #[must_use]
    pub fn summary(&self) -> &str {
        &self.file.summary
    }

    /// Whether it came with the program.
    #[must_use]
    pub fn built_in(&self) -> bool {
        self.built_in
    }

    /// `sha256:<hex>` of everything that decides what a prompt of that kind looks like and how it is answered.
    #[must_use]
    pub fn digest(&self, kind: Kind) -> &str {
        match kind {
            Kind::Absolute => &self.digests[0],
            Kind::Relative => &self.digests[1],
        }
    }

    /// The script of one judgement: over the scores of `scale` for absolute grading, else over the two labels.
    ///
    /// In feedback mode the last `Generate` step is the feedback, before the choice or, in a set whose verdict comes
    /// first, after it; a set that reasons has another one at the start, with the same limit. In score mode there is
    /// neither.
    #[must_use]
    pub fn script(&self, kind: Kind, mode: Mode, scale: Option<Scale>, max_tokens: usize, min_tokens: usize) -> Script {
        let verdict = &self.file.verdict;
        let options = match (kind, scale) {
            (Kind::Absolute, Some(scale)) => {
                scale.scores().map(|score| verdict.score.replace("{score}", &score.value().to_string())).collect()
            }
            _ => verdict.labels.to_vec(),
        };
        let mut steps = Vec::new();
        if let (Mode::Feedback, Some(reasoning)) = (mode, &self.file.reasoning) {
            let stop = vec![reasoning.end.clone()];
            steps.push(Step::Generate(Generate { stop, max_tokens, min_tokens: 0, ..Generate::default() }));
            steps.push(Step::Say(reasoning.end.clone()));
        }
        let (begin, stop) = (verdict.begin.of(kind).to_owned(), verdict.stop.clone());
        let feedback = Step::Generate(Generate { begin, stop, max_tokens, min_tokens, ..Generate::default() });
        let at_the_start = verdict.lead.trim_start();
        match mode {
            Mode::Score => steps.extend([Step::Say(at_the_start.to_owned()), Step::Choose(options)]),
            Mode::Feedback if verdict.first => {
                let lead = if steps.is_empty() { at_the_start } else { &verdict.lead };
                steps.extend([Step::Say(lead.to_owned()), Step::Choose(options)]);
                steps.extend([Step::Say(verdict.open.clone()), feedback]);
            }
            Mode::Feedback => {
                if !verdict.open.is_empty() {
                    steps.push(Step::Say(verdict.open.clone()));
                }
                let lead = format!("{}{}", verdict.close, verdict.lead);
                steps.extend([feedback, Step::Say(lead), Step::Choose(options)]);
            }
        }
        Script(steps)
    }

    /// Renders the prompt for a model with that chat format. A [`Renderer`](super::Renderer) does the same for less,
    /// where many prompts are for one model.
    ///
    /// # Errors
    /// When the set has no place for something that the request has, or when the model's chat template cannot be
    /// rendered.
    pub fn render(&self, subject: &Subject<'_>, mode: Mode, chat: &ChatFormat) -> Result<Rendered, PromptError> {
        let fields = Fields::of(subject);
        Ok(escape::assemble(&self.layout(&subject.shape(mode), &fields, chat)?, &fields))
    }

    /// Where the texts of requests of that shape go; `fields` are those of one of them.
    pub(super) fn layout(&self, shape: &Shape, fields: &Fields<'_>, chat: &ChatFormat) -> Result<Layout, PromptError> {
        let (system, user) = self.lay_out(shape, fields)?;
        let laid_out = chat.lay_out(system.as_deref(), &user)?;
        let pieces = fields::pieces(&laid_out.text, fields.len())
            .filter(|pieces| fields.missing(pieces).is_none())
            .ok_or_else(|| PromptError::Chat("it cuts or drops parts of what the user says".to_owned()))?;
        let mut markers = laid_out.roles;
        markers.extend(chat.structure().cloned());
        markers.extend(self.file.marker_texts().map(str::to_owned));
        if shape.turns.is_some() {
            markers.extend(self.templates.roles.iter().cloned());
        }
        Ok(Layout::new(&pieces, &PatternSet::exact(&chat.control), PatternSet::markers(&markers)))
    }

    /// The system text, if there is one, and the user text that a chat template would get, every field as it is.
    ///
    /// # Errors
    /// When the set has no place for something that the request has.
    pub fn turns(&self, subject: &Subject<'_>, mode: Mode) -> Result<(Option<String>, String), PromptError> {
        let fields = Fields::of(subject);
        let (system, user) = self.lay_out(&subject.shape(mode), &fields)?;
        let fill = |text: &str| fields.fill(&fields::pieces(text, fields.len()).unwrap_or_default());
        Ok((system.as_deref().map(fill), fill(&user)))
    }

    /// System and user text with sentinels for the fields; nothing of the request is missing in them.
    fn lay_out(&self, shape: &Shape, fields: &Fields<'_>) -> Result<(Option<String>, String), PromptError> {
        let kind = shape.kind;
        if !self.templates.has(kind) {
            let (set, alternatives) = (self.name.to_string(), self.places.of_kind(kind));
            return Err(PromptError::NoKind { set, kind: kind.name(), alternatives });
        }
        let mut sentinels = Sentinels::default();
        let instruction = match &shape.turns {
            None => sentinels.next(),
            Some(turns) => {
                self.templates.conversation(turns.iter().map(|role| (role.name(), sentinels.next())).collect())?
            }
        };
        let variables = shape.variables(&mut sentinels, instruction, &self.file.verdict.labels);
        let system = self.templates.system(kind, &variables)?;
        let user = self.templates.user(kind, &variables)?;

        let mut pieces = Vec::new();
        for text in system.iter().chain([&user]) {
            pieces.extend(fields::pieces(text, fields.len()).ok_or_else(|| PromptError::Template {
                file: self.templates.file(kind),
                line: None,
                reason: "it takes a field apart; templates may place fields, not change them".to_owned(),
            })?);
        }
        match fields.missing(&pieces) {
            None => Ok((system, user)),
            Some(field) => Err(self.unsupported(kind, field)),
        }
    }

    /// The error for a field that the templates of that kind do not place.
    fn unsupported(&self, kind: Kind, field: &str) -> PromptError {
        let name = field.split('/').next().unwrap_or(field);
        PromptError::Unsupported {
            pointer: format!("/{name}"),
            set: self.name.to_string(),
            kind: kind.name(),
            alternatives: self.places.sets(kind, name),
        }
    }
}

fn digest(file: &SetFile, templates: &Templates, kind: Kind) -> String {
    let mut hash = Sha256::new();
    for (name, text) in std::iter::once(("set.toml", file.text.as_str())).chain(templates.sources(kind)) {
        for part in [name, text] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    format!("sha256:{:x}", hash.finalize())
}
