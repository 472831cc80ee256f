//! Prompt sets and the library of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

use super::chat::{ChatFormat, LaidOut};
use super::error::PromptError;
use super::escape::{self, Rendered};
use super::fields::{self, Fields, Placeholders, Shape, Subject};
use super::form::Form;
use super::layout::Layout;
use super::patterns::PatternSet;
use super::set::{self, SetFile, Source, Support, Templates};
use super::turn_shape::{ContentShape, TurnShape};
use crate::domain::{ExampleSet, Kind, Mode, Role, Scale, Turn};
use crate::script::{Generate, Script, Step, StopString};

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/prompts");

/// All prompt sets, by name.
#[derive(Debug)]
pub struct PromptLibrary {
    pub(super) sets: BTreeMap<String, PromptSet>,
}

/// The prompts for one family of judge models, and the format of their answers.
#[derive(Debug)]
pub struct PromptSet {
    pub(super) name: Arc<str>,
    built_in: bool,
    pub(super) file: SetFile,
    pub(super) templates: Templates,
    /// The forms and optional fields that the sets of the library support.
    support: Arc<Support>,
    /// In the order of [`Form::ALL`].
    digests: [String; Form::ALL.len()],
}

/// The turns of a prompt before the chat template.
struct LaidOutTurns {
    system: Option<String>,
    /// Examples with their answers.
    earlier: Vec<(Role, String)>,
    user: String,
}

impl PromptLibrary {
    /// Loads the built-in sets and the sets in the folders of `local_dir`, which replace built-in sets of the same
    /// name. A missing `local_dir` has no sets.
    ///
    /// # Errors
    /// If a set cannot be read or is invalid. This renders every template.
    pub fn load(local_dir: Option<&Path>) -> Result<Self, PromptError> {
        let mut sets = BTreeMap::new();
        for (name, source) in set::built_in(&BUILT_IN)? {
            sets.insert(name.clone(), PromptSet::new(name, true, &source)?);
        }
        for (name, source) in local_dir.map(set::local).transpose()?.unwrap_or_default() {
            sets.insert(name.clone(), PromptSet::new(name, false, &source)?);
        }
        let support = Arc::new(Support::of(sets.values().map(|set| (&*set.name, &set.templates))));
        for set in sets.values_mut() {
            set.support = Arc::clone(&support);
        }
        Ok(Self { sets })
    }

    /// The names of all sets, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sets.keys().map(String::as_str)
    }

    /// The digests of all sets, by `set/form`.
    #[must_use]
    pub fn digests(&self) -> BTreeMap<String, String> {
        let of = |set: &PromptSet, form: Form| (format!("{}/{}", set.name(), form.name()), set.digest(form).to_owned());
        let there = |set: &PromptSet, form: &Form| Form::GRADING.contains(form) || set.has(*form);
        let digests = |set| Form::ALL.into_iter().filter(move |form| there(set, form)).map(move |form| of(set, form));
        self.sets.values().flat_map(digests).collect()
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
        let digests = Form::ALL.map(|form| digest(&file, &templates, form));
        let set = Self { name: name.into(), built_in, file, templates, support: Arc::default(), digests };
        set.validate()?;
        Ok(set)
    }

    /// The name of its folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The purpose of the set, in one line.
    #[must_use]
    pub fn summary(&self) -> &str {
        &self.file.summary
    }

    /// Whether the judge thinks before it writes feedback.
    #[must_use]
    pub fn reasons(&self) -> bool {
        self.file.reasoning.is_some()
    }

    /// Whether the set is built in.
    #[must_use]
    pub fn built_in(&self) -> bool {
        self.built_in
    }

    /// `sha256:<hex>` of `set.toml` and the templates of this form.
    #[must_use]
    pub fn digest(&self, form: impl Into<Form>) -> &str {
        &self.digests[form.into() as usize]
    }

    /// The digest of a prompt with pictures, whose form has this digest: it also stands for the templates of pictures.
    #[must_use]
    pub fn digest_with_pictures(&self, of_form: &str) -> String {
        digest_of(std::iter::once(("", of_form)).chain(self.templates.picture_sources()))
    }

    /// Whether the set has a place for pictures.
    #[must_use]
    pub fn takes_pictures(&self) -> bool {
        self.templates.take_pictures()
    }

    /// Whether the set has a template of this form.
    #[must_use]
    pub fn has(&self, form: Form) -> bool {
        self.templates.has(form)
    }

    /// The script of one judgement: over the scores of `scale` for absolute grading, else over the two labels.
    ///
    /// In feedback mode, the last `Generate` step is the feedback: before the choice, or after it in a set whose
    /// verdict comes first. A set with reasoning has another `Generate` step at the start, with a limit of its own. Score
    /// mode has no `Generate` step.
    #[must_use]
    pub fn script(&self, kind: Kind, mode: Mode, scale: Option<Scale>, max_tokens: usize, min_tokens: usize) -> Script {
        let verdict = &self.file.verdict;
        let options = match (kind, scale) {
            (Kind::Absolute, Some(scale)) => {
                scale.scores().map(|score| verdict.score.replace("{score}", &score.value().to_string())).collect()
            }
            _ => verdict.labels.to_vec(),
        };
        let mut steps = if mode == Mode::Feedback { self.reasoning() } else { Vec::new() };
        let feedback = self.feedback(kind, max_tokens, min_tokens);
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

    /// The script of a critique: the feedback of absolute grading alone.
    #[must_use]
    pub fn critique(&self, max_tokens: usize, min_tokens: usize) -> Script {
        let mut steps = self.reasoning();
        // Feedback after a verdict has the verdict's own opening.
        if !self.file.verdict.first && !self.file.verdict.open.is_empty() {
            steps.push(Step::Say(self.file.verdict.open.clone()));
        }
        steps.push(self.feedback(Kind::Absolute, max_tokens, min_tokens));
        Script(steps)
    }

    /// The forced first words of each question that the judge writes for a checklist; may be empty.
    #[must_use]
    pub fn question_begin(&self) -> &str {
        &self.file.verdict.begin.question
    }

    /// The steps in which a reasoning judge thinks; none for others.
    fn reasoning(&self) -> Vec<Step> {
        let Some(reasoning) = &self.file.reasoning else { return Vec::new() };
        let begin = (!reasoning.begin.is_empty()).then(|| Step::Say(reasoning.begin.clone()));
        let (stop, max_tokens) = (vec![reasoning.end.trim_end().into()], reasoning.max_tokens);
        let thinking = Step::Generate(Generate { stop, max_tokens, thoughts: true, ..Generate::default() });
        begin.into_iter().chain([thinking, Step::Say(reasoning.end.clone())]).collect()
    }

    fn feedback(&self, kind: Kind, max_tokens: usize, min_tokens: usize) -> Step {
        let begin = self.file.verdict.begin.of(kind).to_owned();
        let stop = self.file.verdict.stop.iter().cloned().map(StopString::from).collect();
        Step::Generate(Generate { begin, stop, max_tokens, min_tokens, ..Generate::default() })
    }

    /// Renders the prompt for a model with this chat format. For many prompts for one model, a
    /// [`Renderer`](super::Renderer) is faster.
    ///
    /// # Errors
    /// If the set does not support a field of the request, or the model's chat template cannot be rendered.
    pub fn render(&self, subject: &Subject<'_>, mode: Mode, chat: &ChatFormat) -> Result<Rendered, PromptError> {
        self.render_after(subject, mode, chat, None)
    }

    /// The same after graded examples: each is a turn of the user, with the templates of this kind of grading, and a
    /// turn of the model with the answer of a judge. Rubric and annotator are those of the request.
    ///
    /// # Errors
    /// Those of [`PromptSet::render`], and if the chat template does not accept earlier turns.
    pub fn render_after(
        &self,
        subject: &Subject<'_>,
        mode: Mode,
        chat: &ChatFormat,
        examples: Option<&ExampleSet>,
    ) -> Result<Rendered, PromptError> {
        let fields = Fields::of(subject, mode, examples);
        Ok(escape::assemble(&self.layout(&subject.shape(mode, examples), &fields, chat)?, &fields))
    }

    /// The turns of the prompt before the chat template, with escaped markers: a training example for this judge. None
    /// for a prompt with pictures, which texts cannot hold.
    ///
    /// # Errors
    /// Those of [`PromptSet::render_after`].
    pub fn messages(
        &self,
        subject: &Subject<'_>,
        mode: Mode,
        chat: &ChatFormat,
        examples: Option<&ExampleSet>,
    ) -> Result<Vec<Turn>, PromptError> {
        let fields = Fields::of(subject, mode, examples);
        if fields.picture_of(false).is_some() {
            return Ok(Vec::new());
        }
        let (laid_out, markers) = self.lay_out_chat(&subject.shape(mode, examples), &fields, chat)?;
        let turn = |(role, text): &(Role, String)| {
            let pieces = fields::pieces(text, fields.len()).unwrap_or_default();
            Turn::new(*role, escape::fill(&pieces, &markers, &fields))
        };
        Ok(laid_out.turns.iter().map(turn).collect())
    }

    /// The layout of requests with this shape; `fields` are those of one such request.
    pub(super) fn layout(&self, shape: &Shape, fields: &Fields<'_>, chat: &ChatFormat) -> Result<Layout, PromptError> {
        let (laid_out, markers) = self.lay_out_chat(shape, fields, chat)?;
        let pieces = fields::pieces(&laid_out.text, fields.len())
            .filter(|pieces| fields.missing(pieces).is_none())
            .ok_or_else(|| PromptError::Chat("it truncates or drops parts of the user turn".to_owned()))?;
        Ok(Layout::new(&pieces, &PatternSet::exact(&chat.control), markers))
    }

    /// The prompt with placeholders for the fields, and the markers, which are escaped in them.
    fn lay_out_chat(
        &self,
        shape: &Shape,
        fields: &Fields<'_>,
        chat: &ChatFormat,
    ) -> Result<(LaidOut, PatternSet), PromptError> {
        let LaidOutTurns { system, earlier, user } = self.lay_out(shape, fields)?;
        let laid_out = if earlier.is_empty() {
            chat.lay_out(system.as_deref(), &user)?
        } else {
            let system = system.map(|text| (Role::System, text));
            let turns: Vec<_> = system.into_iter().chain(earlier).chain([(Role::User, user)]).collect();
            chat.lay_out_after(&turns)?
        };
        let mut markers = laid_out.roles.clone();
        markers.extend(chat.structure().cloned());
        markers.extend(self.file.marker_texts().map(str::to_owned));
        if shape.turns.is_some() || shape.examples.iter().any(|example| example.turns.is_some()) {
            markers.extend(self.templates.roles.iter().cloned());
        }
        Ok((laid_out, PatternSet::markers(&markers)))
    }

    /// The system text, if there is one, and the user text, before the chat template and without escaping.
    ///
    /// # Errors
    /// If the set does not support a field of the request.
    pub fn turns(&self, subject: &Subject<'_>, mode: Mode) -> Result<(Option<String>, String), PromptError> {
        let fields = Fields::of(subject, mode, None);
        let LaidOutTurns { system, user, .. } = self.lay_out(&subject.shape(mode, None), &fields)?;
        let fill = |text: &str| fields.fill(&fields::pieces(text, fields.len()).unwrap_or_default());
        Ok((system.as_deref().map(fill), fill(&user)))
    }

    /// The turns with placeholders for the fields. They contain every field of the request.
    fn lay_out(&self, shape: &Shape, fields: &Fields<'_>) -> Result<LaidOutTurns, PromptError> {
        let form = shape.form;
        if !self.templates.has(form) {
            let (set, alternatives) = (self.name.to_string(), self.support.of_form(form));
            return Err(PromptError::NoKind { set, kind: form.title(), alternatives });
        }
        self.check_pictures(shape, fields)?;
        let mut placeholders = Placeholders::default();
        let mut pictures = Vec::new();
        let instruction = self.lay_out_instruction(shape.turns.as_deref(), &mut placeholders, &mut pictures)?;
        let lay = |response: &ContentShape, placeholders: &mut Placeholders| {
            response.lines(&mut || placeholders.next(), &mut pictures, |number| self.templates.mark(number))
        };
        let variables = shape.variables(&mut placeholders, instruction, &self.file.verdict.labels, lay)?;
        let system = self.templates.system(form, &variables)?;
        let mut user = self.templates.user(form, &variables)?;
        if !pictures.is_empty() {
            // At the start, so that all prompts about a picture share its tokens.
            user.insert_str(0, &self.templates.pictures(&pictures)?);
        }
        let mut earlier = Vec::new();
        for example in &shape.examples {
            let instruction = self.lay_out_instruction(example.turns.as_deref(), &mut placeholders, &mut Vec::new())?;
            let variables = example.variables(form, &variables, instruction, &mut || placeholders.next());
            earlier.push((Role::User, self.templates.user(form, &variables)?));
            let answer = self.file.verdict.answer(example.verdict, shape.mode, || placeholders.next());
            earlier.push((Role::Assistant, answer));
        }

        let mut pieces = Vec::new();
        for text in system.iter().chain(earlier.iter().map(|(_, text)| text)).chain([&user]) {
            pieces.extend(fields::pieces(text, fields.len()).ok_or_else(|| PromptError::Template {
                file: self.templates.file(form),
                line: None,
                reason: "it reads or changes a field; templates may only insert fields".to_owned(),
            })?);
        }
        match fields.missing(&pieces) {
            None => Ok(LaidOutTurns { system, earlier, user }),
            Some((example, field)) => Err(self.unsupported(form, example, field)),
        }
    }

    /// Checks that there is a place for the pictures: those of responses need one of their own, so that the judge can
    /// tell them from those that the response is about.
    fn check_pictures(&self, shape: &Shape, fields: &Fields<'_>) -> Result<(), PromptError> {
        let in_responses = shape.responses.iter().any(ContentShape::has_picture);
        let (has_place, alternatives) = match in_responses {
            true => (self.templates.mark_pictures(), &self.support.marks),
            false => (self.templates.take_pictures(), &self.support.pictures),
        };
        match fields.picture_of(in_responses) {
            Some(shown) if !has_place => Err(PromptError::NoPictures {
                pointer: shown.pointer.to_string(),
                set: self.name.to_string(),
                of: if in_responses { " in responses" } else { "" },
                alternatives: alternatives.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// An instruction, or a conversation by its template. The placeholders of its pictures are added to `pictures`.
    fn lay_out_instruction(
        &self,
        turns: Option<&[TurnShape]>,
        placeholders: &mut Placeholders,
        pictures: &mut Vec<String>,
    ) -> Result<String, PromptError> {
        let Some(turns) = turns else { return Ok(placeholders.next()) };
        let turn = |turn: &TurnShape| {
            let mark = |number| self.templates.mark(number);
            Ok((turn.role.name(), turn.content.lines(&mut || placeholders.next(), pictures, mark)?))
        };
        self.templates.conversation(turns.iter().map(turn).collect::<Result<_, PromptError>>()?)
    }

    /// The error for a field that the templates of this form do not support.
    fn unsupported(&self, form: Form, example: Option<usize>, field: &str) -> PromptError {
        let name = field.split('/').next().unwrap_or(field);
        let within = example.map_or_else(String::new, |example| format!("/examples/{example}"));
        PromptError::Unsupported {
            pointer: format!("{within}/{name}"),
            set: self.name.to_string(),
            kind: form.title(),
            alternatives: self.support.sets(form, name),
        }
    }
}

fn digest(file: &SetFile, templates: &Templates, form: Form) -> String {
    digest_of(std::iter::once(("set.toml", file.text.as_str())).chain(templates.sources(form)))
}

fn digest_of<'t>(named: impl Iterator<Item = (&'t str, &'t str)>) -> String {
    let mut hash = Sha256::new();
    for (name, text) in named {
        for part in [name, text] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    format!("sha256:{:x}", hash.finalize())
}
