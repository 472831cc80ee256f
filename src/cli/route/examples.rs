//! Labelled items with what routing sees of them and of the verdicts on them.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::super::CliError;
use super::super::calibrate::examples::{Joined, Labels, share};
use super::super::calibrate::verdicts::{Body, Verdicts};
use crate::domain::routing::{Observed, RouteExample, Signals, Texts};
use crate::domain::{Kind, Preference, Scale};
use crate::labelled::{DataError, Labelled, LabelledItem};

/// What a verdict says.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Judged {
    signals: Signals,
    answer: Answer,
    jury: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Score { score: i32, scale: Scale },
    Pair(Preference),
}

/// Labelled verdicts.
pub(super) struct Gathered {
    pub(super) kind: Kind,
    pub(super) examples: Vec<RouteExample>,
    pub(super) joined: Joined,
    /// Whether a jury judged.
    pub(super) jury: bool,
    /// Pairs of which people prefer neither: nothing there says whether the judge is right.
    ties: usize,
}

impl Gathered {
    /// Joins items with verdicts.
    ///
    /// # Errors
    /// With the line that is wrong; when no item has a verdict, or none says whether the judge is right.
    pub(super) fn of(labels: Labels, verdicts: &[PathBuf]) -> Result<Self, CliError> {
        let kind = labels.kind();
        let (mut examples, mut ties, mut jury) = (Vec::new(), 0, false);
        let joined = labels.join(Verdicts::read(verdicts, kind, judged)?, |item, judged, _| {
            jury = judged.jury;
            match right(&item, judged.answer)? {
                None => ties += 1,
                Some(right) => examples.push(RouteExample {
                    observed: Observed { signals: judged.signals, texts: texts(kind, &item.body) },
                    right,
                    instruction: item.instruction,
                }),
            }
            Ok(())
        })?;
        if examples.is_empty() {
            return Err(CliError::Failed(
                "every label is a tie, which says nothing of which response is better".into(),
            ));
        }
        Ok(Self { kind, examples, joined, jury, ties })
    }

    /// How many items there are, and how many are left out.
    pub(super) fn summary(&self) -> String {
        let what = match self.kind {
            Kind::Absolute => "scores",
            Kind::Relative => "pairs",
        };
        let Joined { without_verdict, unlabelled, failed, .. } = &self.joined;
        let with = self.examples.len();
        let mut text =
            format!("{with} labelled {what} with a verdict, {without_verdict} without; {failed} lines have an error\n");
        // Writing to a text does not fail.
        if *unlabelled > 0 {
            let _ = writeln!(text, "items without a label, left out: {unlabelled}");
        }
        if self.ties > 0 {
            let _ = writeln!(text, "labels that are ties, left out: {}", self.ties);
        }
        text
    }
}

fn judged(body: &Body, kind: Kind) -> Result<Judged, String> {
    let (signals, answer) = match kind {
        Kind::Absolute => {
            let (scale, probabilities) = body.levels()?;
            let score = body.score.ok_or("has no score")?;
            (Signals::of_score(&probabilities, body.label_mass, body.spread), Answer::Score { score, scale })
        }
        Kind::Relative => {
            let preference = body.preference.ok_or("has no preference")?;
            let probability_a = body.probability_a().filter(|p| (0.0..=1.0).contains(p));
            let probability_a = probability_a.ok_or("has no probability_a between 0 and 1")?;
            let orders = body.orders().map(|orders| orders.map(|order| order.probability_a));
            let flipped = body.consistent == Some(false);
            let signals = Signals::of_pair(probability_a, body.label_mass, orders, flipped, body.spread);
            (signals, Answer::Pair(preference))
        }
    };
    Ok(Judged { signals, answer, jury: body.is_of_jury() })
}

/// How far the judge is right: 1, 0, or one half for a tie where people prefer one; `None` where people prefer neither.
fn right(item: &LabelledItem, answer: Answer) -> Result<Option<f64>, CliError> {
    match (answer, &item.labelled) {
        (Answer::Score { score, scale }, Labelled::Score { label, scale: of_label, .. }) => {
            let label = share(&item.place, *label, of_label.unwrap_or(scale))?;
            let most = (scale.levels() - 1) as f64;
            let nearest = |share: f64| (share * most).round();
            Ok(Some(f64::from(u8::from(nearest(scale.fraction(f64::from(score))) == nearest(label)))))
        }
        (Answer::Pair(_), Labelled::Pair { label: Preference::Tie, .. }) => Ok(None),
        (Answer::Pair(Preference::Tie), Labelled::Pair { .. }) => Ok(Some(0.5)),
        (Answer::Pair(preference), Labelled::Pair { label, .. }) => Ok(Some(f64::from(u8::from(preference == *label)))),
        _ => Err(DataError::at(&item.place, "is not of the kind of its verdict").into()),
    }
}

/// What the texts of a request are like.
fn texts(kind: Kind, body: &Map<String, Value>) -> Texts {
    let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default();
    let instruction = match body.get("messages").and_then(Value::as_array) {
        Some(turns) => turns.iter().filter_map(|turn| turn["content"].as_str()).collect::<Vec<_>>().join("\n"),
        None => text("instruction").to_owned(),
    };
    match kind {
        Kind::Absolute => Texts::of_response(&instruction, text("response")),
        Kind::Relative => Texts::of_pair(&instruction, [text("response_a"), text("response_b")]),
    }
}
