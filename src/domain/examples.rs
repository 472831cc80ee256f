//! Graded examples that a judge is shown before it judges (few-shot).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::instruction::{Document, Instruction, InvalidRequest, WeightedRubric, check_text};
use super::judgement::{Kind, Mode};
use super::scale::Scale;
use super::turn::Turn;
use super::verdict::Preference;
use crate::pictures::Shown;

/// The most examples of a request: each is a part of every prompt.
const MOST_EXAMPLES: usize = 64;
/// The name of the examples of a request that has its own.
const INLINE: &str = "inline";

/// An item with the verdict and the feedback that a judge should give on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// What the response answers.
    pub instruction: Instruction,
    /// An answer that would get the highest score.
    pub reference_answer: Option<String>,
    /// Documents that the response is judged against.
    pub context: Vec<Document>,
    /// What was judged, and how.
    pub judged: JudgedExample,
    /// What the judge writes; needed where the request asks for feedback.
    pub feedback: Option<String>,
}

/// What was judged in an example, with the verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgedExample {
    /// One response, for absolute grading.
    Response {
        /// The response.
        response: String,
        /// Its score, on the scale of the rubric.
        score: i32,
    },
    /// Two responses, for relative grading.
    Pair {
        /// The response that is shown as A.
        response_a: String,
        /// The response that is shown as B.
        response_b: String,
        /// The better one: A or B, no tie.
        preference: Preference,
    },
}

/// The fields that say what was judged in an example, unchecked.
#[derive(Debug, Default)]
pub struct JudgedFields {
    /// The response of absolute grading.
    pub response: Option<String>,
    /// Its score.
    pub score: Option<i32>,
    /// Response A of relative grading.
    pub response_a: Option<String>,
    /// Response B.
    pub response_b: Option<String>,
    /// The better one.
    pub preference: Option<Preference>,
}

impl JudgedFields {
    /// What was judged.
    ///
    /// # Errors
    /// If a field is missing, or does not go with another.
    pub fn example(self) -> Result<JudgedExample, &'static str> {
        match self {
            Self {
                response: Some(response),
                score: Some(score),
                response_a: None,
                response_b: None,
                preference: None,
            } => Ok(JudgedExample::Response { response, score }),
            Self {
                response: None,
                score: None,
                response_a: Some(response_a),
                response_b: Some(response_b),
                preference: Some(preference),
            } => Ok(JudgedExample::Pair { response_a, response_b, preference }),
            _ => Err("an example has `response` and `score`, or `response_a`, `response_b` and `preference`"),
        }
    }
}

/// Examples of one kind of grading, in the order in which they are shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredExamples", into = "StoredExamples")]
pub struct ExampleSet {
    name: String,
    scale: Option<Scale>,
    examples: Vec<Example>,
    digest: String,
}

/// The form of a set in stored tasks.
#[derive(Serialize, Deserialize)]
struct StoredExamples {
    name: String,
    scale: Option<[i32; 2]>,
    examples: Vec<Example>,
}

impl Example {
    fn kind(&self) -> Kind {
        match self.judged {
            JudgedExample::Response { .. } => Kind::Absolute,
            JudgedExample::Pair { .. } => Kind::Relative,
        }
    }

    fn check(&self, at: &str) -> Result<(), InvalidRequest> {
        self.instruction.check().map_err(|error| InvalidRequest::at(format!("{at}{}", error.pointer), error.reason))?;
        if let Some(shown) = self.picture() {
            let reason = "examples are text: a judge is shown the pictures of what it judges only; leave this one out";
            return Err(InvalidRequest::at(format!("{at}{}", shown.pointer), reason));
        }
        let text = |name: &str, text: &str| check_text(text, &format!("{at}/{name}"), "the response of an example");
        match &self.judged {
            JudgedExample::Response { response, .. } => text("response", response),
            JudgedExample::Pair { response_a, response_b, preference } => {
                text("response_a", response_a)?;
                text("response_b", response_b)?;
                if *preference == Preference::Tie {
                    let reason = "an example's preference is A or B: judges choose one of the two";
                    return Err(InvalidRequest::at(format!("{at}/preference"), reason));
                }
                Ok(())
            }
        }
    }

    /// The first picture.
    fn picture(&self) -> Option<&Shown> {
        match &self.instruction {
            Instruction::Text(_) => None,
            Instruction::Conversation(turns) => turns.iter().find_map(|turn| turn.content.pictures().next()),
        }
    }

    /// Approximate number of bytes of its texts.
    fn text_len(&self) -> usize {
        let instruction = match &self.instruction {
            Instruction::Text(text) => text.len(),
            Instruction::Conversation(turns) => turns.iter().map(Turn::text_len).sum(),
        };
        let responses = match &self.judged {
            JudgedExample::Response { response, .. } => response.len(),
            JudgedExample::Pair { response_a, response_b, .. } => response_a.len() + response_b.len(),
        };
        let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let context: usize = self.context.iter().map(|document| len(&document.id) + document.text.len()).sum();
        instruction + responses + context + len(&self.reference_answer) + len(&self.feedback)
    }
}

impl ExampleSet {
    /// The examples of a request. Pointers of errors are relative to the list.
    ///
    /// # Errors
    /// If there are none or more than 64, one is empty or a tie, or they are of several kinds.
    pub fn inline(examples: Vec<Example>) -> Result<Self, InvalidRequest> {
        Self::new(INLINE, None, examples)
    }

    /// A named set; `scale` is that of the scores, which a rubric must have then. Pointers of errors are relative to
    /// the list.
    ///
    /// # Errors
    /// Those of [`ExampleSet::inline`], and if a score is not on the scale, or pairs have one.
    pub fn new(name: &str, scale: Option<Scale>, examples: Vec<Example>) -> Result<Self, InvalidRequest> {
        if examples.is_empty() {
            return Err(InvalidRequest::at("", "there are no examples; leave the field out, or send at least one"));
        }
        if examples.len() > MOST_EXAMPLES {
            let reason = format!("there are {} examples; a judge is shown at most {MOST_EXAMPLES}", examples.len());
            return Err(InvalidRequest::at("", reason));
        }
        let kind = examples[0].kind();
        for (index, example) in examples.iter().enumerate() {
            let at = format!("/{index}");
            example.check(&at)?;
            if example.kind() != kind {
                let reason = "examples are all of single responses with a score, or all of pairs with a preference";
                return Err(InvalidRequest::at(at, reason));
            }
            if let Some(scale) = scale {
                example.check_scale(scale, &at)?;
            }
        }
        let digest = format!("sha256:{:x}", Sha256::digest(canonical(&examples)));
        Ok(Self { name: name.to_owned(), scale, examples, digest })
    }

    /// The name of the set, or `inline`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The examples, at least one.
    #[must_use]
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// `sha256:<hex>` of the examples and their order, independent of the name of the set.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Approximate number of bytes of its texts.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.examples.iter().map(Example::text_len).sum()
    }

    /// Checks that a judge can be shown the examples before it grades by these rubrics.
    ///
    /// # Errors
    /// At `/examples` or below, if they are of another kind or scale, lack the feedback that is asked for, or there
    /// are several rubrics.
    pub fn check_for(&self, kind: Kind, rubrics: &[WeightedRubric], mode: Mode) -> Result<(), InvalidRequest> {
        let [WeightedRubric { rubric, .. }] = rubrics else {
            let reason = "examples have one score each, so they go with one rubric; send a request for each rubric";
            return Err(InvalidRequest::at("/examples", reason));
        };
        let scale = rubric.rubric.scale();
        for (index, example) in self.examples.iter().enumerate() {
            let at = format!("/examples/{index}");
            let fault = if example.kind() == kind {
                let score = if kind == Kind::Absolute { example.check_scale(scale, &at) } else { Ok(()) };
                score.and_then(|()| example.check_feedback(mode, &at))
            } else {
                let wanted = match kind {
                    Kind::Absolute => "`response` and `score`, because each response is graded alone",
                    Kind::Relative => "`response_a`, `response_b` and `preference`, because responses are compared",
                };
                Err(InvalidRequest::at(at, format!("this request needs examples with {wanted}")))
            };
            fault.map_err(|fault| self.named(fault))?;
        }
        match self.scale.filter(|own| kind == Kind::Absolute && *own != scale) {
            None => Ok(()),
            Some(own) => Err(InvalidRequest::at(
                "/examples",
                format!(
                    "the set `{}` is for scores from {} to {}, and the rubric `{}` has {} to {}",
                    self.name,
                    own.lowest(),
                    own.highest(),
                    rubric.name,
                    scale.lowest(),
                    scale.highest()
                ),
            )),
        }
    }

    /// A named set has no fields in the request, so its name and the place go into the reason.
    fn named(&self, InvalidRequest { pointer, reason }: InvalidRequest) -> InvalidRequest {
        if self.name == INLINE {
            return InvalidRequest { pointer, reason };
        }
        let place = pointer.trim_start_matches("/examples").to_owned();
        InvalidRequest::at("/examples", format!("the set `{}`, {place}: {reason}", self.name))
    }
}

impl Example {
    fn check_scale(&self, scale: Scale, at: &str) -> Result<(), InvalidRequest> {
        let (lowest, highest) = (scale.lowest(), scale.highest());
        match self.judged {
            JudgedExample::Response { score, .. } if !(lowest..=highest).contains(&score) => {
                let reason = format!("is {score}; it must be a score from {lowest} to {highest}");
                Err(InvalidRequest::at(format!("{at}/score"), reason))
            }
            JudgedExample::Response { .. } => Ok(()),
            JudgedExample::Pair { .. } => Err(InvalidRequest::at(at, "a scale is for examples with a score")),
        }
    }

    fn check_feedback(&self, mode: Mode, at: &str) -> Result<(), InvalidRequest> {
        if mode == Mode::Score {
            return Ok(());
        }
        let reason = "is missing; with \"mode\": \"feedback\" each example shows what the judge writes";
        match self.feedback.as_deref() {
            Some(feedback) if !feedback.trim().is_empty() => Ok(()),
            _ => Err(InvalidRequest::at(format!("{at}/feedback"), reason)),
        }
    }
}

/// What the digest of examples is of.
fn canonical(examples: &[Example]) -> Vec<u8> {
    serde_json::to_vec(examples).expect("examples are texts and integers, which JSON can hold")
}

impl TryFrom<StoredExamples> for ExampleSet {
    type Error = String;

    fn try_from(StoredExamples { name, scale, examples }: StoredExamples) -> Result<Self, String> {
        let scale = scale.map(|ends| Scale::between(ends).map_err(|error| error.to_string())).transpose()?;
        Self::new(&name, scale, examples).map_err(|error| format!("{}: {error}", error.pointer))
    }
}

impl From<ExampleSet> for StoredExamples {
    fn from(ExampleSet { name, scale, examples, .. }: ExampleSet) -> Self {
        Self { name, scale: scale.map(|scale| [scale.lowest(), scale.highest()]), examples }
    }
}

/// Checks the examples of a request, if it has any.
///
/// # Errors
/// Those of [`ExampleSet::check_for`].
pub(super) fn check(
    examples: Option<&Arc<ExampleSet>>,
    kind: Kind,
    rubrics: &[WeightedRubric],
    mode: Mode,
) -> Result<(), InvalidRequest> {
    examples.map_or(Ok(()), |examples| examples.check_for(kind, rubrics, mode))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::{NamedRubric, Rubric, Weight};

    fn scored(score: i32, feedback: Option<&str>) -> Example {
        Example {
            instruction: "Why?".into(),
            reference_answer: None,
            context: Vec::new(),
            judged: JudgedExample::Response { response: "So.".into(), score },
            feedback: feedback.map(str::to_owned),
        }
    }

    fn pair(preference: Preference) -> Example {
        let (response_a, response_b) = ("So.".to_owned(), "No.".to_owned());
        Example { judged: JudgedExample::Pair { response_a, response_b, preference }, ..scored(0, Some("A is.")) }
    }

    fn rubric() -> WeightedRubric {
        let levels: BTreeMap<_, _> = [("0", "Bad."), ("1", "Good.")].map(|(s, t)| (s.to_owned(), t.to_owned())).into();
        let rubric = Arc::new(Rubric::new("Is it good?", &levels).unwrap());
        WeightedRubric { rubric: NamedRubric { name: "mine".into(), rubric }, weight: Weight::ONE, gate: None }
    }

    #[test]
    fn wrong_lists_name_the_example() {
        let check = |examples: Vec<Example>, scale: Option<[i32; 2]>, expected: Option<&str>| {
            let scale = scale.map(|ends| Scale::between(ends).unwrap());
            let found = ExampleSet::new("x", scale, examples.clone()).err().map(|error| error.pointer);
            assert_eq!(found.as_deref(), expected, "{examples:?}");
        };
        check(vec![scored(1, None), scored(0, None)], Some([0, 1]), None);
        check(vec![pair(Preference::A), pair(Preference::B)], None, None);
        check(Vec::new(), None, Some(""));
        check(vec![scored(1, None); 65], None, Some(""));
        check(vec![scored(1, None), pair(Preference::A)], None, Some("/1"));
        check(vec![scored(1, None), scored(2, None)], Some([0, 1]), Some("/1/score"));
        check(vec![pair(Preference::A)], Some([0, 1]), Some("/0"));
        check(vec![pair(Preference::Tie)], None, Some("/0/preference"));
        check(vec![Example { instruction: " ".into(), ..scored(1, None) }], None, Some("/0/instruction"));
        let empty = JudgedExample::Response { response: "\n".into(), score: 1 };
        check(vec![Example { judged: empty, ..scored(1, None) }], None, Some("/0/response"));
    }

    #[test]
    fn examples_must_fit_the_request() {
        let check = |set: ExampleSet, kind: Kind, rubrics: usize, mode: Mode, expected: Option<(&str, &str)>| match (
            set.check_for(kind, &vec![rubric(); rubrics], mode),
            expected,
        ) {
            (Ok(()), None) => {}
            (Err(InvalidRequest { pointer, reason }), Some((at, part))) => {
                assert_eq!(pointer, at, "{reason}");
                assert!(reason.contains(part), "{reason}");
            }
            other => panic!("{other:?}"),
        };
        let inline = |example: Example| ExampleSet::inline(vec![example]).unwrap();
        let (absolute, relative, feedback, score) = (Kind::Absolute, Kind::Relative, Mode::Feedback, Mode::Score);
        check(inline(scored(1, Some("Good."))), absolute, 1, feedback, None);
        check(inline(scored(1, None)), absolute, 1, score, None);
        check(inline(scored(1, None)), absolute, 1, feedback, Some(("/examples/0/feedback", "is missing")));
        check(inline(scored(1, Some(" "))), absolute, 1, feedback, Some(("/examples/0/feedback", "is missing")));
        check(inline(scored(2, None)), absolute, 1, score, Some(("/examples/0/score", "from 0 to 1")));
        check(inline(scored(1, None)), relative, 1, score, Some(("/examples/0", "`preference`")));
        check(inline(pair(Preference::B)), relative, 1, feedback, None);
        check(inline(pair(Preference::B)), absolute, 1, feedback, Some(("/examples/0", "`score`")));
        check(inline(scored(1, None)), absolute, 2, score, Some(("/examples", "one rubric")));
        let named =
            |scale| ExampleSet::new("house", Some(Scale::between(scale).unwrap()), vec![scored(1, None)]).unwrap();
        check(named([0, 1]), absolute, 1, score, None);
        check(named([1, 5]), absolute, 1, score, Some(("/examples", "from 1 to 5, and the rubric `mine` has 0 to 1")));
        check(named([0, 1]), absolute, 1, feedback, Some(("/examples", "the set `house`, /0/feedback")));
    }

    #[test]
    fn the_digest_is_that_of_the_examples_and_survives_storing() {
        let (one, two) = (scored(1, Some("Good.")), scored(0, Some("Bad.")));
        let set = ExampleSet::new("a", None, vec![one.clone(), two.clone()]).unwrap();
        assert_eq!(set.digest(), ExampleSet::new("b", None, vec![one.clone(), two.clone()]).unwrap().digest());
        for other in [vec![two.clone(), one.clone()], vec![one.clone()], vec![one, scored(1, Some("Bad."))]] {
            assert_ne!(set.digest(), ExampleSet::inline(other).unwrap().digest());
        }
        let stored = serde_json::to_string(&set).unwrap();
        assert_eq!(serde_json::from_str::<ExampleSet>(&stored).unwrap(), set);
        assert!(serde_json::from_str::<ExampleSet>(r#"{"name": "a", "scale": null, "examples": []}"#).is_err());
    }
}
