//! The file of a calibration or a fit: what it was made for, its parameters, and how good it was on what was held out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::parameters::Parameters;
use crate::domain::judgement::{Kind, Mode};
use crate::domain::sealed::{self, Fault};

/// The version of the format.
const VERSION: u32 = 1;

/// A calibration or a fit, read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrationFile {
    content: Content,
    digest: String,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Whether it is a calibration or a fit.
    pub object: CalibrationObject,
    /// The version of the format, 1.
    pub version: u32,
    /// The verdicts that it maps.
    pub kind: Kind,
    /// Whose verdicts it maps.
    pub made_for: MadeFor,
    /// The map.
    pub parameters: Parameters,
    /// What it was made from.
    pub data: Vec<DataSource>,
    /// How good it is on items that it was not fitted to.
    pub held_out: HeldOut,
    /// When it was made (RFC 3339).
    pub created: String,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CalibrationObject {
    #[serde(rename = "gavel.calibration")]
    Calibration,
    #[serde(rename = "gavel.fit")]
    Fit,
}

/// Whose verdicts a map is made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeFor {
    /// The digest of the model.
    pub model: String,
    /// The digest of the prompt, of the kind of verdict that is mapped.
    pub prompt: String,
    /// The digests of the rubrics; `None` for any.
    pub rubrics: Option<Vec<String>>,
    /// The mode; `None` for both, where feedback comes after the verdict.
    pub mode: Option<Mode>,
}

impl MadeFor {
    /// Checks that it is this model and this prompt, by its name and its digest.
    ///
    /// # Errors
    /// [`Mismatch`], with both digests.
    pub fn check(&self, model: &str, (prompt, prompt_digest): (&str, &str)) -> Result<(), Mismatch> {
        if self.model != model {
            return Err(Mismatch::Model { made_for: self.model.clone(), loaded: model.to_owned() });
        }
        if self.prompt != prompt_digest {
            return Err(Mismatch::Prompt {
                made_for: self.prompt.clone(),
                prompt: prompt.to_owned(),
                loaded: prompt_digest.to_owned(),
            });
        }
        Ok(())
    }

    /// Checks that it is this rubric, or any.
    ///
    /// # Errors
    /// [`Mismatch::Rubric`].
    pub fn check_rubric(&self, digest: &str) -> Result<(), Mismatch> {
        match &self.rubrics {
            Some(rubrics) if !rubrics.iter().any(|rubric| rubric == digest) => {
                Err(Mismatch::Rubric { made_for: rubrics.join(", "), loaded: digest.to_owned() })
            }
            _ => Ok(()),
        }
    }
}

/// A file of labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSource {
    /// The name of the file.
    pub name: String,
    /// `sha256:<hex>` of its bytes.
    pub sha256: String,
    /// How many of its items were used.
    pub items: usize,
}

/// Figures on items that were held out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOut {
    /// How many items.
    pub items: usize,
    /// Of what the judge says.
    pub before: Figures,
    /// Of what the map makes of it.
    pub after: Figures,
    /// Of fits to several sets: each set with the fit to all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out_sets: Vec<LeftOutSet>,
}

/// How well numbers on 0..1 agree with labels.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// The share of pairs without ties whose better response is found, or of responses that get their very score.
    pub accuracy: f64,
    /// The mean squared distance from the label.
    pub brier: f64,
    /// The expected calibration error over 15 bins of equal mass.
    pub ece: f64,
}

/// A set that a fit to the other sets was tried on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOutSet {
    /// The name of the set.
    pub name: String,
    /// How many items.
    pub items: usize,
    /// The accuracy of the fit.
    pub accuracy: f64,
    /// The accuracy of the judge alone.
    pub judge: f64,
    /// The accuracy of taking the longer response each time; `None` where responses stand alone.
    pub longer: Option<f64>,
}

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidCalibration {
    /// It is not in the format.
    #[error("is not a calibration or a fit: {0}")]
    Format(String),
    /// The format has another version.
    #[error("has the version {0} of the format, and this program reads version {VERSION}")]
    Version(u32),
    /// A number is out of its range.
    #[error("/parameters: {0}")]
    Parameters(&'static str),
    /// The method does not go with the object or the kind.
    #[error("/parameters/method does not go with /object and /kind")]
    Method,
    /// It was changed after it was made.
    #[error("was changed after it was made: its content has the digest {found}, and it says {said}; make it again")]
    Digest {
        /// What it says.
        said: String,
        /// What it is.
        found: String,
    },
}

impl From<Fault> for InvalidCalibration {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Format(reason) => Self::Format(reason),
            Fault::Version(version) => Self::Version(version),
            Fault::Digest { said, found } => Self::Digest { said, found },
        }
    }
}

/// A file that was made for something else than what is loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It was made for another model.
    #[error("was made for the model {made_for}, and this one is {loaded}; make one for this model")]
    Model {
        /// The digest that it was made for.
        made_for: String,
        /// The digest of the model.
        loaded: String,
    },
    /// It was made for another prompt.
    #[error("was made for the prompt {made_for}, and that of `{prompt}` is {loaded}; make one for this prompt")]
    Prompt {
        /// The digest that it was made for.
        made_for: String,
        /// The name of the prompt.
        prompt: String,
        /// The digest of the prompt.
        loaded: String,
    },
    /// It was made for other rubrics.
    #[error("was made for the rubrics {made_for}, and this one is {loaded}; make one for this rubric")]
    Rubric {
        /// The digests that it was made for.
        made_for: String,
        /// The digest of the rubric.
        loaded: String,
    },
}

/// A file as it is written: its content, and the digest of that.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    content: &'a Content,
    digest: &'a str,
}

impl CalibrationFile {
    /// A file of its content, whose numbers are rounded to the digits that a file keeps.
    ///
    /// # Errors
    /// When the content does not hold together.
    pub fn new(content: Content) -> Result<Self, InvalidCalibration> {
        let value = serde_json::to_value(&content).map_err(|error| InvalidCalibration::Format(error.to_string()))?;
        Self::of_value(value)
    }

    /// Reads a file, strictly.
    ///
    /// # Errors
    /// With the place of what is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidCalibration> {
        let (value, said) = sealed::opened(text, VERSION)?;
        let file = Self::of_value(value)?;
        sealed::compare(said, &file.digest)?;
        Ok(file)
    }

    fn of_value(mut value: Value) -> Result<Self, InvalidCalibration> {
        let digest = sealed::sealed(&mut value);
        let content: Content = sealed::content(value).map_err(InvalidCalibration::Format)?;
        let Content { version, object, kind, parameters, .. } = &content;
        if *version != VERSION {
            return Err(InvalidCalibration::Version(*version));
        }
        if parameters.is_fit() != (*object == CalibrationObject::Fit) || !parameters.maps(*kind) {
            return Err(InvalidCalibration::Method);
        }
        parameters.fault().map_or(Ok(()), |fault| Err(InvalidCalibration::Parameters(fault)))?;
        Ok(Self { content, digest })
    }

    /// The text that [`CalibrationFile::parse`] reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        let written = Written { content: &self.content, digest: &self.digest };
        let mut text = serde_json::to_string_pretty(&written).expect("texts and finite numbers serialise");
        text.push('\n');
        text
    }

    /// What it says.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// `sha256:<hex>` of its content but for `created`: keys in order, numbers with twelve digits.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Checks that it was made for a model and a prompt.
    ///
    /// # Errors
    /// [`Mismatch`], with both digests.
    pub fn check(&self, model: &str, prompt: (&str, &str)) -> Result<(), Mismatch> {
        self.content.made_for.check(model, prompt)
    }

    /// Checks that it was made for a rubric, or for any.
    ///
    /// # Errors
    /// [`Mismatch::Rubric`].
    pub fn check_rubric(&self, digest: &str) -> Result<(), Mismatch> {
        self.content.made_for.check_rubric(digest)
    }
}

/// Files that belong to a rubric or a model. Equal ones have equal digests.
#[derive(Debug, Clone, Default)]
pub struct Calibrations(pub Vec<Arc<CalibrationFile>>);

impl PartialEq for Calibrations {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|file| &file.digest).eq(other.0.iter().map(|file| &file.digest))
    }
}

impl Eq for Calibrations {}
