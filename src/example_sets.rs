//! The library of example sets: the user's own files of graded examples. A file is read when a request names it, so
//! that a change counts with the next request.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::domain::spelling::suggestion;
use crate::domain::{
    Document, Example, ExampleSet, Instruction, JudgedExample, JudgedFields, Preference, Role, Scale, Turn,
};

/// Maximum number of bytes of a file.
const LONGEST: u64 = 4 << 20;

/// The example sets by name.
#[derive(Debug)]
pub struct ExampleSets {
    folder: PathBuf,
}

/// Why there is no set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExampleSetError {
    /// No file has this name.
    #[error("there is no example set `{name}`{}; {}", suggestion(name, known.split(", ")), there_are(known))]
    Unknown {
        /// The name.
        name: String,
        /// The known names.
        known: String,
    },
    /// An invalid file.
    #[error("{}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The reason.
        reason: String,
    },
}

fn there_are(known: &str) -> String {
    if known.is_empty() {
        return "the folder `examples` of the data folder has none".to_owned();
    }
    format!("there are: {known}")
}

/// A file of examples.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetFile {
    /// The ends of the scale of all scores.
    scale: Option<[i32; 2]>,
    #[serde(default)]
    example: Vec<ExampleTable>,
}

/// An example in a file: the fields of a request's own examples.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExampleTable {
    instruction: Option<String>,
    messages: Option<Vec<MessageTable>>,
    reference_answer: Option<String>,
    #[serde(default)]
    context: Vec<DocumentTable>,
    response: Option<String>,
    score: Option<i32>,
    response_a: Option<String>,
    response_b: Option<String>,
    preference: Option<Preference>,
    feedback: Option<String>,
}

/// A turn of a conversation in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageTable {
    role: Role,
    content: String,
}

/// A document in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentTable {
    id: Option<String>,
    text: String,
}

impl ExampleSets {
    /// The sets in `folder`, which need not exist.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The set of this name.
    ///
    /// # Errors
    /// If there is none, or its file is invalid.
    pub fn named(&self, name: &str) -> Result<ExampleSet, ExampleSetError> {
        let set = if is_name(name) { self.set(name)? } else { None };
        set.ok_or_else(|| ExampleSetError::Unknown { name: name.to_owned(), known: self.names().join(", ") })
    }

    /// The names of all sets.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
        let names = files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
        names.filter(|name| is_name(name)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Checks every file.
    ///
    /// # Errors
    /// At the first invalid one.
    pub fn check(&self) -> Result<(), ExampleSetError> {
        self.names().iter().try_for_each(|name| self.set(name).map(drop))
    }

    fn set(&self, name: &str) -> Result<Option<ExampleSet>, ExampleSetError> {
        let file = self.folder.join(format!("{name}.toml"));
        match read(&file) {
            Ok(text) => parse(name, &text).map(Some).map_err(|reason| ExampleSetError::File { file, reason }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ExampleSetError::File { file, reason: error.to_string() }),
        }
    }
}

fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(file)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {LONGEST} bytes")));
    }
    Ok(text)
}

fn parse(name: &str, text: &str) -> Result<ExampleSet, String> {
    let SetFile { scale, example } = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
    let examples = example.into_iter().enumerate().map(|(index, table)| {
        let example = table.example();
        example.map_err(|reason| format!("example {index}: {reason}"))
    });
    let examples: Vec<Example> = examples.collect::<Result<_, _>>()?;
    let scored = examples.iter().any(|example| matches!(example.judged, JudgedExample::Response { .. }));
    if scored && scale.is_none() {
        return Err("`scale` is missing: name the lowest and the highest score, as in `scale = [1, 5]`".to_owned());
    }
    let scale = scale.map(|ends| Scale::between(ends).map_err(|error| format!("`scale`: {error}"))).transpose()?;
    ExampleSet::new(name, scale, examples).map_err(|error| match error.pointer.trim_start_matches('/') {
        "" => error.reason,
        place => format!("example {place}: {}", error.reason),
    })
}

impl ExampleTable {
    fn example(self) -> Result<Example, String> {
        let instruction = match (self.instruction, self.messages) {
            (Some(text), None) => Instruction::Text(text),
            (None, Some(turns)) => {
                let turn = |MessageTable { role, content }| Turn::new(role, content);
                Instruction::Conversation(turns.into_iter().map(turn).collect())
            }
            _ => return Err("it has either `instruction` or `messages`".to_owned()),
        };
        let judged = JudgedFields {
            response: self.response,
            score: self.score,
            response_a: self.response_a,
            response_b: self.response_b,
            preference: self.preference,
        };
        Ok(Example {
            instruction,
            reference_answer: self.reference_answer,
            context: self.context.into_iter().map(|DocumentTable { id, text }| Document { id, text }).collect(),
            judged: judged.example()?,
            feedback: self.feedback,
        })
    }
}

/// Whether a text can be the name of a set: at most 64 letters, digits, `_` and `-`.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !text.is_empty() && text.len() <= 64 && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "scale = [1, 5]\n[[example]]\ninstruction = \"Why?\"\nresponse = \"So.\"\nscore = 2\n\
                        feedback = \"It says nothing.\"\n";

    #[test]
    fn a_file_counts_at_once_and_an_invalid_one_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let sets = ExampleSets::new(folder.path().join("examples"));
        let unknown = sets.named("house").unwrap_err().to_string();
        assert!(unknown.contains("has none"), "{unknown}");
        std::fs::create_dir(folder.path().join("examples")).unwrap();
        let write = |text: &str| std::fs::write(folder.path().join("examples/house.toml"), text).unwrap();
        write(GOOD);
        let set = sets.named("house").unwrap();
        assert_eq!((set.name(), set.examples().len(), sets.check()), ("house", 1, Ok(())));
        let misspelt = sets.named("hose").unwrap_err().to_string();
        assert!(misspelt.contains("did you mean `house`?); there are: house"), "{misspelt}");
        assert!(matches!(sets.named("../examples/house"), Err(ExampleSetError::Unknown { .. })));
        for (from, to, part) in [
            ("score = 2", "score = 6", "example 0/score: is 6; it must be a score from 1 to 5"),
            ("scale = [1, 5]\n", "", "`scale` is missing"),
            ("scale = [1, 5]", "scale = [5, 1]", "`scale`: a scale has 2 to 11 levels"),
            ("score = 2", "", "example 0: "),
            ("score = 2", "score = 2\npreference = \"A\"", "example 0: "),
            ("instruction", "question", "unknown field `question`"),
            ("instruction = \"Why?\"\n", "", "either `instruction` or `messages`"),
            ("\"So.\"", "\" \"", "example 0/response: "),
        ] {
            write(&GOOD.replace(from, to));
            let error = sets.named("house").unwrap_err().to_string();
            assert!(error.contains("house.toml: ") && error.contains(part), "{error}");
            assert!(sets.check().is_err());
        }
        write("scale = [1, 5]");
        assert!(sets.named("house").unwrap_err().to_string().contains("there are no examples"));
    }

    #[test]
    fn a_file_has_conversations_and_pairs() {
        let turn = "role = \"user\"\ncontent = \"Why?\"";
        let text = format!(
            "[[example]]\nresponse_a = \"So.\"\nresponse_b = \"No.\"\npreference = \"B\"\nfeedback = \"B is.\"\n\
             [[example.messages]]\n{turn}\n[[example.context]]\nid = \"a\"\ntext = \"It is so.\"\n"
        );
        let set = parse("x", &text).unwrap();
        let [example] = set.examples() else { panic!("{set:?}") };
        assert!(
            matches!(&example.instruction, Instruction::Conversation(turns) if turns[0].content.as_text() == Some("Why?"))
        );
        assert!(matches!(example.judged, JudgedExample::Pair { preference: Preference::B, .. }));
        assert_eq!(example.context[0].id.as_deref(), Some("a"));
        assert!(parse("x", &text.replace("\"B\"", "\"tie\"")).unwrap_err().contains("A or B"));
        assert!(parse("x", &format!("scale = [1, 5]\n{text}")).unwrap_err().contains("a scale is for"));
    }
}
