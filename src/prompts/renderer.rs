//! Renders prompts for one model, with a cache of layouts.

use std::sync::Arc;

use moka::sync::Cache;

use super::chat::ChatFormat;
use super::error::PromptError;
use super::escape::{self, Rendered};
use super::fields::{Fields, Shape, Subject, pieces, placeholder};
use super::layout::{Layout, LayoutPart};
use super::library::PromptSet;
use super::patterns::PatternSet;
use crate::domain::{ExampleSet, Mode, Part, Role, Turn};
use crate::script::{Prompt, Segment};

/// Maximum number of cached layouts; there are few shapes in practice.
const KEPT: u64 = 256;
/// Layouts with more turns and documents are not cached, because each can be as long as its request.
const LONGEST_KEPT: usize = 32;

/// Renders prompts for one model, and caches the layout of each shape.
#[derive(Debug)]
pub struct Renderer {
    chat: ChatFormat,
    kept: Cache<(Arc<str>, Shape), Arc<Layout>>,
}

impl Renderer {
    /// A renderer for a model with this chat format, for the sets of one library, which never change.
    #[must_use]
    pub fn new(chat: ChatFormat) -> Self {
        Self { chat, kept: Cache::new(KEPT) }
    }

    /// Renders a conversation that is the caller's own prompt. No text can write a control token; nothing else is
    /// changed.
    ///
    /// # Errors
    /// If the model's chat template cannot render it.
    pub fn conversation(&self, turns: &[Turn]) -> Result<Prompt, PromptError> {
        let mut parts = Vec::new();
        let mut content = |turn: &Turn| -> String {
            let first = parts.len();
            let own = turn.content.parts().iter().cloned();
            parts.extend(if own.len() == 0 { vec![Part::Text(String::new())] } else { own.collect() });
            (first..parts.len()).map(placeholder).collect()
        };
        let placeholders: Vec<(Role, String)> = turns.iter().map(|turn| (turn.role, content(turn))).collect();
        let text = self.chat.lay_out_turns(&placeholders, parts.len())?;
        let pieces =
            pieces(&text, parts.len()).ok_or_else(|| PromptError::Conversation("it truncates a message".to_owned()))?;
        let layout = Layout::new(&pieces, &PatternSet::exact(&self.chat.control), PatternSet::markers(&[]));
        let mut segments = Vec::new();
        let mut run = String::new();
        let mut end_run = |run: &mut String, next: Segment| {
            let run = std::mem::take(run);
            segments.extend((!run.is_empty()).then_some(Segment::Text(run)));
            segments.push(next);
        };
        for part in layout.parts {
            match part {
                LayoutPart::Text(text) => run.push_str(&text),
                LayoutPart::Field(index) => match &parts[index] {
                    Part::Text(text) => run.push_str(text),
                    Part::Picture(shown) => end_run(&mut run, Segment::Picture(shown.clone())),
                },
                LayoutPart::Control(text) => end_run(&mut run, Segment::Control(text)),
            }
        }
        segments.extend((!run.is_empty()).then_some(Segment::Text(run)));
        Ok(Prompt(segments))
    }

    /// Renders the prompt, as [`PromptSet::render`] does.
    ///
    /// # Errors
    /// Those of [`PromptSet::render`].
    pub fn render(&self, set: &PromptSet, subject: &Subject<'_>, mode: Mode) -> Result<Rendered, PromptError> {
        self.render_after(set, subject, mode, None)
    }

    /// The turns of the prompt, as [`PromptSet::messages`] gives them.
    ///
    /// # Errors
    /// Those of [`PromptSet::messages`].
    pub fn messages(
        &self,
        set: &PromptSet,
        subject: &Subject<'_>,
        mode: Mode,
        examples: Option<&ExampleSet>,
    ) -> Result<Vec<Turn>, PromptError> {
        set.messages(subject, mode, &self.chat, examples)
    }

    /// The same after graded examples, as [`PromptSet::render_after`] does.
    ///
    /// # Errors
    /// Those of [`PromptSet::render_after`].
    pub fn render_after(
        &self,
        set: &PromptSet,
        subject: &Subject<'_>,
        mode: Mode,
        examples: Option<&ExampleSet>,
    ) -> Result<Rendered, PromptError> {
        let (shape, fields) = (subject.shape(mode, examples), Fields::of(subject, mode, examples));
        if shape.len() > LONGEST_KEPT {
            return Ok(escape::assemble(&set.layout(&shape, &fields, &self.chat)?, &fields));
        }
        let key = (Arc::clone(&set.name), shape);
        let layout = match self.kept.get(&key) {
            Some(layout) => layout,
            None => {
                let layout = Arc::new(set.layout(&key.1, &fields, &self.chat)?);
                self.kept.insert(key, Arc::clone(&layout));
                layout
            }
        };
        Ok(escape::assemble(&layout, &fields))
    }
}
