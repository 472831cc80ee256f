//! A judge with its model, and its builder.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::Error;
use super::request::{ManyResponses, OneResponse, Request, TwoResponses};
use crate::app::App;
use crate::config::{Config, EngineChoice};
use crate::domain::Instruction;
use crate::engine::Engine;
use crate::models::Progress;

/// A judge with a loaded model. Clones share the judge, and dropping the last one shuts it down.
///
/// It needs a tokio runtime. Any number of requests may run at once: they share the engine's batches, the prefix cache
/// and the verdict cache.
#[derive(Clone)]
pub struct Gavel {
    app: Arc<App>,
}

/// Builds a [`Gavel`]. The defaults are those of config.default.toml. The environment is only read with
/// [`from_environment`](Self::from_environment).
///
/// ```
/// use gavel::{EngineChoice, Gavel};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), gavel::Error> {
/// let gavel = Gavel::builder()
///     .engine(EngineChoice::Scripted) // answers without a model, for tests and dry runs
///     .setting("grading.max_feedback_tokens", 128)
///     .build()
///     .await?;
/// # let _ = gavel;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
#[must_use = "the builder does nothing until `build` is called"]
pub struct GavelBuilder {
    file: Option<PathBuf>,
    environment: bool,
    settings: Vec<(String, String)>,
    engine: Option<Arc<dyn Engine>>,
    progress: Option<Arc<dyn Progress>>,
}

impl Gavel {
    /// Returns a builder.
    pub fn builder() -> GavelBuilder {
        GavelBuilder::default()
    }

    /// Builds from a loaded configuration. With a running engine, no model is loaded.
    pub(crate) async fn start(
        config: Config,
        engine: Option<Arc<dyn Engine>>,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let app = App::build(config)?;
        match engine {
            Some(engine) => app.host(engine, None)?,
            None => app.load(progress).await?,
        }
        Ok(Self { app })
    }

    /// The parts of the server.
    pub(crate) fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Grades one response by a rubric. See [`Request`] for the options, and [`Absolute`](crate::Absolute) for the
    /// result.
    ///
    /// ```
    /// # use gavel::{EngineChoice, Gavel};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), gavel::Error> {
    /// # let gavel = Gavel::builder().engine(EngineChoice::Scripted).build().await?;
    /// let graded = gavel
    ///     .absolute("Why is the sky blue?", "Because of the sea.")
    ///     .rubric("factual_validity")
    ///     .reference_answer("Air scatters blue light more than the other colours.")
    ///     .await?;
    /// println!("{:?}: {}", graded.verdict.score(), graded.verdict.feedback().unwrap_or_default());
    /// assert!((0.0..=1.0).contains(&graded.verdict.reward()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn absolute(&self, instruction: impl Into<Instruction>, response: impl Into<String>) -> Request<OneResponse> {
        Request::new(&self.app, instruction.into(), OneResponse { response: response.into() })
    }

    /// Compares two responses: both in one prompt, in both orders unless [`swap`](Request::swap) is false, or each graded
    /// alone. Which one is the model's own, unless [`method`](Request::method) says.
    ///
    /// ```
    /// # use gavel::{EngineChoice, Gavel};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), gavel::Error> {
    /// # let gavel = Gavel::builder().engine(EngineChoice::Scripted).build().await?;
    /// use gavel::Preference;
    ///
    /// let compared = gavel
    ///     .relative("Why is the sky blue?", "Because of the sea.", "Air scatters blue light most.")
    ///     .rubric("factual_validity")
    ///     .await?;
    /// match compared.verdict.preference() {
    ///     Preference::A => println!("the first one"),
    ///     Preference::B => println!("the second one"),
    ///     Preference::Tie => println!("neither; consistent: {:?}", compared.verdict.consistent()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn relative(
        &self,
        instruction: impl Into<Instruction>,
        response_a: impl Into<String>,
        response_b: impl Into<String>,
    ) -> Request<TwoResponses> {
        let of = TwoResponses { a: response_a.into(), b: response_b.into() };
        Request::new(&self.app, instruction.into(), of)
    }

    /// Ranks two or more responses by comparisons or, with [`Method::Absolute`](crate::Method::Absolute), by their
    /// rewards.
    ///
    /// ```
    /// # use gavel::{EngineChoice, Gavel};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), gavel::Error> {
    /// # let gavel = Gavel::builder().engine(EngineChoice::Scripted).build().await?;
    /// let answers = ["Because of the sea.", "Air scatters blue light most.", "It is not."];
    /// let ranked = gavel.rank("Why is the sky blue?", answers).rubric("factual_validity").await?;
    /// println!("the best one: {}", answers[ranked.verdict.ranking[0]]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn rank<R: Into<String>>(
        &self,
        instruction: impl Into<Instruction>,
        responses: impl IntoIterator<Item = R>,
    ) -> Request<ManyResponses> {
        let of = ManyResponses { responses: responses.into_iter().map(Into::into).collect() };
        Request::new(&self.app, instruction.into(), of)
    }
}

impl fmt::Debug for Gavel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gavel").field("models", &self.app.config.model_names()).finish_non_exhaustive()
    }
}

impl GavelBuilder {
    /// The model: an alias of `gavel models list`, the path of a GGUF file or of a folder of safetensors, or a file on
    /// the hub (`hf:owner/name/file.gguf`). Default: the default judge of the build.
    pub fn model(self, model: impl Into<String>) -> Self {
        self.setting("model", model.into())
    }

    /// The engine. [`EngineChoice::Scripted`] needs no model, and always gives the same answer.
    pub fn engine(self, engine: EngineChoice) -> Self {
        self.setting("engine", engine.name())
    }

    /// Uses your own running engine in place of a model; see [`extend`](crate::extend).
    pub fn own_engine(mut self, engine: impl Engine + 'static) -> Self {
        self.engine = Some(Arc::new(engine));
        self
    }

    /// Folder of your own rubrics (`rubrics/*.toml`) and prompt sets (`prompts/<set>/`). Default: the user's data
    /// folder.
    pub fn data_dir(self, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        self.setting("data_dir", folder.display())
    }

    /// Folder of downloaded models. Default: the user's cache folder.
    pub fn cache_dir(self, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        self.setting("cache_dir", folder.display())
    }

    /// Never use the network: a model that is not on disk is an error.
    pub fn offline(self, offline: bool) -> Self {
        self.setting("offline", offline)
    }

    /// Sets any key of config.default.toml, such as `llama_cpp.sequences`. It takes precedence over file and
    /// environment; the last value of a key is used.
    pub fn setting(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Reads a configuration file, as `gavel --config` does.
    pub fn config_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Reads the environment, as the command line does: `GAVEL_…` and the variables of the Hugging Face tools.
    pub fn from_environment(mut self) -> Self {
        self.environment = true;
        self
    }

    /// Receives the progress of downloading and loading the model.
    pub fn progress(mut self, progress: impl Progress + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Downloads the model if necessary, starts its engine, and runs the self-test.
    ///
    /// # Errors
    /// [`Error::Config`] if the settings are invalid, [`Error::Start`] if the model is not available or fails.
    pub async fn build(self) -> Result<Gavel, Error> {
        let settings: Vec<(&str, String)> =
            self.settings.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        let load = if self.environment { Config::load } else { Config::without_environment };
        let config = load(self.file.as_deref(), &settings)?;
        Gavel::start(config, self.engine, self.progress.as_deref().unwrap_or(&())).await
    }
}
