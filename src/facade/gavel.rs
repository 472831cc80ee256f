//! A judge with its model, and how it is made.

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

/// A judge with its model, loaded and answering. A clone is the same judge; the last one that is dropped ends it.
///
/// It works inside a tokio runtime. Any number of requests may be awaited at once: they share the engine's batches, the
/// prefixes of their prompts and the verdict cache.
#[derive(Clone)]
pub struct Gavel {
    app: Arc<App>,
}

/// Makes a [`Gavel`]. What it does not say is as config.default.toml has it; the environment is not read unless
/// [`from_environment`](Self::from_environment) asks for it.
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
#[must_use = "it makes nothing until it is built"]
pub struct GavelBuilder {
    file: Option<PathBuf>,
    environment: bool,
    settings: Vec<(String, String)>,
    engine: Option<Arc<dyn Engine>>,
    progress: Option<Arc<dyn Progress>>,
}

impl Gavel {
    /// Begins to make one.
    pub fn builder() -> GavelBuilder {
        GavelBuilder::default()
    }

    /// One of settings that are known already. With an engine that runs, no model is loaded.
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

    /// What it is made of.
    pub(crate) fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Grades one response against a rubric. See [`Request`] for what it may say, and [`Absolute`](crate::Absolute) for
    /// what it gives.
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

    /// Says which of two responses is better, shown in both orders unless [`swap`](Request::swap) is switched off.
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

    /// Puts two or more responses in order, by comparisons or, with [`Method::Absolute`](crate::Method::Absolute), by
    /// their rewards.
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
    /// The model: an alias that `gavel models list` shows, the path of a GGUF file or of a folder of safetensors, or one
    /// on the hub (`hf:owner/name/file.gguf`). Without one it is the default judge of the build.
    pub fn model(self, model: impl Into<String>) -> Self {
        self.setting("model", model.into())
    }

    /// What runs the model. [`EngineChoice::Scripted`] needs none, and gives the same answer to everything.
    pub fn engine(self, engine: EngineChoice) -> Self {
        self.setting("engine", engine.name())
    }

    /// Judges with an engine of your own, which runs already, in place of a model; see [`extend`](crate::extend).
    pub fn own_engine(mut self, engine: impl Engine + 'static) -> Self {
        self.engine = Some(Arc::new(engine));
        self
    }

    /// Where rubrics (`rubrics/*.toml`) and prompt sets (`prompts/<set>/`) of your own live; without one, in the user's
    /// data folder.
    pub fn data_dir(self, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        self.setting("data_dir", folder.display())
    }

    /// Where models are kept; without one, in the user's cache folder.
    pub fn cache_dir(self, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        self.setting("cache_dir", folder.display())
    }

    /// Whether the network is never used: a model that is not there is an error then.
    pub fn offline(self, offline: bool) -> Self {
        self.setting("offline", offline)
    }

    /// Any key of config.default.toml, such as `llama_cpp.sequences`. It wins over file and environment; of one that is
    /// given twice the later one holds.
    pub fn setting(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Reads a file of settings as `gavel --config` does.
    pub fn config_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Reads the environment as the command line does: `GAVEL_…`, and the variables of the Hugging Face tools.
    pub fn from_environment(mut self) -> Self {
        self.environment = true;
        self
    }

    /// Hears how the model is fetched and loaded.
    pub fn progress(mut self, progress: impl Progress + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Gets the model, the first time from the network, starts its engine and tries it.
    ///
    /// # Errors
    /// [`Error::Config`] when the settings do not hold together, [`Error::Start`] when the model cannot be had or does
    /// not do.
    pub async fn build(self) -> Result<Gavel, Error> {
        let settings: Vec<(&str, String)> =
            self.settings.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        let load = if self.environment { Config::load } else { Config::without_environment };
        let config = load(self.file.as_deref(), &settings)?;
        Gavel::start(config, self.engine, self.progress.as_deref().unwrap_or(&())).await
    }
}
