//! A critique: feedback without a score.

use serde::{Deserialize, Serialize};

use super::{Answer, Ask, JudgeProfile, Observe, RunKey, Task, TaskError, check_unsampled, judged};
use crate::domain::calibration::Calibrator;
use crate::domain::{
    Annotator, Content, InvalidRequest, InvalidVerdict, Item, Judgement, NamedDigest, NamedRubric, Options,
};
use crate::prompts::{Form, Reading};

/// What is criticised, and by what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Critique {
    /// The instruction, and the optional reference and context.
    pub item: Item,
    /// The response; `None`: the turns of the assistant in the conversation.
    pub response: Option<Content>,
    /// What the feedback is about; `None`: anything.
    pub rubric: Option<NamedRubric>,
    /// The options of the run.
    pub options: Options,
}

impl Task for Critique {
    /// The judgement, whose feedback is the critique.
    type Verdict = Judgement;

    fn kind(&self) -> &'static str {
        Form::Critique.name()
    }

    fn check(&self) -> Result<(), InvalidRequest> {
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
            form: Form::Critique,
            item: &self.item,
            response: self.response.as_ref().map(|said| ("response", said.into())),
            rubric: self.rubric.as_ref().map(|named| &*named.rubric),
            choices: &[],
            count: None,
            quotes: &[],
        };
        let (rendered, set) = judge.reading(reading, &self.options)?;
        let sampling = &self.options.sampling;
        let (most, least) = (sampling.max_feedback_tokens as usize, sampling.min_feedback_tokens as usize);
        Ok(Ask {
            prompt: rendered.prompt,
            script: set.critique(most, least),
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
    ) -> Result<Judgement, InvalidVerdict> {
        judged(answers).next().map(|(_, judgement)| judgement).ok_or(InvalidVerdict::Empty)
    }

    fn text_len(&self) -> usize {
        let rubric = self.rubric.as_ref().map_or(0, |named| named.rubric.text_len());
        self.item.text_len() + self.response.as_ref().map_or(0, Content::text_len_with_pictures) + rubric
    }

    fn longest_text(&self) -> String {
        self.item.longest_text(&[("/response", self.response.as_ref().map_or(0, Content::text_len))]).to_owned()
    }

    fn label(&self, _run: RunKey) -> &str {
        self.rubric.as_ref().map_or("inline", |named| &named.name)
    }

    fn rubric(&self) -> Option<NamedDigest> {
        self.rubric.as_ref().map(NamedDigest::of)
    }

    fn annotator(&self) -> Option<&Annotator> {
        self.item.annotator.as_ref()
    }

    fn prompt(&self, judge: &JudgeProfile<'_>) -> Result<Option<NamedDigest>, TaskError> {
        judge.reading_templates(Form::Critique, &self.options)
    }
}
