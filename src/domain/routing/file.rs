//! The file of a router: what it was made for, its parameters, the score behind each budget, and how good it was on what
//! was held out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::features::{Observed, RouteFeature};
use crate::domain::agreement::report::Figure;
use crate::domain::calibration::numeric::sigmoid;
use crate::domain::calibration::{DataSource, MadeFor};
use crate::domain::judgement::Kind;
use crate::domain::sealed::{self, Fault};

/// The version of the format.
const VERSION: u32 = 1;

/// A router, read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RouterFile {
    content: RouterContent,
    digest: String,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterContent {
    /// What it is.
    pub object: RouterObject,
    /// The version of the format, 1.
    pub version: u32,
    /// The verdicts that it routes.
    pub kind: Kind,
    /// Whose verdicts it routes.
    pub made_for: MadeFor,
    /// Whether these are verdicts of a jury; the digest of its model is then that of the jury.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub jury: bool,
    /// The model of disagreement.
    pub parameters: RouterParameters,
    /// The score from which on a share of the items goes to people: quantiles of the scores of items that were held out, by
    /// rising budget.
    pub thresholds: Vec<BudgetThreshold>,
    /// What it was made from.
    pub data: Vec<DataSource>,
    /// How good it is on items that it was not fitted to.
    pub held_out: RouterFigures,
    /// When it was made (RFC 3339).
    pub created: String,
}

/// What the file of a router is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouterObject {
    /// A router.
    #[serde(rename = "gavel.router")]
    Router,
}

/// Logistic regression: the probability that the judge disagrees with people is
/// sigmoid(intercept + sum of weight · (feature − mean) / scale).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterParameters {
    /// The ridge that it was fitted with.
    pub ridge: f64,
    /// The logit where every feature is at its mean.
    pub intercept: f64,
    /// The features.
    pub features: BTreeMap<RouteFeature, Standardised>,
}

/// A feature's part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standardised {
    /// Its mean over the items of the fit.
    pub mean: f64,
    /// Its standard deviation there; 1 where all are alike.
    pub scale: f64,
    /// Its weight.
    pub weight: f64,
}

/// A budget with its score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetThreshold {
    /// The share of items for people, above 0 and below 1.
    pub budget: f64,
    /// The score from which on items are among them.
    pub threshold: f64,
}

/// Figures on items whose instructions were not fitted to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterFigures {
    /// How many items.
    pub items: usize,
    /// The share of them on which the judge disagrees with people.
    pub disagreement: f64,
    /// The probability that an item on which the judge disagrees has a higher score than one on which it does not (area
    /// under the ROC curve); one half is chance.
    pub auc: f64,
    /// The mean squared distance of the score from disagreement.
    pub brier: f64,
    /// The area between the curves of the router and of random routing (docs/routing.md).
    pub area: Figure,
    /// The same of the score without a router.
    pub area_of_doubt: Figure,
}

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidRouter {
    /// It is not in the format.
    #[error("is not a router: {0}")]
    Format(String),
    /// The format has another version.
    #[error("has the version {0} of the format, and this program reads version {VERSION}")]
    Version(u32),
    /// A number is out of its range.
    #[error("{0}")]
    Range(&'static str),
    /// It was changed after it was made.
    #[error("was changed after it was made: its content has the digest {found}, and it says {said}; make it again")]
    Digest {
        /// What it says.
        said: String,
        /// What it is.
        found: String,
    },
}

impl From<Fault> for InvalidRouter {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Format(reason) => Self::Format(reason),
            Fault::Version(version) => Self::Version(version),
            Fault::Digest { said, found } => Self::Digest { said, found },
        }
    }
}

/// A file as it is written: its content, and the digest of that.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    content: &'a RouterContent,
    digest: &'a str,
}

impl RouterFile {
    /// A file of its content, whose numbers are rounded to the digits that a file keeps.
    ///
    /// # Errors
    /// When the content does not hold together.
    pub fn new(content: &RouterContent) -> Result<Self, InvalidRouter> {
        let value = serde_json::to_value(content).map_err(|error| InvalidRouter::Format(error.to_string()))?;
        Self::of_value(value)
    }

    /// Reads a file, strictly.
    ///
    /// # Errors
    /// With the place of what is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidRouter> {
        let (value, said) = sealed::opened(text, VERSION)?;
        let file = Self::of_value(value)?;
        sealed::compare(said, &file.digest)?;
        Ok(file)
    }

    fn of_value(mut value: Value) -> Result<Self, InvalidRouter> {
        let digest = sealed::sealed(&mut value);
        let content: RouterContent = sealed::content(value).map_err(InvalidRouter::Format)?;
        if content.version != VERSION {
            return Err(InvalidRouter::Version(content.version));
        }
        content.fault().map_or(Ok(()), |fault| Err(InvalidRouter::Range(fault)))?;
        Ok(Self { content, digest })
    }

    /// The text that [`RouterFile::parse`] reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        let written = Written { content: &self.content, digest: &self.digest };
        let mut text = serde_json::to_string_pretty(&written).expect("texts and finite numbers serialise");
        text.push('\n');
        text
    }

    /// What it says.
    #[must_use]
    pub fn content(&self) -> &RouterContent {
        &self.content
    }

    /// `sha256:<hex>` of its content but for `created`.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The probability that the judge disagrees with people.
    #[must_use]
    pub fn score(&self, observed: &Observed) -> f64 {
        self.content.parameters.score(observed)
    }

    /// The score from which on a share of the items goes to people, linear between the budgets of the file. It does not
    /// rise with the budget.
    #[must_use]
    pub fn threshold(&self, budget: f64) -> f64 {
        let known = self.content.thresholds.iter().map(|known| (known.budget, known.threshold));
        let mut before = (0.0, 1.0);
        for (share, score) in known.chain([(1.0, 0.0)]) {
            if budget <= share {
                let part = ((budget - before.0) / (share - before.0)).clamp(0.0, 1.0);
                return before.1 + part * (score - before.1);
            }
            before = (share, score);
        }
        0.0
    }
}

impl RouterContent {
    /// What is wrong with it, if anything is.
    fn fault(&self) -> Option<&'static str> {
        let RouterParameters { ridge, intercept, features } = &self.parameters;
        let numbers = features.values().all(|f| f.mean.is_finite() && f.weight.is_finite() && f.scale > 0.0);
        if !numbers || !ridge.is_finite() || !intercept.is_finite() || features.is_empty() {
            return Some("/parameters: intercept and features must be numbers, one feature at least, scales above 0");
        }
        if !features.keys().all(|feature| RouteFeature::all(self.kind).contains(feature)) {
            return Some("/parameters/features: has one that verdicts of this kind have not");
        }
        let good = |known: &BudgetThreshold| {
            known.budget > 0.0 && known.budget < 1.0 && (0.0..=1.0).contains(&known.threshold)
        };
        let ordered = self.thresholds.windows(2).all(|p| p[0].budget < p[1].budget && p[0].threshold >= p[1].threshold);
        (!ordered || !self.thresholds.iter().all(good))
            .then_some("/thresholds: budgets must rise between 0 and 1, and thresholds must not")
    }
}

impl RouterParameters {
    pub(super) fn score(&self, observed: &Observed) -> f64 {
        let part = |(feature, Standardised { mean, scale, weight }): (&RouteFeature, &Standardised)| {
            weight * (feature.of(observed) - mean) / scale
        };
        sigmoid(self.intercept + self.features.iter().map(part).sum::<f64>())
    }
}
