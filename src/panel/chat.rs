//! Judge models: the caller's own prompt, run as a judging script.

use super::{Account, Panel, Plan, Planned, Progress};
use crate::grading::{Judgement, Options, Turn};
use crate::judge::JudgeError;
use crate::script::Script;

/// The kind that these judgements have in metrics.
const KIND: &str = "chat";

/// A conversation for a judge model.
#[derive(Debug, Clone)]
pub struct JudgeChat {
    /// The name of the judge model.
    pub judge: String,
    /// The caller's prompt.
    pub turns: Vec<Turn>,
    /// What the model does with it.
    pub script: Script,
    /// How often, and how it samples; the script has the limits.
    pub options: Options,
}

impl JudgeChat {
    /// Bytes of its texts.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.turns.iter().map(|turn| turn.content.len()).sum()
    }
}

impl Panel {
    /// Lays out and tokenises the conversation.
    ///
    /// # Errors
    /// When it cannot be rendered or does not fit.
    pub fn plan_chat(&self, request: JudgeChat) -> Result<Plan<JudgeChat>, JudgeError> {
        let ready = self.judge.prepare_chat(&request.turns, &request.script, &request.options)?;
        let runs = ready.into_iter().map(|ready| Planned { criterion: 0, response: None, ready }).collect();
        Ok(Plan { request, runs })
    }

    /// Runs a judge model: exactly one judgement for each sample.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn chat(
        &self,
        plan: Plan<JudgeChat>,
        progress: Option<Progress>,
    ) -> Result<(Vec<Judgement>, Account), JudgeError> {
        let (judged, account) = self.run(plan.runs, &[&plan.request.judge], KIND, progress).await?;
        Ok((judged.into_iter().map(|(_, _, judgement)| judgement).collect(), account))
    }
}
