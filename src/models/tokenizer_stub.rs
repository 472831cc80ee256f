//! STUB until the real one is merged.
use super::*;
use std::path::PathBuf;
/// The files of a tokenizer.
pub struct TokenizerFiles {
    /// Folder or GGUF file.
    pub path: PathBuf,
    /// Digest.
    pub digest: String,
    /// Name.
    pub name: String,
    /// Prompt set.
    pub prompt_set: Option<String>,
    /// Agreement.
    pub agreement: Option<String>,
}
impl ModelStore {
    /// Resolves.
    ///
    /// # Errors
    /// Not here.
    pub async fn resolve_tokenizer(
        &self,
        reference: &str,
        progress: &dyn Progress,
    ) -> Result<TokenizerFiles, ModelError> {
        let model = self.resolve(reference, progress).await?;
        Ok(TokenizerFiles {
            path: model.path,
            digest: model.digest,
            name: model.name,
            prompt_set: model.prompt_set,
            agreement: model.agreement,
        })
    }
}
