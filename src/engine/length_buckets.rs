//! Static batches by length: which sequences run together on an engine that decodes only sequences of one length.
//!
//! Such sequences begin together, as a wave: their prompts are cut to the length of the shortest, and each is forced
//! to the rest of its prompt token by token, which costs steps that all share and changes no token. Afterwards every
//! sequence of the wave gains a token a step, so that their lengths stay equal, until it leaves. Brief sequences, which
//! leave before they gain one, need no equals: they fill what room there is, while the wave runs as well.

/// A sequence that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Tokens of its prompt.
    pub prompt: usize,
    /// Tokens that it may come to hold, its prompt included.
    pub reserved: usize,
    /// Whether it has to run alone.
    pub alone: bool,
    /// Whether it ends once its prompt is read.
    pub brief: bool,
}

/// What a wave may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most sequences.
    pub sequences: usize,
    /// By how many tokens their prompts may differ.
    pub spread: usize,
    /// The most tokens that they may come to hold together.
    pub tokens: usize,
}

/// The next wave: indices into `waiting`, whose first has waited longest. That one always belongs to it, so that none
/// waits for ever; the others are those that are as long as it is, or nearly, and then brief ones of any length.
#[must_use]
pub fn pick(waiting: &[Waiting], limits: Limits) -> Vec<usize> {
    let Some(first) = waiting.first() else { return Vec::new() };
    let mut wave = vec![0];
    if first.alone {
        return wave;
    }
    let others = || waiting.iter().enumerate().filter(|(_, w)| !w.alone);
    let leader = others().find(|(_, w)| !w.brief).map_or(first.prompt, |(_, leader)| leader.prompt);
    let (from, to) = window(waiting, leader, limits.spread);
    let mut mates: Vec<_> = others().filter(|(_, w)| !w.brief && (from..=to).contains(&w.prompt)).collect();
    mates.sort_by_key(|(_, w)| w.prompt.abs_diff(leader));
    let candidates = mates.into_iter().chain(others().filter(|(_, w)| w.brief)).filter(|(index, _)| *index != 0);
    let left = Limits {
        sequences: limits.sequences.saturating_sub(1),
        tokens: limits.tokens.saturating_sub(first.reserved),
        ..limits
    };
    wave.extend(fitting(candidates, left));
    wave
}

/// Those of `waiting` that may join a wave which runs, where `left` is what it leaves: brief ones, in their order.
#[must_use]
pub fn join(waiting: &[Waiting], left: Limits) -> Vec<usize> {
    fitting(waiting.iter().enumerate().filter(|(_, w)| w.brief && !w.alone), left)
}

/// The candidates that there is room for, in their order.
fn fitting<'w>(candidates: impl Iterator<Item = (usize, &'w Waiting)>, left: Limits) -> Vec<usize> {
    let (mut taken, mut held) = (Vec::new(), 0);
    for (index, candidate) in candidates {
        if taken.len() < left.sequences && held + candidate.reserved <= left.tokens {
            held += candidate.reserved;
            taken.push(index);
        }
    }
    taken
}

/// Of all ranges of lengths that hold `length` and are no wider than `spread`, the one with most sequences in it.
fn window(waiting: &[Waiting], length: usize, spread: usize) -> (usize, usize) {
    let together = waiting.iter().filter(|w| !w.alone && !w.brief).map(|w| w.prompt);
    let starts = together.clone().filter(|start| *start <= length && length - start <= spread);
    let count = |start: usize| together.clone().filter(|l| (start..=start + spread).contains(l)).count();
    let from = starts.max_by_key(|start| (count(*start), *start)).unwrap_or(length);
    (from, from + spread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { sequences: 4, spread: 8, tokens: 1000 };

    fn waiting(prompts: &[usize]) -> Vec<Waiting> {
        let waiting = |prompt: &usize| Waiting { prompt: *prompt, reserved: prompt + 10, alone: false, brief: false };
        prompts.iter().map(waiting).collect()
    }

    #[test]
    fn who_goes_together() {
        let check = |prompts: &[usize], expected: &[usize]| {
            assert_eq!(pick(&waiting(prompts), LIMITS), expected, "{prompts:?}");
        };
        check(&[], &[]);
        check(&[100], &[0]);
        check(&[100, 200, 100, 100], &[0, 2, 3]);
        check(&[100, 109, 108], &[0, 2]);
        // Two are shorter and one is longer: with the two there are more.
        check(&[100, 105, 95, 96], &[0, 3, 2]);
        // The nearest in length first, and no more than four.
        check(&[100, 104, 103, 102, 101], &[0, 4, 3, 2]);
        // The third would not fit the pool, the shorter one does.
        check(&[300, 301, 302, 303], &[0, 1, 2]);
    }

    #[test]
    fn who_goes_alone() {
        let mut three = waiting(&[100, 100, 100]);
        three[0].alone = true;
        assert_eq!(pick(&three, LIMITS), [0]);
        three.rotate_left(1);
        assert_eq!(pick(&three, LIMITS), [0, 1], "nobody joins who has to be alone");
    }

    #[test]
    fn brief_ones_fill_what_is_left() {
        let mut mixed = waiting(&[100, 300, 104, 20, 103]);
        (mixed[1].brief, mixed[3].brief) = (true, true);
        assert_eq!(pick(&mixed, LIMITS), [0, 4, 2, 1], "who is brief comes last, whatever the length");
        mixed.rotate_left(1);
        assert_eq!(pick(&mixed, LIMITS), [0, 1, 3, 4], "the first of the others leads");
        let left = Limits { sequences: 2, tokens: 400, ..LIMITS };
        assert_eq!(join(&mixed, left), [0, 2]);
        assert_eq!(join(&mixed, Limits { tokens: 309, ..left }), [2]);
        assert_eq!(join(&mixed, Limits { sequences: 1, ..left }), [0]);
        mixed[0].alone = true;
        assert_eq!(join(&mixed, left), [2]);
    }

    proptest! {
        #[test]
        fn a_wave_keeps_to_its_limits(
            all in prop::collection::vec(
                (1usize..200, 0usize..50, prop::bool::weighted(0.1), prop::bool::weighted(0.3)), 1..40),
            sequences in 1usize..10,
            spread in 0usize..40,
            tokens in 1usize..2000,
        ) {
            let all: Vec<Waiting> = all.into_iter()
                .map(|(prompt, more, alone, brief)| Waiting { prompt, reserved: prompt + more, alone, brief }).collect();
            let wave = pick(&all, Limits { sequences, spread, tokens });
            prop_assert_eq!(wave[0], 0);
            prop_assert!(wave.len() <= sequences);
            let mut sorted = wave.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), wave.len());
            prop_assert!(wave.len() == 1 || wave.iter().all(|i| !all[*i].alone));
            let prompts = wave.iter().filter(|i| !all[**i].brief).map(|i| all[*i].prompt);
            prop_assert!(prompts.clone().max().unwrap_or(0) - prompts.min().unwrap_or(0) <= spread);
            prop_assert!(wave.len() == 1 || wave.iter().map(|i| all[*i].reserved).sum::<usize>() <= tokens);
        }

        /// Whoever waits runs within as many waves as there are before it.
        #[test]
        fn none_waits_for_ever(mut all in prop::collection::vec(1usize..200, 1..40)) {
            let mut waves = 0;
            let most = all.len();
            while !all.is_empty() {
                let gone = pick(&waiting(&all), LIMITS);
                let mut index = 0;
                all.retain(|_| { index += 1; !gone.contains(&(index - 1)) });
                waves += 1;
            }
            prop_assert!(waves <= most);
        }
    }
}
