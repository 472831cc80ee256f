//! The names of the configured models.

use super::{Config, ConfigError, EngineChoice, ModelConfig};

impl Config {
    /// The names of the models in requests, the default one first.
    #[must_use]
    pub fn model_names(&self) -> Vec<String> {
        match (&self.models[..], self.engine) {
            ([], EngineChoice::Scripted) => vec!["scripted".to_owned()],
            // Until the server has said what it has.
            ([], EngineChoice::Remote) if self.model.is_empty() => vec!["remote".to_owned()],
            ([], _) => vec![crate::models::name_of(&self.model)],
            (models, _) => models.iter().map(ModelConfig::name).collect(),
        }
    }

    /// Checks that the models of judge models exist. A model that was `listed` in the file but replaced by the command
    /// line is not an error here: requests for it fail.
    pub(super) fn check_judges(&self, listed: Vec<String>) -> Result<(), ConfigError> {
        let known: Vec<String> = self.model_names().into_iter().chain(listed).collect();
        let mut wanted = self.judges.iter().filter_map(|judge| Some((judge, judge.model.as_ref()?)));
        match wanted.find(|(_, model)| !known.contains(model)) {
            None => Ok(()),
            Some((judge, model)) => {
                let (name, model, known) = (judge.name.clone(), model.clone(), self.model_names().join(", "));
                Err(ConfigError::Judges { name, model, known })
            }
        }
    }
}
