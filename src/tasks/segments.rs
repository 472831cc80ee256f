//! Segments of a response: which label of a set fits each, and what it is worth.

use serde::{Deserialize, Serialize};

use super::label::{Chosen, label_script};
use super::{Answer, Ask, JudgeProfile, Observe, RunKey, Task, TaskError, check_unsampled, judged};
use crate::domain::calibration::Calibrator;
use crate::domain::segments::{self, Span};
use crate::domain::{Annotator, InvalidRequest, InvalidVerdict, Item, Judgement, LabelSet, NamedDigest, Options};
use crate::prompts::{Form, Quote, Reading};
use crate::script::{Script, Step};

/// A response, its segments, and the labels for them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Segments {
    /// The instruction, and the optional reference and context.
    pub item: Item,
    /// The response.
    pub response: String,
    /// The segments of the response, in order.
    pub spans: Vec<Span>,
    /// The labels to choose from, each with a reward.
    pub labels: LabelSet,
    /// What the judge sees of the response.
    pub scope: Scope,
    /// The options of the runs; nothing is sampled.
    pub options: Options,
}

/// How much of the response the judge of a segment sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The whole response: all segments share one prefill.
    #[default]
    Own,
    /// The response up to the end of the segment, so that no later text changes its label. Each segment has a prompt of
    /// its own, which begins as the one before it.
    Before,
}

/// The labels of a response's segments.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentsVerdict {
    /// The segments, in order.
    pub segments: Vec<LabelledSegment>,
    /// The mean of the segments' rewards.
    pub reward: f64,
    /// The first judgement, for its prompt and answer.
    pub judgement: Judgement,
}

/// A segment with its label.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledSegment {
    /// Where it is.
    pub span: Span,
    /// Its text.
    pub text: String,
    /// Its label.
    pub chosen: Chosen,
    /// The mean of the labels' rewards under the distribution.
    pub reward: f64,
}

/// The most segments of one response.
const MOST_SEGMENTS: usize = 64;

impl Segments {
    /// Checks the number of segments.
    ///
    /// # Errors
    /// If there are none, or more than 64.
    pub fn check_count(found: usize) -> Result<(), InvalidRequest> {
        if (1..=MOST_SEGMENTS).contains(&found) {
            return Ok(());
        }
        let reason = format!(
            "a response has 1 to {MOST_SEGMENTS} segments, this one has {found}; send it in parts, or name longer segments"
        );
        Err(InvalidRequest::at("/segments", reason))
    }

    /// The text of each segment.
    fn texts(&self) -> Result<Vec<&str>, InvalidRequest> {
        segments::texts(&self.response, &self.spans)
            .map_err(|(index, invalid)| InvalidRequest::at(format!("/segments/{index}"), invalid.to_string()))
    }

    /// The segments of a run.
    fn of_run(&self, run: RunKey) -> std::ops::Range<usize> {
        match self.scope {
            Scope::Own => 0..self.spans.len(),
            Scope::Before => run.part..run.part + 1,
        }
    }
}

impl Task for Segments {
    type Verdict = SegmentsVerdict;

    fn kind(&self) -> &'static str {
        "segments"
    }

    fn check(&self) -> Result<(), InvalidRequest> {
        Self::check_count(self.spans.len())?;
        self.texts()?;
        if let Some(label) = self.labels.labels.iter().find(|label| label.reward.is_none()) {
            let reason = format!("the label `{}` has no reward; segments need one for each label", label.name);
            return Err(InvalidRequest::at("/labels", reason));
        }
        check_unsampled(&self.options)
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn runs(&self) -> Vec<RunKey> {
        let runs = if self.scope == Scope::Own { 1 } else { self.spans.len() };
        (0..runs).map(|part| RunKey { part, ..RunKey::default() }).collect()
    }

    fn ask(&self, run: RunKey, judge: &JudgeProfile<'_>) -> Result<Ask, TaskError> {
        let texts = self.texts()?;
        let quotes = self.of_run(run).map(|index| Quote { field: "segments", index, text: texts[index] });
        let quotes: Vec<Quote<'_>> = quotes.collect();
        let end = self.of_run(run).last().map_or(0, |last| self.spans[last].end);
        let shown = match self.scope {
            Scope::Own => self.response.as_str(),
            Scope::Before => {
                self.response.char_indices().nth(end).map_or(&*self.response, |(at, _)| &self.response[..at])
            }
        };
        let reading = Reading {
            form: Form::Label,
            item: &self.item,
            response: Some(("response", shown.into())),
            rubric: None,
            choices: &self.labels.labels,
            count: None,
            quotes: &quotes,
        };
        let (rendered, _) = judge.reading(reading, &self.options)?;
        let branch =
            |(index, text): (usize, &String)| label_script(Some(("Segment", index, text)), &self.labels.labels);
        let branches = self.of_run(run).zip(&rendered.quotes).map(branch);
        Ok(Ask {
            prompt: rendered.prompt,
            script: Script(vec![Step::Branch(branches.collect())]),
            neutralized: rendered.neutralized,
            may_shorten: false,
            verbatim: false,
        })
    }

    fn combine(
        &self,
        answers: Vec<Answer>,
        _calibrator: Calibrator<'_>,
        _observe: Observe<'_>,
    ) -> Result<SegmentsVerdict, InvalidVerdict> {
        let judgements: Vec<Judgement> = judged(answers).map(|(_, judgement)| judgement).collect();
        let chosen: Vec<Chosen> = judgements.iter().flat_map(Chosen::of).collect();
        let texts = segments::texts(&self.response, &self.spans).map_err(|_| InvalidVerdict::Empty)?;
        if chosen.len() != texts.len() {
            return Err(InvalidVerdict::Labels { expected: texts.len(), found: chosen.len() });
        }
        let rewards = || self.labels.labels.iter().filter_map(|label| label.reward);
        let labelled = self.spans.iter().zip(texts).zip(chosen).map(|((span, text), chosen)| LabelledSegment {
            span: *span,
            text: text.to_owned(),
            reward: chosen.choice.distribution.expectation(rewards()),
            chosen,
        });
        let segments: Vec<LabelledSegment> = labelled.collect();
        let reward = segments.iter().map(|segment| segment.reward).sum::<f64>() / segments.len() as f64;
        if !reward.is_finite() {
            return Err(InvalidVerdict::NotANumber);
        }
        let judgement = judgements.into_iter().next().ok_or(InvalidVerdict::Empty)?;
        Ok(SegmentsVerdict { segments, reward, judgement })
    }

    fn text_len(&self) -> usize {
        // Segments are in the prompt, and quoted once more.
        self.labels.text_len() + self.item.text_len() + 2 * self.response.len()
    }

    fn longest_text(&self) -> String {
        self.item.longest_text(&[("/response", self.response.len())]).to_owned()
    }

    fn label(&self, _run: RunKey) -> &str {
        &self.labels.name
    }

    fn rubric(&self) -> Option<NamedDigest> {
        Some(NamedDigest { name: self.labels.name.clone(), digest: self.labels.digest() })
    }

    fn annotator(&self) -> Option<&Annotator> {
        self.item.annotator.as_ref()
    }

    fn prompt(&self, judge: &JudgeProfile<'_>) -> Result<Option<NamedDigest>, TaskError> {
        judge.reading_templates(Form::Label, &self.options)
    }
}
