//! A running script, and the caller that waits for it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use crate::engine::append_only::{AppendOnlyRun, Next};
use crate::engine::length_buckets::Waiting;
use crate::engine::{Compiled, Completion, EngineError, Event, Stages};
use crate::script::{Script, Step, Token, Transcript, Vocabulary};

/// A script that runs as a series of requests.
pub(super) struct ScriptRun {
    run: AppendOnlyRun,
    events: UnboundedSender<Event>,
    prompt_tokens: usize,
    reserved: usize,
    /// Whether it must run alone: `deterministic`, or it failed together with others.
    pub(super) alone: bool,
    /// Whether the script ends with the prefill of its prompt.
    prefill_only: bool,
    /// Whether its request ends with the prefill, even if the script does not.
    once: bool,
    submitted: Instant,
    begun: Option<Instant>,
    prompt_read: Option<Instant>,
    end: Option<End>,
}

/// How a request ended.
enum End {
    /// The script has ended, or continues in another request.
    Completed,
    Failed(String),
}

/// The state of a script run after a request.
pub(super) enum RequestOutcome {
    /// It needs another request.
    Continues,
    /// Its caller has the result, or has disconnected.
    Done,
    /// The request failed.
    Failed(String),
}

impl ScriptRun {
    pub(super) fn new(vocabulary: Arc<dyn Vocabulary>, compiled: Compiled, events: UnboundedSender<Event>) -> Self {
        let (prompt_tokens, reserved) = (compiled.prompt_tokens, compiled.most_tokens());
        let (alone, prefill_only) = (compiled.job.deterministic, is_prefill_only(&compiled.job.script));
        let run = AppendOnlyRun::new(compiled.machine(vocabulary));
        Self {
            run,
            events,
            prompt_tokens,
            reserved,
            alone,
            prefill_only,
            once: false,
            submitted: Instant::now(),
            begun: None,
            prompt_read: None,
            end: None,
        }
    }

    /// The properties for batching.
    pub(super) fn waiting(&self) -> Waiting {
        let prompt = self.run.ids().len();
        Waiting { prompt, reserved: self.reserved.max(prompt), alone: self.alone, prefill_only: self.prefill_only }
    }

    /// The ids of its next request.
    #[cfg(test)]
    pub(super) fn ids(&self) -> &[Token] {
        self.run.ids()
    }

    pub(super) fn departed(&self) -> bool {
        self.events.is_closed()
    }

    /// Starts a request whose prompt has `cut` tokens, or all tokens if it is prefill-only and runs together with
    /// others. Returns the prompt and the tokens to force after it.
    pub(super) fn begin(&mut self, cut: usize, together: bool) -> (&[Token], &[Token]) {
        self.begun.get_or_insert_with(Instant::now);
        self.end = None;
        self.once = together && self.prefill_only;
        let ids = self.run.ids();
        ids.split_at(if self.once { ids.len() } else { cut })
    }

    /// Takes logits, and returns the token to append; `None` if the request ends.
    pub(super) fn on_logits(&mut self, context: &[Token], logits: &[f32]) -> Option<Token> {
        if self.end.is_some() || self.departed() {
            self.end.get_or_insert(End::Completed);
            return None;
        }
        if context.len() >= self.prompt_tokens {
            self.prompt_read.get_or_insert_with(Instant::now);
        }
        let next = self.run.on_logits(context, logits);
        if let Some(delta) = self.run.take_delta() {
            // A disconnected caller is noticed at the next token.
            let _ = self.events.send(Event::Delta(delta));
        }
        match next {
            Ok(Next::Force(_)) if self.once => {
                // The choice needs more than one request: the next one is not prefill-only.
                self.prefill_only = false;
                self.end = Some(End::Completed);
                None
            }
            Ok(Next::Force(token)) if usize::try_from(token).is_ok_and(|token| token < logits.len()) => Some(token),
            Ok(Next::Force(token)) => {
                self.fail_request(format!("the model has no logit for token {token}"));
                None
            }
            Ok(Next::End) => {
                self.end = Some(End::Completed);
                None
            }
            Err(error) => {
                self.fail_request(error.to_string());
                None
            }
        }
    }

    /// Records why the request fails.
    pub(super) fn fail_request(&mut self, reason: String) {
        self.end = Some(End::Failed(reason));
    }

    /// Evaluates a finished request.
    pub(super) fn settle(&mut self) -> RequestOutcome {
        if let Some(transcript) = self.run.take_done() {
            self.report(transcript);
            return RequestOutcome::Done;
        }
        match self.end.take() {
            _ if self.departed() => RequestOutcome::Done,
            Some(End::Completed) => RequestOutcome::Continues,
            Some(End::Failed(reason)) => RequestOutcome::Failed(reason),
            None => RequestOutcome::Failed("it ended a request without a response".into()),
        }
    }

    /// Whether its script ended without running the model; then the caller gets the result.
    pub(super) fn is_done_at_once(&mut self) -> bool {
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

    /// Reports a failure to the caller.
    pub(super) fn fail(&self, reason: &str) {
        let _ = self.events.send(Event::Failed(EngineError::Failed(reason.to_owned())));
    }
}

/// Whether a script is one choice whose options differ in their first character, so that one set of logits is nearly
/// always enough.
fn is_prefill_only(script: &Script) -> bool {
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
    fn which_scripts_are_prefill_only() {
        let choose = |options: &[&str]| Step::Choose(options.iter().map(|option| (*option).to_owned()).collect());
        let say = || Step::Say("[RESULT]".into());
        let check =
            |steps: Vec<Step>, expected| assert_eq!(is_prefill_only(&Script(steps.clone())), expected, "{steps:?}");
        check(vec![say(), choose(&[" 1", " 2", " 3"])], true);
        check(vec![choose(&[" A", " B"]), say()], true);
        check(vec![choose(&[" 1", " 2", " 10"])], false);
        check(vec![choose(&[" A", " B"]), choose(&[" A", " B"])], false);
        check(vec![Step::Generate(Generate::default()), choose(&[" A", " B"])], false);
        check(vec![say()], false);
    }
}
