//! What a template is for.

use crate::domain::Kind;

/// A kind of prompt; each has templates of its own in a prompt set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Grades one response by a rubric.
    Absolute,
    /// Compares two responses.
    Relative,
    /// Names a label for a text, or for each of its parts.
    Label,
    /// Answers questions with yes or no.
    Checklist,
    /// Writes feedback without a score.
    Critique,
    /// Writes a list of questions that a good response answers.
    Questions,
    /// Writes a list of what a text claims.
    Claims,
}

impl From<Kind> for Form {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Absolute => Self::Absolute,
            Kind::Relative => Self::Relative,
        }
    }
}

impl Form {
    /// Every form, in the order of their declaration.
    pub(super) const ALL: [Self; 7] =
        [Self::Absolute, Self::Relative, Self::Label, Self::Checklist, Self::Critique, Self::Questions, Self::Claims];

    /// The forms that end in a score or a preference.
    pub(super) const GRADING: [Self; 2] = [Self::Absolute, Self::Relative];

    /// The name in digests and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Absolute => "absolute",
            Self::Relative => "relative",
            Self::Label => "label",
            Self::Checklist => "checklist",
            Self::Critique => "critique",
            Self::Questions => "questions",
            Self::Claims => "claims",
        }
    }

    /// What a set with such templates supports, for error messages.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Absolute => "absolute grading",
            Self::Relative => "relative grading",
            Self::Label => "labels",
            Self::Checklist => "checklists",
            Self::Critique => "critiques",
            Self::Questions => "drawn questions",
            Self::Claims => "claims",
        }
    }

    /// The names of the system and the user template.
    pub(super) fn files(self) -> [&'static str; 2] {
        match self {
            Self::Absolute => ["absolute.system.txt.j2", "absolute.txt.j2"],
            Self::Relative => ["relative.system.txt.j2", "relative.txt.j2"],
            Self::Label => ["label.system.txt.j2", "label.txt.j2"],
            Self::Checklist => ["checklist.system.txt.j2", "checklist.txt.j2"],
            Self::Critique => ["critique.system.txt.j2", "critique.txt.j2"],
            Self::Questions => ["questions.system.txt.j2", "questions.txt.j2"],
            Self::Claims => ["claims.system.txt.j2", "claims.txt.j2"],
        }
    }

    /// The variables of its templates, beside the optional fields of a request.
    pub(super) fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Absolute => &["instruction", "rubric", "mode", "labels", "response"],
            Self::Relative => &["instruction", "rubric", "mode", "labels", "response_a", "response_b"],
            Self::Label => &["instruction", "response", "choices"],
            Self::Checklist | Self::Claims => &["instruction", "response"],
            Self::Critique => &["instruction", "response", "rubric"],
            Self::Questions => &["instruction", "rubric", "count"],
        }
    }
}
