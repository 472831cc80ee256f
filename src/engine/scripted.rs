//! The scripted engine: answers from a table, a file or a closure instead of a model.
//!
//! For tests and dry runs. By default it answers every `Choose` with a fixed, uneven distribution and every `Generate`
//! with a fixed sentence.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;

use super::{
    Compiled, Completion, Engine, EngineError, EngineInfo, Event, Eyes, Job, Load, LoadError, Run, Stages, check_fit,
    check_grammars, check_length,
};
use crate::domain::fair_queue::Flow;
use crate::domain::{Finish, MassKind, TokenLogprob};
use crate::pictures::Shown;
use crate::prompts::ChatFormat;
use crate::script::{
    CompiledScript, Constraint, Encoded, Glance, Grammar, Grammars, Look, Outcome, Prompt, Script, Step, StepError,
    Token, Transcript, Unseen, UnseenPicture, Vocabulary, stop,
};

/// The scripted answer to a job.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    /// Applies to prompts that contain this text; the first matching answer is used.
    pub when: String,
    /// The text of every `Generate`; one with a grammar that it does not match writes a short text that does.
    pub say: Option<String>,
    /// The same for what a reasoning judge thinks first; default: `say`.
    pub think: Option<String>,
    /// The probability mass of each option of a `Choose`; missing ones are 0. Their sum is at most 1. A value that is
    /// not finite simulates invalid logits.
    pub masses: Option<Vec<f64>>,
    /// The same for the choices of each branch, in order; default: `masses`.
    pub branches: Vec<Vec<f64>>,
    /// Time of the answer.
    pub delay_ms: u64,
    /// Fail with this reason.
    pub fail: Option<String>,
    /// End without a result, as an engine that dies does.
    pub disconnect: bool,
    /// Write the first word, and then wait until the caller disconnects.
    pub hold: bool,
}

type Answers = dyn Fn(&Job) -> Answer + Send + Sync;

/// An engine without a model.
pub struct Scripted {
    info: EngineInfo,
    chat: ChatFormat,
    answers: Box<Answers>,
    bytes: Arc<Bytes>,
    running: Arc<AtomicUsize>,
    eyes: bool,
}

const SENTENCE: &str = "The response addresses the instruction, but it leaves out what the rubric asks for most.";
/// Maximum length of a word that counts as one token, in bytes: about the longest tokens of real vocabularies.
const LONGEST_WORD: usize = 256;
/// Number of tokens of a picture.
const PICTURE_TOKENS: usize = 64;
/// The probability of other words in the default answers.
const ELSEWHERE: f64 = 0.1;

impl Scripted {
    /// An engine with answers from a closure.
    pub fn new(answers: impl Fn(&Job) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            info: EngineInfo {
                engine: "scripted",
                model: "scripted".into(),
                digest: format!("sha256:{:064}", 0),
                context: 8192,
                sequences: 1024,
                device: "none",
                threads: None,
            },
            chat: ChatFormat {
                template: Some(
                    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                     {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
                        .into(),
                ),
                bos: "<|im_start|>".into(),
                eos: "<|im_end|>".into(),
                control: vec!["<|im_start|>".into(), "<|im_end|>".into()],
                user_defined: Vec::new(),
            },
            answers: Box::new(answers),
            bytes: Arc::default(),
            running: Arc::default(),
            eyes: true,
        }
    }

    /// The same without eyes: it refuses pictures.
    #[must_use]
    pub fn blind(mut self) -> Self {
        self.eyes = false;
        self
    }

    /// The same with another model name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.info.model);
        self
    }

    /// An engine that always gives the default answer after a delay.
    #[must_use]
    pub fn fixed(delay: Duration) -> Self {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Self::new(move |_| Answer { delay_ms, ..Answer::default() })
    }

    /// An engine with answers from a TOML file of `[[answer]]` tables; the default answer if none matches.
    ///
    /// # Errors
    /// If the file cannot be read or is invalid.
    pub fn from_file(path: &Path, delay: Duration) -> Result<Self, LoadError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            answer: Vec<Answer>,
        }
        let fail = |reason: String| LoadError::Script(format!("{}: {reason}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
        let file: File = toml::from_str(&text).map_err(|e| fail(e.to_string()))?;
        let wrong = |m: &Vec<f64>| m.iter().any(|p| !(0.0..=1.0).contains(p)) || m.iter().sum::<f64>() > 1.0 + 1e-9;
        if file.answer.iter().flat_map(|a| a.masses.iter().chain(&a.branches)).any(wrong) {
            return Err(fail("masses are probabilities, at most 1 in all".into()));
        }
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Ok(Self::new(move |job| {
            let prompt = job.prompt.text();
            let fitting = file.answer.iter().find(|a| prompt.contains(&a.when)).cloned();
            let answer = fitting.unwrap_or_default();
            Answer { delay_ms: answer.delay_ms.max(delay_ms), ..answer }
        }))
    }
}

impl Scripted {
    /// Pictures take equally many tokens, and are seen as what mentions them in the text of the prompt.
    fn looks(&self, prompt: &Prompt) -> Result<Vec<Look>, UnseenPicture> {
        let look = |Shown { picture, pointer }: &Shown| match self.eyes {
            true => {
                let glance = Glance { id: -1, tokens: PICTURE_TOKENS, positions: PICTURE_TOKENS };
                Ok(Look { at: 0, glance, picture: Arc::clone(picture) })
            }
            false => Err(UnseenPicture { pointer: Arc::clone(pointer), reason: Unseen::NoEyes }),
        };
        prompt.pictures().map(look).collect()
    }
}

impl Engine for Scripted {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn chat_format(&self) -> &ChatFormat {
        &self.chat
    }

    /// Counts words instead of tokens.
    fn compile(&self, job: Job) -> Result<Compiled, EngineError> {
        job.script.check()?;
        check_grammars(&job.script, &*self.bytes)?;
        check_length(&self.info, &job, LONGEST_WORD)?;
        let looks = self.looks(&job.prompt)?;
        let prompt_tokens = words(&job.prompt.text()) + looks.iter().map(|look| look.glance.tokens).sum::<usize>();
        check_fit(&self.info, prompt_tokens, &job.script)?;
        let encoded = Encoded { looks, ..Encoded::default() };
        Ok(Compiled {
            job,
            encoded,
            script: CompiledScript::default(),
            prompt_tokens,
            flow: Flow::default(),
            deadline: None,
        })
    }

    fn eyes(&self) -> Option<Eyes> {
        self.eyes.then(|| Eyes { digest: self.info.digest.clone() })
    }

    fn start(&self, compiled: Compiled) -> Run {
        let (events, run) = Run::channel();
        let answer = (self.answers)(&compiled.job);
        if answer.delay_ms == 0 && !answer.hold {
            reply(&answer, &compiled, &self.bytes, &events, Instant::now());
            return run;
        }
        let (guard, bytes) = (Running::new(&self.running), Arc::clone(&self.bytes));
        tokio::spawn(async move {
            let (_guard, started) = (guard, Instant::now());
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(answer.delay_ms)) => {}
                () = events.closed() => return,
            }
            if answer.hold {
                let _ = events.send(Event::Delta("The".into()));
                events.closed().await;
            } else {
                reply(&answer, &compiled, &bytes, &events, started);
            }
        });
        run
    }

    fn load(&self) -> Load {
        Load { running: self.running.load(Ordering::Relaxed), ..Load::default() }
    }
}

/// Counts a job as running until it is dropped.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn reply(answer: &Answer, compiled: &Compiled, bytes: &Bytes, events: &UnboundedSender<Event>, started: Instant) {
    if answer.disconnect {
        return;
    }
    let event = match &answer.fail {
        Some(reason) => Event::Failed(EngineError::Failed(reason.clone())),
        None if answer.masses.iter().flatten().any(|mass| !mass.is_finite()) => {
            Event::Failed(StepError::BadLogits.into())
        }
        None => {
            let transcript = play(&compiled.job.script, &compiled.job.prompt.text(), answer, bytes, &mut |text| {
                let _ = events.send(Event::Delta(text.to_owned()));
            });
            let stages = Stages { decode: started.elapsed(), ..Stages::default() };
            let prompt_tokens = compiled.prompt_tokens;
            Event::Done(Box::new(Completion { transcript, prompt_tokens, cached_tokens: 0, stages }))
        }
    };
    let _ = events.send(event);
}

fn play(script: &Script, prompt: &str, answer: &Answer, bytes: &Bytes, on_text: &mut dyn FnMut(&str)) -> Transcript {
    let mut transcript = Transcript::default();
    for step in &script.0 {
        let outcome = match step {
            Step::PromptLogprobs(most) => {
                transcript.prompt_logprobs = prompt.split_inclusive(' ').map(|word| certain(word, *most)).collect();
                transcript
                    .prompt_logprobs
                    .first_mut()
                    .into_iter()
                    .for_each(|first| (first.logprob, first.top) = (None, Vec::new()));
                Outcome::PromptLogprobs
            }
            Step::Say(text) => {
                transcript.answer.push_str(text);
                Outcome::Said
            }
            Step::Generate(generate) => {
                let thought = answer.think.as_deref().filter(|_| generate.thoughts);
                let own = thought.or(answer.say.as_deref());
                let fitting = generate.grammar.as_ref().map(|grammar| match own {
                    Some(say) if bytes.fits(grammar, say) => say.to_owned(),
                    _ => bytes.shortest(grammar),
                });
                let said = fitting.as_deref().or(own).unwrap_or(SENTENCE);
                let stop = stop::find(said, generate);
                let said = said[..stop.unwrap_or(said.len())].trim_end();
                let kept: Vec<&str> = said.split_inclusive(' ').take(generate.max_tokens).collect();
                let written = kept.concat();
                let finish = if written.trim_end().len() < said.len() { Finish::Length } else { Finish::Stop };
                let text = format!("{}{}", generate.begin, written.trim_end());
                if !generate.thoughts {
                    text.split_inclusive(' ').for_each(&mut *on_text);
                }
                transcript.completion_tokens += kept.len();
                if let Some(most) = generate.logprobs {
                    transcript.output_logprobs.extend(text.split_inclusive(' ').map(|word| certain(word, most)));
                }
                transcript.answer.push_str(&text);
                Outcome::written(generate.thoughts, text, finish)
            }
            Step::Choose(options) => {
                let total = (options.len() * (options.len() + 1) / 2) as f64;
                let mass = |i: usize| match &answer.masses {
                    Some(masses) => masses.get(i).copied().unwrap_or(0.0),
                    None => (1.0 - ELSEWHERE) * (i + 1) as f64 / total,
                };
                let log_masses: Vec<f64> = (0..options.len()).map(|i| mass(i).ln()).collect();
                let index = (1..options.len()).fold(0, |best, i| if mass(i) > mass(best) { i } else { best });
                transcript.completion_tokens += 1;
                transcript.answer.push_str(&options[index]);
                Outcome::Chosen { index, log_masses, mass: MassKind::Exact }
            }
            Step::Branch(scripts) => {
                let branch = |(index, script): (usize, &Script)| {
                    let masses = answer.branches.get(index).or(answer.masses.as_ref()).cloned();
                    play(script, prompt, &Answer { masses, ..answer.clone() }, bytes, &mut |_| ())
                };
                let branches: Vec<Transcript> = scripts.iter().enumerate().map(branch).collect();
                transcript.completion_tokens += branches.iter().map(|b| b.completion_tokens).sum::<usize>();
                Outcome::Branched(branches)
            }
        };
        transcript.outcomes.push(outcome);
    }
    transcript
}

/// A word without alternatives.
fn certain(word: &str, most: usize) -> TokenLogprob {
    let bytes = word.as_bytes().to_vec();
    TokenLogprob { top: vec![(bytes.clone(), 0.0); most.min(1)], bytes, logprob: Some(0.0) }
}

/// A vocabulary of single bytes, for grammars; the last token ends the turn.
#[derive(Default)]
struct Bytes {
    grammars: OnceLock<Result<Grammars, String>>,
}

/// Maximum number of bytes of structured output.
const LONGEST: usize = 1 << 16;

impl Vocabulary for Bytes {
    fn size(&self) -> usize {
        usize::from(u8::MAX) + 2
    }

    fn tokenize(&self, text: &str) -> Vec<Token> {
        text.bytes().map(Token::from).collect()
    }

    fn control(&self, _text: &str) -> Option<Token> {
        None
    }

    fn piece(&self, token: Token) -> Vec<u8> {
        u8::try_from(token).into_iter().collect()
    }

    fn longest_piece(&self) -> usize {
        1
    }

    fn ends_turn(&self, token: Token) -> bool {
        token > Token::from(u8::MAX)
    }

    fn adds_space(&self) -> bool {
        false
    }

    fn begin(&self) -> Option<Token> {
        None
    }

    fn constrain(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, String> {
        let end = Token::from(u8::MAX) + 1;
        let new = || Grammars::new(self.size(), |token| self.piece(token), end);
        self.grammars.get_or_init(new).as_ref().map_err(String::clone)?.begin(grammar)
    }
}

impl Bytes {
    /// Whether a text matches a grammar, from its beginning to its end.
    fn fits(&self, grammar: &Grammar, text: &str) -> bool {
        let Ok(mut constraint) = self.constrain(grammar) else { return false };
        let likes = vec![0.0_f32; self.size()];
        let end = self.size() - 1;
        for (at, byte) in text.bytes().enumerate() {
            let allowed = constraint.masked(&likes);
            if !allowed.is_some_and(|allowed| allowed[usize::from(byte)].is_finite()) {
                return false;
            }
            if constraint.accept(Token::from(byte)) {
                return at + 1 == text.len();
            }
        }
        constraint.masked(&likes).is_some_and(|allowed| allowed[end].is_finite())
    }

    /// A short text that matches a grammar: prefers bytes that end or close it, or a question in it, else the first
    /// allowed byte.
    fn shortest(&self, grammar: &Grammar) -> String {
        let Ok(mut constraint) = self.constrain(grammar) else { return String::new() };
        let mut likes = vec![0.0_f32; self.size()];
        likes.iter_mut().enumerate().for_each(|(byte, like)| *like = -(byte as f32));
        for (rank, byte) in b"\"?}],".iter().enumerate() {
            likes[usize::from(*byte)] = 9.0 - rank as f32;
        }
        if let Some(end) = likes.last_mut() {
            *end = 10.0;
        }
        let mut text = Vec::new();
        while let (true, Some(allowed)) = (text.len() < LONGEST, constraint.masked(&likes)) {
            let best = (1..allowed.len()).fold(0, |best, byte| if allowed[byte] > allowed[best] { byte } else { best });
            let Ok(byte) = u8::try_from(best) else { break };
            text.push(byte);
            if constraint.accept(Token::from(byte)) {
                break;
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}
