//! In place of eyes, in a build without the feature `vision`.

use std::path::Path;
use std::sync::Arc;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::model::LlamaModel;

use super::settings::Settings;
use crate::engine::scheduler::Slot;
use crate::pictures::Picture;
use crate::script::{Glance, Look, Unseen};

/// There are none.
pub(super) enum Eyes {}

impl Eyes {
    pub(super) fn load(_path: &Path, _model: &Arc<LlamaModel>, _settings: Settings) -> Result<Self, String> {
        Err("this build cannot load eyes; build it with the feature `vision`".to_owned())
    }

    pub(super) fn look(&self, _picture: &Picture) -> Result<Glance, Unseen> {
        match *self {}
    }

    pub(super) fn see(
        &self,
        _look: &Look,
        _position: usize,
        _slot: Slot,
        _context: &mut LlamaContext<'_>,
        _step_tokens: usize,
    ) -> Result<(), String> {
        match *self {}
    }
}
