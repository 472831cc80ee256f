//! Runs a script by questions to a server that has the model, instead of by logits.
//!
//! A [`Walk`] is pure: it says what to ask ([`Ask`]) and takes the answers. It gives the same transcript as a
//! [`Machine`](super::Machine) whose logits are the server's.

use std::sync::Arc;

use super::cursor::{Choosing, Cursor, Need};
use super::prompt::Encoded;
use super::writing::{Read, Writing};
use super::{CompiledScript, Generate, StepError, Token, Transcript, Vocabulary};
use crate::domain::{Finish, MassKind, TokenLogprob};

/// Inner nodes of option trees with less than this share of the mass of all options are skipped: each costs a read.
const RARE: f64 = 1e-4;
/// The number of inner nodes after the first that are read together with it, where one request reads several.
const FEW: usize = 4;

/// What a walk asks of the server. All of it is about the context [`Walk::ids`].
#[derive(Debug)]
pub enum Ask {
    /// Generate text: pass its tokens to [`Walk::on_token`] or its text to [`Walk::on_text`], then call
    /// [`Walk::on_end`].
    Generate,
    /// Read log probabilities after the context and the path of each node; answer with [`Walk::on_readings`]. Or answer
    /// the whole choice ([`Walk::options`]) with [`Walk::on_masses`].
    Read(Vec<NodeAsk>),
    /// Read the log probability of each token of the context, with this number of alternatives; answer with
    /// [`Walk::on_prompt_logprobs`].
    PromptLogprobs(usize),
    /// Run this number of branches, made by [`Walk::branch`]; answer with [`Walk::on_branches`].
    Fork(usize),
    /// The script has ended.
    Done(Transcript),
    /// The script cannot go on.
    Failed(StepError),
}

/// An inner node of an option tree: the tokens to it, and those whose log probabilities are wanted there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAsk {
    /// From the end of the context to the node.
    pub path: Vec<Token>,
    /// The tokens that continue an option.
    pub children: Vec<Token>,
}

/// The log probabilities at a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeReading {
    /// One for each of [`NodeAsk::children`], in their order: natural logarithms, at most 0; `None` where the server
    /// does not tell it.
    pub logprobs: Vec<Option<f64>>,
    /// The largest probability that a token without one can have, 0 to 1.
    pub unseen: f64,
}

/// A script in progress.
pub struct Walk {
    cursor: Cursor,
    /// Whether one request reads several nodes.
    batches: bool,
    state: State,
}

enum State {
    Ready,
    PromptLogprobs,
    Writing(Box<Writing>),
    Choosing(Box<Reading>),
    Forked(Vec<CompiledScript>),
}

/// A choice whose option tree is read level by level.
struct Reading {
    choosing: Choosing,
    /// The nodes that were asked for, and those for later levels.
    asked: Vec<usize>,
    later: Vec<usize>,
    /// By how much the mass of all options may be larger.
    unseen: f64,
    kind: MassKind,
}

impl Walk {
    /// A walk from the end of the prompt that the script was compiled for. The script must pass
    /// [`Script::check`](super::Script::check). `batches` says whether one request reads several nodes.
    #[must_use]
    pub fn new(vocabulary: Arc<dyn Vocabulary>, prompt: Encoded, script: CompiledScript, batches: bool) -> Self {
        Self { cursor: Cursor::new(vocabulary, prompt, script), batches, state: State::Ready }
    }

    /// The tokens of the context.
    #[must_use]
    pub fn ids(&self) -> &[Token] {
        &self.cursor.ids
    }

    /// The forced and generated text after the prompt, or after the branching point.
    #[must_use]
    pub fn answer(&self) -> &str {
        self.cursor.answer()
    }

    /// The text since the last control token, of the prompt and of the answer so far.
    #[must_use]
    pub fn run_text(&self) -> &str {
        self.cursor.run_text()
    }

    /// The limits of the text that is being generated.
    #[must_use]
    pub fn limits(&self) -> Option<&Generate> {
        match &self.state {
            State::Writing(writing) => Some(&writing.limits),
            _ => None,
        }
    }

    /// The options of the choice that is being read.
    #[must_use]
    pub fn options(&self) -> &[String] {
        match &self.state {
            State::Choosing(reading) => &reading.choosing.options,
            _ => &[],
        }
    }

    /// Text generated since the last call that cannot be taken back.
    pub fn take_delta(&mut self) -> Option<String> {
        self.cursor.take_delta()
    }

    /// Goes on to the next question.
    pub fn advance(&mut self) -> Ask {
        match self.cursor.advance() {
            Need::PromptLogprobs(most) => {
                self.state = State::PromptLogprobs;
                Ask::PromptLogprobs(most)
            }
            Need::Text(writing) => {
                self.state = State::Writing(writing);
                Ask::Generate
            }
            Need::Choice(choosing) => {
                let later = choosing.tree.probes();
                let kind = MassKind::Exact;
                self.read(Reading { choosing: *choosing, asked: Vec::new(), later, unseen: 0.0, kind })
            }
            Need::Branches(scripts) => {
                let count = scripts.len();
                self.state = State::Forked(scripts);
                Ask::Fork(count)
            }
            Need::Nothing(transcript) => Ask::Done(transcript),
            Need::Impossible(error) => Ask::Failed(error),
        }
    }

    /// Takes a generated token, and says whether the text ends with it, as far as can be seen here.
    pub fn on_token(&mut self, token: Token) -> Option<Finish> {
        let State::Writing(writing) = &mut self.state else { return Some(Finish::Stop) };
        let Read { ends, stopped, .. } = writing.read(token, &*self.cursor.vocabulary);
        let finish = self.cursor.took(writing, token, ends, stopped);
        if finish.is_none() {
            self.cursor.show_safe(writing);
        }
        finish
    }

    /// Takes generated text of which the tokens are not known, and says whether it completes a stop text.
    pub fn on_text(&mut self, text: &str) -> Option<Finish> {
        let State::Writing(writing) = &mut self.state else { return Some(Finish::Stop) };
        if let Some(at) = writing.read_text(text) {
            writing.text.truncate(at);
            writing.cut = true;
            return Some(Finish::Stop);
        }
        self.cursor.show_safe(writing);
        None
    }

    /// Takes the log probability of the last generated token.
    pub fn on_output_logprob(&mut self, token: TokenLogprob) {
        if let State::Writing(writing) = &mut self.state {
            writing.logprobs.push(token);
        }
    }

    /// Ends the text. `tokens` is their number where they were not passed one by one.
    pub fn on_end(&mut self, finish: Finish, tokens: usize) -> Ask {
        if let State::Writing(writing) = std::mem::replace(&mut self.state, State::Ready) {
            self.cursor.transcript.completion_tokens += tokens;
            self.cursor.wrote(*writing, finish);
        }
        self.advance()
    }

    /// Takes the readings of the nodes of [`Ask::Read`], in their order.
    pub fn on_readings(&mut self, readings: &[NodeReading]) -> Ask {
        let State::Choosing(mut reading) = std::mem::replace(&mut self.state, State::Ready) else {
            return self.advance();
        };
        let choosing = &mut reading.choosing;
        for (node, NodeReading { logprobs, unseen }) in reading.asked.drain(..).zip(readings) {
            let children: Vec<Token> = choosing.tree.children(node).collect();
            let missing = logprobs.iter().filter(|logprob| logprob.is_none()).count();
            let log_p = |token: Token| {
                let told = children.iter().position(|child| *child == token).and_then(|at| logprobs.get(at).copied());
                told.flatten().unwrap_or(f64::NEG_INFINITY)
            };
            choosing.tree.read(node, log_p, *unseen, &mut choosing.log_masses);
            // What reaches this node may all be of options whose tokens are not told.
            let most = if node == 0 { 1.0 } else { choosing.tree.reach(node) };
            reading.unseen += (missing as f64 * unseen).min(1.0) * most;
            if missing > 0 {
                reading.kind = MassKind::Bounded { unseen: reading.unseen.min(1.0) };
            }
        }
        self.read(*reading)
    }

    /// Takes the masses of all options at once: natural logarithms, disjoint.
    pub fn on_masses(&mut self, log_masses: Vec<f64>, kind: MassKind) -> Ask {
        if let State::Choosing(reading) = std::mem::replace(&mut self.state, State::Ready) {
            let mut choosing = reading.choosing;
            choosing.log_masses = log_masses;
            self.cursor.chosen(choosing, kind);
        }
        self.advance()
    }

    /// Takes the log probabilities of the tokens of the context.
    pub fn on_prompt_logprobs(&mut self, tokens: Vec<TokenLogprob>) -> Ask {
        self.cursor.transcript.prompt_logprobs = tokens;
        self.advance()
    }

    /// The walk of a branch of the last [`Ask::Fork`].
    ///
    /// # Panics
    /// When the last question was another, or there are not so many branches.
    #[must_use]
    pub fn branch(&self, index: usize) -> Self {
        let State::Forked(scripts) = &self.state else { unreachable!("branches come only after a Fork") };
        Self { cursor: self.cursor.branch(scripts[index].clone()), batches: self.batches, state: State::Ready }
    }

    /// Takes the transcripts of the branches of the last [`Ask::Fork`], in their order.
    pub fn on_branches(&mut self, transcripts: Vec<Transcript>) -> Ask {
        self.cursor.branched(transcripts);
        self.advance()
    }

    /// Asks for the next level of an option tree, without improbable nodes; or ends the choice.
    fn read(&mut self, mut reading: Reading) -> Ask {
        let tree = &reading.choosing.tree;
        while let Some(next) = reading.later.first() {
            let (first, level) = (*next == 0, tree.path(*next).len());
            let together = first && self.batches && reading.later.len() <= FEW + 1;
            let (now, later) = reading.later.iter().partition(|node| together || tree.path(**node).len() == level);
            reading.later = later;
            let least = RARE * tree.reach_of_options();
            let (asked, skipped): (Vec<usize>, Vec<usize>) =
                Vec::into_iter(now).partition(|node| first || tree.reach(*node) >= least);
            self.cursor.transcript.skipped_mass += skipped.iter().map(|node| tree.reach(*node)).sum::<f64>();
            if asked.is_empty() {
                continue;
            }
            let ask =
                |node: &usize| NodeAsk { path: tree.path(*node).to_vec(), children: tree.children(*node).collect() };
            let asks = asked.iter().map(ask).collect();
            reading.asked = asked;
            self.state = State::Choosing(Box::new(reading));
            return Ask::Read(asks);
        }
        self.cursor.chosen(reading.choosing, reading.kind);
        self.advance()
    }
}

#[cfg(test)]
mod tests;
