//! Errors of prompt sets.

use std::path::PathBuf;

/// Why a prompt set cannot be loaded or a prompt cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// A file or folder cannot be read or written.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        reason: String,
    },
    /// A template or a `set.toml` is wrong.
    #[error("{}{}: {reason}", file.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    Template {
        /// The file.
        file: PathBuf,
        /// The line, if known.
        line: Option<usize>,
        /// What is wrong with it.
        reason: String,
    },
    /// The request has a field that the set does not support; fields are never silently dropped.
    #[error("the prompt set `{set}` does not support `{}` in {kind}{}", &pointer[1..], places(alternatives))]
    Unsupported {
        /// The JSON pointer of the field.
        pointer: String,
        /// The prompt set.
        set: String,
        /// What is not supported, such as `relative grading`.
        kind: &'static str,
        /// The prompt sets that support it.
        alternatives: Vec<String>,
    },
    /// The request has pictures, and the set has no place for them.
    #[error("the prompt set `{set}` has no place for pictures{of}{}", places(alternatives))]
    NoPictures {
        /// The JSON pointer of the first picture.
        pointer: String,
        /// The prompt set.
        set: String,
        /// ` in responses`, or nothing.
        of: &'static str,
        /// The prompt sets that have one.
        alternatives: Vec<String>,
    },
    /// The set has no template of this form.
    #[error(
        "the prompt set `{set}` does not support {kind}{}{}",
        places(alternatives),
        if *kind == "relative grading" { "; `method: \"absolute\"` grades the two responses one by one" } else { "" }
    )]
    NoKind {
        /// The prompt set.
        set: String,
        /// What is not supported, such as `relative grading`.
        kind: &'static str,
        /// The prompt sets that support it.
        alternatives: Vec<String>,
    },
    /// The model's chat template cannot be rendered.
    #[error("the model's chat template cannot be used: {0}")]
    Chat(String),
    /// The model's chat template does not accept this conversation.
    #[error("the model's chat template does not accept this conversation: {0}")]
    Conversation(String),
    /// The wording of an installed package cannot be imported.
    #[error("prometheus-eval cannot be imported: {0}")]
    Import(String),
}

fn places(alternatives: &[String]) -> String {
    match alternatives {
        [] => "; no prompt set does".to_owned(),
        _ => format!("; these do: {}", alternatives.join(", ")),
    }
}
