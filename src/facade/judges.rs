//! The judges of a request, unchecked.

use crate::domain::jury::{JurorSettings, JuryRules};

/// One model, or several judges with their rules.
#[derive(Debug, Clone, Default)]
pub(super) struct PanelChoice {
    pub(super) model: Option<String>,
    pub(super) jurors: Vec<JurorSettings>,
    pub(super) rules: JuryRules,
}
