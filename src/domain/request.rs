//! Valid requests: the checked form of the API's wire types.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::annotator::Annotator;
use super::content::Content;
use super::examples::{self, ExampleSet};
use super::instruction::{Document, Instruction, InvalidRequest, WeightedRubric};
use super::judgement::{Kind, Mode};
use super::settling::MOST_SAMPLES;
use super::turn::Turn;

/// The fields that absolute and relative grading share.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Item {
    /// What the response answers.
    pub instruction: Instruction,
    /// An answer that would get the highest score.
    pub reference_answer: Option<String>,
    /// Documents that the response is judged against.
    pub context: Vec<Document>,
    /// The persona whose judgement is requested.
    pub annotator: Option<Annotator>,
}

/// How two responses are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Both are shown together, in both orders unless `swap` is false.
    #[default]
    Pairwise,
    /// Each is graded alone; the higher reward is preferred.
    Absolute,
}

impl Method {
    /// The kind of grading of its judgements.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Pairwise => Kind::Relative,
            Self::Absolute => Kind::Absolute,
        }
    }
}

/// How text is generated. Choices are not sampled: they are read at temperature 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy; at most 2.
    pub temperature: f32,
    /// Nucleus: the smallest set of tokens with this much probability, in (0, 1].
    pub top_p: f32,
    /// The number of most probable tokens to keep; 0 keeps all.
    pub top_k: u32,
    /// Tokens below this share of the most probable one's probability are dropped, in [0, 1].
    pub min_p: f32,
    /// The seed of the first sample; sample `i` uses `seed + i`.
    pub seed: u64,
    /// Whether the caller gave the seed, so that the result may be cached at any temperature.
    pub seeded: bool,
    /// Maximum number of tokens of feedback.
    pub max_feedback_tokens: u32,
    /// Minimum number of tokens of feedback.
    pub min_feedback_tokens: u32,
    /// Maximum number of tokens of thoughts, at least 1; `None` is the prompt set's own.
    pub max_thought_tokens: Option<u32>,
}

/// The options that absolute and relative grading share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Whether feedback is written.
    pub mode: Mode,
    /// Number of independent judgements to combine (self-consistency); with `settle`, the maximum.
    pub samples: u32,
    /// Take samples only until the majority is settled with this probability, in [0.5, 1).
    pub settle: Option<f64>,
    /// How text is generated.
    pub sampling: Sampling,
    /// The prompt set; `None` takes the model's own.
    pub prompt: Option<String>,
    /// Graded examples that the judge is shown first, in absolute and relative grading.
    #[serde(default)]
    pub examples: Option<Arc<ExampleSet>>,
    /// Whether the verdict cache may be used.
    pub cache: bool,
    /// Whether each judgement runs alone, without prefix reuse: the same bytes every time.
    pub deterministic: bool,
    /// Whether judgements keep the turns of their prompts.
    #[serde(default)]
    pub debug: bool,
}

/// A checked request for absolute grading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AbsoluteRequest {
    /// The instruction, and the optional reference and context.
    pub item: Item,
    /// The response to grade.
    pub response: Content,
    /// One rubric, or several with weights.
    pub rubrics: Vec<WeightedRubric>,
    /// Whether the verdict is a multi-criteria one; a list of one rubric is.
    pub multi: bool,
    /// Mode, samples, sampling, prompt set and use of the cache.
    pub options: Options,
}

/// A checked request for relative grading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelativeRequest {
    /// The instruction, and the optional reference and context.
    pub item: Item,
    /// The caller's response A.
    pub response_a: Content,
    /// The caller's response B.
    pub response_b: Content,
    /// One rubric, or, with [`Method::Absolute`], several with weights.
    pub rubrics: Vec<WeightedRubric>,
    /// Whether the rubrics came as a list.
    pub multi: bool,
    /// Whether both orders are judged.
    pub swap: bool,
    /// A comparison is a tie if `probability_a` is closer to one half than this, in [0, 0.5].
    pub tie_margin: f64,
    /// How the two are compared; `None`: as the judge's model prefers.
    pub method: Option<Method>,
    /// Mode, samples, sampling, prompt set and use of the cache.
    pub options: Options,
}

/// A checked request about several responses to one instruction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManyRequest {
    /// The instruction, and the optional reference and context.
    pub item: Item,
    /// The responses; verdicts name them by their indexes.
    pub responses: Vec<Content>,
    /// One rubric, or, with [`Method::Absolute`], several with weights.
    pub rubrics: Vec<WeightedRubric>,
    /// Whether the rubrics came as a list.
    pub multi: bool,
    /// Whether both orders of a pair are judged.
    pub swap: bool,
    /// A comparison is a tie if `probability_a` is closer to one half than this, in [0, 0.5]; with
    /// [`Method::Absolute`], if the rewards are closer than this.
    pub tie_margin: f64,
    /// Whether each response is graded alone or in pairs; `None`: as the judge's model prefers.
    pub method: Option<Method>,
    /// Mode, samples, sampling, prompt set and use of the cache.
    pub options: Options,
}

impl Item {
    /// JSON pointer to the longest of its texts and of these, given as pointers with bytes of text.
    #[must_use]
    pub fn longest_text<'a>(&self, responses: &[(&'a str, usize)]) -> &'a str {
        self.longest_text_or_examples(responses, 0)
    }

    /// The same, or that to the examples, if they have more bytes.
    #[must_use]
    pub fn longest_text_or_examples<'a>(&self, responses: &[(&'a str, usize)], examples: usize) -> &'a str {
        let (pointer, instruction) = match &self.instruction {
            Instruction::Text(text) => ("/instruction", text.len()),
            Instruction::Conversation(turns) => ("/messages", turns.iter().map(|turn| turn.content.text_len()).sum()),
        };
        let context = self.context.iter().map(|document| document.text.len()).sum();
        let reference = self.reference_answer.as_ref().map_or(0, String::len);
        let others =
            [(pointer, instruction), ("/context", context), ("/reference_answer", reference), ("/examples", examples)];
        let all = others.into_iter().chain(responses.iter().copied());
        all.max_by_key(|(_, len)| *len).map_or("", |(pointer, _)| pointer)
    }

    /// Approximate number of bytes of its texts.
    #[must_use]
    pub fn text_len(&self) -> usize {
        let instruction = match &self.instruction {
            Instruction::Text(text) => text.len(),
            Instruction::Conversation(turns) => turns.iter().map(Turn::text_len_with_pictures).sum(),
        };
        let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let context: usize = self.context.iter().map(|document| len(&document.id) + document.text.len()).sum();
        let annotator = self.annotator.as_ref().map_or(0, |annotator| annotator.profile.len());
        instruction + context + len(&self.reference_answer) + annotator
    }
}

/// Bytes of the longest rubric.
fn longest(rubrics: &[WeightedRubric]) -> usize {
    rubrics.iter().map(|weighted| weighted.rubric.rubric.text_len()).max().unwrap_or(0)
}

impl AbsoluteRequest {
    /// Checks what the types do not guarantee.
    ///
    /// # Errors
    /// At the first field that is out of range or conflicts with another.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        check_rubrics(&self.rubrics, self.multi)?;
        examples::check(self.options.examples.as_ref(), Kind::Absolute, &self.rubrics, self.options.mode)?;
        self.options.check()
    }

    /// Bytes of judged text in one prompt.
    #[must_use]
    pub fn text_len(&self) -> usize {
        longest(&self.rubrics)
            + self.item.text_len()
            + self.response.text_len_with_pictures()
            + self.options.examples_len()
    }
}

impl RelativeRequest {
    /// How the two are compared; pairwise if nobody said.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method.unwrap_or_default()
    }

    /// Checks what the types do not guarantee.
    ///
    /// # Errors
    /// At the first field that is out of range or conflicts with another.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        check_comparison(&self.rubrics, self.multi, self.method(), self.tie_margin)?;
        examples::check(self.options.examples.as_ref(), self.method().kind(), &self.rubrics, self.options.mode)?;
        self.options.check()
    }

    /// Bytes of judged text in one prompt.
    #[must_use]
    pub fn text_len(&self) -> usize {
        let responses = self.response_a.text_len_with_pictures() + self.response_b.text_len_with_pictures();
        longest(&self.rubrics) + self.item.text_len() + responses + self.options.examples_len()
    }
}

impl ManyRequest {
    /// Whether each response is graded alone or in pairs; in pairs if nobody said.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method.unwrap_or_default()
    }

    /// Checks what the types do not guarantee.
    ///
    /// # Errors
    /// At the first field that is out of range or conflicts with another.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if self.responses.len() < 2 {
            return Err(InvalidRequest::at("/responses", "there are fewer than two responses"));
        }
        check_comparison(&self.rubrics, self.multi, self.method(), self.tie_margin)?;
        examples::check(self.options.examples.as_ref(), self.method().kind(), &self.rubrics, self.options.mode)?;
        self.options.check()
    }
}

fn check_rubrics(rubrics: &[WeightedRubric], multi: bool) -> Result<(), InvalidRequest> {
    match rubrics {
        [] => Err(InvalidRequest::at("/rubric", "there is no rubric")),
        [_, _, ..] if !multi => Err(InvalidRequest::at("/rubric", "there are several rubrics where one is expected")),
        _ => rubrics.iter().enumerate().try_for_each(|(index, weighted)| weighted.check_gate(index)),
    }
}

impl WeightedRubric {
    fn check_gate(&self, index: usize) -> Result<(), InvalidRequest> {
        let scale = self.rubric.rubric.scale();
        let (lowest, highest) = (scale.lowest(), scale.highest());
        match self.gate {
            Some(gate) if !(lowest..highest).contains(&gate) => {
                let reason = format!("is {gate}; it must be a score from {lowest} to {}", highest - 1);
                Err(InvalidRequest::at(format!("/rubric/{index}/gate"), reason))
            }
            _ => Ok(()),
        }
    }
}

fn check_comparison(
    rubrics: &[WeightedRubric],
    multi: bool,
    method: Method,
    tie_margin: f64,
) -> Result<(), InvalidRequest> {
    check_rubrics(rubrics, multi)?;
    if method == Method::Pairwise && multi {
        let reason = "pairwise grading takes one rubric; a list of rubrics goes with \"method\": \"absolute\"";
        return Err(InvalidRequest::at("/rubric", reason));
    }
    if !(0.0..=0.5).contains(&tie_margin) {
        return Err(InvalidRequest::at("/tie_margin", format!("is {tie_margin}; it must be between 0 and 0.5")));
    }
    Ok(())
}

impl Sampling {
    /// Checks ranges and combinations.
    ///
    /// # Errors
    /// At the first field that is out of range or conflicts with another.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        let sampling = self;
        let within = |pointer: &str, value: f32, low: f32, high: f32| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(InvalidRequest::at(pointer, format!("is {value}; it must be between {low} and {high}")))
            }
        };
        within("/sampling/temperature", sampling.temperature, 0.0, 2.0)?;
        within("/sampling/top_p", sampling.top_p, f32::MIN_POSITIVE, 1.0)
            .map_err(|e| InvalidRequest::at(e.pointer, "must be above 0 and at most 1"))?;
        within("/sampling/min_p", sampling.min_p, 0.0, 1.0)?;
        if sampling.max_feedback_tokens == 0 {
            return Err(InvalidRequest::at(
                "/sampling/max_feedback_tokens",
                "must be at least 1; for a verdict without feedback use \"mode\": \"score\"",
            ));
        }
        if sampling.max_thought_tokens == Some(0) {
            return Err(InvalidRequest::at("/sampling/max_thought_tokens", "must be at least 1"));
        }
        if sampling.min_feedback_tokens > sampling.max_feedback_tokens {
            return Err(InvalidRequest::at(
                "/sampling/min_feedback_tokens",
                format!("is above max_feedback_tokens, which is {}", sampling.max_feedback_tokens),
            ));
        }
        Ok(())
    }
}

impl Options {
    /// Approximate number of bytes of the examples.
    #[must_use]
    pub fn examples_len(&self) -> usize {
        self.examples.as_ref().map_or(0, |examples| examples.text_len())
    }

    /// Checks ranges and combinations.
    ///
    /// # Errors
    /// At the first field that is out of range or conflicts with another.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        self.sampling.check()?;
        let (pointer, least) = if self.settle.is_some() { ("/samples/max", 2) } else { ("/samples", 1) };
        if !(least..=MOST_SAMPLES).contains(&self.samples) {
            let reason = format!("is {}; it must be between {least} and {MOST_SAMPLES}", self.samples);
            return Err(InvalidRequest::at(pointer, reason));
        }
        if let Some(settle) = self.settle.filter(|settle| !(0.5..1.0).contains(settle)) {
            let reason = format!("is {settle}; it must be at least 0.5 and below 1");
            return Err(InvalidRequest::at("/samples/settle", reason));
        }
        if self.samples > 1 && self.mode == Mode::Score {
            return Err(InvalidRequest::at(
                "/samples",
                "more than one sample needs \"mode\": \"feedback\": a score without feedback is the same every time",
            ));
        }
        if self.samples > 1 && self.sampling.temperature == 0.0 {
            return Err(InvalidRequest::at(
                "/samples",
                "more than one sample needs a temperature above 0, else all samples are the same",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{NamedRubric, Weight};

    fn options() -> Options {
        Options {
            mode: Mode::Feedback,
            samples: 1,
            sampling: Sampling {
                temperature: 0.0,
                top_p: 1.0,
                top_k: 0,
                min_p: 0.0,
                seed: 0,
                seeded: false,
                max_feedback_tokens: 512,
                min_feedback_tokens: 0,
                max_thought_tokens: None,
            },
            settle: None,
            prompt: None,
            examples: None,
            cache: true,
            deterministic: false,
            debug: false,
        }
    }

    #[test]
    fn requests_that_cannot_be_judged_name_their_field() {
        let levels = [("0", "bad"), ("1", "good")].map(|(level, text)| (level.to_owned(), text.to_owned()));
        let rubric = super::super::Rubric::new("Is it good?", &levels.into()).unwrap();
        let rubric = NamedRubric { name: "inline".into(), rubric: rubric.into() };
        let request = |responses: &[&str], rubrics: usize, method: Method, tie_margin, samples| ManyRequest {
            item: Item {
                instruction: Instruction::Text("Why?".into()),
                reference_answer: None,
                context: Vec::new(),
                annotator: None,
            },
            responses: responses.iter().map(|text| (*text).into()).collect(),
            rubrics: vec![WeightedRubric { rubric: rubric.clone(), weight: Weight::ONE, gate: None }; rubrics],
            multi: rubrics > 1,
            swap: true,
            tie_margin,
            method: Some(method),
            options: Options { samples, ..options() },
        };
        let check = |request: ManyRequest, pointer: Option<&str>| {
            let found = |checked: Result<(), InvalidRequest>| checked.err().map(|error| error.pointer);
            assert_eq!(found(request.check()).as_deref(), pointer, "{request:?}");
            if let [response_a, response_b, ..] = &request.responses[..] {
                let ManyRequest { item, rubrics, multi, swap, tie_margin, method, options, .. } = request.clone();
                let (response_a, response_b) = (response_a.clone(), response_b.clone());
                let pair =
                    RelativeRequest { item, response_a, response_b, rubrics, multi, swap, tie_margin, method, options };
                assert_eq!(found(pair.check()).as_deref(), pointer, "{request:?}");
            }
        };
        let two = ["a", "b"];
        check(request(&two, 1, Method::Pairwise, 0.0, 1), None);
        check(request(&two, 2, Method::Absolute, 0.5, 1), None);
        check(request(&two[..1], 1, Method::Absolute, 0.0, 1), Some("/responses"));
        check(request(&two, 0, Method::Pairwise, 0.0, 1), Some("/rubric"));
        check(request(&two, 2, Method::Pairwise, 0.0, 1), Some("/rubric"));
        check(request(&two, 1, Method::Pairwise, f64::NAN, 1), Some("/tie_margin"));
        check(request(&two, 1, Method::Absolute, 0.6, 1), Some("/tie_margin"));
        check(request(&two, 1, Method::Absolute, 0.0, 0), Some("/samples"));
        let ManyRequest { item, rubrics, multi, options, .. } = request(&two, 2, Method::Absolute, 0.0, 1);
        let mut alone = AbsoluteRequest { item, response: "a".into(), rubrics, multi, options };
        assert_eq!(alone.check(), Ok(()));
        for (gate, pointer) in [(0, None), (1, Some("/rubric/1/gate")), (-1, Some("/rubric/1/gate"))] {
            alone.rubrics[1].gate = Some(gate);
            assert_eq!(alone.check().err().map(|error| error.pointer).as_deref(), pointer, "{gate}");
        }
        alone.multi = false;
        assert_eq!(alone.check().unwrap_err().pointer, "/rubric");
        alone.rubrics.clear();
        assert_eq!(alone.check().unwrap_err().pointer, "/rubric");
    }

    #[test]
    fn options_out_of_range_name_their_field() {
        let check = |change: fn(&mut Options), pointer: Option<&str>| {
            let mut options = options();
            change(&mut options);
            assert_eq!(options.check().err().map(|e| e.pointer).as_deref(), pointer);
        };
        check(|_| (), None);
        check(|o| o.sampling.temperature = 5.0, Some("/sampling/temperature"));
        check(|o| o.sampling.temperature = f32::NAN, Some("/sampling/temperature"));
        check(|o| o.sampling.top_p = 0.0, Some("/sampling/top_p"));
        check(|o| o.sampling.min_p = -0.1, Some("/sampling/min_p"));
        check(|o| o.sampling.max_feedback_tokens = 0, Some("/sampling/max_feedback_tokens"));
        check(|o| o.sampling.min_feedback_tokens = 513, Some("/sampling/min_feedback_tokens"));
        check(|o| o.samples = 0, Some("/samples"));
        check(|o| o.samples = 3, Some("/samples"));
        check(|o| (o.samples, o.settle) = (1, Some(0.9)), Some("/samples/max"));
        check(|o| (o.samples, o.settle) = (65, Some(0.9)), Some("/samples/max"));
        check(|o| (o.samples, o.settle) = (16, Some(0.4)), Some("/samples/settle"));
        check(|o| (o.samples, o.settle) = (16, Some(1.0)), Some("/samples/settle"));
        check(|o| (o.samples, o.settle) = (16, Some(f64::NAN)), Some("/samples/settle"));
        check(
            |o| {
                o.samples = 3;
                o.sampling.temperature = 0.7;
            },
            None,
        );
        check(
            |o| {
                o.samples = 3;
                o.sampling.temperature = 0.7;
                o.mode = Mode::Score;
            },
            Some("/samples"),
        );
    }
}
