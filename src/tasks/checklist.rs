//! Decisions: questions about one input, each answered by one choice after one reading of the input.

use crate::domain::{Distribution, Role, Turn};
use crate::script::{Script, Step};

/// A question about an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The text of the question.
    pub instructions: String,
    /// What can be answered.
    pub kind: QuestionKind,
}

/// What can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuestionKind {
    /// Whether a statement is true; what either answer means, where that is said.
    Predicate {
        /// What it means that the statement is true.
        if_true: Option<String>,
        /// What it means that it is false.
        if_false: Option<String>,
    },
    /// One of several things.
    Choice(Vec<Listed>),
    /// One of several levels, the lowest first.
    Score(Vec<Listed>),
}

/// A possible answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The text that the model chooses.
    pub name: String,
    /// An explanation that stands beside the name in the prompt.
    pub description: Option<String>,
}

/// The letters of a list of answers; longer lists have numbers.
const LETTERS: std::ops::RangeInclusive<char> = 'A'..='Z';

/// The input as a conversation that ends in the request to answer. The questions follow where the model answers, so
/// that all of them share one reading.
#[must_use]
pub fn conversation(mut turns: Vec<Turn>) -> Vec<Turn> {
    const REQUEST: &str = "Answer the question about the text above with one of the answers that it lists.";
    match turns.last_mut() {
        Some(turn) if turn.role == Role::User => turn.content = format!("{}\n\n{REQUEST}", turn.content),
        _ => turns.push(Turn { role: Role::User, content: REQUEST.to_owned() }),
    }
    turns
}

impl Question {
    /// The script that answers it: the question is said, then one of its answers chosen.
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
                let line = |(label, listed): (&String, &Listed)| {
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

/// How sure a distribution is of its most probable answer: 0 where all are alike, 1 where there is no doubt.
#[must_use]
pub fn confidence(distribution: &Distribution) -> f64 {
    let probabilities = distribution.probabilities();
    let (count, most) = (probabilities.len() as f64, probabilities[distribution.argmax()]);
    ((count * most - 1.0) / (count - 1.0)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(count: usize) -> Vec<Listed> {
        (0..count).map(|n| Listed { name: format!("n{n}"), description: None }).collect()
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
