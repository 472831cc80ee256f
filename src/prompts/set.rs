//! Reading and checking the files of a prompt set.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use include_dir::Dir;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use serde::{Deserialize, Serialize};

use super::chat::{block_lines, role_strings};
use super::error::PromptError;
use super::examples::ExampleVerdict;
use super::fields::{Piece, pieces, placeholder};
use super::form::Form;
use crate::domain::{Kind, Mode, Role};

const SET: &str = "set.toml";
const CONVERSATION: &str = "conversation.txt.j2";
/// What a prompt with pictures begins with.
const PICTURES: &str = "pictures.txt.j2";
/// What stands in a turn where a picture was.
const MARK: &str = "picture.txt.j2";
const DEFAULT_CONVERSATION: &str = include_str!("conversation.txt.j2");

/// Variables of optional fields.
pub(super) const OPTIONAL: [&str; 3] = ["reference_answer", "context", "annotator"];

/// `set.toml`: the literals of the answer, and the markers.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetFile {
    /// The text of the file.
    #[serde(skip)]
    pub(super) text: String,
    pub(super) summary: String,
    pub(super) markers: Vec<String>,
    pub(super) verdict: Verdict,
    pub(super) reasoning: Option<Reasoning>,
}

/// How the verdict is written.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verdict {
    /// Whether it comes before the feedback, which then explains it.
    #[serde(default)]
    pub(super) first: bool,
    /// Text before the feedback.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) open: String,
    /// Forced first words of the feedback.
    #[serde(default, skip_serializing_if = "Begin::is_empty")]
    pub(super) begin: Begin,
    /// Stop texts of the feedback.
    pub(super) stop: Vec<String>,
    /// Text after the feedback.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) close: String,
    /// Text before the verdict.
    pub(super) lead: String,
    /// Text of a score option; `{score}` is the integer.
    pub(super) score: String,
    /// Texts of the options A and B; empty in a set without relative grading.
    #[serde(default)]
    pub(super) labels: [String; 2],
}

impl Verdict {
    /// The answer of a judge in an example: in score mode the verdict alone, else with this feedback. It has no thoughts,
    /// as the chat templates of reasoning models leave them out of earlier turns.
    pub(super) fn answer(&self, verdict: ExampleVerdict, mode: Mode, feedback: impl FnOnce() -> String) -> String {
        let option = match verdict {
            ExampleVerdict::Score(score) => self.score.replace("{score}", &score.to_string()),
            ExampleVerdict::Preference(index) => self.labels[index].clone(),
        };
        let Self { first, open, close, lead, .. } = self;
        let at_the_start = lead.trim_start();
        // Feedback has no white space around it, and what opens it may have none at its end.
        let gap = match open.chars().next_back() {
            Some(last) if !last.is_whitespace() => {
                if close.starts_with('\n') {
                    "\n"
                } else {
                    " "
                }
            }
            _ => "",
        };
        match mode {
            Mode::Score => format!("{at_the_start}{option}"),
            Mode::Feedback if *first => format!("{at_the_start}{option}{open}{gap}{}", feedback()),
            Mode::Feedback => format!("{open}{gap}{}{close}{lead}{option}", feedback()),
        }
    }
}

/// Forced first words of the feedback, by kind of grading, and of each question of a checklist; empty: none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Begin {
    pub(super) absolute: String,
    pub(super) relative: String,
    pub(super) question: String,
}

impl Begin {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn of(&self, kind: Kind) -> &str {
        match kind {
            Kind::Absolute => &self.absolute,
            Kind::Relative => &self.relative,
        }
    }
}

/// How a reasoning judge thinks before it answers.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reasoning {
    /// Text before the thoughts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) begin: String,
    /// Text after the thoughts; without the white space at its end, it stops them.
    pub(super) end: String,
    /// Maximum number of tokens of thoughts, if a request does not say.
    #[serde(default = "Reasoning::most")]
    pub(super) max_tokens: usize,
}

impl Reasoning {
    fn most() -> usize {
        1024
    }
}

impl SetFile {
    /// All markers of the file.
    pub(super) fn marker_texts(&self) -> impl Iterator<Item = &str> {
        let reasoning = self.reasoning.iter().flat_map(|reasoning| [reasoning.begin.trim(), reasoning.end.trim()]);
        let reasoning = reasoning.filter(|text| !text.is_empty());
        let Verdict { open, stop, close, lead, .. } = &self.verdict;
        let around = [open, close].into_iter().filter(|text| !text.trim().is_empty());
        self.markers.iter().chain(around).chain(stop).chain([lead]).map(String::as_str).chain(reasoning)
    }

    /// Returns the first invalid key and the reason.
    fn check(&self, relative: bool) -> Result<(), (&'static str, &'static str)> {
        let blank = |text: &String| text.trim().is_empty();
        let Verdict { first, open, stop, close, lead, score, labels, .. } = &self.verdict;
        let first = *first;
        let faults = [
            (blank(&self.summary), ("summary", "must describe the purpose of the set in one line")),
            (
                self.markers.iter().any(|m| m.trim().chars().nth(1).is_none()),
                ("markers", "have two characters or more"),
            ),
            (stop.is_empty() || stop.iter().any(blank), ("stop", "name the texts that end the feedback")),
            (blank(lead), ("lead", "name the text that the verdict begins with")),
            (score.matches("{score}").count() != 1, ("score", "must contain `{score}` exactly once")),
            (
                relative && (labels.iter().any(blank) || labels[0] == labels[1]),
                ("labels", "must be two different texts"),
            ),
            (self.reasoning.as_ref().is_some_and(|r| blank(&r.end)), ("end", "name the text that ends the reasoning")),
            (self.reasoning.as_ref().is_some_and(|r| r.max_tokens == 0), ("max_tokens", "must be at least 1")),
            (first && open.is_empty(), ("open", "name the text between the verdict and the feedback after it")),
            (first && !close.is_empty(), ("close", "is not allowed if the verdict comes first")),
        ];
        faults.into_iter().find(|(wrong, _)| *wrong).map_or(Ok(()), |(_, fault)| Err(fault))
    }
}

/// The files of a set, by name.
pub(super) struct Source {
    /// The folder, for error messages.
    pub(super) folder: PathBuf,
    pub(super) files: BTreeMap<String, String>,
}

/// The built-in sets.
pub(super) fn built_in(dir: &Dir<'_>) -> Result<Vec<(String, Source)>, PromptError> {
    let set = |dir: &Dir<'_>| {
        let folder = Path::new("prompts").join(dir.path());
        let files = dir.files().filter_map(|file| Some((file.path().file_name()?.to_str()?, file.contents_utf8()?)));
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        (dir.path().display().to_string(), Source { folder, files })
    };
    Ok(dir.dirs().map(set).collect())
}

/// The sets in the folders of `dir`; none if it does not exist.
pub(super) fn local(dir: &Path) -> Result<Vec<(String, Source)>, PromptError> {
    let mut sets = Vec::new();
    if !dir.exists() {
        return Ok(sets);
    }
    for (name, folder) in entries(dir)? {
        if name.starts_with('.') || !folder.is_dir() {
            continue;
        }
        let mut files = BTreeMap::new();
        for (name, path) in entries(&folder)? {
            if name == SET || name.ends_with(".j2") {
                files.insert(name, std::fs::read_to_string(&path).map_err(|error| io(&path, &error))?);
            }
        }
        sets.push((name, Source { folder, files }));
    }
    Ok(sets)
}

fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>, PromptError> {
    let entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    };
    std::fs::read_dir(dir).and_then(|entries| entries.map(entry).collect()).map_err(|error| io(dir, &error))
}

/// The error for a file or folder that cannot be read or written.
pub(super) fn io(path: &Path, error: &std::io::Error) -> PromptError {
    PromptError::Io { path: path.to_owned(), reason: error.to_string() }
}

impl Source {
    /// Reads `set.toml` and compiles the templates.
    pub(super) fn parse(&self) -> Result<(SetFile, Templates), PromptError> {
        let fault = |line, reason| PromptError::Template { file: self.folder.join(SET), line, reason };
        let text = self.files.get(SET).ok_or_else(|| fault(None, "the set has no such file".to_owned()))?;
        let line_of = |offset: usize| Some(text[..offset.min(text.len())].matches('\n').count() + 1);
        let mut file: SetFile = toml::from_str(text).map_err(|error| {
            let line = error.span().and_then(|span| line_of(span.start));
            fault(line, error.message().trim().to_owned())
        })?;
        file.check(self.files.contains_key(Form::Relative.files()[1])).map_err(|(key, reason)| {
            let line = text.lines().position(|line| line.trim_start().starts_with(key)).map(|index| index + 1);
            fault(line, format!("`{key}`: {reason}"))
        })?;
        file.text.clone_from(text);
        Ok((file, Templates::new(self)?))
    }
}

/// The compiled templates of a set.
#[derive(Debug)]
pub(super) struct Templates {
    folder: PathBuf,
    env: Environment<'static>,
    sources: BTreeMap<&'static str, String>,
    /// The role strings of the conversation template.
    pub(super) roles: Vec<String>,
}

impl Templates {
    fn new(source: &Source) -> Result<Self, PromptError> {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_syntax(block_lines());
        let mut templates = Self { folder: source.folder.clone(), env, sources: BTreeMap::new(), roles: Vec::new() };
        let conversation = source.files.get(CONVERSATION).map_or(DEFAULT_CONVERSATION, String::as_str);
        templates.add(CONVERSATION, conversation, &["messages"])?;
        for (name, variable) in [(PICTURES, "pictures"), (MARK, "number")] {
            if let Some(text) = source.files.get(name) {
                templates.add(name, text, &[variable])?;
            }
        }
        for form in Form::ALL {
            let [system, user] = form.files();
            // A family of models may support some forms only.
            let Some(text) = source.files.get(user) else { continue };
            let variables = [form.variables(), &OPTIONAL].concat();
            templates.add(user, text, &variables)?;
            if let Some(text) = source.files.get(system) {
                templates.add(system, text, &variables)?;
            }
        }
        if !Form::GRADING.into_iter().any(|form| templates.has(form)) {
            let [user, other] = Form::GRADING.map(|form| form.files()[1]);
            return Err(templates.fault(user, None, &format!("the set has neither this file nor {other}")));
        }
        let stray = source.files.keys().find(|name| *name != SET && !templates.sources.contains_key(name.as_str()));
        if let Some(stray) = stray {
            let known = Form::ALL.map(|form| form.files().join(", ")).join(", ");
            let reason = format!("templates are called {known}, {PICTURES}, {MARK} and {CONVERSATION}");
            return Err(templates.fault(stray, None, &reason));
        }
        let turns = [Role::System, Role::User, Role::Assistant].map(Role::name).into_iter().enumerate();
        let probe = templates.conversation(turns.map(|(index, role)| (role, placeholder(index))).collect())?;
        for piece in pieces(&probe, 3).unwrap_or_default() {
            if let Piece::Literal(text) = piece {
                templates.roles.extend(role_strings(text).map(str::to_owned));
            }
        }
        Ok(templates)
    }

    fn add(&mut self, name: &'static str, text: &str, variables: &[&str]) -> Result<(), PromptError> {
        self.env.add_template_owned(name, text.to_owned()).map_err(|error| self.refused(name, &error))?;
        let template = self.env.get_template(name).map_err(|error| self.refused(name, &error))?;
        let known = |used: &String| {
            variables.contains(&used.as_str()) || self.env.globals().any(|(global, _)| global == used.as_str())
        };
        match template.undeclared_variables(false).into_iter().filter(|used| !known(used)).min() {
            None => {
                self.sources.insert(name, text.to_owned());
                Ok(())
            }
            Some(unknown) => {
                let word =
                    |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == unknown);
                let line = text.lines().position(|line| line.contains('{') && word(line));
                let reason = format!("there is no variable `{unknown}`; there are {}", variables.join(", "));
                Err(self.fault(name, line.map(|index| index + 1), &reason))
            }
        }
    }

    /// Names and texts of the templates for a form of prompt.
    pub(super) fn sources(&self, form: Form) -> impl Iterator<Item = (&str, &str)> {
        let [system, user] = form.files();
        [system, user, CONVERSATION].into_iter().filter_map(|name| Some((name, self.sources.get(name)?.as_str())))
    }

    /// Names and texts of the templates that only prompts with pictures use.
    pub(super) fn picture_sources(&self) -> impl Iterator<Item = (&str, &str)> {
        [PICTURES, MARK].into_iter().filter_map(|name| Some((name, self.sources.get(name)?.as_str())))
    }

    /// Whether the set has a place for pictures.
    pub(super) fn take_pictures(&self) -> bool {
        self.sources.contains_key(PICTURES)
    }

    /// Whether the set says where a picture stood.
    pub(super) fn mark_pictures(&self) -> bool {
        self.take_pictures() && self.sources.contains_key(MARK)
    }

    /// What a prompt with these pictures begins with.
    pub(super) fn pictures(&self, pictures: &[String]) -> Result<String, PromptError> {
        self.render(PICTURES, &context! { pictures => pictures.to_vec() })
    }

    /// What stands where the picture with this number was, from 1.
    pub(super) fn mark(&self, number: usize) -> Result<Option<String>, PromptError> {
        self.sources.contains_key(MARK).then(|| self.render(MARK, &context! { number })).transpose()
    }

    /// Whether the set supports a form of prompt.
    pub(super) fn has(&self, form: Form) -> bool {
        self.sources.contains_key(form.files()[1])
    }

    /// The user template of a form, for error messages.
    pub(super) fn file(&self, form: Form) -> PathBuf {
        self.folder.join(form.files()[1])
    }

    pub(super) fn system(&self, form: Form, variables: &Value) -> Result<Option<String>, PromptError> {
        let name = form.files()[0];
        self.sources.contains_key(name).then(|| self.render(name, variables)).transpose()
    }

    pub(super) fn user(&self, form: Form, variables: &Value) -> Result<String, PromptError> {
        self.render(form.files()[1], variables)
    }

    /// Renders a conversation, given as roles and contents.
    pub(super) fn conversation(&self, turns: Vec<(&str, String)>) -> Result<String, PromptError> {
        let messages: Vec<Value> = turns.into_iter().map(|(role, content)| context! { role, content }).collect();
        self.render(CONVERSATION, &context! { messages })
    }

    fn render(&self, name: &str, variables: &Value) -> Result<String, PromptError> {
        let template = self.env.get_template(name);
        template.and_then(|template| template.render(variables)).map_err(|error| self.refused(name, &error))
    }

    fn mention(&self, form: Form, variable: &str) -> bool {
        let mentions = |name: &&str| {
            self.env.get_template(name).is_ok_and(|template| template.undeclared_variables(false).contains(variable))
        };
        form.files().iter().any(mentions)
    }

    fn refused(&self, name: &str, error: &minijinja::Error) -> PromptError {
        let reason = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        self.fault(name, error.line(), &reason)
    }

    fn fault(&self, name: &str, line: Option<usize>, reason: &str) -> PromptError {
        PromptError::Template { file: self.folder.join(name), line, reason: reason.to_owned() }
    }
}

/// The sets that support each form of prompt and each optional field.
#[derive(Debug, Default)]
pub(super) struct Support {
    fields: HashMap<(Form, &'static str), Vec<String>>,
    forms: HashMap<Form, Vec<String>>,
    /// The sets with a place for pictures.
    pub(super) pictures: Vec<String>,
    /// Those of them that say where each picture stood.
    pub(super) marks: Vec<String>,
}

impl Support {
    pub(super) fn of<'a>(sets: impl Iterator<Item = (&'a str, &'a Templates)>) -> Self {
        let mut support = Self::default();
        for (set, templates) in sets {
            if templates.take_pictures() {
                support.pictures.push(set.to_owned());
            }
            if templates.mark_pictures() {
                support.marks.push(set.to_owned());
            }
            for form in Form::ALL.into_iter().filter(|form| templates.has(*form)) {
                support.forms.entry(form).or_default().push(set.to_owned());
                for field in OPTIONAL.into_iter().filter(|field| templates.mention(form, field)) {
                    support.fields.entry((form, field)).or_default().push(set.to_owned());
                }
            }
        }
        support
    }

    /// The sets that support a form of prompt.
    pub(super) fn of_form(&self, form: Form) -> Vec<String> {
        self.forms.get(&form).cloned().unwrap_or_default()
    }

    pub(super) fn sets(&self, form: Form, field: &str) -> Vec<String> {
        let field = OPTIONAL.into_iter().find(|optional| *optional == field);
        field.and_then(|field| self.fields.get(&(form, field))).cloned().unwrap_or_default()
    }
}
