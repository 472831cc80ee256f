//! Length-bucketed static batches, for an engine that decodes only sequences of equal length together.
//!
//! Sequences of a batch (a wave) start together. Their prompts are prefilled up to the length of the shortest, and each
//! is forced to the rest of its own prompt token by token, which costs steps that all share and changes no token. From
//! there on, every sequence grows by one token a step, so that their lengths stay equal. Prefill-only sequences end
//! before they grow, so they run at any length: they fill free slots, also of a running wave.

/// A waiting sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Tokens of its prompt.
    pub prompt: usize,
    /// Maximum number of tokens, including its prompt.
    pub reserved: usize,
    /// Whether it must run alone.
    pub alone: bool,
    /// Whether it ends with its prefill.
    pub prefill_only: bool,
}

/// Limits of a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of sequences.
    pub sequences: usize,
    /// Maximum difference of their prompts, in tokens.
    pub max_length_gap: usize,
    /// Maximum number of tokens of all sequences together.
    pub tokens: usize,
}

/// The next wave: indexes into `waiting`, whose first has waited longest. The first is always in the wave, so that none
/// starves. The others are those of similar length, and then prefill-only ones of any length.
#[must_use]
pub fn pick(waiting: &[Waiting], limits: Limits) -> Vec<usize> {
    let Some(first) = waiting.first() else { return Vec::new() };
    let mut wave = vec![0];
    if first.alone {
        return wave;
    }
    let others = || waiting.iter().enumerate().filter(|(_, w)| !w.alone);
    let leader = others().find(|(_, w)| !w.prefill_only).map_or(first.prompt, |(_, leader)| leader.prompt);
    let (from, to) = window(waiting, leader, limits.max_length_gap);
    let mut mates: Vec<_> = others().filter(|(_, w)| !w.prefill_only && (from..=to).contains(&w.prompt)).collect();
    mates.sort_by_key(|(_, w)| w.prompt.abs_diff(leader));
    let candidates = mates.into_iter().chain(others().filter(|(_, w)| w.prefill_only)).filter(|(index, _)| *index != 0);
    let left = Limits {
        sequences: limits.sequences.saturating_sub(1),
        tokens: limits.tokens.saturating_sub(first.reserved),
        ..limits
    };
    wave.extend(fitting(candidates, left));
    wave
}

/// The sequences that may join a running wave within the remaining limits `left`: prefill-only ones, in order.
#[must_use]
pub fn join(waiting: &[Waiting], left: Limits) -> Vec<usize> {
    fitting(waiting.iter().enumerate().filter(|(_, w)| w.prefill_only && !w.alone), left)
}

/// The candidates that fit, in order.
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

/// Of all ranges of lengths that contain `length` and are no wider than `max_length_gap`, the one with most sequences.
fn window(waiting: &[Waiting], length: usize, max_length_gap: usize) -> (usize, usize) {
    let together = waiting.iter().filter(|w| !w.alone && !w.prefill_only).map(|w| w.prompt);
    let starts = together.clone().filter(|start| *start <= length && length - start <= max_length_gap);
    let count = |start: usize| together.clone().filter(|l| (start..=start + max_length_gap).contains(l)).count();
    let from = starts.max_by_key(|start| (count(*start), *start)).unwrap_or(length);
    (from, from + max_length_gap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { sequences: 4, max_length_gap: 8, tokens: 1000 };

    fn waiting(prompts: &[usize]) -> Vec<Waiting> {
        let waiting =
            |prompt: &usize| Waiting { prompt: *prompt, reserved: prompt + 10, alone: false, prefill_only: false };
        prompts.iter().map(waiting).collect()
    }

    #[test]
    fn sequences_of_similar_length_run_together() {
        let check = |prompts: &[usize], expected: &[usize]| {
            assert_eq!(pick(&waiting(prompts), LIMITS), expected, "{prompts:?}");
        };
        check(&[], &[]);
        check(&[100], &[0]);
        check(&[100, 200, 100, 100], &[0, 2, 3]);
        check(&[100, 109, 108], &[0, 2]);
        // Two are shorter and one is longer: the range with the two has more.
        check(&[100, 105, 95, 96], &[0, 3, 2]);
        // The nearest in length first, and no more than four.
        check(&[100, 104, 103, 102, 101], &[0, 4, 3, 2]);
        // The third would not fit the pool, the shorter one does.
        check(&[300, 301, 302, 303], &[0, 1, 2]);
    }

    #[test]
    fn some_sequences_run_alone() {
        let mut three = waiting(&[100, 100, 100]);
        three[0].alone = true;
        assert_eq!(pick(&three, LIMITS), [0]);
        three.rotate_left(1);
        assert_eq!(pick(&three, LIMITS), [0, 1], "no other sequence joins one that must run alone");
    }

    #[test]
    fn prefill_only_sequences_fill_free_slots() {
        let mut mixed = waiting(&[100, 300, 104, 20, 103]);
        (mixed[1].prefill_only, mixed[3].prefill_only) = (true, true);
        assert_eq!(pick(&mixed, LIMITS), [0, 4, 2, 1], "prefill-only sequences come last, whatever their length");
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
            max_length_gap in 0usize..40,
            tokens in 1usize..2000,
        ) {
            let all: Vec<Waiting> = all.into_iter()
                .map(|(prompt, more, alone, prefill_only)| Waiting { prompt, reserved: prompt + more, alone, prefill_only }).collect();
            let wave = pick(&all, Limits { sequences, max_length_gap, tokens });
            prop_assert_eq!(wave[0], 0);
            prop_assert!(wave.len() <= sequences);
            let mut sorted = wave.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), wave.len());
            prop_assert!(wave.len() == 1 || wave.iter().all(|i| !all[*i].alone));
            let prompts = wave.iter().filter(|i| !all[**i].prefill_only).map(|i| all[*i].prompt);
            prop_assert!(prompts.clone().max().unwrap_or(0) - prompts.min().unwrap_or(0) <= max_length_gap);
            prop_assert!(wave.len() == 1 || wave.iter().map(|i| all[*i].reserved).sum::<usize>() <= tokens);
        }

        /// Every sequence runs within as many waves as there are sequences before it.
        #[test]
        fn no_sequence_starves(mut all in prop::collection::vec(1usize..200, 1..40)) {
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
