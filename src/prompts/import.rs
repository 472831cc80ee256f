//! Importing the original wording of the Prometheus models from the user's installed `prometheus-eval` package.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::error::PromptError;
use super::library::PromptSet;
use super::set::{Begin, SetFile, Source, Verdict, io};

const NAME: &str = "prometheus-eval";
/// Finds the package and parses one of its files. It runs no code of the package and needs none of its dependencies.
const READER: &str = include_str!("import.py");

/// What the reader prints.
#[derive(Deserialize)]
struct Package {
    version: Option<String>,
    #[serde(flatten)]
    texts: Texts,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Texts {
    abs_system_prompt: String,
    rel_system_prompt: String,
    absolute_prompt: String,
    absolute_prompt_wo_ref: String,
    relative_prompt: String,
    relative_prompt_wo_ref: String,
}

/// Writes the set `prometheus-eval` into `dir`, from the package that `python` has installed or, if given, from the
/// folder `packages`. Returns the written files.
///
/// # Errors
/// If the package is missing or has an unexpected content, or if `dir` cannot be written.
pub fn import_prometheus_eval(python: &str, dir: &Path, packages: Option<&Path>) -> Result<Vec<PathBuf>, PromptError> {
    let source = Source { folder: dir.join(NAME), files: files(&read(python, packages)?)? };
    PromptSet::new(NAME.to_owned(), false, &source)?;
    std::fs::create_dir_all(&source.folder).map_err(|error| io(&source.folder, &error))?;
    let write = |(name, text): (&String, &String)| {
        let path = source.folder.join(name);
        std::fs::write(&path, text).map_err(|error| io(&path, &error))?;
        Ok(path)
    };
    source.files.iter().map(write).collect()
}

fn read(python: &str, packages: Option<&Path>) -> Result<Package, PromptError> {
    let output = Command::new(python)
        .args(["-c", READER])
        .args(packages)
        .output()
        .map_err(|error| PromptError::Import(format!("`{python}` cannot be run: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("no error message");
        return Err(PromptError::Import(format!("`{python}`: {last}")));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| PromptError::Import(format!("the package is not as expected: {error}")))
}

fn files(package: &Package) -> Result<BTreeMap<String, String>, PromptError> {
    let Package { version, texts } = package;
    let (absolute, relative) = (
        [&texts.absolute_prompt, &texts.absolute_prompt_wo_ref],
        [&texts.relative_prompt, &texts.relative_prompt_wo_ref],
    );
    let version = version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
    let set = SetFile {
        text: String::new(),
        summary: format!("The wording that Prometheus models were trained with, from {NAME}{version}."),
        markers: markers(absolute.iter().chain(&relative)),
        verdict: Verdict {
            first: false,
            open: String::new(),
            begin: Begin::default(),
            close: String::new(),
            stop: vec!["[RESULT]".to_owned()],
            lead: " [RESULT]".to_owned(),
            score: " {score}".to_owned(),
            labels: [" A".to_owned(), " B".to_owned()],
        },
        reasoning: None,
    };
    let set = toml::to_string(&set).map_err(|error| PromptError::Import(error.to_string()))?;
    let system = |text: &str| literal(text) + "\n";
    Ok(BTreeMap::from([
        ("set.toml".to_owned(), set),
        ("absolute.system.txt.j2".to_owned(), system(&texts.abs_system_prompt)),
        ("absolute.txt.j2".to_owned(), scaled(&user(absolute)?)),
        ("relative.system.txt.j2".to_owned(), system(&texts.rel_system_prompt)),
        ("relative.txt.j2".to_owned(), user(relative)?),
    ]))
}

/// The section headings, up to the colon or to the part that depends on the scale.
fn markers<'a>(texts: impl Iterator<Item = &'a &'a String>) -> Vec<String> {
    let heads = texts.flat_map(|text| text.lines()).filter(|line| line.starts_with("###"));
    let marker = |line: &str| match line.find([':', '(']) {
        Some(at) if line[at..].starts_with(':') => line[..=at].to_owned(),
        Some(at) => line[..at].trim_end().to_owned(),
        None => line.trim_end().to_owned(),
    };
    let mut markers: Vec<String> = heads.map(marker).collect();
    markers.sort();
    markers.dedup();
    markers
}

/// One template for both texts: with and without a reference answer.
fn user([with, without]: [&String; 2]) -> Result<String, PromptError> {
    let (with, without) = (template(with)?, template(without)?);
    // The plus signs keep white space beside the tags, which are on lines of their own otherwise.
    Ok(format!("{{% if reference_answer +%}}{with}{{%+ else +%}}{without}{{%+ endif %}}\n"))
}

/// Replaces the fixed scale 1 to 5 of the package by the scale of the rubric.
fn scaled(template: &str) -> String {
    let (lowest, highest) = ("{{ rubric.lowest }}", "{{ rubric.highest }}");
    template
        .replace("between 1 and 5", &format!("between {lowest} and {highest}"))
        .replace("score of 5", &format!("score of {highest}"))
        .replace("(Score 5)", &format!("(Score {highest})"))
}

/// Turns a text for Python's `str.format` into a template.
fn template(format: &str) -> Result<String, PromptError> {
    let mut out = String::new();
    let mut text = String::new();
    let mut rest = format;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
            text.push_str(&rest[..1]);
            rest = after;
            continue;
        }
        let name = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let (name, after) = name.ok_or_else(|| PromptError::Import("a prompt has an unclosed brace".to_owned()))?;
        let variable = match name {
            "instruction" | "response" | "reference_answer" => name,
            "response_A" => "response_a",
            "response_B" => "response_b",
            "rubric" => "rubric.text",
            _ => return Err(PromptError::Import(format!("a prompt has an unknown placeholder `{name}`"))),
        };
        let _ = write!(out, "{}{{{{ {variable} }}}}", literal(&std::mem::take(&mut text)));
        rest = after;
    }
    text.push_str(rest);
    Ok(out + &literal(&text))
}

/// A text that renders as itself.
fn literal(text: &str) -> String {
    // One brace at a time, so that none can pair with the brace of a tag beside it.
    let special = ["{{", "{%", "{#"].iter().any(|tag| text.contains(tag)) || text.ends_with('{');
    if special { text.replace('{', "{{ '{' }}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};

    use super::*;

    #[test]
    fn format_strings_become_templates() {
        let check = |format: &str, expected: &str| {
            let mut env = Environment::new();
            env.set_syntax(super::super::chat::block_lines());
            let template = format!("{}\n", template(format).unwrap());
            let variables = context! { instruction => "{{ x }}", response => "R", response_a => "A", rubric => context! { text => "T" } };
            assert_eq!(env.render_str(&template, variables).unwrap(), expected, "{template}");
        };
        check("plain\n\n", "plain\n\n");
        check("{instruction}\n{response}", "{{ x }}\nR");
        check("{response_A} {rubric}\n", "A T\n");
        check("{{response}} {{{response}}}", "{response} {R}");
        check("{{% if x %}} {{# x #}} {{{{ }}}}", "{% if x %} {# x #} {{ }}");
        assert!(template("{other}").unwrap_err().to_string().contains("`other`"));
        assert!(template("{response").is_err() && template("}").is_err());
    }

    #[test]
    fn a_missing_package_or_python_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let check = |python: &str, word: &str| {
            let error = import_prometheus_eval(python, dir.path(), Some(dir.path())).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        check("no-such-python", "cannot be run");
        if Command::new("python3").arg("--version").output().is_ok() {
            check("python3", "No such file");
        }
    }
}
