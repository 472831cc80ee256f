//! Who judges a request, and the examples that they are shown.

use std::sync::Arc;

use super::super::judges::PanelChoice;
use super::Request;
use crate::domain::jury::{Combine, Judges, Juror, JurorSettings, Jury, JuryRules, Noise};
use crate::domain::{Annotator, Example, ExampleSet, InvalidRequest};

impl<T> Request<T> {
    /// The model that judges, if the configuration has several. Default: the first.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.panel.model = Some(name.into());
        self
    }

    /// Several judges in place of one model: 1 to 16 jurors, each a model of the configuration, or [`JurorSettings`] with
    /// a prompt set, an annotator (a text) or a weight of its own. Their verdicts become one; [`Graded::jury`] has those
    /// of the jurors.
    ///
    /// ```
    /// use gavel::{Combine, EngineChoice, Gavel, JurorSettings};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), gavel::Error> {
    /// let gavel = Gavel::builder().engine(EngineChoice::Scripted).build().await?;
    /// let by = |annotator: &str| JurorSettings { annotator: Some(annotator.into()), ..JurorSettings::default() };
    /// let graded = gavel
    ///     .absolute("Why is the sky blue?", "Because of the sea.")
    ///     .rubric("helpfulness")
    ///     .judges([by("A parent."), by("A physicist."), by("A teacher.")])
    ///     .combine(Combine::Majority)
    ///     .quorum(2)
    ///     .await?;
    /// let jury = graded.jury.expect("several judges were asked");
    /// assert_eq!(jury.jurors.len(), 3);
    /// assert_eq!((jury.spread, jury.kappa), (Some(0.0), Some(1.0)), "the scripted engine always says the same");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`Graded::jury`]: crate::Graded::jury
    pub fn judges(mut self, jurors: impl IntoIterator<Item = impl Into<JurorSettings>>) -> Self {
        self.panel.jurors = jurors.into_iter().map(Into::into).collect();
        self
    }

    /// How the verdicts of the jurors are combined. Default: weighted if a juror has a weight, else the mean.
    pub fn combine(mut self, combine: Combine) -> Self {
        self.panel.rules.combine = Some(combine);
        self
    }

    /// How many jurors must have a verdict. Default: more than half.
    pub fn quorum(mut self, quorum: usize) -> Self {
        self.panel.rules.quorum = Some(quorum);
        self
    }

    /// Label noise, which mimics how people differ.
    pub fn noise(mut self, noise: Noise) -> Self {
        self.panel.rules.noise = Some(noise);
        self
    }

    /// Graded examples that the judge is shown first: at least one, of the kind that the request is, by its one rubric.
    /// They are checked when the request runs.
    ///
    /// ```
    /// use gavel::{EngineChoice, Example, Gavel, JudgedExample};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), gavel::Error> {
    /// let gavel = Gavel::builder().engine(EngineChoice::Scripted).build().await?;
    /// let example = Example {
    ///     instruction: "Why is grass green?".into(),
    ///     reference_answer: None,
    ///     context: Vec::new(),
    ///     judged: JudgedExample::Response { response: "It is.".into(), score: 1 },
    ///     feedback: Some("The response gives no reason.".into()),
    /// };
    /// let request = gavel.absolute("Why is the sky blue?", "Because of the sea.").rubric("helpfulness");
    /// let prompts = request.examples([example]).prompts().await?;
    /// assert!(prompts[0].contains("The response gives no reason. [RESULT] 1"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn examples(mut self, examples: impl IntoIterator<Item = Example>) -> Self {
        self.examples = examples.into_iter().collect();
        self
    }

    /// The examples as a checked set; `None` without any.
    pub(super) fn example_set(&self) -> Result<Option<Arc<ExampleSet>>, InvalidRequest> {
        if self.examples.is_empty() {
            return Ok(None);
        }
        let set = ExampleSet::inline(self.examples.clone());
        let set = set.map_err(|error| InvalidRequest::at(format!("/examples{}", error.pointer), error.reason));
        Ok(Some(Arc::new(set?)))
    }

    /// The judges, with the models of the configuration.
    pub(super) fn chosen_judges(&self) -> Result<Judges, InvalidRequest> {
        let PanelChoice { model, jurors, rules } = &self.panel;
        if jurors.is_empty() {
            if *rules != JuryRules::default() {
                let reason = "combine, quorum and noise are for several judges";
                return Err(InvalidRequest::at("/judges", reason));
            }
            return Ok(Judges::One(model.clone()));
        }
        if model.is_some() {
            return Err(InvalidRequest::at("/model", "name one model, or several judges"));
        }
        let jurors = jurors.iter().cloned().map(|settings| {
            let hosted = self.app.hosted(settings.model.as_deref());
            let model = hosted.map_or_else(|| self.app.models().default_name(), str::to_owned);
            let annotator = settings.annotator.clone().filter(|text| !text.trim().is_empty()).map(Annotator::from);
            settings.seated(model, annotator)
        });
        Ok(Judges::Jury(Jury::new(None, jurors.collect::<Result<Vec<Juror>, _>>()?, *rules)?))
    }
}
