//! Continuous batching over a model that decodes batches of tokens for many sequences.
//!
//! Sequences join and leave between steps. A step decodes what needs few tokens (generation, forced text), and
//! then one chunk of the prompts, so that long prompts do not stall the rest. A prompt starts from the longest
//! prefix that any earlier or running prompt has computed; one whose prefix is just being computed waits for it,
//! so that what requests share is computed once; and of those that wait, the one goes next that has most of its
//! prompt computed already, so that a group is finished while its prefix is there. Whose turn it is comes first: callers
//! take turns, and so do the requests of one caller.
//!
//! Each slot has room for the longest sequence that is let in, so one that has begun is never cut. Where one caller holds
//! several slots and another none, a sequence of the first is paused: its state waits in the host's memory for a slot.

mod backend;
mod limits;
mod pause;
mod prefixes;
mod sequence;
mod step;
pub mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

pub use self::backend::{Backend, Row};
pub use self::limits::Limits;
use self::pause::{Paused, Shares};
use self::prefixes::{Prefixes, WORTH_SHARING, shared};
pub use self::sequence::Slot;
use self::sequence::{Need, Sequence};
use self::step::Batch;
use super::{Compiled, EngineError, Event, Load};
use crate::domain::fair_queue::{FairQueue, Ticket};
use crate::domain::service_time::{Due, ServiceTime};
use crate::script::{Action, Token, Vocabulary};

/// How many waiting sequences of one turn are looked through for the one to admit next.
const WINDOW: usize = 64;
/// How many in all, where those whose turn it is wait for a prefix that is just being computed.
const MOST_LOOKED_AT: usize = 4 * WINDOW;
/// How often the one that has waited longest may be overtaken.
const PATIENCE: usize = 32;

/// How often the state of a running sequence is copied to begin another: out, in, and what is shared out again.
const RUNNING: usize = 3;
/// The same of a cached prefix.
const CACHED: usize = 1;

/// What a sequence begins with.
#[derive(Clone, Copy)]
enum Donor {
    /// A running sequence.
    Running(usize),
    /// A cached prefix.
    Prefix(usize),
}

/// A waiting sequence that is admitted next.
struct Chosen {
    ticket: Ticket,
    /// What it begins with, and how much of that.
    start: Option<(Donor, usize)>,
    /// The one that came first of those whose turn it is.
    first: Ticket,
}

/// Decides what a [`Backend`] computes next.
pub struct Scheduler<B: Backend> {
    backend: B,
    vocabulary: Arc<dyn Vocabulary>,
    limits: Limits,
    waiting: FairQueue<Sequence>,
    running: Vec<Sequence>,
    /// Those that have begun and gave their slots to others, in the order in which they go on.
    paused: Vec<Paused<B::Saved>>,
    prefixes: Prefixes<B::Saved>,
    /// Slots whose memory may hold NaN, which attention can spread even from what is masked.
    fouled: Vec<Slot>,
    /// How long sequences took lately.
    typical: ServiceTime,
    next_id: u64,
}

impl<B: Backend> Scheduler<B> {
    /// A scheduler over an empty backend.
    pub fn new(backend: B, vocabulary: Arc<dyn Vocabulary>, limits: Limits) -> Self {
        Self {
            backend,
            vocabulary,
            limits,
            waiting: FairQueue::default(),
            running: Vec::new(),
            paused: Vec::new(),
            prefixes: Prefixes::new(limits.prefix_tokens),
            fouled: Vec::new(),
            typical: ServiceTime::default(),
            next_id: 0,
        }
    }

    /// Queues a job; its events go to `events`, and it is dropped once they are closed.
    pub fn submit(&mut self, compiled: Compiled, events: UnboundedSender<Event>) {
        let (prompt_tokens, reserved) = (compiled.prompt_tokens, compiled.most_tokens());
        let (alone, written) = (compiled.job.deterministic, compiled.job.script.most_generated());
        let (flow, due) = (compiled.flow.clone(), Due { at: compiled.deadline, written });
        let looks = compiled.encoded.looks.clone();
        let mut machine = compiled.machine(Arc::clone(&self.vocabulary));
        let action = machine.start();
        let id = self.new_id();
        let mut sequence = Sequence::new(id, flow.clone(), machine, prompt_tokens, reserved, alone, events);
        (sequence.due, sequence.looks) = (due, looks);
        match action {
            // A script that asks nothing of the model is done before it has begun.
            Action::Done(transcript) => sequence.report(transcript),
            Action::Failed(error) => sequence.fail(error.into()),
            Action::Feed | Action::Fork(_) => self.waiting.push(&flow, sequence),
        }
    }

    /// Whether there is nothing to do.
    pub fn idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty() && self.paused.is_empty()
    }

    /// How busy it is.
    pub fn load(&self) -> Load {
        let kv_running = self.running.iter().map(|s| s.reserved).sum::<usize>();
        Load {
            waiting: self.waiting.len() + self.paused.len(),
            running: self.running.len(),
            kv_running,
            kv_cached: self.prefixes.tokens(),
            kv_free: (self.limits.sequences * self.limits.context).saturating_sub(kv_running),
            restarts: 0,
        }
    }

    /// Runs one step: lets sequences leave and join, decodes, and acts on the logits.
    ///
    /// # Errors
    /// When the backend fails; call [`Scheduler::fail_all`] then.
    pub fn step(&mut self) -> Result<(), String> {
        self.drop_departed()?;
        self.drop_late();
        if self.running.is_empty() && !self.fouled.is_empty() {
            self.backend.wipe();
            self.fouled.clear();
        }
        self.admit()?;
        // Of those that have batches of their own, one reads its prompt at a time.
        let mut reading = false;
        let goes = |s: &&Sequence| s.alone && (s.need() == Need::Few || !std::mem::replace(&mut reading, true));
        let own: Vec<u64> = self.running.iter().filter(goes).map(|s| s.id).collect();
        // Apart, so that what was generated goes out before a chunk of prompts is read.
        let mut batches = [Batch::Of(Need::Few)].into_iter().chain(own.into_iter().map(Batch::Own));
        batches.try_for_each(|batch| self.decode(batch))?;
        self.see()?;
        self.decode(Batch::Of(Need::Prompt))
    }

    /// Computes the next picture of one sequence: of those where a picture comes next, that of who holds least.
    fn see(&mut self) -> Result<(), String> {
        let shares = Shares::of(&self.running);
        let at_pictures = self.running.iter().enumerate().filter(|(_, sequence)| sequence.look().is_some());
        let Some((at, sequence)) = at_pictures.min_by_key(|(at, s)| (shares.held(&s.flow), *at)) else { return Ok(()) };
        let Some(look) = sequence.look() else { return Ok(()) };
        let (position, slot) = (sequence.position(look.at), sequence.slot);
        match self.backend.see(look, position, slot) {
            Ok(()) => self.running[at].looked(),
            Err(reason) => {
                self.backend.truncate(slot, position)?;
                self.retire(at)?.fail(EngineError::Failed(reason));
            }
        }
        Ok(())
    }

    /// Decodes one batch and acts on its logits.
    fn decode(&mut self, batch: Batch) -> Result<(), String> {
        let (rows, wanted) = step::plan(&mut self.running, batch, self.limits.step);
        if rows.is_empty() {
            return Ok(());
        }
        self.backend.decode(&rows)?;
        for (id, rows) in wanted {
            let Some(at) = self.running.iter().position(|s| s.id == id) else { continue };
            let mut fed = self.running[at].machine.ids().len();
            for row in rows {
                let sequence = &mut self.running[at];
                sequence.prompt_read.get_or_insert_with(Instant::now);
                let action = sequence.machine.on_logits(self.backend.logits(row));
                if !self.act(at, action)? {
                    break;
                }
                fed += 1;
                // The next row is of use only while what it stands for has come true.
                if !self.running[at].holds(fed) {
                    self.rewind(at)?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Fails everything in flight; the scheduler is of no more use then.
    pub fn fail_all(&mut self, reason: &str) {
        for sequence in self
            .waiting
            .drain()
            .into_iter()
            .chain(self.running.drain(..))
            .chain(self.paused.drain(..).map(|p| p.sequence))
        {
            sequence.fail(EngineError::Failed(reason.to_owned()));
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Stops work whose caller has gone away.
    fn drop_departed(&mut self) -> Result<(), String> {
        self.waiting.retain(|s| !s.departed());
        self.paused.retain(|paused| !paused.sequence.departed());
        while let Some(at) = self.running.iter().position(Sequence::departed) {
            let departed = self.retire(at)?;
            if let Some(ran) = departed.ran() {
                self.typical.given_up(departed.due, ran);
            }
        }
        Ok(())
    }

    /// Fails what waits for a slot and cannot end before its deadline any more, by what others took lately: under more load
    /// than there is time for, the time goes to those that can still be answered. Where no sequence of its kind runs, the
    /// next one shows how long it takes.
    fn drop_late(&mut self) {
        if self.waiting.is_empty() || self.free_slot().is_some() {
            return;
        }
        let (now, typical) = (Instant::now(), self.typical);
        let runs = [0, 1].map(|kind| self.running.iter().any(|sequence| sequence.due.kind() == kind));
        let is_late = |sequence: &Sequence| runs[sequence.due.kind()] && typical.is_late(sequence.due, now);
        if !self.waiting.items().any(is_late) {
            return;
        }
        for late in self.waiting.extract(is_late) {
            late.fail(EngineError::TooLate);
        }
    }

    /// Admits sequences while there are slots, or while some hold several and others none.
    fn admit(&mut self) -> Result<(), String> {
        loop {
            let (chosen, slot) = match self.free_slot() {
                Some(slot) if self.resume(slot)? => continue,
                Some(slot) => (self.next(), slot),
                None => match self.make_room()? {
                    Some((chosen, slot)) => (Some(chosen), slot),
                    None => return Ok(()),
                },
            };
            let Some(chosen) = chosen else { return Ok(()) };
            self.begin(chosen, slot)?;
        }
    }

    /// Begins a waiting sequence in a free slot.
    fn begin(&mut self, Chosen { ticket, start, first }: Chosen, slot: Slot) -> Result<(), String> {
        if let Some(first) = self.waiting.get_mut(first).filter(|_| first != ticket) {
            first.overtaken += 1;
        }
        let cost = |sequence: &mut Sequence| u64::try_from(sequence.reserved).unwrap_or(u64::MAX);
        let cost = self.waiting.get_mut(ticket).map_or(1, cost);
        let mut sequence = self.waiting.take(ticket, cost).expect("nothing was taken since it was chosen");
        let reused = match start {
            Some((donor, len)) => self.share(donor, slot, len, sequence.position(len))?,
            None => 0,
        };
        sequence.begin(slot, reused);
        self.running.push(sequence);
        Ok(())
    }

    /// Pauses a sequence of who holds several for one whose turn it is and who holds none. That one has to begin in the slot
    /// that came free: another choice could bring the paused one back.
    fn make_room(&mut self) -> Result<Option<(Chosen, Slot)>, String> {
        // Without prefixes a state may lack what it needs to go on.
        if self.limits.prefix_tokens == 0 || self.waiting.is_empty() {
            return Ok(None);
        }
        let Some(mut chosen) = self.next() else { return Ok(None) };
        let newcomer = self.waiting.get(chosen.ticket).map(|sequence| &sequence.flow);
        let shares = Shares::of(&self.running);
        let Some(at) = newcomer.and_then(|newcomer| shares.paused_for(newcomer, &self.running)) else {
            return Ok(None);
        };
        let slot = self.running[at].slot;
        let saved = self.backend.save(slot)?;
        self.backend.truncate(slot, 0)?;
        self.paused.push(Paused { sequence: self.running.remove(at), saved });
        // The paused one may have been what it was to begin with.
        chosen.start = self.waiting.get(chosen.ticket).and_then(|sequence| self.best_start(sequence));
        Ok(Some((chosen, slot)))
    }

    /// Lets a paused sequence go on in a free slot, if one comes before those that wait.
    fn resume(&mut self, slot: Slot) -> Result<bool, String> {
        if self.paused.is_empty() || self.runs_out() {
            return Ok(false);
        }
        let shares = Shares::of(&self.running);
        let next = self.next();
        let newcomer = next.and_then(|chosen| self.waiting.get(chosen.ticket)).map(|sequence| &sequence.flow);
        let Some(at) = self.paused.iter().position(|paused| shares.goes_on(&paused.sequence.flow, newcomer)) else {
            return Ok(false);
        };
        let Paused { mut sequence, saved } = self.paused.remove(at);
        self.backend.restore(&saved, slot, sequence.position(sequence.computed.len()))?;
        sequence.slot = slot;
        self.running.push(sequence);
        Ok(true)
    }

    /// The lowest free slot: a backend may decode those that lie side by side in one go.
    fn free_slot(&self) -> Option<Slot> {
        let slots = 0..Slot::try_from(self.limits.sequences).expect("a few hundred slots at most");
        let free = |slot: &Slot| !self.fouled.contains(slot) && self.running.iter().all(|s| s.slot != *slot);
        slots.into_iter().find(free)
    }

    /// The waiting sequence to admit next: of those whose turn it is, the one that can begin with most. One whose beginning
    /// is just being computed waits for it; and nobody overtakes one that was overtaken often enough.
    fn next(&self) -> Option<Chosen> {
        if self.runs_out() {
            return None;
        }
        let (mut looked_at, len) = (0, |start: Option<(Donor, usize)>| start.map_or(0, |(_, len)| len));
        for turn in self.waiting.turns() {
            let mut best: Option<Chosen> = None;
            let first = turn.first().map(|(ticket, _)| *ticket)?;
            for (ticket, candidate) in turn.into_iter().take(WINDOW) {
                looked_at += 1;
                let start = self.best_start(candidate);
                let patient = candidate.overtaken < PATIENCE;
                if patient && self.promised(candidate) > len(start) {
                    continue;
                }
                if best.as_ref().is_none_or(|best| len(start) > len(best.start)) {
                    best = Some(Chosen { ticket, start, first });
                }
                if !patient {
                    break;
                }
            }
            if best.is_some() || looked_at >= MOST_LOOKED_AT {
                return best;
            }
        }
        None
    }

    /// Whether what runs ends before others begin, so that all slots can be wiped.
    fn runs_out(&self) -> bool {
        !self.running.is_empty() && 2 * self.fouled.len() >= self.limits.sequences
    }

    /// What holds most of a sequence's beginning, and how much. The last token is always computed anew, for its
    /// logits.
    fn best_start(&self, candidate: &Sequence) -> Option<(Donor, usize)> {
        let running = self.running.iter().enumerate();
        let running = running.map(|(at, s)| (Donor::Running(at), self.worth(candidate, &s.computed, RUNNING)));
        let cached = self.prefixes.iter().enumerate();
        let cached = cached.map(|(at, tokens)| (Donor::Prefix(at), self.worth(candidate, tokens, CACHED)));
        // Of equals the last is taken: a prefix is there to be read, a running sequence has to be saved first.
        running.chain(cached).filter(|(_, len)| *len > 0).max_by_key(|(_, len)| *len)
    }

    /// How much of a sequence's beginning will be computed by one that runs already.
    fn promised(&self, candidate: &Sequence) -> usize {
        self.running.iter().map(|s| self.worth(candidate, s.machine.ids(), RUNNING)).max().unwrap_or(0)
    }

    /// How many of these tokens a sequence can begin with; 0 if computing them is as cheap as copying their holder so
    /// often, or if it begins from nothing.
    fn worth(&self, candidate: &Sequence, tokens: &[Token], copies: usize) -> usize {
        let ids = candidate.machine.ids();
        let len = shared(tokens, ids).min(ids.len() - 1);
        let pays = len >= WORTH_SHARING && self.limits.copies * len > copies * tokens.len();
        if pays && self.limits.prefix_tokens > 0 && !candidate.alone { len } else { 0 }
    }

    /// Makes a slot begin with the first `len` tokens of another sequence, which end before a position.
    fn share(&mut self, donor: Donor, slot: Slot, len: usize, position: usize) -> Result<usize, String> {
        match donor {
            Donor::Prefix(at) => self.backend.restore(self.prefixes.state(at), slot, position)?,
            Donor::Running(at) => {
                let donor = &self.running[at];
                let saved = self.backend.save(donor.slot)?;
                self.backend.restore(&saved, slot, position)?;
                // Others of its group are about to ask for the same, and for no more than that.
                let tokens = donor.computed[..len].to_vec();
                if self.prefixes.wants(&tokens) {
                    let whole = len == donor.computed.len();
                    self.prefixes.insert(tokens, if whole { saved } else { self.backend.save(slot)? });
                }
            }
        }
        Ok(len)
    }

    /// Does what a sequence's machine asks for, until it needs the model again; says whether it ever will.
    fn act(&mut self, at: usize, mut action: Action) -> Result<bool, String> {
        loop {
            let sequence = &mut self.running[at];
            sequence.stream();
            action = match action {
                Action::Feed if sequence.machine.ids().len() > self.limits.context => {
                    // Text that no tokenizer would write, such as broken UTF-8, can come to more tokens than were
                    // generated.
                    let reason = "its text came to more tokens than there is room for".to_owned();
                    self.retire(at)?.fail(EngineError::Failed(reason));
                    return Ok(false);
                }
                Action::Feed => return Ok(true),
                Action::Failed(error) => {
                    self.expel(at)?.fail(error.into());
                    return Ok(false);
                }
                Action::Fork(branches) => sequence.fork(branches),
                Action::Done(transcript) => match sequence.join(transcript) {
                    Ok(action) => action,
                    Err(transcript) => {
                        let done = self.retire(at)?;
                        if let Some(ran) = done.ran() {
                            self.typical.ended(done.due, ran);
                        }
                        done.report(transcript);
                        return Ok(false);
                    }
                },
            }
        }
    }

    /// Makes a slot hold no more than what its sequence begins with, and leaves at least one token to decode.
    fn rewind(&mut self, at: usize) -> Result<(), String> {
        let sequence = &mut self.running[at];
        let ids = sequence.machine.ids();
        let len = shared(&sequence.computed, ids).min(ids.len() - 1);
        if sequence.computed.len() > len {
            sequence.computed.truncate(len);
            self.backend.truncate(sequence.slot, sequence.position(len))?;
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
        let tokens = std::mem::take(&mut sequence.computed);
        if tokens.len() >= WORTH_SHARING && !sequence.alone && self.prefixes.wants(&tokens) {
            self.backend.truncate(sequence.slot, sequence.position(tokens.len()))?;
            let saved = self.backend.save(sequence.slot)?;
            self.prefixes.insert(tokens, saved);
        }
        self.backend.truncate(sequence.slot, 0)?;
        Ok(sequence)
    }

    /// Takes a sequence out of the batch that cannot go on. What it computed is of no use to anybody, nor is what it began
    /// with.
    fn expel(&mut self, at: usize) -> Result<Sequence, String> {
        let sequence = self.running.remove(at);
        self.prefixes.drop_sharing(&sequence.computed);
        self.backend.truncate(sequence.slot, 0)?;
        self.fouled.push(sequence.slot);
        Ok(sequence)
    }

    /// How much of a prompt others begin with, if that is most of it; else 0. Its own end is of no use to them,
    /// and would only take room.
    fn in_common(&self, prompt: &[Token]) -> usize {
        let others = self.running.iter().chain(self.waiting.items()).map(|s| s.machine.ids());
        let common = others.chain(self.prefixes.iter()).map(|ids| shared(ids, prompt)).max().unwrap_or(0);
        if 2 * common >= prompt.len() { common } else { 0 }
    }
}
