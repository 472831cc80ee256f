//! The context of a request, from the API to the engine: its caller and its deadline.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::fair_queue::Flow;
use crate::domain::{Provenance, Usage};

/// A request that is being served.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The caller and request, for fairness in admission and engines.
    pub flow: Flow,
    /// The deadline.
    pub deadline: Deadline,
    /// What the request came to so far.
    pub tally: Arc<Tally>,
}

/// What a request came to, for its log line.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Totals>);

/// The totals of the verdicts of one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// The model that judged; `several` if not always the same one did.
    pub model: Option<String>,
    /// The rubric; `several` if not all had the same one.
    pub rubric: Option<String>,
    /// The number of judgements.
    pub judgements: u64,
    /// Their tokens.
    pub usage: Usage,
    /// The lowest label mass, 0 to 1.
    pub label_mass: Option<f64>,
}

impl Tally {
    /// Adds a verdict, of which `masses` has the label mass of each judgement.
    pub fn add(&self, of: &Provenance, usage: Usage, judgements: u64, masses: impl Iterator<Item = f64>) {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        common(&mut totals.model, Some(&of.model.name));
        common(&mut totals.rubric, of.rubric.as_ref().map(|rubric| &rubric.name));
        totals.judgements += judgements;
        totals.usage += usage;
        totals.label_mass = masses.chain(totals.label_mass).reduce(f64::min);
    }

    /// The totals so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Keeps the name that all have in common.
fn common(so_far: &mut Option<String>, name: Option<&String>) {
    match (so_far.as_ref(), name) {
        (None, name) => *so_far = name.cloned(),
        (Some(found), Some(name)) if found != name => *so_far = Some("several".to_owned()),
        _ => {}
    }
}

/// The time limit of a request, from its arrival.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    allowed: Duration,
    started: Instant,
}

/// The deadline of a request has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline of {} ms has passed", .0.as_millis())]
pub struct DeadlinePassed(Duration);

impl RequestContext {
    /// The context of a request; `request` is unique within the process.
    #[must_use]
    pub fn new(caller: &str, request: u64, deadline: Deadline) -> Self {
        Self { flow: Flow::new(Arc::from(caller), request), deadline, tally: Arc::default() }
    }
}

impl Deadline {
    /// A deadline from now.
    #[must_use]
    pub fn after(allowed: Duration) -> Self {
        Self::since(Instant::now(), allowed)
    }

    /// A deadline from the arrival of the request.
    #[must_use]
    pub fn since(started: Instant, allowed: Duration) -> Self {
        Self { allowed, started }
    }

    /// The remaining time.
    #[must_use]
    pub fn left(self) -> Duration {
        self.allowed.saturating_sub(self.started.elapsed())
    }

    /// The instant of the deadline; `None` if it is too far in the future to represent.
    #[must_use]
    pub fn at(self) -> Option<Instant> {
        self.started.checked_add(self.allowed)
    }

    /// The elapsed time of the request.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.started.elapsed()
    }

    /// Checks that the deadline has not passed.
    ///
    /// # Errors
    /// [`DeadlinePassed`].
    pub fn check(self) -> Result<(), DeadlinePassed> {
        if self.left() > Duration::ZERO { Ok(()) } else { Err(DeadlinePassed(self.allowed)) }
    }

    /// Runs work until the deadline passes.
    ///
    /// # Errors
    /// [`DeadlinePassed`].
    pub async fn within<T>(self, work: impl Future<Output = T>) -> Result<T, DeadlinePassed> {
        tokio::time::timeout(self.left(), work).await.map_err(|_| DeadlinePassed(self.allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ModelRef, NamedDigest, Sampling};

    #[test]
    fn a_request_is_told_by_what_its_verdicts_have_in_common() {
        let sampling = Sampling {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            seed: 0,
            seeded: false,
            max_feedback_tokens: 1,
            min_feedback_tokens: 0,
            max_thought_tokens: None,
        };
        let of = |model: &str, rubric: &str| Provenance {
            model: ModelRef { name: model.into(), digest: String::new(), engine: "scripted" },
            rubric: Some(NamedDigest { name: rubric.into(), digest: String::new() }),
            prompt: None,
            annotator: None,
            examples: None,
            sampling,
        };
        let usage = Usage { prompt_tokens: 3, completion_tokens: 1, ..Usage::default() };
        let tally = Tally::default();
        assert_eq!(tally.totals(), Totals::default());
        tally.add(&of("m", "a"), usage, 2, [0.9, 0.5].into_iter());
        tally.add(&of("m", "b"), usage, 1, [0.7].into_iter());
        let totals = tally.totals();
        assert_eq!((totals.model.as_deref(), totals.rubric.as_deref()), (Some("m"), Some("several")));
        assert_eq!((totals.judgements, totals.usage.prompt_tokens, totals.label_mass), (3, 6, Some(0.5)));
    }
}
