//! Conversations that are the caller's own prompt: judge models, decisions, model graders, and the model itself.

use super::{Account, Panel, Plan, Planned, Progress};
use crate::grading::{Judgement, Options, Turn};
use crate::judge::{JudgeError, Opening};
use crate::script::{Script, Step};

/// The kind that these judgements have in metrics.
const KIND: &str = "chat";
/// The kind of answers that judge nothing.
pub(super) const TEXT: &str = "text";

/// A conversation, and what the model does with it.
#[derive(Debug, Clone)]
pub struct Chat {
    /// What it is for, as metrics name it: the name of a judge model, `decisions`, … `None` where the model only
    /// writes.
    pub purpose: Option<String>,
    /// The caller's prompts.
    pub openings: Vec<Opening>,
    /// What the model does with each: every script begins anew after the prompt.
    pub scripts: Vec<Script>,
    /// How often, and how it samples; the scripts have the limits.
    pub options: Options,
}

impl Chat {
    /// Bytes of its texts, about.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.openings_len().saturating_mul(self.scripts.len())
    }

    /// Whether what it writes has to fit a grammar, which is compiled when the chat is planned.
    #[must_use]
    pub fn has_grammar(&self) -> bool {
        self.scripts.iter().any(|script| script.grammars().next().is_some())
    }

    fn openings_len(&self) -> usize {
        let len = |opening: &Opening| match opening {
            Opening::Conversation(turns) => turns.iter().map(Turn::text_len).sum(),
            Opening::Text(text) => text.len(),
            Opening::Tokens(ids) => ids.len(),
        };
        self.openings.iter().map(len).sum()
    }

    /// How many options its choices have together, and the bytes that telling them apart takes: an option is tokenised
    /// with all the text that stands before it.
    #[must_use]
    pub fn options(&self) -> (usize, usize) {
        let (mut count, mut bytes) = (0_usize, 0_usize);
        for script in &self.scripts {
            let mut before = self.openings_len();
            for step in &script.0 {
                match step {
                    Step::Say(text) => before += text.len(),
                    Step::Choose(options) => {
                        count += options.len();
                        let own: usize = options.iter().map(String::len).sum();
                        bytes = bytes.saturating_add(options.len().saturating_mul(before).saturating_add(own));
                    }
                    Step::Tell(_) | Step::Generate(_) | Step::Branch(_) => {}
                }
            }
        }
        (count, bytes)
    }
}

impl Panel {
    /// Lays out and tokenises the prompts.
    ///
    /// # Errors
    /// When it cannot be rendered or does not fit.
    pub fn plan_chat(&self, request: Chat) -> Result<Plan<Chat>, JudgeError> {
        let mut runs = Vec::new();
        for (place, opening) in request.openings.iter().enumerate() {
            for script in &request.scripts {
                let ready = self.judge.prepare_chat(opening, script, &request.options)?;
                runs.extend(ready.into_iter().map(|ready| Planned { criterion: place, response: None, ready }));
            }
        }
        Ok(Plan { request, runs })
    }

    /// Runs it: exactly one judgement for each sample of each script of each prompt, in that order. Deltas have a
    /// prompt's place for their criterion.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn chat(
        &self,
        plan: Plan<Chat>,
        progress: Option<Progress>,
    ) -> Result<(Vec<Judgement>, Account), JudgeError> {
        let (kind, name) = plan.request.purpose.as_deref().map_or((TEXT, TEXT), |purpose| (KIND, purpose));
        let names = vec![name; plan.request.openings.len()];
        let (judged, account) = self.run(plan.runs, &names, kind, progress).await?;
        Ok((judged.into_iter().map(|(_, _, judgement)| judgement).collect(), account))
    }
}
