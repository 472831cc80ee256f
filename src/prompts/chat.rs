//! The model's chat template.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use super::error::PromptError;
use super::fields::{Piece, pieces, placeholder};
use super::patterns::PatternSet;
use crate::domain::Role;

/// Maximum length of a role string; longer texts are sentences, such as a default system prompt.
const LONGEST_ROLE: usize = 40;

/// HTML tags. Some vocabularies have user-defined tokens for them, and need them to read plain text.
const HTML: &str = "a b blockquote br caption code em h1 h2 h3 h4 h5 h6 hr i li ol p pre s strong sub sup table tbody td \
                    tfoot th thead tr u ul";

/// A model's chat template and its special tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChatFormat {
    /// The template, in Jinja. Without one, a prompt is the system text, a blank line and the user text.
    pub template: Option<String>,
    /// Text of the BOS token.
    pub bos: String,
    /// Text of the EOS token.
    pub eos: String,
    /// Texts of all control tokens.
    pub control: Vec<String>,
    /// Texts of user-defined tokens, which tokenizers also find in plain text.
    pub user_defined: Vec<String>,
}

/// A conversation, rendered with the chat template.
pub(super) struct LaidOut {
    /// The text up to the start of the model's answer.
    pub(super) text: String,
    /// The turns that the template was given.
    pub(super) turns: Vec<(Role, String)>,
    /// The template's role strings in plain text, which are markers.
    pub(super) roles: Vec<String>,
}

impl ChatFormat {
    /// Renders the chat template with a system turn and a user turn, or with both texts in a user turn if the template
    /// refuses or ignores the role `system`.
    pub(super) fn lay_out(&self, system: Option<&str>, user: &str) -> Result<LaidOut, PromptError> {
        let merged = system.map(|system| format!("{system}\n\n{user}"));
        let merged = merged.as_deref().unwrap_or(user);
        let alone = || vec![(Role::User, merged.to_owned())];
        let Some(template) = &self.template else {
            return Ok(LaidOut { text: merged.to_owned(), turns: alone(), roles: Vec::new() });
        };
        let environment = environment(template)?;
        let parts = self.wants_parts(&environment);
        let render = |system: Option<&str>, user: &str| self.render(&environment, system, user, parts);

        let (in_system, in_user) = (placeholder(0), placeholder(1));
        if let Some(system) = system
            && let Ok(probe) = render(Some(&in_system), &in_user)
            && probe.contains(&in_system)
            && probe.contains(&in_user)
        {
            let turns = vec![(Role::System, system.to_owned()), (Role::User, user.to_owned())];
            return Ok(LaidOut { text: render(Some(system), user)?, turns, roles: self.roles(&probe, 2) });
        }
        let probe = render(None, &in_user)?;
        if !probe.contains(&in_user) {
            return Err(PromptError::Chat("it drops the user turn".to_owned()));
        }
        Ok(LaidOut { text: render(None, merged)?, turns: alone(), roles: self.roles(&probe, 2) })
    }

    /// Renders the chat template with a whole conversation, whose texts are placeholders of so many fields. If the
    /// template refuses or ignores the role `system`, that text goes before the next user turn. If it requires
    /// alternating roles, adjacent turns of one role are joined.
    pub(super) fn lay_out_turns(&self, turns: &[(Role, String)], fields: usize) -> Result<String, PromptError> {
        let Some(template) = &self.template else {
            return Ok(untemplated(turns));
        };
        let environment = environment(template)?;
        let parts = self.wants_parts(&environment);
        let whole = |text: &String| places_all(text, fields);
        if let Some(text) = self.render_turns(&environment, turns, parts).ok().filter(whole) {
            return Ok(text);
        }
        let text = self.render_turns(&environment, &joined(turns), parts)?;
        if whole(&text) { Ok(text) } else { Err(PromptError::Conversation("it drops a message".to_owned())) }
    }

    /// Renders the chat template with examples before the user turn, in the same way.
    pub(super) fn lay_out_after(&self, turns: &[(Role, String)]) -> Result<LaidOut, PromptError> {
        let probes: Vec<(Role, String)> =
            turns.iter().enumerate().map(|(index, (role, _))| (*role, placeholder(index))).collect();
        let Some(template) = &self.template else {
            return Ok(LaidOut { text: untemplated(turns), turns: joined(turns), roles: Vec::new() });
        };
        let environment = environment(template)?;
        let parts = self.wants_parts(&environment);
        let whole = |text: &String| places_all(text, turns.len());
        if let Some(probe) = self.render_turns(&environment, &probes, parts).ok().filter(whole) {
            let text = self.render_turns(&environment, turns, parts)?;
            return Ok(LaidOut { text, turns: turns.to_vec(), roles: self.roles(&probe, turns.len()) });
        }
        let probe = self.render_turns(&environment, &joined(&probes), parts)?;
        if !whole(&probe) {
            return Err(PromptError::Chat("it drops earlier turns, which examples are".to_owned()));
        }
        let turns = joined(turns);
        let text = self.render_turns(&environment, &turns, parts)?;
        Ok(LaidOut { text, roles: self.roles(&probe, probes.len()), turns })
    }

    /// Whether the template takes the content of a turn as a list of parts only, as those of some models with eyes do.
    fn wants_parts(&self, env: &Environment<'_>) -> bool {
        let user = placeholder(0);
        let places = |parts| self.render(env, None, &user, parts).is_ok_and(|text| text.contains(&user));
        !places(false) && places(true)
    }

    fn render(
        &self,
        env: &Environment<'_>,
        system: Option<&str>,
        user: &str,
        parts: bool,
    ) -> Result<String, PromptError> {
        let system = system.map(|text| (Role::System, text.to_owned()));
        let turns: Vec<(Role, String)> = system.into_iter().chain([(Role::User, user.to_owned())]).collect();
        self.render_turns(env, &turns, parts)
    }

    fn render_turns(
        &self,
        env: &Environment<'_>,
        turns: &[(Role, String)],
        parts: bool,
    ) -> Result<String, PromptError> {
        let turn = |(role, content): &(Role, String)| {
            let text = Value::from(content.as_str());
            let content = if parts { Value::from(vec![context! { type => "text", text }]) } else { text };
            context! { role => role.name(), content }
        };
        let messages: Vec<Value> = turns.iter().map(turn).collect();
        // Templates are written for transformers, which passes `tools` and `documents` even when there are none.
        let variables = context! {
            messages,
            add_generation_prompt => true,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            tools => (),
            documents => (),
        };
        env.get_template(TEMPLATE).and_then(|template| template.render(variables)).map_err(refused)
    }

    /// The role strings of a rendered template with this number of placeholders.
    fn roles(&self, probe: &str, fields: usize) -> Vec<String> {
        let literals = pieces(probe, fields).unwrap_or_default().into_iter().filter_map(|piece| match piece {
            Piece::Literal(text) => Some(text),
            Piece::Field(_) => None,
        });
        let control = PatternSet::exact(&self.control);
        literals
            .flat_map(|text| control.split(text))
            .filter(|(is_control, _)| !is_control)
            .flat_map(|(_, text)| role_strings(text))
            .map(str::to_owned)
            .collect()
    }

    /// The user-defined tokens that are markers, such as `<think>`: a tokenizer finds them in any text. Those that are
    /// plain text are not: words, runs of one character, HTML.
    pub(super) fn structure(&self) -> impl Iterator<Item = &String> {
        self.user_defined.iter().filter(|token| !is_plain(token))
    }
}

/// The turns for a model without a chat template.
fn untemplated(turns: &[(Role, String)]) -> String {
    let texts: Vec<&str> = turns.iter().map(|(_, text)| text.as_str()).collect();
    texts.join("\n\n")
}

/// The turns for a template that requires alternating roles without a system turn: that text goes before the next user
/// turn, and adjacent turns of one role are joined.
fn joined(turns: &[(Role, String)]) -> Vec<(Role, String)> {
    let mut joined: Vec<(Role, String)> = Vec::new();
    for (role, content) in turns {
        let role = if *role == Role::System { Role::User } else { *role };
        match joined.last_mut() {
            Some((last, text)) if *last == role => {
                text.push_str("\n\n");
                text.push_str(content);
            }
            _ => joined.push((role, content.clone())),
        }
    }
    joined
}

fn is_plain(token: &str) -> bool {
    let tag = token.strip_prefix('<').and_then(|tag| tag.strip_suffix('>'));
    let html = tag.is_some_and(|tag| HTML.split(' ').any(|name| name == tag.strip_prefix('/').unwrap_or(tag)));
    let mut after_first = token.chars().zip(token.chars().skip(1));
    html || token.chars().all(|c| c.is_alphanumeric() || c.is_whitespace()) || after_first.all(|(a, b)| a == b)
}

/// Whether a text has the placeholder of every field, in linear time.
fn places_all(text: &str, fields: usize) -> bool {
    let mut there = vec![false; fields];
    for piece in pieces(text, fields).unwrap_or_default() {
        if let Piece::Field(index) = piece {
            there[index] = true;
        }
    }
    there.into_iter().all(|there| there)
}

/// The lines of a template's text that are role strings: `[INST]`, `### Instruction:`, `USER:`. Bare words such as
/// `user` are not: they have no meaning without the control token before them.
pub(super) fn role_strings(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| {
        line.chars().count() <= LONGEST_ROLE
            && line.chars().any(char::is_alphanumeric)
            && line.chars().any(|c| !c.is_alphanumeric() && !c.is_whitespace())
    })
}

const TEMPLATE: &str = "chat";

/// An environment that renders chat templates as transformers does.
fn environment(template: &str) -> Result<Environment<'static>, PromptError> {
    let mut env = Environment::new();
    env.set_syntax(block_lines());
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.add_function("raise_exception", |message: String| -> Result<(), Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message).with_source(Refusal))
    });
    // A prompt must not depend on the date, so that a grading can be repeated.
    env.add_function("strftime_now", |_format: String| "");
    env.add_template_owned(TEMPLATE, without_generation_tags(template)).map_err(refused)?;
    Ok(env)
}

/// Lines with only a block tag produce no output.
pub(super) fn block_lines() -> SyntaxConfig {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("the delimiters are Jinja's own, which are valid")
}

/// Removes the tag `generation` of transformers, which marks the tokens of a training loss.
fn without_generation_tags(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{%")
        && let Some((tag, after)) = after.split_once("%}")
    {
        let tag = match tag.trim_matches(['-', '+', ' ', '\n']) {
            "generation" => tag.replace("generation", "if true"),
            "endgeneration" => tag.replace("endgeneration", "endif"),
            _ => tag.to_owned(),
        };
        out.push_str(&format!("{before}{{%{tag}%}}"));
        rest = after;
    }
    out + rest
}

/// Marks an error that the template itself raised for a conversation, as opposed to an error in the template.
#[derive(Debug, thiserror::Error)]
#[error("the template refuses it")]
struct Refusal;

fn refused(error: Error) -> PromptError {
    let said = std::error::Error::source(&error).is_some_and(|source| source.is::<Refusal>());
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    let why = format!("{}{line}", error.detail().unwrap_or("it is not valid"));
    if said { PromptError::Conversation(why) } else { PromptError::Chat(why) }
}
