//! A script in progress, and the caller who waits for it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use crate::engine::append_only::{AppendOnlyRun, Next};
use crate::engine::length_buckets::Waiting;
use crate::engine::{Compiled, Completion, EngineError, Event, Stages};
use crate::script::{Script, Step, Token, Transcript, Vocabulary};

/// A script as a row of requests.
pub(super) struct Row {
    run: AppendOnlyRun,
    events: UnboundedSender<Event>,
    prompt_tokens: usize,
    reserved: usize,
    /// Whether it has to run alone: it was asked for, or it failed beside others.
    pub(super) alone: bool,
    /// Whether all that it asks of the model is known once its prompt is read.
    brief: bool,
    /// Whether its request ends there, whatever is left to do.
    once: bool,
    submitted: Instant,
    begun: Option<Instant>,
    prompt_read: Option<Instant>,
    end: Option<End>,
}

/// How a row's request ended.
enum End {
    /// The script has ended, or goes on in another request.
    Left,
    Failed(String),
}

/// What becomes of a row after a request.
pub(super) enum Outcome {
    /// It needs another request.
    Goes,
    /// Its caller has been told, or is gone.
    Over,
    /// The request failed.
    Failed(String),
}

impl Row {
    pub(super) fn new(vocabulary: Arc<dyn Vocabulary>, compiled: Compiled, events: UnboundedSender<Event>) -> Self {
        let (prompt_tokens, reserved) = (compiled.prompt_tokens, compiled.most_tokens());
        let (alone, brief) = (compiled.job.deterministic, is_brief(&compiled.job.script));
        let run = AppendOnlyRun::new(compiled.machine(vocabulary));
        Self {
            run,
            events,
            prompt_tokens,
            reserved,
            alone,
            brief,
            once: false,
            submitted: Instant::now(),
            begun: None,
            prompt_read: None,
            end: None,
        }
    }

    /// What decides with whom it runs.
    pub(super) fn waiting(&self) -> Waiting {
        let prompt = self.run.ids().len();
        Waiting { prompt, reserved: self.reserved.max(prompt), alone: self.alone, brief: self.brief }
    }

    /// The ids that its next request has to hold.
    #[cfg(test)]
    pub(super) fn ids(&self) -> &[Token] {
        self.run.ids()
    }

    pub(super) fn departed(&self) -> bool {
        self.events.is_closed()
    }

    /// Begins a request whose prompt has `cut` tokens, or all if it is brief and there are others beside it; gives its
    /// prompt and what it is forced to after that.
    pub(super) fn begin(&mut self, cut: usize, together: bool) -> (&[Token], &[Token]) {
        self.begun.get_or_insert_with(Instant::now);
        self.end = None;
        self.once = together && self.brief;
        let ids = self.run.ids();
        ids.split_at(if self.once { ids.len() } else { cut })
    }

    /// Takes logits, and gives the token that the request appends; nothing when it ends here.
    pub(super) fn on_logits(&mut self, context: &[Token], logits: &[f32]) -> Option<Token> {
        if self.end.is_some() || self.departed() {
            self.end.get_or_insert(End::Left);
            return None;
        }
        if context.len() >= self.prompt_tokens {
            self.prompt_read.get_or_insert_with(Instant::now);
        }
        let next = self.run.on_logits(context, logits);
        if let Some(delta) = self.run.take_delta() {
            // A caller that has gone away is noticed at the next token.
            let _ = self.events.send(Event::Delta(delta));
        }
        match next {
            Ok(Next::Force(_)) if self.once => {
                // Its choice takes more than one request after all: the next one is as any other.
                self.brief = false;
                self.end = Some(End::Left);
                None
            }
            Ok(Next::Force(token)) if usize::try_from(token).is_ok_and(|token| token < logits.len()) => Some(token),
            Ok(Next::Force(token)) => {
                self.fail_request(format!("the model has no logit for its own token {token}"));
                None
            }
            Ok(Next::Leave) => {
                self.end = Some(End::Left);
                None
            }
            Err(error) => {
                self.fail_request(error.to_string());
                None
            }
        }
    }

    /// Notes why the request cannot go on.
    pub(super) fn fail_request(&mut self, reason: String) {
        self.end = Some(End::Failed(reason));
    }

    /// Settles a request that the engine is done with.
    pub(super) fn settle(&mut self) -> Outcome {
        if let Some(transcript) = self.run.take_done() {
            self.report(transcript);
            return Outcome::Over;
        }
        match self.end.take() {
            _ if self.departed() => Outcome::Over,
            Some(End::Left) => Outcome::Goes,
            Some(End::Failed(reason)) => Outcome::Failed(reason),
            None => Outcome::Failed("it ended a request without a word".into()),
        }
    }

    /// Whether its script has ended without asking anything of the model; the caller is told.
    pub(super) fn over_at_once(&mut self) -> bool {
        let done = self.run.take_done();
        done.map(|transcript| self.report(transcript)).is_some()
    }

    fn report(&self, transcript: Transcript) {
        let now = Instant::now();
        let begun = self.begun.unwrap_or(now);
        let read = self.prompt_read.unwrap_or(now);
        let stages = Stages { queue: begun - self.submitted, prefill: read - begun, decode: now - read };
        let completion = Completion { transcript, prompt_tokens: self.prompt_tokens, cached_tokens: 0, stages };
        let _ = self.events.send(Event::Done(Box::new(completion)));
    }

    /// Tells the caller that it failed.
    pub(super) fn fail(&self, reason: &str) {
        let _ = self.events.send(Event::Failed(EngineError::Failed(reason.to_owned())));
    }
}

/// Whether a script is one choice whose options part at their first character, so that one look at the model is enough,
/// or nearly always.
fn is_brief(script: &Script) -> bool {
    let mut choices = script.0.iter().filter(|step| !matches!(step, Step::Say(_)));
    let (Some(Step::Choose(options)), None) = (choices.next(), choices.next()) else { return false };
    let mut firsts: Vec<_> = options.iter().map(|option| option.trim_start().chars().next()).collect();
    firsts.sort_unstable();
    firsts.windows(2).all(|pair| pair[0] != pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Generate;

    #[test]
    fn what_is_brief() {
        let choose = |options: &[&str]| Step::Choose(options.iter().map(|option| (*option).to_owned()).collect());
        let say = || Step::Say("[RESULT]".into());
        let check = |steps: Vec<Step>, expected| assert_eq!(is_brief(&Script(steps.clone())), expected, "{steps:?}");
        check(vec![say(), choose(&[" 1", " 2", " 3"])], true);
        check(vec![choose(&[" A", " B"]), say()], true);
        check(vec![choose(&[" 1", " 2", " 10"])], false);
        check(vec![choose(&[" A", " B"]), choose(&[" A", " B"])], false);
        check(vec![Step::Generate(Generate::default()), choose(&[" A", " B"])], false);
        check(vec![say()], false);
    }
}
