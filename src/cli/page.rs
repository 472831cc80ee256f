//! Reports as pages that a browser shows: one file, without scripts and without anything from elsewhere. What reports
//! have in common.

pub(super) mod forest;
pub(super) mod panel;
pub(super) mod svg;
pub(super) mod units;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;

use super::CliError;

/// What templates of pages include. The ending of a name decides what is escaped in it: everything that is put into
/// `.html`.
const PARTS: [(&str, &str); 2] =
    [("parts.html.j2", include_str!("page/parts.html.j2")), ("style.css", include_str!("page/style.css"))];

/// The page of this template.
///
/// # Errors
/// When a template is wrong, which no report makes it.
pub(super) fn render(template: &str, shown: impl Serialize) -> Result<String, CliError> {
    let wrong = |error: minijinja::Error| CliError::because("the page", error);
    environment(template).and_then(|env| env.get_template("page.html.j2")?.render(Serde(shown))).map_err(wrong)
}

fn environment(page: &str) -> Result<Environment<'_>, minijinja::Error> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    for (name, text) in PARTS.into_iter().chain([("page.html.j2", page)]) {
        env.add_template(name, text)?;
    }
    Ok(env)
}
