//! stub
/// How the model's chat template is rendered.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ChatFormat {
    pub template: Option<String>,
    pub bos: String,
    pub eos: String,
    pub control: Vec<String>,
    pub user_defined: Vec<String>,
}
