//! The caller's own prompt: judge models, model graders, and the model itself.

use super::{Answer, Ask, JudgeProfile, Observe, RunKey, Task, TaskError, judged};
use crate::domain::calibration::Calibrator;
use crate::domain::{InvalidRequest, InvalidVerdict, Judgement, Options, Turn};
use crate::prompts::{PromptError, Renderer};
use crate::script::{Prompt, Script, Segment, Step, Token};

/// The kind of runs with a choice.
pub(super) const CHAT: &str = "chat";
/// Maximum number of choices (`n`) for each prompt.
pub const MOST_CHOICES: u32 = 128;
/// The kind of runs that only generate text.
pub const TEXT: &str = "text";

/// The caller's own prompts, and the scripts to run on each.
#[derive(Debug, Clone)]
pub struct Prompted {
    /// Its name in metrics: the name of a judge model, of a grader, … `None` for text generation.
    pub purpose: Option<String>,
    /// The caller's prompts.
    pub inputs: Vec<PromptInput>,
    /// The scripts; each one starts after the prompt.
    pub scripts: Vec<Script>,
    /// Number of samples and sampling; the scripts have the token limits.
    pub options: Options,
    /// JSON pointer to the prompts in the request.
    pub field: String,
}

/// A prompt from the caller.
#[derive(Debug, Clone)]
pub enum PromptInput {
    /// A conversation, rendered with the model's chat template.
    Conversation(Vec<Turn>),
    /// A text to continue.
    Text(String),
    /// A text to continue, as token ids.
    Tokens(Vec<Token>),
}

impl Task for Prompted {
    /// One judgement for each sample of each script of each prompt, in that order.
    type Verdict = Vec<Judgement>;

    fn kind(&self) -> &'static str {
        if self.purpose.is_some() { CHAT } else { TEXT }
    }

    fn check(&self) -> Result<(), InvalidRequest> {
        if self.inputs.is_empty() || self.scripts.is_empty() {
            return Err(InvalidRequest::at("", "there is no prompt or no script"));
        }
        if !(1..=MOST_CHOICES).contains(&self.options.samples) {
            return Err(InvalidRequest::at("/n", format!("n is 1 to {MOST_CHOICES}")));
        }
        self.options.sampling.check()
    }

    fn options(&self) -> &Options {
        &self.options
    }

    /// The part is the index of the prompt, the criterion that of the script.
    fn runs(&self) -> Vec<RunKey> {
        let scripts = self.scripts.len();
        let of = |part| (0..scripts).map(move |criterion| RunKey { part, criterion, ..RunKey::default() });
        (0..self.inputs.len()).flat_map(of).collect()
    }

    fn ask(&self, run: RunKey, judge: &JudgeProfile<'_>) -> Result<Ask, TaskError> {
        let input = &self.inputs[run.part];
        let (prompt, verbatim) = (input.prompt(judge.renderer)?, !matches!(input, PromptInput::Conversation(_)));
        let script = self.scripts[run.criterion].clone();
        Ok(Ask { prompt, script, neutralized: Vec::new(), may_shorten: true, verbatim })
    }

    fn combine(
        &self,
        answers: Vec<Answer>,
        _calibrator: Calibrator<'_>,
        _observe: Observe<'_>,
    ) -> Result<Vec<Judgement>, InvalidVerdict> {
        Ok(judged(answers).map(|(_, judgement)| judgement).collect())
    }

    fn text_len(&self) -> usize {
        let len = |input: &PromptInput| match input {
            PromptInput::Conversation(turns) => turns.iter().map(Turn::text_len_with_pictures).sum(),
            text => text.len(),
        };
        self.inputs.iter().map(len).max().unwrap_or(0)
    }

    /// A grammar is compiled when the run is planned.
    fn is_long_to_plan(&self) -> bool {
        self.scripts.iter().any(|script| script.grammars().next().is_some())
    }

    fn longest_text(&self) -> String {
        self.field.clone()
    }

    fn label(&self, _run: RunKey) -> &str {
        self.purpose.as_deref().unwrap_or(TEXT)
    }
}

impl PromptInput {
    /// The prompt of the input.
    ///
    /// # Errors
    /// If the model's chat template cannot render the conversation.
    pub fn prompt(&self, renderer: &Renderer) -> Result<Prompt, PromptError> {
        Ok(match self {
            Self::Conversation(turns) => renderer.conversation(turns)?,
            Self::Text(text) => Prompt(vec![Segment::Text(text.clone())]),
            Self::Tokens(ids) => Prompt(vec![Segment::Tokens(ids.clone())]),
        })
    }

    fn len(&self) -> usize {
        match self {
            Self::Conversation(turns) => turns.iter().map(Turn::text_len).sum(),
            Self::Text(text) => text.len(),
            Self::Tokens(ids) => ids.len(),
        }
    }
}

impl Prompted {
    /// The number of options of all choices, and the maximum number of bytes to tokenise for them: in a text without
    /// word boundaries, each option is tokenised with all the text before it.
    #[must_use]
    pub fn options(&self) -> (usize, usize) {
        let (mut count, mut bytes) = (0_usize, 0_usize);
        for script in &self.scripts {
            let mut before = self.inputs.iter().map(PromptInput::len).sum();
            for step in &script.0 {
                match step {
                    Step::Say(text) => before += text.len(),
                    Step::Choose(options) => {
                        count += options.len();
                        let own: usize = options.iter().map(String::len).sum();
                        bytes = bytes.saturating_add(options.len().saturating_mul(before).saturating_add(own));
                    }
                    Step::PromptLogprobs(_) | Step::Generate(_) | Step::Branch(_) => {}
                }
            }
        }
        (count, bytes)
    }
}
