use proptest::prelude::*;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use super::*;
use crate::domain::Finish;
use crate::domain::fair_queue::Flow;
use crate::engine::{Completion, Job, Run};
use crate::script::toy::{self, Toy};
use crate::script::{
    Generate, Glance, Look, Machine, Outcome, Prompt, SamplerSettings, Script, Segment, Step, StepError, Transcript,
};

/// A cell of a slot: a token, its position, and that of what follows it. All cells of a picture are at its position.
type Cell = (Token, usize, usize);

/// A backend that knows what each slot holds, so that a wrong copy or position shows at once.
#[derive(Default)]
pub(super) struct Fake {
    slots: Vec<Vec<Cell>>,
    logits: Vec<Vec<f32>>,
    most_cells: usize,
    decoded: usize,
    steps: Vec<Vec<Row>>,
    fail: bool,
    panic: bool,
    /// A token that makes what comes after it NaN.
    bad: Option<Token>,
    /// Slots whose memory holds NaN, and how often all were wiped.
    foul: Vec<Slot>,
    wiped: usize,
    /// Tokens whose state was copied.
    copied: usize,
    /// Pictures that were computed, and one that cannot be.
    seen: Vec<Token>,
    blind_to: Option<Token>,
    /// The first step does not end before the sender is gone.
    held: Option<Arc<Mutex<mpsc::Receiver<()>>>>,
}

impl Fake {
    /// A backend that does not compute before the sender is gone.
    pub(super) fn holding(held: Arc<Mutex<mpsc::Receiver<()>>>) -> Self {
        Self { slots: vec![Vec::new(); LIMITS.sequences], held: Some(held), ..Self::default() }
    }

    /// A backend that fails, or panics, as soon as it is asked to decode.
    pub(super) fn failing(fail: bool, panic: bool) -> Self {
        Self { slots: vec![Vec::new(); LIMITS.sequences], fail, panic, ..Self::default() }
    }
}

fn end(cells: &[Cell]) -> usize {
    cells.last().map_or(0, |(.., after)| *after)
}

/// Drops the cells from a position on.
fn cut(cells: &mut Vec<Cell>, position: usize) {
    cells.retain(|(_, place, _)| *place < position);
    assert!(end(cells) <= position, "a picture is kept or dropped as a whole");
}

impl Backend for Fake {
    type Saved = Vec<Cell>;

    fn decode(&mut self, rows: &[Row]) -> Result<(), String> {
        assert!(!self.panic, "out of its mind");
        if let Some(held) = self.held.take() {
            // Nothing is sent; it ends with the sender.
            let _ = held.lock().unwrap().recv();
        }
        if self.fail {
            return Err("out of order".into());
        }
        self.logits.clear();
        for row in rows {
            let slot = &mut self.slots[row.slot as usize];
            assert_eq!(end(slot), row.position, "positions follow each other");
            slot.push((row.token, row.position, row.position + 1));
            self.most_cells = self.most_cells.max(slot.len());
            let tokens: Vec<Token> = slot.iter().map(|(token, ..)| *token).collect();
            if self.bad.is_some_and(|bad| tokens.contains(&bad)) {
                self.foul.push(row.slot);
            }
            self.logits.push(match (row.logits, self.foul.contains(&row.slot)) {
                (true, false) => toy::logits(&tokens),
                (true, true) => vec![f32::NAN; toy::SIZE],
                (false, _) => Vec::new(),
            });
        }
        self.decoded += rows.len();
        self.steps.push(rows.to_vec());
        Ok(())
    }

    fn logits(&self, index: usize) -> &[f32] {
        assert!(!self.logits[index].is_empty(), "only logits that were asked for are read");
        &self.logits[index]
    }

    fn save(&mut self, slot: Slot) -> Result<Vec<Cell>, String> {
        self.copied += self.slots[slot as usize].len();
        Ok(self.slots[slot as usize].clone())
    }

    fn restore(&mut self, saved: &Vec<Cell>, slot: Slot, position: usize) -> Result<(), String> {
        assert!(self.slots[slot as usize].is_empty(), "only empty slots are restored");
        self.copied += saved.len();
        self.slots[slot as usize] = saved.clone();
        self.truncate(slot, position)
    }

    fn truncate(&mut self, slot: Slot, position: usize) -> Result<(), String> {
        cut(&mut self.slots[slot as usize], position);
        Ok(())
    }

    fn see(&mut self, look: &Look, position: usize, slot: Slot) -> Result<(), String> {
        let Glance { id, tokens, positions } = look.glance;
        let cells = &mut self.slots[slot as usize];
        assert_eq!(end(cells), position, "positions follow each other");
        self.logits.clear();
        cells.extend(std::iter::repeat_n((id, position, position + positions), tokens));
        self.most_cells = self.most_cells.max(cells.len());
        self.seen.push(id);
        if self.blind_to == Some(id) { Err("it cannot be seen".into()) } else { Ok(()) }
    }

    fn wipe(&mut self) {
        assert!(self.slots.iter().all(Vec::is_empty), "nothing that runs is wiped");
        self.foul.clear();
        self.wiped += 1;
    }
}

pub(super) const LIMITS: Limits = Limits { sequences: 4, context: 700, prefix_tokens: 600, step: 24, copies: 8 };

pub(super) fn job(text: &str, script: Script, deterministic: bool) -> Compiled {
    about(text, &[], "", script, deterministic)
}

/// A job with pictures between two texts.
fn about(before: &str, pictures: &[u8], after: &str, script: Script, deterministic: bool) -> Compiled {
    let text = |text: &str| (!text.is_empty()).then(|| Segment::Text(text.into()));
    let pictures = pictures.iter().map(|number| Segment::Picture(toy::picture(*number)));
    let control = Segment::Control("<user>".into());
    let segments = [control].into_iter().chain(text(before)).chain(pictures).chain(text(after));
    let prompt = Prompt(segments.collect());
    let encoded = prompt.encode(&Toy);
    let sampling = SamplerSettings { temperature: 1.0, top_p: 1.0, top_k: 0, min_p: 0.0, seed: 5 };
    Compiled::new(Job { prompt, script, sampling, deterministic }, encoded, &Toy).unwrap()
}

pub(super) fn judging(max_tokens: usize) -> Script {
    Script(vec![
        Step::Generate(Generate { stop: vec!["[RESULT]".into()], max_tokens, min_tokens: 0, ..Generate::default() }),
        Step::Say(" [RESULT]".into()),
        Step::Choose([" 1", " 10", " 2"].map(str::to_owned).to_vec()),
    ])
}

fn alone(compiled: Compiled) -> Transcript {
    fn run(machine: &mut Machine) -> Transcript {
        let mut action = machine.start();
        loop {
            action = match action {
                Action::Feed => machine.on_logits(&toy::logits(machine.ids())),
                Action::Fork(count) => {
                    let transcripts = (0..count).map(|index| run(&mut machine.branch(index))).collect();
                    machine.on_branches(transcripts)
                }
                Action::Done(transcript) => return transcript,
                Action::Failed(error) => panic!("{error}"),
            };
        }
    }
    run(&mut compiled.machine(Arc::new(Toy)))
}

fn scheduler(limits: Limits) -> Scheduler<Fake> {
    let slots = vec![Vec::new(); limits.sequences];
    Scheduler::new(Fake { slots, ..Fake::default() }, Arc::new(Toy), limits)
}

fn submit(scheduler: &mut Scheduler<Fake>, compiled: Compiled) -> Run {
    let (events, run) = Run::channel();
    scheduler.submit(compiled, events);
    run
}

pub(super) fn finish(run: Run) -> Result<Completion, EngineError> {
    futures::executor::block_on(run.finish(|_| ()))
}

fn drain(scheduler: &mut Scheduler<Fake>) {
    for _ in 0..20_000 {
        if scheduler.idle() {
            return;
        }
        scheduler.step().unwrap();
    }
    panic!("the scheduler makes no progress");
}

const SHARED: &str = "the response is good, the feedback is bad, the response is the feedback: ";

#[test]
fn what_requests_share_is_computed_once() {
    let mut scheduler = scheduler(LIMITS);
    let text = SHARED.repeat(3);
    let runs: Vec<Run> = (0..4).map(|_| submit(&mut scheduler, job(&text, judging(4), false))).collect();
    drain(&mut scheduler);
    let prompt = job(&text, judging(4), false).prompt_tokens;
    let decoded = scheduler.backend.decoded;
    assert!(decoded < prompt + 4 * 40, "{decoded} tokens for four runs over one prompt of {prompt}");
    let cached: Vec<usize> = runs.into_iter().map(|run| finish(run).unwrap().cached_tokens).collect();
    assert_eq!(cached, [0, prompt - 1, prompt - 1, prompt - 1]);
    let again = submit(&mut scheduler, job(&text, judging(4), false));
    drain(&mut scheduler);
    assert_eq!(finish(again).unwrap().cached_tokens, prompt - 1, "a finished prompt stays as a prefix");
}

#[test]
fn a_caller_that_goes_away_frees_its_place() {
    let mut scheduler = scheduler(LIMITS);
    let long = Script(vec![Step::Generate(Generate {
        stop: Vec::new(),
        max_tokens: 50,
        min_tokens: 50,
        ..Generate::default()
    })]);
    let script = Script(vec![Step::Branch(vec![long.clone(), long])]);
    let run = submit(&mut scheduler, job(SHARED, script, false));
    let waits = submit(&mut scheduler, job("other", judging(8), false));
    (0..6).for_each(|_| scheduler.step().unwrap());
    assert_eq!(scheduler.load().running, 2);
    drop(run);
    drain(&mut scheduler);
    assert_eq!(scheduler.load().running, 0);
    finish(waits).unwrap();
    let before = scheduler.backend.decoded;
    scheduler.step().unwrap();
    assert_eq!(scheduler.backend.decoded, before, "nothing is computed for nobody");
}

#[test]
fn a_failure_fails_what_was_in_flight() {
    let mut scheduler = scheduler(LIMITS);
    let runs: Vec<Run> =
        (0..6).map(|i| submit(&mut scheduler, job(&format!("{i}{SHARED}"), judging(8), false))).collect();
    scheduler.step().unwrap();
    scheduler.backend.fail = true;
    let reason = scheduler.step().unwrap_err();
    scheduler.fail_all(&reason);
    for run in runs {
        assert_eq!(finish(run), Err(EngineError::Failed("out of order".into())));
    }
    assert!(scheduler.idle());
}

#[test]
fn deterministic_runs_alone_and_from_nothing() {
    let mut scheduler = scheduler(LIMITS);
    let text = SHARED.repeat(2);
    let warm = submit(&mut scheduler, job(&text, judging(8), false));
    drain(&mut scheduler);
    let first = submit(&mut scheduler, job(&format!("{text}x"), judging(8), false));
    let exact = submit(&mut scheduler, job(&text, judging(8), true));
    let after = submit(&mut scheduler, job(&format!("{text}y"), judging(8), false));
    scheduler.backend.steps.clear();
    drain(&mut scheduler);
    let (_, completion, ..) = (finish(warm), finish(exact).unwrap(), finish(first), finish(after));
    assert_eq!(completion.cached_tokens, 0);
    let starts: Vec<Slot> =
        scheduler.backend.steps.iter().flatten().filter(|row| row.position == 0).map(|row| row.slot).collect();
    let [slot] = starts[..] else { panic!("only the deterministic one begins from nothing: {starts:?}") };
    let beside = |step: &&Vec<Row>| step.iter().any(|row| row.slot == slot && row.position < completion.prompt_tokens);
    let beside: Vec<Vec<Row>> = scheduler.backend.steps.iter().filter(beside).cloned().collect();
    let prompt: usize = beside.iter().map(Vec::len).sum();
    assert_eq!(prompt, completion.prompt_tokens, "it is read in batches of its own");
    assert!(beside.iter().rev().skip(1).all(|step| step.len() == LIMITS.step), "cut as it would be alone");
}

fn writing(tokens: usize) -> Script {
    let generate = Generate { max_tokens: tokens, min_tokens: tokens, ..Generate::default() };
    Script(vec![Step::Generate(generate)])
}

#[test]
fn who_runs_deterministically_keeps_nobody_from_free_slots() {
    let mut scheduler = scheduler(LIMITS);
    let runs = [("first", false), ("exact", true), ("after", false)]
        .map(|(text, exact)| submit(&mut scheduler, job(text, writing(60), exact)));
    scheduler.step().unwrap();
    assert_eq!((scheduler.load().running, scheduler.load().waiting), (3, 0));
    (0..20).for_each(|_| scheduler.step().unwrap());
    assert!(scheduler.running.iter().all(|s| s.machine.ids().len() > 20), "all go on");
    let slot = scheduler.running.iter().find(|s| s.alone).unwrap().slot;
    let apart = |step: &Vec<Row>| step.iter().all(|row| row.slot == slot) || step.iter().all(|row| row.slot != slot);
    assert!(scheduler.backend.steps.iter().all(apart));
    drain(&mut scheduler);
    for run in runs {
        finish(run).unwrap();
    }
}

#[test]
fn callers_take_turns_whatever_they_have_queued() {
    let mut scheduler = scheduler(LIMITS);
    let of = |caller: &str, request, text: &str| Compiled {
        flow: Flow::new(caller, request),
        ..job(text, writing(4), false)
    };
    // Every one of the large request can begin with what another has computed.
    let large: Vec<Run> = (0..60).map(|i| submit(&mut scheduler, of("large", 1, &format!("{SHARED}{i}")))).collect();
    (0..40).for_each(|_| scheduler.step().unwrap());
    let left = scheduler.load().waiting;
    assert!(left > 15, "{left}");
    let small = submit(&mut scheduler, of("small", 2, "Something else."));
    let same = submit(&mut scheduler, of("large", 3, "Another request of the caller."));
    let ended = |run: &Run| run.events.sender_strong_count() == 0;
    let mut last = Vec::new();
    while last.len() < 2 {
        scheduler.step().unwrap();
        let waiting = scheduler.load().waiting;
        for (name, run) in [("small", &small), ("same", &same)] {
            if ended(run) && !last.iter().any(|(other, _)| *other == name) {
                last.push((name, left - waiting));
            }
        }
    }
    assert!(last[0].0 == "small" && last[1].1 <= 3 * LIMITS.sequences, "{last:?}");
    drain(&mut scheduler);
    for run in large.into_iter().chain([small, same]) {
        finish(run).unwrap();
    }
}

#[test]
fn who_holds_nothing_gets_a_slot_of_who_holds_several() {
    let mut scheduler = scheduler(LIMITS);
    let of = |caller: &str, request, tokens| Compiled {
        flow: Flow::new(caller, request),
        ..job(&format!("{caller}{request}: {SHARED}"), writing(tokens), false)
    };
    let held = |scheduler: &Scheduler<Fake>| {
        let mut held: Vec<String> =
            scheduler.running.iter().map(|s| format!("{}{}", s.flow.caller, s.flow.request)).collect();
        held.sort();
        held.join(" ")
    };
    let large: Vec<Run> = (0..6).map(|_| submit(&mut scheduler, of("a", 1, 60))).collect();
    (0..16).for_each(|_| scheduler.step().unwrap());
    assert_eq!(held(&scheduler), "a1 a1 a1 a1");
    let others =
        [("b", 2), ("a", 3), ("c", 4)].map(|(caller, request)| submit(&mut scheduler, of(caller, request, 20)));
    scheduler.step().unwrap();
    assert_eq!(held(&scheduler), "a1 a3 b2 c4");
    let one_more = submit(&mut scheduler, of("d", 5, 20));
    scheduler.step().unwrap();
    assert_eq!(held(&scheduler), "a1 b2 c4 d5");
    let beyond = submit(&mut scheduler, of("e", 6, 20));
    scheduler.step().unwrap();
    assert_eq!(held(&scheduler), "a1 b2 c4 d5", "each caller keeps one slot");
    drain(&mut scheduler);
    for run in large.into_iter().chain(others).chain([one_more, beyond]) {
        assert_eq!(finish(run).unwrap().transcript.completion_tokens % 20, 0);
    }
}

/// Who is skipped since its prefix is promised could be chosen once the one that promises it was paused, and bring it back.
#[test]
fn who_room_was_made_for_begins() {
    let mut scheduler = scheduler(Limits { sequences: 2, ..LIMITS });
    let of = |caller: &str, request, text: &str, tokens| Compiled {
        flow: Flow::new(caller, request),
        ..job(text, writing(tokens), false)
    };
    let long = SHARED.repeat(7);
    let first = submit(&mut scheduler, of("a", 1, "first", 30));
    scheduler.step().unwrap();
    let promises = submit(&mut scheduler, of("a", 2, &long, 4));
    scheduler.step().unwrap();
    let waits = submit(&mut scheduler, of("a", 2, &format!("{long}?"), 4));
    let other = submit(&mut scheduler, of("b", 3, "Something else.", 4));
    scheduler.step().unwrap();
    assert!(scheduler.running.iter().any(|sequence| &*sequence.flow.caller == "b"));
    drain(&mut scheduler);
    for run in [first, promises, waits, other] {
        finish(run).unwrap();
    }
}

#[test]
fn every_caller_reads_in_a_step() {
    let mut scheduler = scheduler(LIMITS);
    let of = |caller: &str, text: String| Compiled { flow: Flow::new(caller, 1), ..job(&text, writing(1), false) };
    let runs: Vec<Run> = ["a", "b", "c", "d", "c"]
        .iter()
        .enumerate()
        .map(|(at, caller)| submit(&mut scheduler, of(caller, format!("{at}{}", SHARED.repeat(9)))))
        .collect();
    scheduler.step().unwrap();
    let mut slots: Vec<Slot> = scheduler.backend.steps.iter().flatten().map(|row| row.slot).collect();
    slots.dedup();
    assert_eq!(slots, [0, 1, 2, 3]);
    drop(runs);
}

#[test]
fn callers_share_the_steps_that_read_prompts() {
    let mut scheduler = scheduler(LIMITS);
    let of = |caller: &str, text: String| Compiled { flow: Flow::new(caller, 1), ..job(&text, writing(1), false) };
    let _large: Vec<Run> =
        (0..3).map(|i| submit(&mut scheduler, of("a", format!("{i}{}", SHARED.repeat(9))))).collect();
    scheduler.step().unwrap();
    let _small = submit(&mut scheduler, of("b", "A text of its own, and some more.".into()));
    scheduler.backend.steps.clear();
    scheduler.step().unwrap();
    let slots: Vec<Slot> = scheduler.backend.steps.iter().flatten().map(|row| row.slot).collect();
    let part = LIMITS.step / 2;
    assert_eq!(slots, [vec![3; part], vec![0; part]].concat());
}

#[test]
fn what_cannot_end_in_time_is_not_begun() {
    let mut scheduler = scheduler(Limits { sequences: 1, ..LIMITS });
    let until = |text: &str, deadline| Compiled { deadline, ..job(text, writing(4), false) };
    let now = Instant::now();
    let running = submit(&mut scheduler, until("running", Some(now)));
    scheduler.step().unwrap();
    let hour = now.checked_add(Duration::from_secs(3600));
    let runs = [Some(now), hour, None].map(|deadline| submit(&mut scheduler, until("waiting", deadline)));
    drain(&mut scheduler);
    assert!(finish(running).is_ok(), "what has begun is not given up");
    let [late, early, whenever] = runs.map(finish);
    assert_eq!(late.unwrap_err(), EngineError::TooLate);
    assert!(early.is_ok() && whenever.is_ok());
}

#[test]
fn little_that_is_shared_is_not_worth_a_copy_of_much() {
    let mut scheduler = scheduler(LIMITS);
    let start = SHARED.repeat(2);
    let long =
        submit(&mut scheduler, job(&format!("{start}{}", "a much longer story, ".repeat(12)), writing(40), false));
    (0..20).for_each(|_| scheduler.step().unwrap());
    let short = submit(&mut scheduler, job(&format!("{start}?"), writing(2), false));
    scheduler.step().unwrap();
    assert_eq!((scheduler.load().running, scheduler.backend.copied), (2, 0), "it neither waits nor is copied");
    drain(&mut scheduler);
    assert_eq!(finish(short).unwrap().cached_tokens, 0);
    let long = finish(long).unwrap();
    assert!(long.prompt_tokens > 5 * WORTH_SHARING, "{}", long.prompt_tokens);
}

#[test]
fn what_is_shared_whole_is_copied_once_out_and_once_in() {
    let mut scheduler = scheduler(LIMITS);
    let text = SHARED.repeat(3);
    let first = submit(&mut scheduler, job(&text, writing(30), false));
    let second = submit(&mut scheduler, job(&format!("{text}?"), writing(30), false));
    while scheduler.load().running < 2 && scheduler.load().waiting > 0 {
        scheduler.step().unwrap();
    }
    let held = scheduler.backend.copied;
    drain(&mut scheduler);
    let (_, cached) = (finish(first).unwrap(), finish(second).unwrap().cached_tokens);
    assert!(cached > WORTH_SHARING && held <= 2 * (cached + 2), "{held} tokens copied to share {cached}");
}

#[test]
fn logits_that_are_no_numbers_fail_one_sequence() {
    let failed = Err(EngineError::Step(StepError::BadLogits));
    let bad = Toy.tokenize("\u{7}")[0];
    for script in [judging(8), Script(judging(8).0[1..].to_vec()), Script(vec![Step::Branch(vec![judging(3)])])] {
        let mut scheduler = scheduler(LIMITS);
        scheduler.backend.bad = Some(bad);
        let sound: Vec<Compiled> = (0..9).map(|i| job(&format!("{SHARED}{i}"), script.clone(), i == 2)).collect();
        let mut runs: Vec<Run> = sound[..3].iter().map(|sound| submit(&mut scheduler, sound.clone())).collect();
        let broken = format!("\u{7}{SHARED}");
        let fails: Vec<Run> = (0..6).map(|_| submit(&mut scheduler, job(&broken, script.clone(), false))).collect();
        runs.extend(sound[3..].iter().map(|sound| submit(&mut scheduler, sound.clone())));
        drain(&mut scheduler);
        for run in fails {
            assert_eq!(finish(run), failed);
        }
        for (run, sound) in runs.into_iter().zip(sound) {
            assert_eq!(finish(run).unwrap().transcript, alone(sound), "the others get what they get alone");
        }
        assert!(scheduler.backend.wiped > 0, "slots come back");
        assert!(scheduler.prefixes.iter().all(|prefix| !prefix.contains(&bad)), "nothing broken is kept");
    }
}

#[test]
fn long_prompts_do_not_stall_what_is_running() {
    let mut scheduler = scheduler(LIMITS);
    let short = submit(&mut scheduler, job("say: ", judging(30), false));
    scheduler.step().unwrap();
    let long = submit(&mut scheduler, job(&SHARED.repeat(20), judging(2), false));
    scheduler.backend.steps.clear();
    drain(&mut scheduler);
    let (short, long) = (finish(short).unwrap(), finish(long).unwrap());
    assert!(long.prompt_tokens > 10 * LIMITS.step && short.transcript.completion_tokens > 3);
    let chunks: Vec<bool> = scheduler.backend.steps.iter().take(6).map(|step| step.len() == LIMITS.step).collect();
    assert_eq!(chunks, [false, true, false, true, false, true], "a token after every chunk");
}

#[test]
fn feedback_that_reaches_its_limit_says_so() {
    let mut scheduler = scheduler(LIMITS);
    let run = submit(&mut scheduler, job("x", judging(1), false));
    drain(&mut scheduler);
    let outcome = finish(run).unwrap().transcript.outcomes.remove(0);
    assert!(matches!(outcome, Outcome::Generated { finish: Finish::Length, .. }), "{outcome:?}");
}

/// Two groups that arrive interleaved, with room for one sequence and one group's beginning.
#[test]
fn a_group_is_finished_while_its_beginning_is_there() {
    let limits = Limits { sequences: 1, prefix_tokens: 300, ..LIMITS };
    let mut scheduler = scheduler(limits);
    let texts: Vec<String> = (0..6).map(|i| format!("{}{}{i}", ["x", "y"][i % 2], SHARED.repeat(3))).collect();
    let runs: Vec<Run> = texts.iter().map(|text| submit(&mut scheduler, job(text, judging(2), false))).collect();
    drain(&mut scheduler);
    let ends = runs.into_iter().map(|run| finish(run).unwrap());
    let cached: Vec<bool> = ends.map(|end| 2 * end.cached_tokens > end.prompt_tokens).collect();
    assert_eq!(cached, [false, false, true, true, true, true]);
}

#[test]
fn nobody_is_overtaken_for_ever() {
    let limits = Limits { sequences: 1, ..LIMITS };
    let mut scheduler = scheduler(limits);
    let group = |i: usize| job(&format!("{}{i}", SHARED.repeat(2)), judging(1), false);
    let _first = submit(&mut scheduler, group(0));
    let _other = submit(&mut scheduler, job("something else", judging(1), false));
    let _group: Vec<Run> = (1..PATIENCE + 10).map(|i| submit(&mut scheduler, group(i))).collect();
    let mut order = Vec::new();
    while !scheduler.idle() {
        scheduler.step().unwrap();
        order.extend(scheduler.running.iter().map(|s| s.id));
        order.dedup();
    }
    let other = 2;
    assert_eq!(order.iter().position(|id| *id == other), Some(1 + PATIENCE), "{order:?}");
}

#[test]
fn the_end_of_a_prompt_is_not_kept_when_others_share_the_rest() {
    let mut scheduler = scheduler(LIMITS);
    let runs: Vec<Run> = (0..3)
        .map(|i| submit(&mut scheduler, job(&format!("{}{i}: own", SHARED.repeat(2)), judging(2), false)))
        .collect();
    drain(&mut scheduler);
    let prompt = runs.into_iter().map(|run| finish(run).unwrap().prompt_tokens).max().unwrap();
    assert_eq!(scheduler.prefixes.iter().count(), 1);
    assert!(scheduler.prefixes.tokens() < prompt);
}

#[test]
fn a_prompt_is_told_in_the_steps_that_read_it() {
    let text = SHARED.repeat(3);
    let script = |write| Script([vec![Step::PromptLogprobs(2)], write].concat());
    for write in [vec![], judging(6).0] {
        let mut scheduler = scheduler(LIMITS);
        let compiled = job(&text, script(write), false);
        let run = submit(&mut scheduler, compiled.clone());
        let other = submit(&mut scheduler, job(&text, judging(4), false));
        drain(&mut scheduler);
        let completion = finish(run).unwrap();
        assert_eq!(completion.transcript, alone(compiled.clone()));
        assert_eq!(completion.transcript.prompt_logprobs.len(), compiled.prompt_tokens);
        assert!(scheduler.backend.steps.len() < compiled.prompt_tokens, "many tokens a step");
        assert!(finish(other).is_ok());
    }
}

fn any_script() -> impl Strategy<Value = Script> {
    let branches =
        prop::collection::vec((1..6usize).prop_map(judging), 1..4).prop_map(|b| Script(vec![Step::Branch(b)]));
    let tail = branches.clone().prop_map(|b| Script([b.0, judging(3).0].concat()));
    let told = (0..3usize).prop_map(|most| Script([vec![Step::PromptLogprobs(most)], judging(3).0].concat()));
    prop_oneof![4 => (1..20usize).prop_map(judging), 1 => branches, 1 => tail, 1 => told]
}

/// Mostly none, else some of a few.
fn any_pictures() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(0..3u8, 1..4)]
}

#[test]
fn a_picture_that_prompts_share_is_seen_once() {
    let mut scheduler = scheduler(LIMITS);
    let of = |number, after: &str| about("", &[number], &format!("{after}{SHARED}"), judging(4), false);
    let (first, other) = (toy::picture(6), toy::picture(14));
    let glances = [&first, &other].map(|shown| Toy.look(&shown.picture).unwrap());
    assert!(glances[0].tokens == glances[1].tokens && glances[0].tokens > WORTH_SHARING, "they differ in the id alone");
    let compiled: Vec<Compiled> = [of(6, "a"), of(6, "b"), of(14, "a"), of(6, "a"), of(14, "b")].into();
    let runs: Vec<Run> = compiled.iter().map(|compiled| submit(&mut scheduler, compiled.clone())).collect();
    drain(&mut scheduler);
    for (run, compiled) in runs.into_iter().zip(compiled) {
        assert_eq!(finish(run).unwrap().transcript, alone(compiled));
    }
    let mut seen = scheduler.backend.seen.clone();
    seen.sort_unstable();
    let mut expected = glances.map(|glance| glance.id);
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

#[test]
fn a_picture_that_cannot_be_seen_fails_its_job_alone() {
    let mut scheduler = scheduler(LIMITS);
    scheduler.backend.blind_to = Some(Toy.look(&toy::picture(1).picture).unwrap().id);
    let of = |number| about(SHARED, &[number], SHARED, judging(4), false);
    let runs = [1, 2, 1].map(|number| submit(&mut scheduler, of(number)));
    drain(&mut scheduler);
    let [failed, fine, again] = runs.map(finish);
    assert_eq!(failed, Err(EngineError::Failed("it cannot be seen".into())));
    assert_eq!(fine.unwrap().transcript, alone(of(2)));
    assert_eq!(again, Err(EngineError::Failed("it cannot be seen".into())));
    assert!(scheduler.backend.slots.iter().all(Vec::is_empty));
}

#[test]
fn others_wait_for_one_picture_at_most() {
    let mut scheduler = scheduler(LIMITS);
    let writes = submit(&mut scheduler, job("x", writing(40), false));
    scheduler.step().unwrap();
    let runs: Vec<Run> =
        (0..3).map(|n| submit(&mut scheduler, about("", &[n, n + 3], "so", judging(2), false))).collect();
    let mut before = (0, scheduler.running[0].machine.ids().len());
    while scheduler.backend.seen.len() < 6 {
        scheduler.step().unwrap();
        let now = (scheduler.backend.seen.len(), scheduler.running[0].machine.ids().len());
        assert!(now.0 <= before.0 + 1 && now.1 > before.1, "{before:?} {now:?}");
        before = now;
    }
    drain(&mut scheduler);
    for run in runs.into_iter().chain([writes]) {
        finish(run).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever runs together, in whatever room, every script gets what it gets alone.
    #[test]
    fn every_script_gets_what_it_gets_alone(
        jobs in prop::collection::vec((0..4usize, any_pictures(), "[a-c ]{1,12}", any_script(), prop::bool::weighted(0.1), 0..6usize, prop::bool::weighted(0.15), 0..9u64), 1..14),
        sequences in 1..5usize,
        prefix_tokens in prop_oneof![Just(0), 30..400usize],
        step in 1..40usize,
    ) {
        let limits = Limits { sequences, prefix_tokens, step: step.max(sequences), ..LIMITS };
        let mut scheduler = scheduler(limits);
        let mut runs = Vec::new();
        for (shared, pictures, own, mut script, deterministic, pause, leaves, whose) in jobs {
            if !pictures.is_empty() {
                script.0.retain(|step| !matches!(step, Step::PromptLogprobs(_)));
            }
            let compiled = about(&SHARED.repeat(shared), &pictures, &own, script, deterministic);
            let flow = Flow::new((whose / 3).to_string(), whose);
            let compiled = Compiled { flow, ..compiled };
            let run = submit(&mut scheduler, compiled.clone());
            for _ in 0..pause {
                scheduler.step().unwrap();
            }
            if !leaves {
                runs.push((run, compiled));
            }
        }
        drain(&mut scheduler);
        for (run, compiled) in runs {
            prop_assert_eq!(finish(run).unwrap().transcript, alone(compiled));
        }
        prop_assert!(scheduler.backend.most_cells <= limits.context, "{} cells", scheduler.backend.most_cells);
        prop_assert!(scheduler.backend.slots.iter().all(Vec::is_empty));
        prop_assert!(scheduler.prefixes.tokens() <= limits.prefix_tokens);
    }
}
