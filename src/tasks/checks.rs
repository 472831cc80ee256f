//! Questions about a response, each answered with yes or no: the judge reads everything once, and no question sees
//! another.

use serde::{Deserialize, Serialize};

use super::{Answer, Ask, JudgeProfile, Observe, RunKey, Task, TaskError, check_unsampled, judged};
use crate::domain::calibration::Calibrator;
use crate::domain::{
    Annotator, BranchChoice, Content, InvalidRequest, InvalidVerdict, Item, Judgement, NamedDigest, Options, is_blank,
};
use crate::prompts::{Form, Quote, Reading, Said};
use crate::script::{Script, Step};

/// A response and questions about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Checks {
    /// The instruction, and the optional reference and context.
    pub item: Item,
    /// The response.
    pub response: Content,
    /// What the questions are made of.
    pub about: About,
    /// The questions, or what they are made of.
    pub questions: Vec<String>,
    /// The indexes of the questions whose no makes the reward 0.
    pub gates: Vec<usize>,
    /// The options of the run; nothing is sampled.
    pub options: Options,
}

/// What a question is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// It is the question itself.
    Question,
    /// Feedback on an earlier version of the response: whether the response takes it up.
    Feedback,
    /// A claim: whether what the judge reads supports it.
    Claim,
    /// A claim: whether the pictures support it.
    Pictured,
}

/// The answers to questions about a response.
#[derive(Debug, Clone, PartialEq)]
pub struct ChecksVerdict {
    /// The questions with their answers, in order.
    pub items: Vec<Checked>,
    /// Whether every gate has a yes.
    pub passed: bool,
    /// The mean probability of yes; 0 if a gate has a no.
    pub reward: f64,
    /// The judgement, for its prompt and answer.
    pub judgement: Judgement,
}

/// An answered question.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The question, or what it is made of.
    pub text: String,
    /// Over yes and no.
    pub choice: BranchChoice,
}

/// Yes and no, as models begin their answers: on three questions, the default judge gave both together a label mass of
/// 0.99, and 0.04 to 0.21 in small letters.
const ANSWERS: [&str; 2] = [" Yes", " No"];
/// The most questions of one request.
pub(super) const MOST_QUESTIONS: usize = 64;

impl About {
    /// The field that the texts are from.
    fn field(self) -> &'static str {
        match self {
            Self::Question => "questions",
            Self::Feedback => "feedback",
            Self::Claim | Self::Pictured => "claims",
        }
    }

    /// The question about a text. What is not the caller's own question is quoted as a JSON string, so that it cannot
    /// end its quotes.
    fn question(self, text: &str) -> String {
        let quoted = || serde_json::Value::from(text).to_string();
        match self {
            Self::Question => text.to_owned(),
            Self::Feedback => {
                format!("Does the response do what this feedback on an earlier version of it asks for? {}", quoted())
            }
            Self::Claim => format!("Does the text above support this claim? {}", quoted()),
            Self::Pictured => format!("Do the pictures above support this claim? {}", quoted()),
        }
    }
}

impl Checked {
    /// The probability of yes.
    #[must_use]
    pub fn probability(&self) -> f64 {
        self.choice.distribution.probabilities()[0]
    }

    /// Whether yes is at least as probable as no.
    #[must_use]
    pub fn yes(&self) -> bool {
        self.choice.distribution.argmax() == 0
    }

    /// Texts with the choices of a judgement.
    pub(super) fn of(texts: &[String], judgement: &Judgement) -> Result<Vec<Self>, InvalidVerdict> {
        let (expected, found) = (texts.len(), judgement.branches.len());
        if expected != found {
            return Err(InvalidVerdict::Labels { expected, found });
        }
        let both = texts.iter().zip(&judgement.branches);
        Ok(both.map(|(text, choice)| Self { text: text.clone(), choice: choice.clone() }).collect())
    }
}

/// The prompt and script of questions about what the judge reads: a text, with the caller's name for it, or only the
/// documents or pictures of the item.
pub(super) fn ask_checks(
    judge: &JudgeProfile<'_>,
    (item, read): (&Item, Option<(&'static str, Said<'_>)>),
    (about, texts): (About, &[String]),
    options: &Options,
) -> Result<Ask, TaskError> {
    let quotes = texts.iter().enumerate().map(|(index, text)| Quote { field: about.field(), index, text });
    let quotes: Vec<Quote<'_>> = quotes.collect();
    let reading = Reading {
        form: Form::Checklist,
        item,
        response: read,
        rubric: None,
        choices: &[],
        count: None,
        quotes: &quotes,
    };
    let (rendered, _) = judge.reading(reading, options)?;
    let script = |text: &String| {
        let said = Step::Say(format!("Question: {}\nAnswer:", about.question(text)));
        Script(vec![said, Step::Choose(ANSWERS.map(str::to_owned).to_vec())])
    };
    Ok(Ask {
        prompt: rendered.prompt,
        script: Script(vec![Step::Branch(rendered.quotes.iter().map(script).collect())]),
        neutralized: rendered.neutralized,
        may_shorten: false,
        verbatim: false,
    })
}

impl Task for Checks {
    type Verdict = ChecksVerdict;

    fn kind(&self) -> &'static str {
        Form::Checklist.name()
    }

    fn check(&self) -> Result<(), InvalidRequest> {
        let count = self.questions.len();
        if !(1..=MOST_QUESTIONS).contains(&count) {
            let reason = format!("a request has 1 to {MOST_QUESTIONS} questions, this one has {count}");
            return Err(InvalidRequest::at("/questions", reason));
        }
        if let Some(index) = self.questions.iter().position(|question| is_blank(question)) {
            return Err(InvalidRequest::at(format!("/questions/{index}"), "the question is empty"));
        }
        for (at, gate) in self.gates.iter().enumerate() {
            let pointer = format!("/gates/{at}");
            if *gate >= count {
                let reason = format!("is {gate}, but there are {count} questions, counted from 0");
                return Err(InvalidRequest::at(pointer, reason));
            }
            if self.gates[..at].contains(gate) {
                return Err(InvalidRequest::at(pointer, format!("question {gate} is a gate already")));
            }
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
        let read = (&self.item, Some(("response", Said::from(&self.response))));
        ask_checks(judge, read, (self.about, &self.questions), &self.options)
    }

    fn combine(
        &self,
        answers: Vec<Answer>,
        _calibrator: Calibrator<'_>,
        _observe: Observe<'_>,
    ) -> Result<ChecksVerdict, InvalidVerdict> {
        let (_, judgement) = judged(answers).next().ok_or(InvalidVerdict::Empty)?;
        let items = Checked::of(&self.questions, &judgement)?;
        let passed = self.gates.iter().all(|gate| items[*gate].yes());
        let mean = items.iter().map(Checked::probability).sum::<f64>() / items.len() as f64;
        Ok(ChecksVerdict { items, passed, reward: if passed { mean } else { 0.0 }, judgement })
    }

    fn text_len(&self) -> usize {
        self.item.text_len()
            + self.response.text_len_with_pictures()
            + self.questions.iter().map(String::len).sum::<usize>()
    }

    fn longest_text(&self) -> String {
        let questions = self.questions.iter().map(String::len).sum();
        self.item.longest_text(&[("/response", self.response.text_len()), ("/questions", questions)]).to_owned()
    }

    fn label(&self, _run: RunKey) -> &str {
        // Questions come from callers, so they have no name in metrics.
        "inline"
    }

    fn annotator(&self) -> Option<&Annotator> {
        self.item.annotator.as_ref()
    }

    fn prompt(&self, judge: &JudgeProfile<'_>) -> Result<Option<NamedDigest>, TaskError> {
        judge.reading_templates(Form::Checklist, &self.options)
    }
}
