//! Lists that the judge writes: questions to ask about a response, or what a text claims. The text is held to JSON while
//! it is written, so that it always parses.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, Ask, JudgeProfile, Observe, RunKey, Task, TaskError, check_unsampled, judged};
use crate::domain::calibration::Calibrator;
use crate::domain::{
    Annotator, Finish, InvalidRequest, InvalidVerdict, Item, Judgement, NamedDigest, NamedRubric, Options, is_blank,
};
use crate::prompts::{Form, PromptSet, Reading, Said};
use crate::script::{Generate, Grammar, Script, Step};

/// Questions that a good response to an instruction answers with yes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Questions {
    /// The instruction, and the optional reference and context.
    pub item: Item,
    /// The rubric that the questions stand for; `None`: they stand for the instruction.
    pub rubric: Option<NamedRubric>,
    /// The number of questions, 1 to 32.
    pub count: usize,
    /// The options of the run; `max_feedback_tokens` is for the whole list.
    pub options: Options,
}

/// What texts claim.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClaimLists {
    /// The instruction that the texts answer; nothing else of the item is read.
    pub item: Item,
    /// The texts, at least one.
    pub texts: Vec<Stated>,
    /// The options of the runs; `max_feedback_tokens` is for each list.
    pub options: Options,
}

/// A text that claims something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stated {
    /// The response.
    Response(String),
    /// The reference answer.
    Reference(String),
}

/// The most entries of a list that a judge writes.
const MOST_WRITTEN: usize = 32;

impl Stated {
    /// The caller's name for it, and the text.
    fn said(&self) -> (&'static str, Said<'_>) {
        let (field, text) = self.field();
        (field, text.into())
    }

    /// The caller's name for it, and the text.
    #[must_use]
    pub fn field(&self) -> (&'static str, &str) {
        match self {
            Self::Response(text) => ("response", text),
            Self::Reference(text) => ("reference_answer", text),
        }
    }
}

/// The JSON schema of any text.
fn any_text() -> Value {
    json!({"type": "string", "minLength": 1})
}

/// The JSON schema of one question. Small judges write the answer in place of a question unless its first words are
/// forced.
fn question(begin: &str) -> Value {
    if begin.is_empty() {
        return any_text();
    }
    json!({"type": "string", "pattern": format!("^{}[^?]{{3,}}[?]$", regex::escape(begin))})
}

/// Writes a JSON list of this many entries.
fn list_script(entry: &Value, least: usize, most: usize, options: &Options) -> Script {
    let list = json!({"type": "array", "items": entry, "minItems": least, "maxItems": most});
    let grammar = Grammar::schema(&list).expect("it is far below every limit");
    let max_tokens = options.sampling.max_feedback_tokens as usize;
    Script(vec![Step::Generate(Generate { grammar: Some(grammar), max_tokens, ..Generate::default() })])
}

/// The entries of a written list, each once. A list that had to end is none, since entries would be missing.
fn read_list(judgement: &Judgement) -> Result<Vec<String>, InvalidVerdict> {
    let written = judgement.feedback.as_deref().filter(|_| judgement.finish == Finish::Stop);
    let entries: Vec<String> = written.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let mut list: Vec<String> = Vec::new();
    if entries.len() > MOST_WRITTEN {
        return Err(InvalidVerdict::NoList);
    }
    for entry in entries.iter().map(|entry| entry.trim()).filter(|entry| !is_blank(entry)) {
        if !list.iter().any(|other| other == entry) {
            list.push(entry.to_owned());
        }
    }
    if list.is_empty() { Err(InvalidVerdict::NoList) } else { Ok(list) }
}

fn ask_list(
    judge: &JudgeProfile<'_>,
    reading: Reading<'_>,
    entry: impl Fn(&PromptSet) -> Value,
    (least, most): (usize, usize),
    options: &Options,
) -> Result<Ask, TaskError> {
    let (rendered, set) = judge.reading(reading, options)?;
    Ok(Ask {
        prompt: rendered.prompt,
        script: list_script(&entry(set), least, most, options),
        neutralized: rendered.neutralized,
        may_shorten: false,
        verbatim: false,
    })
}

impl Task for Questions {
    type Verdict = Vec<String>;

    fn kind(&self) -> &'static str {
        Form::Questions.name()
    }

    fn check(&self) -> Result<(), InvalidRequest> {
        if !(1..=MOST_WRITTEN).contains(&self.count) {
            let reason = format!("is {}; it must be between 1 and {MOST_WRITTEN}", self.count);
            return Err(InvalidRequest::at("/questions/draw/count", reason));
        }
        check_unsampled(&self.options)
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn runs(&self) -> Vec<RunKey> {
        vec![RunKey::default()]
    }

    fn ask(&self, _run: RunKey, judge: &JudgeProfile<'_>) -> Result<Ask, TaskError> {
        let reading = Reading {
            form: Form::Questions,
            item: &self.item,
            response: None,
            rubric: self.rubric.as_ref().map(|named| &*named.rubric),
            choices: &[],
            count: Some(self.count),
            quotes: &[],
        };
        ask_list(judge, reading, |set| question(set.question_begin()), (self.count, self.count), &self.options)
    }

    fn combine(
        &self,
        answers: Vec<Answer>,
        _calibrator: Calibrator<'_>,
        _observe: Observe<'_>,
    ) -> Result<Vec<String>, InvalidVerdict> {
        let (_, judgement) = judged(answers).next().ok_or(InvalidVerdict::Empty)?;
        read_list(&judgement)
    }

    fn text_len(&self) -> usize {
        self.item.text_len() + self.rubric.as_ref().map_or(0, |named| named.rubric.text_len())
    }

    /// A grammar is compiled when the run is planned.
    fn is_long_to_plan(&self) -> bool {
        true
    }

    fn longest_text(&self) -> String {
        self.item.longest_text(&[]).to_owned()
    }

    fn label(&self, _run: RunKey) -> &str {
        self.rubric.as_ref().map_or("inline", |named| &named.name)
    }

    fn annotator(&self) -> Option<&Annotator> {
        self.item.annotator.as_ref()
    }

    fn prompt(&self, judge: &JudgeProfile<'_>) -> Result<Option<NamedDigest>, TaskError> {
        judge.reading_templates(Form::Questions, &self.options)
    }
}

impl Task for ClaimLists {
    /// One list for each text.
    type Verdict = Vec<Vec<String>>;

    fn kind(&self) -> &'static str {
        Form::Claims.name()
    }

    fn check(&self) -> Result<(), InvalidRequest> {
        if self.texts.is_empty() {
            return Err(InvalidRequest::at("/response", "there is no text"));
        }
        check_unsampled(&self.options)
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn runs(&self) -> Vec<RunKey> {
        (0..self.texts.len()).map(|part| RunKey { part, ..RunKey::default() }).collect()
    }

    fn ask(&self, run: RunKey, judge: &JudgeProfile<'_>) -> Result<Ask, TaskError> {
        let reading = Reading {
            form: Form::Claims,
            item: &self.item,
            response: Some(self.texts[run.part].said()),
            rubric: None,
            choices: &[],
            count: None,
            quotes: &[],
        };
        // One more than there may be, so that the end of the list is the judge's own.
        ask_list(judge, reading, |_| any_text(), (1, MOST_WRITTEN + 1), &self.options)
    }

    fn combine(
        &self,
        answers: Vec<Answer>,
        _calibrator: Calibrator<'_>,
        _observe: Observe<'_>,
    ) -> Result<Vec<Vec<String>>, InvalidVerdict> {
        judged(answers).map(|(_, judgement)| read_list(&judgement)).collect()
    }

    fn text_len(&self) -> usize {
        let longest = self.texts.iter().map(|text| text.field().1.len()).max().unwrap_or(0);
        self.item.text_len() + longest
    }

    fn is_long_to_plan(&self) -> bool {
        true
    }

    fn longest_text(&self) -> String {
        let texts: Vec<(String, usize)> =
            self.texts.iter().map(|text| (format!("/{}", text.field().0), text.field().1.len())).collect();
        let texts: Vec<(&str, usize)> = texts.iter().map(|(pointer, bytes)| (pointer.as_str(), *bytes)).collect();
        self.item.longest_text(&texts).to_owned()
    }

    fn label(&self, _run: RunKey) -> &str {
        "inline"
    }

    fn annotator(&self) -> Option<&Annotator> {
        self.item.annotator.as_ref()
    }

    fn prompt(&self, judge: &JudgeProfile<'_>) -> Result<Option<NamedDigest>, TaskError> {
        judge.reading_templates(Form::Claims, &self.options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_begins_and_ends_as_one() {
        let check = |begin: &str, text: &str, expected: bool| {
            let schema = question(begin);
            let pattern = regex::Regex::new(schema["pattern"].as_str().unwrap()).unwrap();
            assert_eq!(pattern.is_match(text), expected, "{begin}: {text}");
        };
        check("Does the response ", "Does the response name the air?", true);
        check("Does the response ", "Yes", false);
        check("Does the response ", "Why is the sky blue?", false);
        check("Does the response ", "Does the response name the air", false);
        check("Does the response ", "Does the response ?", false);
        check("(Is it) ", "(Is it) short?", true);
        check("(Is it) ", "Is it short?", false);
        assert!(question("")["pattern"].is_null());
    }
}
