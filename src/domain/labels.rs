//! Sets of labels: what a part of a text can be, what each label means, and what it is worth.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::blank::is_blank;

/// One label of a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// The text that the judge chooses.
    pub name: String,
    /// What it means.
    pub meaning: Option<String>,
    /// What a text with this label is worth; any finite number.
    pub reward: Option<f64>,
}

/// Labels to choose from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelSet {
    /// The name of the set, or `inline`.
    pub name: String,
    /// 2 to 26 labels, with different names.
    pub labels: Vec<Label>,
}

/// Why labels make no set.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidLabels {
    /// Too few or too many.
    #[error("a set has 2 to {MOST_LABELS} labels, this one has {0}")]
    Count(usize),
    /// A label without a name.
    #[error("a label has an empty name")]
    NoName,
    /// A name with a line break, or white space at an end.
    #[error("the name `{0}` of a label is not one line without white space around it")]
    Name(String),
    /// Two names that differ in nothing but case.
    #[error("`{0}` and `{1}` are the same label; each label of a set is different from the others")]
    Same(String, String),
    /// A meaning without text.
    #[error("the label `{0}` has an empty meaning; say what it means")]
    NoMeaning(String),
    /// A reward that is not a finite number.
    #[error("the reward of the label `{0}` is not a number")]
    NotANumber(String),
}

/// The most labels of a set.
const MOST_LABELS: usize = 26;

impl LabelSet {
    /// A set of these labels.
    ///
    /// # Errors
    /// If there are too few or too many, or two are the same.
    pub fn new(name: &str, labels: Vec<Label>) -> Result<Self, InvalidLabels> {
        if !(2..=MOST_LABELS).contains(&labels.len()) {
            return Err(InvalidLabels::Count(labels.len()));
        }
        for (at, label) in labels.iter().enumerate() {
            let Label { name, meaning, reward } = label;
            if is_blank(name) {
                return Err(InvalidLabels::NoName);
            }
            if name.trim() != name || name.contains(['\n', '\r']) {
                return Err(InvalidLabels::Name(name.clone()));
            }
            if let Some(other) = labels[..at].iter().find(|other| other.name.to_lowercase() == name.to_lowercase()) {
                return Err(InvalidLabels::Same(other.name.clone(), name.clone()));
            }
            if meaning.as_deref().is_some_and(is_blank) {
                return Err(InvalidLabels::NoMeaning(name.clone()));
            }
            if reward.is_some_and(|reward| !reward.is_finite()) {
                return Err(InvalidLabels::NotANumber(name.clone()));
            }
        }
        Ok(Self { name: name.to_owned(), labels })
    }

    /// Reads the TOML form of label files: a list of tables `[[label]]`.
    ///
    /// # Errors
    /// With the reason.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, String> {
        let file: FileText = toml::from_str(text).map_err(|error| error.to_string())?;
        Self::new(name, file.label).map_err(|error| error.to_string())
    }

    /// `sha256:<hex>` of the labels, independent of the name of the set.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for Label { name, meaning, reward } in &self.labels {
            for text in [name.as_str(), meaning.as_deref().unwrap_or_default()] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
            hash.update(reward.map_or([0; 8], f64::to_le_bytes));
        }
        format!("sha256:{:x}", hash.finalize())
    }

    /// Bytes of its texts.
    #[must_use]
    pub fn text_len(&self) -> usize {
        let len = |label: &Label| label.name.len() + label.meaning.as_ref().map_or(0, String::len);
        self.labels.iter().map(len).sum()
    }
}

/// The form of files.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    label: Vec<Label>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str) -> Label {
        Label { name: name.to_owned(), meaning: None, reward: Some(0.0) }
    }

    #[test]
    fn labels_differ_and_say_something() {
        let check = |labels: Vec<Label>, expected: Option<InvalidLabels>| {
            assert_eq!(LabelSet::new("x", labels.clone()).err(), expected, "{labels:?}");
        };
        check(vec![label("none"), label("object")], None);
        check(vec![label("none")], Some(InvalidLabels::Count(1)));
        check(vec![label("none"); 27], Some(InvalidLabels::Count(27)));
        check(vec![label("none"), label("None")], Some(InvalidLabels::Same("none".into(), "None".into())));
        check(vec![label("none"), label("\u{200b}")], Some(InvalidLabels::NoName));
        check(vec![label("none"), label(" object")], Some(InvalidLabels::Name(" object".into())));
        check(vec![label("none"), label("ob\nject")], Some(InvalidLabels::Name("ob\nject".into())));
        let meaningless = Label { meaning: Some(" ".into()), ..label("object") };
        check(vec![label("none"), meaningless], Some(InvalidLabels::NoMeaning("object".into())));
        let worthless = Label { reward: Some(f64::NAN), ..label("object") };
        check(vec![label("none"), worthless], Some(InvalidLabels::NotANumber("object".into())));
    }

    #[test]
    fn a_file_keeps_the_order_of_its_labels() {
        let text = "[[label]]\nname = \"none\"\nreward = 0\n[[label]]\nname = \"object\"\nmeaning = \"It is not there.\"\nreward = -1.0\n";
        let set = LabelSet::from_toml("x", text).unwrap();
        let object = Label { name: "object".into(), meaning: Some("It is not there.".into()), reward: Some(-1.0) };
        assert_eq!(set.labels, [label("none"), object]);
        let other = LabelSet::new("y", set.labels.iter().rev().cloned().collect()).unwrap();
        assert!(set.digest() != other.digest() && set.digest().starts_with("sha256:"));
        assert!(
            LabelSet::from_toml("x", "[[label]]\nname = \"none\"\nworth = 1").unwrap_err().contains("unknown field")
        );
    }
}
