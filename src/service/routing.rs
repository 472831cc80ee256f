//! Decides whether a verdict is for people, by what a request wishes.

use std::sync::Arc;

use super::{Judge, Panel};
use crate::domain::calibration::Mismatch;
use crate::domain::routing::{Cut, Observed, RouterFile, Signals, Texts};
use crate::domain::{AbsoluteRequest, Instruction, Kind, ManyRequest, Mode, NamedDigest, Provenance, RelativeRequest};
use crate::routers::Router;
use crate::tasks::{Task, rubric_of};

/// What a request wishes.
#[derive(Debug, Clone)]
pub struct RouteWish {
    /// The router; `None`: the judge's own uncertainty decides.
    pub router: Option<Arc<Router>>,
    /// From which score on an item is for people.
    pub cut: Cut,
    /// How many people are asked to label an item that is for people; `None` asks nobody.
    pub reviewers: Option<u32>,
}

/// The part of a request that routing depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteSubject {
    kind: Kind,
    mode: Mode,
    rubric: Option<NamedDigest>,
    texts: Texts,
}

/// Whether a verdict is for people.
#[derive(Debug, Clone, PartialEq)]
pub struct RoutedVerdict {
    /// Whether it is.
    pub human: bool,
    /// The score that this was decided by, 0 to 1.
    pub score: f64,
    /// The router with the digest of its file, if it has one.
    pub router: Option<NamedDigest>,
}

/// Why it cannot be decided.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CannotDecide {
    /// The router was made for something else.
    #[error("the router `{router}` {error}")]
    Mismatch {
        /// The router.
        router: String,
        /// For what, and what it is used for.
        error: Mismatch,
    },
    /// It was made for the other kind of verdict.
    #[error("the router `{router}` was made for {} verdicts; name one for {} ones", .made_for.name(), .asked.name())]
    Kind {
        /// The router.
        router: String,
        /// Its kind.
        made_for: Kind,
        /// That of the request.
        asked: Kind,
    },
    /// It was made for the other mode.
    #[error("the router `{router}` was made for the other mode; send mode `{}`", name(.made_for))]
    Mode {
        /// The router.
        router: String,
        /// Its mode.
        made_for: Mode,
    },
    /// It was made for one judge, and a jury is asked, or the other way round.
    #[error("the router `{router}` was made for {}", if *.of_jury { "a jury; name it" } else { "one judge; name no jury" })]
    Jury {
        /// The router.
        router: String,
        /// Whether it was made for a jury.
        of_jury: bool,
    },
    /// The verdict has no distribution.
    #[error("the verdict has no distribution to route by")]
    NoSignals,
}

fn name(mode: &Mode) -> &'static str {
    match mode {
        Mode::Feedback => "feedback",
        Mode::Score => "score",
    }
}

impl RouteSubject {
    /// Two of the responses of a request.
    #[must_use]
    pub fn of_pair(request: &ManyRequest, [a, b]: [usize; 2]) -> Self {
        let responses = [a, b].map(|index| request.responses[index].texts());
        Self {
            kind: Kind::Relative,
            mode: request.options.mode,
            rubric: rubric_of(&request.rubrics, request.multi),
            texts: Texts::of_pair(&text(&request.item.instruction), responses.each_ref().map(String::as_str)),
        }
    }
}

impl From<&AbsoluteRequest> for RouteSubject {
    fn from(request: &AbsoluteRequest) -> Self {
        Self {
            kind: Kind::Absolute,
            mode: request.options.mode,
            rubric: request.rubric(),
            texts: Texts::of_response(&text(&request.item.instruction), &request.response.texts()),
        }
    }
}

impl From<&RelativeRequest> for RouteSubject {
    fn from(request: &RelativeRequest) -> Self {
        let responses = [request.response_a.texts(), request.response_b.texts()];
        Self {
            kind: Kind::Relative,
            mode: request.options.mode,
            rubric: request.rubric(),
            texts: Texts::of_pair(&text(&request.item.instruction), responses.each_ref().map(String::as_str)),
        }
    }
}

/// An instruction as one text: the turns of a conversation, a line each; pictures have no text.
fn text(instruction: &Instruction) -> String {
    match instruction {
        Instruction::Text(text) => text.clone(),
        Instruction::Conversation(turns) => {
            turns.iter().map(|turn| turn.content.texts()).collect::<Vec<_>>().join("\n")
        }
    }
}

impl Panel {
    /// The only judge; `None` is a jury.
    #[must_use]
    pub fn judge(&self) -> Option<&Judge> {
        match self {
            Self::One(session) => Some(session.judge()),
            Self::Jury(_) => None,
        }
    }
}

impl RouteWish {
    /// Checks what is known before the judge is asked; `None` is a jury.
    ///
    /// # Errors
    /// If the router was made for something else.
    pub fn check(&self, subject: &RouteSubject, judge: Option<&Judge>) -> Result<(), CannotDecide> {
        let Some((router, file)) = self.file() else { return Ok(()) };
        let content = file.content();
        if content.kind != subject.kind {
            let (made_for, asked) = (content.kind, subject.kind);
            return Err(CannotDecide::Kind { router: router.name.clone(), made_for, asked });
        }
        if let Some(made_for) = content.made_for.mode.filter(|mode| *mode != subject.mode) {
            return Err(CannotDecide::Mode { router: router.name.clone(), made_for });
        }
        let of = |error| CannotDecide::Mismatch { router: router.name.clone(), error };
        if let Some(rubric) = &subject.rubric {
            content.made_for.check_rubric(&rubric.digest).map_err(of)?;
        }
        match judge {
            Some(judge) if !content.jury => {
                // The prompt is known later.
                let prompt = ("", content.made_for.prompt.as_str());
                content.made_for.check(&judge.engine().digest, prompt).map_err(of)
            }
            None if content.jury => Ok(()),
            _ => Err(CannotDecide::Jury { router: router.name.clone(), of_jury: content.jury }),
        }
    }

    /// Decides on a verdict.
    ///
    /// # Errors
    /// If the router was made for something else than what judged.
    pub fn decide(
        &self,
        subject: &RouteSubject,
        provenance: &Provenance,
        signals: Option<Signals>,
    ) -> Result<RoutedVerdict, CannotDecide> {
        let signals = signals.ok_or(CannotDecide::NoSignals)?;
        let Some((router, file)) = self.file() else {
            let score = signals.doubt(subject.kind == Kind::Relative);
            // Nothing is known of how scores are distributed.
            let human = self.cut.takes(score, |budget| 1.0 - budget);
            return Ok(RoutedVerdict { human, score, router: None });
        };
        let prompt = provenance.prompt.as_ref().map(|prompt| (prompt.name.as_str(), prompt.digest.as_str()));
        let checked = file.content().made_for.check(&provenance.model.digest, prompt.unwrap_or_default());
        checked.map_err(|error| CannotDecide::Mismatch { router: router.name.clone(), error })?;
        let score = file.score(&Observed { signals, texts: subject.texts });
        let human = self.cut.takes(score, |budget| file.threshold(budget));
        let router = NamedDigest { name: router.name.clone(), digest: file.digest().to_owned() };
        Ok(RoutedVerdict { human, score, router: Some(router) })
    }

    fn file(&self) -> Option<(&Router, &RouterFile)> {
        let router = self.router.as_deref()?;
        Some((router, &router.file.as_ref()?.1))
    }
}
