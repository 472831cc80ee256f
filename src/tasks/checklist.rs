//! A checklist: questions about one input, each answered by one choice. The input is prefilled once, and no question
//! sees another.

use serde::{Deserialize, Serialize};

use super::prompted::CHAT;
use super::{Answer, Ask, JudgeProfile, Observe, RunKey, Task, TaskError, judged};
use crate::domain::calibration::Calibrator;
use crate::domain::{BranchChoice, Distribution, InvalidRequest, InvalidVerdict, Options, Role, Turn, Usage};
use crate::script::{Script, Step};

/// Questions about an input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Checklist {
    /// Its name in metrics.
    pub purpose: String,
    /// The input.
    pub turns: Vec<Turn>,
    /// The questions; at least one.
    pub questions: Vec<Question>,
    /// The options of the run; nothing is sampled.
    pub options: Options,
    /// JSON pointer to the input in the request.
    pub field: String,
}

/// The answers to a checklist.
#[derive(Debug, Clone, PartialEq)]
pub struct ChecklistVerdict {
    /// One answer for each question, in order.
    pub answers: Vec<BranchChoice>,
    /// Token counts; the input counts once.
    pub usage: Usage,
}

/// A question about an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The text of the question.
    pub instructions: String,
    /// The kind of its answers.
    pub kind: QuestionKind,
}

/// The kind of answers to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionKind {
    /// Whether a statement is true, with optional explanations of both answers.
    Predicate {
        /// The meaning of yes.
        if_true: Option<String>,
        /// The meaning of no.
        if_false: Option<String>,
    },
    /// One of several values.
    Choice(Vec<AnswerOption>),
    /// One of several levels, lowest first.
    Score(Vec<AnswerOption>),
}

/// A possible answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerOption {
    /// The text that the model chooses.
    pub name: String,
    /// An explanation beside the name in the prompt.
    pub description: Option<String>,
}

/// Approximate number of bytes to tokenise for each answer.
const BYTES_OF_ANSWER: usize = 128;
/// Approximate number of bytes before the name of an answer.
const ANSWER_LEAD: usize = 8;
/// More bytes than this take seconds to tokenise.
const LONG: usize = 4 << 20;

/// The labels of a list of answers; longer lists have numbers.
const LETTERS: std::ops::RangeInclusive<char> = 'A'..='Z';

impl Task for Checklist {
    type Verdict = ChecklistVerdict;

    fn kind(&self) -> &'static str {
        CHAT
    }

    fn check(&self) -> Result<(), InvalidRequest> {
        if self.questions.is_empty() {
            return Err(InvalidRequest::at("/questions", "there is no question"));
        }
        if self.options.samples != 1 {
            return Err(InvalidRequest::at("", "the answers of a checklist are not sampled; samples must be 1"));
        }
        self.options.sampling.check()
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn runs(&self) -> Vec<RunKey> {
        vec![RunKey::default()]
    }

    fn ask(&self, _run: RunKey, judge: &JudgeProfile<'_>) -> Result<Ask, TaskError> {
        let prompt = judge.renderer.conversation(&conversation(self.turns.clone()))?;
        let script = Script(vec![Step::Branch(self.questions.iter().map(Question::script).collect())]);
        Ok(Ask { prompt, script, neutralized: Vec::new(), may_shorten: false, verbatim: false })
    }

    fn combine(
        &self,
        answers: Vec<Answer>,
        _calibrator: Calibrator<'_>,
        _observe: Observe<'_>,
    ) -> Result<ChecklistVerdict, InvalidVerdict> {
        let (mut answered, mut usage) = (Vec::new(), Usage::default());
        for (_, judgement) in judged(answers) {
            answered.extend(judgement.branches);
            usage += judgement.usage;
        }
        Ok(ChecklistVerdict { answers: answered, usage })
    }

    fn text_len(&self) -> usize {
        self.turns.iter().map(Turn::text_len_with_pictures).sum::<usize>() + self.bytes_of_answers()
    }

    fn is_long_to_plan(&self) -> bool {
        self.bytes_of_answers() > LONG
    }

    fn longest_text(&self) -> String {
        self.field.clone()
    }

    fn label(&self, _run: RunKey) -> &str {
        &self.purpose
    }
}

impl Checklist {
    /// The number of answers to all questions, and the maximum number of bytes to tokenise for them: in a text without
    /// word boundaries, each answer is tokenised with its whole question.
    #[must_use]
    pub fn answers(&self) -> (usize, usize) {
        let (mut count, mut bytes) = (0_usize, 0_usize);
        for question in &self.questions {
            let answers = question.answers();
            count += answers;
            bytes = bytes.saturating_add(answers.saturating_mul(question.text_len()));
        }
        (count, bytes)
    }

    /// Approximate number of bytes to tokenise for the questions.
    fn bytes_of_answers(&self) -> usize {
        self.questions.iter().map(|question| question.text_len() + question.answers() * BYTES_OF_ANSWER).sum()
    }
}

/// The input as a conversation that ends in the request to answer. The questions are in the model's turn, so that all
/// of them share one prefill.
fn conversation(mut turns: Vec<Turn>) -> Vec<Turn> {
    const REQUEST: &str = "Answer the question about the text above with one of the answers that it lists.";
    match turns.last_mut() {
        Some(turn) if turn.role == Role::User => turn.content.push_paragraph(REQUEST),
        _ => turns.push(Turn::new(Role::User, REQUEST)),
    }
    turns
}

impl Question {
    /// The number of possible answers.
    fn answers(&self) -> usize {
        match &self.kind {
            QuestionKind::Predicate { .. } => 2,
            QuestionKind::Choice(listed) | QuestionKind::Score(listed) => listed.len(),
        }
    }

    /// Approximate number of bytes of the question and its answers.
    fn text_len(&self) -> usize {
        let described = |text: &Option<String>| text.as_ref().map_or(0, String::len) + ANSWER_LEAD;
        let answers: usize = match &self.kind {
            QuestionKind::Predicate { if_true, if_false } => described(if_true) + described(if_false),
            QuestionKind::Choice(listed) | QuestionKind::Score(listed) => {
                listed.iter().map(|listed| listed.name.len() + described(&listed.description)).sum()
            }
        };
        self.instructions.len() + answers
    }

    /// The script: forces the question, then chooses one of its answers.
    #[must_use]
    pub fn script(&self) -> Script {
        let described = |name: &str, text: &Option<String>| match text {
            Some(text) => format!("\n{name}: {text}"),
            None => format!("\n{name}"),
        };
        let (list, options): (String, Vec<String>) = match &self.kind {
            QuestionKind::Predicate { if_true, if_false } => {
                (described("yes", if_true) + &described("no", if_false), vec![" yes".to_owned(), " no".to_owned()])
            }
            QuestionKind::Choice(listed) | QuestionKind::Score(listed) => {
                let labels: Vec<String> = if listed.len() <= LETTERS.count() {
                    LETTERS.take(listed.len()).map(String::from).collect()
                } else {
                    (1..=listed.len()).map(|number| number.to_string()).collect()
                };
                let line = |(label, listed): (&String, &AnswerOption)| {
                    described(&format!("{label}) {}", listed.name), &listed.description)
                };
                let list = labels.iter().zip(listed).map(line).collect();
                (list, labels.into_iter().map(|label| format!(" {label}")).collect())
            }
        };
        let question = format!("Question: {}{list}\nAnswer:", self.instructions);
        Script(vec![Step::Say(question), Step::Choose(options)])
    }
}

/// The confidence in the most probable answer: 0 if all are equally probable, 1 if it is certain.
#[must_use]
pub fn confidence(distribution: &Distribution) -> f64 {
    let probabilities = distribution.probabilities();
    let (count, most) = (probabilities.len() as f64, probabilities[distribution.argmax()]);
    ((count * most - 1.0) / (count - 1.0)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Mode, Sampling};

    fn listed(count: usize) -> Vec<AnswerOption> {
        (0..count).map(|n| AnswerOption { name: format!("n{n}"), description: None }).collect()
    }

    #[test]
    fn a_question_is_said_and_answered() {
        let kind = QuestionKind::Predicate { if_true: Some("it is rude".into()), if_false: None };
        let script = Question { instructions: "It is rude.".into(), kind }.script();
        let said = Step::Say("Question: It is rude.\nyes: it is rude\nno\nAnswer:".into());
        assert_eq!(script.0, [said, Step::Choose(vec![" yes".into(), " no".into()])]);
        let check = |count: usize, last: &str| {
            let script = Question { instructions: "Which?".into(), kind: QuestionKind::Choice(listed(count)) }.script();
            script.check().unwrap();
            let Some(Step::Choose(options)) = script.0.last() else { panic!("no choice") };
            assert_eq!((options.len(), options.last().unwrap().as_str()), (count, last));
        };
        check(2, " B");
        check(26, " Z");
        check(27, " 27");
        check(255, " 255");
    }

    #[test]
    fn answers_cost_their_question_and_not_the_input() {
        let turn = |content: String| Turn::new(Role::User, content);
        let question = |count| Question { instructions: "x".repeat(100), kind: QuestionKind::Choice(listed(count)) };
        let sampling = Sampling {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            seed: 0,
            seeded: false,
            max_feedback_tokens: 1,
            min_feedback_tokens: 0,
            max_thought_tokens: None,
        };
        let options = Options {
            mode: Mode::Score,
            samples: 1,
            settle: None,
            sampling,
            prompt: None,
            examples: None,
            cache: false,
            deterministic: false,
            debug: false,
        };
        let checklist = |input: usize, counts: &[usize]| Checklist {
            purpose: "decisions".into(),
            turns: vec![turn("a".repeat(input))],
            questions: counts.iter().map(|count| question(*count)).collect(),
            options: options.clone(),
            field: "/input".into(),
        };
        let one = checklist(10, &[3]).answers();
        assert_eq!(one, checklist(10_000, &[3]).answers());
        assert_eq!(checklist(10, &[3, 3]).answers(), (2 * one.0, 2 * one.1));
        assert!(!checklist(10_000, &[3, 3]).is_long_to_plan() && checklist(10, &[255; 400]).is_long_to_plan());
    }

    #[test]
    fn confidence_is_none_in_the_middle() {
        let sure = |masses: &[f64]| {
            let logs: Vec<f64> = masses.iter().map(|m: &f64| m.ln()).collect();
            confidence(&Distribution::from_log_masses(&logs).unwrap().0)
        };
        assert!((sure(&[0.9, 0.1]) - 0.8).abs() < 1e-12);
        assert!(sure(&[0.25; 4]).abs() < 1e-12);
        assert!((sure(&[0.0, 1.0, 0.0]) - 1.0).abs() < 1e-12);
    }
}
