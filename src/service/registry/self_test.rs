//! The self-test of a model before it counts as loaded: renders prompts, checks that they fit, and runs a judgement.

use std::collections::BTreeMap;

use crate::domain::{Instruction, Item, Kind, Mode, Rubric};
use crate::engine::{Engine, EngineError, EngineInfo, Job};
use crate::prompts::{ChatFormat, PromptError, PromptSet, Renderer, Said, Subject};
use crate::script::{SamplerSettings, StepError};

/// Why a model failed its self-test.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// Its prompts cannot be rendered, usually because of its chat template.
    #[error("the prompt set `{set}` cannot be rendered for this model: {cause}")]
    Render {
        /// The prompt set.
        set: String,
        /// The reason.
        cause: PromptError,
    },
    /// Its context is too small even for the prompt of a minimal request.
    #[error("the context of a sequence is too small for a judgement: {cause} {remedy}")]
    Context {
        /// The overflow, with the token counts.
        cause: EngineError,
        /// The setting that makes the context larger.
        remedy: &'static str,
    },
    /// Its first judgement failed.
    #[error("its first judgement failed: {0}")]
    Engine(EngineError),
    /// The logits of its first judgement are not finite.
    #[error(
        "the logits of its first judgement are not numbers (NaN): the file is damaged, or the engine does not compute this model \
         on this device; `gavel models verify` and `gavel doctor` say which"
    )]
    NotNumbers,
}

/// A minimal request.
struct Sample {
    item: Item,
    rubric: Rubric,
}

impl Sample {
    fn new() -> Self {
        let levels: BTreeMap<String, String> =
            (1..=5).map(|level| (level.to_string(), format!("The response is worth {level}."))).collect();
        let rubric = Rubric::new("Is the response good?", &levels).expect("five scores, each described");
        let instruction = Instruction::Text("Say hello.".to_owned());
        Self { item: Item { instruction, reference_answer: None, context: Vec::new(), annotator: None }, rubric }
    }

    /// The sample in absolute and in relative grading.
    fn subjects(&self) -> [Subject<'_>; 2] {
        let Self { item, rubric } = self;
        let (first, second) = (Said::Text("Hello."), Said::Text("Hello!"));
        let (first_field, second_field) = ("response_a", "response_b");
        [
            Subject::Absolute { item, response: first, rubric },
            Subject::Relative { item, first, second, first_field, second_field, rubric },
        ]
    }
}

/// Renders a prompt of each kind and mode that the set supports.
///
/// # Errors
/// [`SelfTestError::Render`].
pub(super) fn check_prompts(set: &PromptSet, chat: &ChatFormat) -> Result<(), SelfTestError> {
    jobs(set, chat, &[Mode::Feedback, Mode::Score], 1).map(drop)
}

/// Runs one judgement, with one token of feedback, and of thoughts if there are any, if that fits. This also puts the common prefix of prompts with
/// feedback into the engine's prefix cache, if it has one. Warns if the context is too small for `feedback` tokens of
/// feedback, the default limit of requests.
///
/// # Errors
/// When a prompt does not fit, the engine fails, or its logits are not finite.
pub(super) async fn warm_up(engine: &dyn Engine, set: &PromptSet, feedback: usize) -> Result<(), SelfTestError> {
    let (chat, info) = (engine.chat_format(), engine.info());
    let score = jobs(set, chat, &[Mode::Score], feedback)?;
    let mut ready = Vec::new();
    for job in score {
        ready.push(engine.compile(job).map_err(|error| refused(error, info))?);
    }
    for job in jobs(set, chat, &[Mode::Feedback], feedback)? {
        if let Err(cause @ EngineError::ContextOverflow { .. }) = engine.compile(job) {
            let (model, remedy) = (&info.model, remedy(info));
            tracing::warn!(model, "requests with the default max_feedback_tokens do not fit: {cause} {remedy}");
        }
    }
    let with_feedback = jobs(set, chat, &[Mode::Feedback], 1)?.into_iter().next();
    let with_feedback = with_feedback.map(|job| Job { script: job.script.thinking_at_most(1), ..job });
    let with_feedback = with_feedback.and_then(|job| engine.compile(job).ok());
    // A set supports one kind at least.
    let Some(first) = with_feedback.or_else(|| ready.into_iter().next()) else { return Ok(()) };
    match engine.start(first).finish(drop).await {
        Ok(_) => Ok(()),
        Err(EngineError::Step(StepError::BadLogits)) => Err(SelfTestError::NotNumbers),
        Err(error) => Err(SelfTestError::Engine(error)),
    }
}

/// The jobs of the sample in these modes, of each kind that the set supports.
fn jobs(set: &PromptSet, chat: &ChatFormat, modes: &[Mode], feedback: usize) -> Result<Vec<Job>, SelfTestError> {
    let (renderer, sample) = (Renderer::new(chat.clone()), Sample::new());
    let mut jobs = Vec::new();
    for subject in sample.subjects() {
        for mode in modes {
            let prompt = match renderer.render(set, &subject, *mode) {
                Ok(rendered) => rendered.prompt,
                Err(PromptError::NoKind { .. }) => continue,
                Err(cause) => return Err(SelfTestError::Render { set: set.name().to_owned(), cause }),
            };
            let (kind, scale) = match subject {
                Subject::Absolute { rubric, .. } => (Kind::Absolute, Some(rubric.scale())),
                Subject::Relative { .. } | Subject::Reading(_) => (Kind::Relative, None),
            };
            let script = set.script(kind, *mode, scale, feedback, 0);
            let sampling = SamplerSettings { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 0 };
            jobs.push(Job { prompt, script, sampling, deterministic: false });
        }
    }
    Ok(jobs)
}

fn refused(error: EngineError, info: &EngineInfo) -> SelfTestError {
    match error {
        EngineError::ContextOverflow { .. } => SelfTestError::Context { cause: error, remedy: remedy(info) },
        error => SelfTestError::Engine(error),
    }
}

/// The setting that makes the context of a sequence larger.
fn remedy(info: &EngineInfo) -> &'static str {
    match info.engine {
        "llama-cpp" => {
            "A sequence has llama_cpp.kv_tokens / llama_cpp.sequences tokens (at most the model's context): raise the \
             first, or lower the second."
        }
        "mistralrs" => "mistralrs.kv_tokens limits a sequence (at most the model's context): raise it.",
        _ => "Use a model with a longer context.",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::scripted::{Answer, Scripted};
    use crate::engine::{Compiled, Load, Run, check_fit};
    use crate::prompts::PromptLibrary;

    fn library() -> PromptLibrary {
        PromptLibrary::load(None).unwrap()
    }

    fn with_template(template: &str) -> ChatFormat {
        ChatFormat { template: Some(template.to_owned()), ..ChatFormat::default() }
    }

    /// The scripted engine with another context.
    struct Narrow(Scripted, EngineInfo);

    impl Narrow {
        fn new(context: usize) -> Self {
            let engine = Scripted::fixed(Duration::ZERO);
            let info = EngineInfo { engine: "llama-cpp", context, ..engine.info().clone() };
            Self(engine, info)
        }
    }

    impl Engine for Narrow {
        fn info(&self) -> &EngineInfo {
            &self.1
        }

        fn chat_format(&self) -> &ChatFormat {
            self.0.chat_format()
        }

        fn compile(&self, job: Job) -> Result<Compiled, EngineError> {
            let compiled = self.0.compile(job)?;
            check_fit(&self.1, compiled.prompt_tokens, &compiled.job.script)?;
            Ok(compiled)
        }

        fn start(&self, compiled: Compiled) -> Run {
            self.0.start(compiled)
        }

        fn load(&self) -> Load {
            self.0.load()
        }
    }

    #[test]
    fn a_template_that_cannot_be_rendered_is_named() {
        let library = library();
        let fine = "{% for m in messages %}<s>{{ m.role }} {{ m.content }}{% endfor %}";
        let broken = [
            ("{{ messages | nosuchfilter }}", "nosuchfilter"),
            ("{% for m in messages %}{{ m.content ", "line"),
            ("{% for m in messages %}{{ m.content[:5] }}{% endfor %}", "the user turn"),
            ("{{ raise_exception('never') }}", "never"),
        ];
        for set in library.names().filter_map(|name| library.get(name)) {
            check_prompts(set, &with_template(fine)).unwrap();
            check_prompts(set, &ChatFormat::default()).unwrap();
            for (template, why) in broken {
                let error = check_prompts(set, &with_template(template)).unwrap_err();
                assert!(matches!(error, SelfTestError::Render { .. }), "{error}");
                let said = error.to_string();
                assert!(said.contains(set.name()) && said.contains("chat template") && said.contains(why), "{said}");
            }
        }
    }

    #[tokio::test]
    async fn one_judgement_is_run_and_its_failure_named() {
        let library = library();
        let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        for set in library.names().filter_map(|name| library.get(name)) {
            let runs = std::sync::Arc::clone(&count);
            let before = count.load(std::sync::atomic::Ordering::SeqCst);
            let engine = Scripted::new(move |job| {
                assert!(!job.deterministic, "what runs alone leaves no prefix");
                runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                Answer::default()
            });
            warm_up(&engine, set, 512).await.unwrap();
            assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), before + 1);
        }
        let plain = library.get("plain").unwrap();
        let failing = Scripted::new(|_| Answer { fail: Some("the device is gone".into()), ..Answer::default() });
        let error = warm_up(&failing, plain, 512).await.unwrap_err();
        assert!(error.to_string().contains("the device is gone"), "{error}");
        let nowhere = Scripted::new(|_| Answer { masses: Some(vec![f64::NAN; 5]), ..Answer::default() });
        let error = warm_up(&nowhere, plain, 512).await.unwrap_err();
        assert!(matches!(error, SelfTestError::NotNumbers), "{error}");
    }

    #[tokio::test]
    async fn a_context_without_room_is_an_error_that_says_what_to_set() {
        let library = library();
        let plain = library.get("plain").unwrap();
        let error = warm_up(&Narrow::new(20), plain, 512).await.unwrap_err().to_string();
        for part in ["20 minus", "llama_cpp.kv_tokens", "llama_cpp.sequences"] {
            assert!(error.contains(part), "{error}");
        }
        // Score mode fits; that feedback does not is a warning.
        warm_up(&Narrow::new(512), plain, 512).await.unwrap();
    }
}
