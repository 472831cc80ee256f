//! What came of reviews: how far labels agree, and labelled items.

use serde_json::{Value, json};

use super::{GivenLabel, Review, ReviewError, Reviews};
use crate::domain::consensus::{alpha, kappa, majority};
use crate::store::{Page, ReviewState};

/// Reviews of a page.
const PAGE: i64 = 100;

/// How far labels agree.
#[derive(Debug, Clone, PartialEq)]
pub struct ReviewAgreement {
    /// Reviews with a label.
    pub reviews: usize,
    /// Their labels.
    pub labels: usize,
    /// Krippendorff's alpha of the reviewers (nominal); `None` where no disagreement was possible.
    pub alpha: Option<f64>,
    /// Reviews on which the reviewers have a majority and the judge a verdict.
    pub judged: usize,
    /// The share of these on which both are the same; `None` of none.
    pub accuracy: Option<f64>,
    /// Cohen's kappa of both.
    pub kappa: Option<f64>,
}

impl Reviews {
    /// How far reviewers agree with each other and with the judge.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn agreement(&self) -> Result<ReviewAgreement, ReviewError> {
        let (mut given, mut pairs, mut place) = (Vec::new(), Vec::new(), None);
        while let Some(page) = self.next_page(&mut place).await? {
            for review in page {
                let own: Vec<String> = review.labels().into_iter().map(|given| given.label).collect();
                let most = majority(own.iter().map(String::as_str)).map(str::to_owned);
                pairs.extend(most.zip(review.judged()));
                given.push(own);
            }
        }
        given.retain(|labels| !labels.is_empty());
        let both: Vec<(&str, &str)> = pairs.iter().map(|(people, judge)| (people.as_str(), judge.as_str())).collect();
        let same = both.iter().filter(|(people, judge)| people == judge).count();
        Ok(ReviewAgreement {
            reviews: given.len(),
            labels: given.iter().map(Vec::len).sum(),
            alpha: alpha(given.iter().map(|labels| labels.iter().map(String::as_str).collect())),
            judged: both.len(),
            accuracy: (!both.is_empty()).then(|| same as f64 / both.len() as f64),
            kappa: kappa(&both),
        })
    }

    /// The next labelled items after a place, as JSON lines; `None` after the last. `place` moves on.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn exported(&self, place: &mut Option<String>) -> Result<Option<String>, ReviewError> {
        let page = self.next_page(place).await?;
        Ok(page.map(|page| page.iter().filter_map(Review::exported).collect()))
    }

    /// The next reviews, the oldest first.
    async fn next_page(&self, place: &mut Option<String>) -> Result<Option<Vec<Review>>, ReviewError> {
        let page = Page { after: place.as_deref(), limit: PAGE, newest_first: false };
        let found = self.list("", ReviewState::All, page).await?;
        let Some(last) = found.last() else { return Ok(None) };
        *place = Some(last.row.id.clone());
        Ok(Some(found))
    }
}

impl Review {
    /// What the judge says, as a label.
    fn judged(&self) -> Option<String> {
        let verdict: Value = serde_json::from_str(self.row.verdict.as_deref()?).ok()?;
        let label = verdict.get("preference").or_else(|| verdict.get("score")).filter(|label| !label.is_null())?;
        Some(label.as_str().map_or_else(|| label.to_string(), str::to_owned))
    }

    fn exported(&self) -> Option<String> {
        let labels = self.labels();
        let most = majority(labels.iter().map(|given| given.label.as_str()));
        // Reviewers who do not agree on a pair have no preference together.
        let label = match most {
            None if labels.is_empty() => return None,
            None if self.row.kind == "relative" => Value::from("tie"),
            None => return None,
            Some(label) => label.parse::<i64>().map_or_else(|_| Value::from(label), Value::from),
        };
        let mut item: Value = serde_json::from_str(&self.row.request).ok()?;
        item["id"] = self.row.id.clone().into();
        item["label"] = label;
        let labels: Vec<Value> = labels.iter().map(exported_label).collect();
        item["meta"] = json!({ "labels": labels, "judge": self.judged() });
        Some(format!("{item}\n"))
    }
}

fn exported_label(GivenLabel { reviewer, label, note, at }: &GivenLabel) -> Value {
    json!({"reviewer": reviewer, "label": label, "note": note, "at": at / 1000})
}
