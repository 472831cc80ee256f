//! How accurate judge and people are together, by the share that goes to people.
//!
//! A person's label counts as right. Of items with equal scores, each is as likely as the others to go first, so the curve
//! is the expectation over their orders, and linear between groups of equal scores.

use serde::{Deserialize, Serialize};

use crate::domain::agreement::report::Figure;
use crate::domain::agreement::{Bootstrap, Draws, clusters, figure};

/// The shares of a curve: 0, 10, … 100 %.
const SHARES: usize = 11;
/// Scores are told apart by this part of 1.
const GRID: f64 = 1e9;

/// A labelled item with a verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Routed {
    /// Stands for its instruction.
    pub instruction: u64,
    /// The score that it is routed by.
    pub score: f64,
    /// How far the judge is right: 1, 0, or one half for a tie where people prefer one.
    pub right: f64,
}

/// The curve of a score beside that of random routing, with 95 % intervals over instructions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Simulation {
    /// Labelled items.
    pub items: usize,
    /// Their instructions.
    pub instructions: usize,
    /// By rising share.
    pub points: Vec<CurvePoint>,
    /// The area between both curves: the mean gain of accuracy over all shares. 0 is chance.
    pub area: Figure,
    /// That of a score which sends the judge's errors first; nothing gains more.
    pub best_area: Figure,
}

/// Accuracy at one share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The share of the items that goes to people.
    pub share: f64,
    /// The lowest score that goes to people; null at 0 %.
    pub threshold: Option<f64>,
    /// The accuracy with items of the highest scores first.
    pub accuracy: Figure,
    /// With items drawn at random.
    pub random: Figure,
    /// The first less the second.
    pub gain: Figure,
}

/// Items by falling score, each with its cluster.
struct Ordered {
    items: Vec<(usize, Routed)>,
}

/// What one resample comes to.
#[derive(Clone)]
struct Drawn {
    accuracy: [f64; SHARES],
    random: [f64; SHARES],
    area: f64,
}

/// Simulates routing of these items; `None` of no items.
#[must_use]
pub fn simulate(items: &[Routed], bootstrap: Bootstrap) -> Option<Simulation> {
    let (cluster, count) = clusters(items.iter().map(|item| item.instruction));
    let own: Vec<(usize, Routed)> = cluster.into_iter().zip(items.iter().copied()).collect();
    let best = own.iter().map(|(cluster, item)| (*cluster, Routed { score: 1.0 - item.right, ..*item })).collect();
    let (own, best) = (Ordered::new(own), Ordered::new(best));
    let once = vec![1; count];
    let (whole, best_whole) = (own.drawn(&once)?, best.drawn(&once)?);
    let draws = Draws::new(bootstrap, count);
    let (mut drawn, mut best_areas) = (Vec::new(), Vec::new());
    for weights in draws.resamples() {
        drawn.extend(own.drawn(weights));
        best_areas.push(best.drawn(weights).map(|drawn| drawn.area));
    }
    let of = |value: f64, each: &dyn Fn(&Drawn) -> f64| {
        let replicates: Vec<Option<f64>> = drawn.iter().map(|drawn| Some(each(drawn))).collect();
        figure(value, items.len(), &replicates)
    };
    let point = |nth: usize| CurvePoint {
        share: share(nth),
        threshold: own.threshold(share(nth)),
        accuracy: of(whole.accuracy[nth], &|drawn| drawn.accuracy[nth]),
        random: of(whole.random[nth], &|drawn| drawn.random[nth]),
        gain: of(whole.accuracy[nth] - whole.random[nth], &|drawn| drawn.accuracy[nth] - drawn.random[nth]),
    };
    Some(Simulation {
        items: items.len(),
        instructions: count,
        points: (0..SHARES).map(point).collect(),
        area: of(whole.area, &|drawn| drawn.area),
        best_area: figure(best_whole.area, items.len(), &best_areas),
    })
}

fn share(nth: usize) -> f64 {
    nth as f64 / (SHARES - 1) as f64
}

impl Ordered {
    fn new(mut items: Vec<(usize, Routed)>) -> Self {
        // Scores that differ only in rounding are equal.
        items.iter_mut().for_each(|(_, item)| item.score = (item.score * GRID).round() / GRID);
        items.sort_by(|(_, one), (_, other)| other.score.total_cmp(&one.score));
        Self { items }
    }

    /// The lowest score among the items that go to people.
    fn threshold(&self, share: f64) -> Option<f64> {
        let count = (share * self.items.len() as f64).round() as usize;
        Some(self.items.get(count.checked_sub(1)?)?.1.score)
    }

    /// The curve where clusters count as often as this says; `None` where none counts.
    fn drawn(&self, weights: &[u32]) -> Option<Drawn> {
        // The knots of what people put right: how many items went to them, and the errors among these.
        let mut knots = vec![(0.0, 0.0)];
        let (mut count, mut errors) = (0.0, 0.0);
        for group in self.items.chunk_by(|(_, one), (_, other)| one.score == other.score) {
            for (cluster, item) in group {
                let weight = f64::from(weights[*cluster]);
                count += weight;
                errors += weight * (1.0 - item.right);
            }
            knots.push((count, errors));
        }
        if count == 0.0 {
            return None;
        }
        let mut drawn = Drawn { accuracy: [0.0; SHARES], random: [0.0; SHARES], area: 0.0 };
        let mut at = 0;
        for nth in 0..SHARES {
            let wanted = share(nth) * count;
            while at + 2 < knots.len() && knots[at + 1].0 < wanted {
                at += 1;
            }
            let [(from, before), (to, after)] = [knots[at], knots[at + 1]];
            let part = if to > from { ((wanted - from) / (to - from)).clamp(0.0, 1.0) } else { 1.0 };
            let left = |put_right: f64| 1.0 - (errors - put_right) / count;
            drawn.accuracy[nth] = left(before + part * (after - before));
            drawn.random[nth] = left(share(nth) * errors);
        }
        let under = knots.windows(2).map(|pair| (pair[1].0 - pair[0].0) * f64::midpoint(pair[0].1, pair[1].1));
        drawn.area = under.sum::<f64>() / (count * count) - errors / count / 2.0;
        Some(drawn)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn routed(items: &[(f64, f64)]) -> Vec<Routed> {
        items
            .iter()
            .zip(0..)
            .map(|((score, right), instruction)| Routed { instruction, score: *score, right: *right })
            .collect()
    }

    #[test]
    fn errors_that_come_first_are_put_right_first() {
        // Two errors of ten, with the highest scores.
        let items =
            routed(&(0..10).map(|i| (f64::from(10 - i) / 10.0, f64::from(u8::from(i > 1)))).collect::<Vec<_>>());
        let found = simulate(&items, Bootstrap::default()).unwrap();
        let accuracy: Vec<f64> = found.points.iter().map(|point| (point.accuracy.value * 100.0).round()).collect();
        assert_eq!(accuracy, [80.0, 90.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0]);
        assert!((found.points[5].random.value - 0.9).abs() < 1e-12);
        assert_eq!((found.points[0].threshold, found.points[2].threshold), (None, Some(0.9)));
        // The area under 0.8 + x to 1 and then 1, less the mean of 0.8 and 1.
        assert!((found.area.value - (0.98 - 0.9)).abs() < 1e-12, "{:?}", found.area);
        assert!((found.best_area.value - found.area.value).abs() < 1e-12);
        assert!(found.area.low.unwrap() <= found.area.value && found.area.high.unwrap() >= found.area.value);
        assert_eq!(simulate(&[], Bootstrap::default()), None);
    }

    #[test]
    fn equal_scores_are_random_routing() {
        let items = routed(&(0..40).map(|i| (0.5, f64::from(u8::from(i % 3 > 0)))).collect::<Vec<_>>());
        let found = simulate(&items, Bootstrap::default()).unwrap();
        assert!(found.area.value.abs() < 1e-12 && found.area.high.unwrap() < 1e-12);
        assert!(found.points.iter().all(|point| point.gain.value.abs() < 1e-12));
        assert!(found.best_area.value > 0.1);
    }

    proptest! {
        #[test]
        fn curves_rise_to_1_and_none_is_above_the_best(
            items in prop::collection::vec((0_u32..6, 0_u32..3, 0_u64..8), 1..60),
        ) {
            let items: Vec<Routed> = items
                .into_iter()
                .map(|(score, right, instruction)| Routed {
                    instruction,
                    score: f64::from(score) / 5.0,
                    right: f64::from(right) / 2.0,
                })
                .collect();
            let found = simulate(&items, Bootstrap { seed: 3, resamples: 40 }).unwrap();
            prop_assert_eq!(found.points.len(), 11);
            for pair in found.points.windows(2) {
                prop_assert!(pair[1].accuracy.value >= pair[0].accuracy.value - 1e-12);
            }
            let last = found.points[10];
            prop_assert!((last.accuracy.value - 1.0).abs() < 1e-12 && (last.random.value - 1.0).abs() < 1e-12);
            prop_assert!((found.points[0].gain.value).abs() < 1e-12);
            prop_assert!(found.area.value <= found.best_area.value + 1e-12);
            prop_assert!(found.area.value >= -found.best_area.value - 1e-12);
        }
    }
}
