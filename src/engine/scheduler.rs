//! Continuous batching over a model that decodes batches of tokens for many sequences.
//!
//! Sequences join and leave between steps. A step decodes what needs few tokens (generation, forced text), and
//! then one chunk of the prompts, so that long prompts do not stall the rest. A prompt starts from the longest
//! prefix that any earlier or running prompt has computed; one whose prefix is just being computed waits for it,
//! so that what requests share is computed once; and of those that wait, the one goes next that has most of its
//! prompt computed already, so that a group is finished while its prefix is there.
//!
//! Room in the KV pool is reserved for the longest a sequence can get before it is admitted: a sequence that
//! has begun is never cut and never evicted.

mod prefixes;
mod sequence;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use self::prefixes::Prefixes;
use self::sequence::{Outlet, Sequence};
use super::{EngineError, Event, Load, Prepared};
use crate::script::{Action, Machine, Token, Vocabulary};

/// A place for a sequence in the KV pool.
pub type Slot = i32;

/// A token to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The token.
    pub token: Token,
    /// Its position in the sequence.
    pub position: usize,
    /// The sequence.
    pub slot: Slot,
    /// Whether the logits after it are wanted.
    pub logits: bool,
}

/// A model that decodes batches; one KV pool is shared by all its slots.
pub trait Backend {
    /// Decodes the rows.
    ///
    /// # Errors
    /// When the model fails; the scheduler then fails what was in flight.
    fn decode(&mut self, rows: &[Row]) -> Result<(), String>;

    /// The logits after the row at `index` of the last decode.
    fn logits(&self, index: usize) -> &[f32];

    /// Makes the first `len` tokens of one slot those of another, empty one as well.
    ///
    /// # Errors
    /// When the model refuses.
    fn copy(&mut self, from: Slot, to: Slot, len: usize) -> Result<(), String>;

    /// Forgets all but the first `len` tokens of a slot.
    ///
    /// # Errors
    /// When the model refuses.
    fn truncate(&mut self, slot: Slot, len: usize) -> Result<(), String>;

    /// Forgets everything.
    fn clear(&mut self);
}

/// Sizes of a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most sequences that run together; their branches come on top.
    pub sequences: usize,
    /// Slots in all: for sequences, their branches and cached prefixes.
    pub slots: usize,
    /// Tokens that the KV pool holds.
    pub pool: usize,
    /// The most cached prefixes.
    pub prefixes: usize,
    /// The most tokens that cached prefixes hold: every step looks at all cells in use, so idle ones cost time.
    pub prefix_tokens: usize,
    /// The most tokens in one step.
    pub step: usize,
}

/// A prompt of fewer tokens is not kept as a prefix.
const WORTH_KEEPING: usize = 32;
/// A sequence that needs at most this many tokens goes before those that read prompts.
const SHORT: usize = 16;
/// How many waiting sequences are looked through for the one to admit next.
const WINDOW: usize = 64;
/// How often the one that has waited longest may be overtaken.
const PATIENCE: usize = 32;

/// What a sequence needs before its next logits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// A few tokens: it generates, or is forced.
    Few,
    /// A prompt, or what is left of it.
    Prompt,
}

/// Decides what a [`Backend`] computes next.
pub struct Scheduler<B> {
    backend: B,
    vocabulary: Arc<dyn Vocabulary>,
    limits: Limits,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    prefixes: Prefixes,
    free: Vec<Slot>,
    next_id: u64,
}

impl<B: Backend> Scheduler<B> {
    /// A scheduler over an empty backend.
    pub fn new(backend: B, vocabulary: Arc<dyn Vocabulary>, limits: Limits) -> Self {
        Self {
            backend,
            vocabulary,
            limits,
            waiting: VecDeque::new(),
            running: Vec::new(),
            prefixes: Prefixes::default(),
            free: slots(limits),
            next_id: 0,
        }
    }

    /// Queues a job; its events go to `events`, and it is dropped once they are closed.
    pub fn submit(&mut self, prepared: Prepared, events: UnboundedSender<Event>) {
        let Prepared { job, encoded, prompt_tokens } = prepared;
        let reserved = prompt_tokens + job.script.most_tokens();
        let mut machine = Machine::new(Arc::clone(&self.vocabulary), encoded, job.script, job.sampling);
        let action = machine.start();
        let id = self.new_id();
        let sequence = Sequence::new(id, machine, prompt_tokens, reserved, job.deterministic, Outlet::Caller(events));
        // A script that asks nothing of the model is done before it has begun.
        if let Action::Done(transcript) = action {
            sequence.report(transcript)
        } else {
            self.waiting.push_back(sequence)
        }
    }

    /// Whether there is nothing to do.
    pub fn idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// How busy it is.
    pub fn load(&self) -> Load {
        let kv_running = self.running.iter().map(|s| s.reserved).sum::<usize>();
        let kv_cached = self.prefixes.tokens();
        Load {
            waiting: self.waiting.len(),
            running: self.running.len(),
            kv_running,
            kv_cached,
            kv_free: self.limits.pool.saturating_sub(kv_running + kv_cached),
            restarts: 0,
        }
    }

    /// Runs one step: lets sequences leave and join, decodes, and acts on the logits.
    ///
    /// # Errors
    /// When the backend fails; call [`Scheduler::fail_all`] then.
    pub fn step(&mut self) -> Result<(), String> {
        self.drop_departed()?;
        self.admit()?;
        // Apart: in one batch, attention over a tile of rows would look at the cells of every sequence in it.
        self.decode(Need::Few)?;
        self.decode(Need::Prompt)
    }

    /// Decodes one batch and acts on its logits.
    fn decode(&mut self, need: Need) -> Result<(), String> {
        let (rows, wanted) = self.plan(need);
        if rows.is_empty() {
            return Ok(());
        }
        self.backend.decode(&rows)?;
        for (id, row) in wanted {
            let Some(at) = self.running.iter().position(|s| s.id == id) else { continue };
            let sequence = &mut self.running[at];
            sequence.prompt_read.get_or_insert_with(Instant::now);
            let action = sequence.machine.on_logits(self.backend.logits(row));
            self.act(at, action)?;
        }
        Ok(())
    }

    /// Fails everything in flight; the scheduler is of no more use then.
    pub fn fail_all(&mut self, reason: &str) {
        for sequence in self.waiting.drain(..).chain(self.running.drain(..)) {
            sequence.fail(EngineError::Failed(reason.to_owned()));
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Stops work whose caller has gone away, branches included.
    fn drop_departed(&mut self) -> Result<(), String> {
        let mut gone: Vec<u64> =
            self.waiting.iter().chain(&self.running).filter(|s| s.departed()).map(|s| s.id).collect();
        if gone.is_empty() {
            return Ok(());
        }
        gone.extend(
            self.waiting
                .iter()
                .chain(&self.running)
                .filter(|s| s.is_branch_of(&gone))
                .map(|s| s.id)
                .collect::<Vec<_>>(),
        );
        self.waiting.retain(|s| !gone.contains(&s.id));
        while let Some(at) = self.running.iter().position(|s| gone.contains(&s.id)) {
            self.retire(at)?;
        }
        Ok(())
    }

    /// Admits waiting sequences, as far as sequences, slots and the pool allow.
    fn admit(&mut self) -> Result<(), String> {
        while let Some((at, donor, len)) = self.next() {
            let candidate = &self.waiting[at];
            let (branch, alone) = (candidate.is_branch(), candidate.alone);
            if !branch {
                let top = self.running.iter().filter(|s| !s.is_branch()).count();
                let reserved: usize = self.running.iter().map(|s| s.reserved).sum();
                if top >= self.limits.sequences || reserved + candidate.reserved > self.limits.pool {
                    return Ok(());
                }
            }
            let fresh = alone && !branch;
            if fresh {
                self.prefixes.drain().for_each(|slot| self.free.push(slot));
                self.backend.clear();
            }
            let reuse = if fresh { 0 } else { len };
            let Some(slot) = self.take_slot(donor)? else { return Ok(()) };
            let mut sequence = self.waiting.remove(at).expect("`at` is within the queue");
            if let (Some(donor), true) = (donor, reuse > 0) {
                self.backend.copy(donor, slot, reuse)?;
            }
            if !branch {
                self.prefixes.admitted(donor.filter(|_| reuse >= WORTH_KEEPING));
                if let Some(first) = self.waiting.front_mut().filter(|_| at > 0) {
                    first.overtaken += 1;
                }
            }
            sequence.begin(slot, reuse);
            self.running.push(sequence);
            self.make_room()?;
        }
        Ok(())
    }

    /// The waiting sequence to admit next, and the slot and length of what it can begin with: a branch, else the
    /// one with the most to begin with. One whose beginning is just being computed waits for it; and nobody
    /// overtakes one that has to run alone, or that was overtaken often enough.
    fn next(&self) -> Option<(usize, Option<Slot>, usize)> {
        let mut best: Option<(usize, Option<Slot>, usize)> = None;
        for (at, candidate) in self.waiting.iter().take(WINDOW).enumerate() {
            let branch = candidate.is_branch();
            if !branch && candidate.alone {
                let now = best.is_none() && self.running.is_empty();
                return best.or(now.then_some((at, None, 0)));
            }
            let (donor, len) = self.best_donor(candidate);
            if self.promised(candidate) > len {
                continue;
            }
            if branch {
                return Some((at, donor, len));
            }
            if self.running.iter().any(|s| s.alone) {
                return None;
            }
            if best.is_none_or(|(.., most)| len > most) {
                best = Some((at, donor, len));
            }
            if candidate.overtaken >= PATIENCE {
                break;
            }
        }
        best
    }

    /// The slot that holds most of what a sequence begins with, and how much. The last token is always computed
    /// anew, for its logits.
    fn best_donor(&self, candidate: &Sequence) -> (Option<Slot>, usize) {
        let ids = candidate.machine.ids();
        let most = ids.len() - 1;
        let running = self.running.iter().map(|s| (s.slot, s.computed.as_slice()));
        let held =
            running.chain(self.prefixes.iter()).map(|(slot, tokens)| (Some(slot), shared(tokens, ids).min(most)));
        held.max_by_key(|(_, len)| *len).unwrap_or((None, 0))
    }

    /// How much of a sequence's beginning will be computed by one that runs already.
    fn promised(&self, candidate: &Sequence) -> usize {
        let ids = candidate.machine.ids();
        let most = ids.len() - 1;
        self.running.iter().map(|s| shared(s.machine.ids(), ids).min(most)).max().unwrap_or(0)
    }

    /// A free slot, evicting the prefix that was used longest ago if need be, but not `keep`.
    fn take_slot(&mut self, keep: Option<Slot>) -> Result<Option<Slot>, String> {
        if let Some(slot) = self.free.pop() {
            return Ok(Some(slot));
        }
        let evicted = self.prefixes.evict(keep);
        if let Some(slot) = evicted {
            self.backend.truncate(slot, 0)?;
        }
        Ok(evicted)
    }

    /// Evicts prefixes until what runs and what is cached fit the pool.
    fn make_room(&mut self) -> Result<(), String> {
        let reserved: usize = self.running.iter().map(|s| s.reserved).sum();
        let most = self.limits.prefix_tokens.min(self.limits.pool.saturating_sub(reserved));
        while let Some(slot) = self.prefixes.shrink(self.limits.prefixes, most) {
            self.backend.truncate(slot, 0)?;
            self.free.push(slot);
        }
        Ok(())
    }

    /// The rows of the next batch, and which of them whose logits are for.
    fn plan(&mut self, need: Need) -> (Vec<Row>, Vec<(u64, usize)>) {
        let (mut rows, mut wanted) = (Vec::new(), Vec::new());
        for sequence in &mut self.running {
            let tokens = sequence.needs();
            if tokens == 0 || (tokens <= SHORT) != (need == Need::Few) {
                continue;
            }
            let take = tokens.min(self.limits.step - rows.len());
            for _ in 0..take {
                let position = sequence.computed.len();
                let token = sequence.machine.ids()[position];
                let last = position + 1 == sequence.machine.ids().len();
                if last {
                    wanted.push((sequence.id, rows.len()));
                }
                rows.push(Row { token, position, slot: sequence.slot, logits: last });
                sequence.computed.push(token);
            }
        }
        (rows, wanted)
    }

    fn act(&mut self, at: usize, action: Action) -> Result<(), String> {
        let sequence = &mut self.running[at];
        sequence.stream();
        match action {
            Action::Feed { keep } => {
                if self.outgrown(at)? {
                    let reason = "its text came to more tokens than there is room for".to_owned();
                    self.retire(at)?.fail(EngineError::Failed(reason));
                    return Ok(());
                }
                self.rewind(at, keep)
            }
            Action::Fork(branches) => {
                let (parent, alone) = (sequence.id, sequence.alone);
                sequence.branches = vec![None; branches.len()];
                for (index, mut machine) in branches.into_iter().enumerate().rev() {
                    let action = machine.start();
                    let id = self.new_id();
                    let tokens = machine.ids().len();
                    let branch = Sequence::new(id, machine, tokens, 0, alone, Outlet::Branch { parent, index });
                    match action {
                        Action::Done(transcript) => self.finish_branch(parent, index, transcript)?,
                        _ => self.waiting.push_front(branch),
                    }
                }
                Ok(())
            }
            Action::Done(transcript) => {
                let branch = match sequence.outlet {
                    Outlet::Branch { parent, index } => Some((parent, index)),
                    Outlet::Caller(_) => None,
                };
                let done = self.retire(at)?;
                match branch {
                    Some((parent, index)) => self.finish_branch(parent, index, transcript),
                    None => {
                        done.report(transcript);
                        Ok(())
                    }
                }
            }
        }
    }

    /// Whether a sequence has come to need more than the pool has. Text that no tokenizer would write, such as
    /// broken UTF-8, can come to more tokens than were generated: its reservation grows while there is room.
    fn outgrown(&mut self, at: usize) -> Result<bool, String> {
        let sequence = &mut self.running[at];
        let needed = sequence.machine.ids().len();
        if sequence.is_branch() || needed <= sequence.reserved {
            return Ok(false);
        }
        sequence.reserved = needed;
        self.make_room()?;
        Ok(self.running.iter().map(|s| s.reserved).sum::<usize>() > self.limits.pool)
    }

    fn finish_branch(
        &mut self,
        parent: u64,
        index: usize,
        transcript: crate::script::Transcript,
    ) -> Result<(), String> {
        let Some(at) = self.running.iter().position(|s| s.id == parent) else { return Ok(()) };
        let sequence = &mut self.running[at];
        sequence.branches[index] = Some(transcript);
        if sequence.branches.iter().any(Option::is_none) {
            return Ok(());
        }
        let transcripts = std::mem::take(&mut sequence.branches).into_iter().flatten().collect();
        let action = sequence.machine.on_branches(transcripts);
        self.act(at, action)
    }

    /// Makes a slot hold no more than the first `keep` tokens, and leaves at least one token to decode.
    fn rewind(&mut self, at: usize, keep: usize) -> Result<(), String> {
        let sequence = &mut self.running[at];
        let len = keep.min(sequence.machine.ids().len() - 1);
        if sequence.computed.len() > len {
            sequence.computed.truncate(len);
            self.backend.truncate(sequence.slot, len)?;
        }
        Ok(())
    }

    /// Takes a sequence out of the batch; what it computed of its prompt stays as a prefix.
    fn retire(&mut self, at: usize) -> Result<Sequence, String> {
        let mut sequence = self.running.remove(at);
        sequence.computed.truncate(sequence.prompt_tokens);
        let common = self.in_common(&sequence.computed);
        if common > 0 {
            sequence.computed.truncate(common);
        }
        let len = sequence.computed.len();
        let keep = len >= WORTH_KEEPING && !sequence.is_branch() && !sequence.alone && self.limits.prefixes > 0;
        if keep {
            self.backend.truncate(sequence.slot, len)?;
            for slot in self.prefixes.insert(sequence.slot, std::mem::take(&mut sequence.computed), common > 0) {
                self.backend.truncate(slot, 0)?;
                self.free.push(slot);
            }
        } else {
            self.backend.truncate(sequence.slot, 0)?;
            self.free.push(sequence.slot);
        }
        self.make_room()?;
        Ok(sequence)
    }

    /// How much of a prompt others begin with, if that is most of it; else 0. Its own end is of no use to them,
    /// and would only cost them time.
    fn in_common(&self, prompt: &[Token]) -> usize {
        let others = self.running.iter().chain(&self.waiting).filter(|s| !s.is_branch()).map(|s| s.machine.ids());
        let others = others.chain(self.prefixes.iter().map(|(_, tokens)| tokens));
        let common = others.map(|ids| shared(ids, prompt)).max().unwrap_or(0);
        if 2 * common >= prompt.len() { common } else { 0 }
    }
}

fn slots(limits: Limits) -> Vec<Slot> {
    (0..limits.slots).rev().map(|slot| Slot::try_from(slot).expect("a few hundred slots at most")).collect()
}

fn shared(a: &[Token], b: &[Token]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}
