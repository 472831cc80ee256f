use proptest::prelude::*;

use super::*;
use crate::domain::{Finish, MassKind, Timing, Usage};

fn judgement(sample: u32, order: Option<Order>, masses: &[f64]) -> Judgement {
    let logs: Vec<f64> = masses.iter().map(|m| m.ln()).collect();
    let (distribution, label_mass) = Distribution::from_log_masses(&logs).unwrap();
    Judgement {
        sample,
        seed: 0,
        order,
        distribution,
        label_mass,
        branches: Vec::new(),
        thoughts: None,
        feedback: Some(format!("{sample} {order:?}")),
        finish: Finish::Stop,
        usage: Usage::default(),
        timing: Timing::default(),
        prompt: "".into(),
        turns: [].into(),
        answer: String::new(),
        mass: MassKind::Exact,
        prompt_logprobs: Vec::new(),
        output_logprobs: Vec::new(),
        cached: false,
    }
}

fn five() -> Scale {
    Scale::from_levels(&[1, 2, 3, 4, 5]).unwrap()
}

#[test]
fn the_contract_example() {
    let verdict = AbsoluteVerdict::combine(five(), vec![judgement(0, None, &[0.18, 0.47, 0.23, 0.10, 0.02])]).unwrap();
    assert_eq!(verdict.score.value(), 2);
    assert!((verdict.expected_score - 2.31).abs() < 1e-9);
    assert!((verdict.reward - 0.3275).abs() < 1e-9);
    assert_eq!(verdict.agreement, 1.0);
}

#[test]
fn samples_vote_and_the_mean_breaks_ties() {
    let one = [0.6, 0.4, 0.0, 0.0, 0.0];
    let two = [0.0, 0.9, 0.1, 0.0, 0.0];
    let verdict = AbsoluteVerdict::combine(five(), vec![judgement(0, None, &one), judgement(1, None, &two)]).unwrap();
    assert_eq!((verdict.score.value(), verdict.agreement), (2, 0.5));
    assert_eq!(verdict.feedback(), Some("1 None"));
    let votes = vec![judgement(0, None, &one), judgement(1, None, &one), judgement(2, None, &two)];
    let majority = AbsoluteVerdict::combine(five(), votes).unwrap();
    assert_eq!(majority.score.value(), 1, "the majority, though 2 has the higher mean");
}

#[test]
fn orders_that_disagree_are_a_tie() {
    let check = |ab: f64, ba: Option<f64>, margin: f64, expected: (Preference, Option<bool>)| {
        let mut judgements = vec![judgement(0, Some(Order::AB), &[ab, 1.0 - ab])];
        judgements.extend(ba.map(|first| judgement(0, Some(Order::BA), &[first, 1.0 - first])));
        let verdict = RelativeVerdict::combine(judgements, margin).unwrap();
        assert_eq!((verdict.preference, verdict.consistent), expected, "{ab} {ba:?} {margin}");
    };
    check(0.7, Some(0.2), 0.0, (Preference::A, Some(true)));
    check(0.7, Some(0.8), 0.0, (Preference::Tie, Some(false)));
    check(0.3, Some(0.9), 0.0, (Preference::B, Some(true)));
    check(0.7, None, 0.0, (Preference::A, None));
    check(0.52, None, 0.05, (Preference::Tie, None));
    check(0.52, Some(0.48), 0.05, (Preference::Tie, Some(true)));
}

#[test]
fn rewards_decide_when_each_is_graded_alone() {
    let of = |masses: &[f64]| AbsoluteVerdict::combine(five(), vec![judgement(0, None, masses)]).unwrap();
    let (low, high) = (of(&[0.8, 0.1, 0.1, 0.0, 0.0]), of(&[0.0, 0.1, 0.1, 0.2, 0.6]));
    let pairs = [(&high.distribution, &low.distribution, Weight::ONE)];
    let (preference, probability_a) = prefer_by_reward(high.reward, low.reward, &pairs, 0.0).unwrap();
    assert_eq!(preference, Preference::A);
    assert!(probability_a > 0.95);
    let pairs = [(&low.distribution, &low.distribution, Weight::ONE)];
    assert_eq!(prefer_by_reward(low.reward, low.reward, &pairs, 0.0), Ok((Preference::Tie, 0.5)));
}

#[test]
fn the_less_sure_order_decides_how_sure_a_pair_is() {
    let mass = |ab: &[f64], ba: &[f64]| {
        let of = |order, masses: &[f64]| {
            let samples = masses.iter().zip(0..);
            samples.map(|(mass, sample)| judgement(sample, Some(order), &[*mass, 0.0])).collect::<Vec<_>>()
        };
        RelativeVerdict::combine([of(Order::AB, ab), of(Order::BA, ba)].concat(), 0.0).unwrap().label_mass
    };
    let check = |ab: &[f64], ba: &[f64], expected: f64| {
        assert!((mass(ab, ba) - expected).abs() < 1e-12, "{ab:?} {ba:?}");
    };
    check(&[0.9], &[], 0.9);
    check(&[0.1], &[0.001], 0.001);
    check(&[0.001], &[0.1], 0.001);
    check(&[0.2, 0.4], &[0.8, 0.6], 0.3);
}

#[test]
fn what_cannot_be_combined_is_an_error() {
    assert_eq!(AbsoluteVerdict::combine(five(), Vec::new()).err(), Some(InvalidVerdict::Empty));
    let wrong = Some(InvalidVerdict::Labels { expected: 5, found: 2 });
    assert_eq!(AbsoluteVerdict::combine(five(), vec![judgement(0, None, &[0.5, 0.5])]).err(), wrong);
    assert_eq!(CriteriaVerdict::combine(Vec::new()).err(), Some(InvalidVerdict::Empty));
    assert_eq!(RelativeVerdict::combine(Vec::new(), 0.0).err(), Some(InvalidVerdict::Empty));
    let wrong = Some(InvalidVerdict::Labels { expected: 2, found: 3 });
    assert_eq!(RelativeVerdict::combine(vec![judgement(0, None, &[0.1; 3])], 0.0).err(), wrong);
    assert_eq!(prefer_by_reward(0.5, 0.5, &[], 0.0), Err(InvalidVerdict::Empty));
    let mut broken = AbsoluteVerdict::combine(five(), vec![judgement(0, None, &[0.2; 5])]).unwrap();
    let pair = [(&broken.distribution, &broken.distribution, Weight::ONE)];
    assert_eq!(prefer_by_reward(f64::NAN, 0.5, &pair, 0.0), Err(InvalidVerdict::NotANumber));
    broken.reward = f64::NAN;
    assert_eq!(CriteriaVerdict::combine(vec![(broken, Weight::ONE)]).err(), Some(InvalidVerdict::NotANumber));
}

#[test]
fn a_score_that_is_not_above_its_gate_makes_the_reward_nothing() {
    // Scores 4 and 2.
    let criteria = [[0.1, 0.1, 0.1, 0.6, 0.1], [0.1, 0.6, 0.1, 0.1, 0.1]]
        .map(|masses| (AbsoluteVerdict::combine(five(), vec![judgement(0, None, &masses)]).unwrap(), Weight::ONE));
    let mean = (criteria[0].0.reward + criteria[1].0.reward) / 2.0;
    let check = |gates: [Option<i32>; 2], passed: Option<bool>, reward: f64| {
        let gated = CriteriaVerdict::combine(criteria.to_vec()).unwrap().gated(gates.into_iter());
        assert_eq!((gated.passed, gated.reward), (passed, reward), "{gates:?}");
    };
    check([None, None], None, mean);
    check([Some(3), None], Some(true), mean);
    check([Some(3), Some(1)], Some(true), mean);
    check([None, Some(2)], Some(false), 0.0);
    check([Some(4), Some(1)], Some(false), 0.0);
}

proptest! {
    /// Whatever the weights, the reward is between the least and the greatest of the criteria's.
    #[test]
    fn a_weighted_reward_is_among_those_that_it_is_made_of(
        criteria in prop::collection::vec((prop::array::uniform5(1e-6..1.0f64), -6.0..6.0f64), 1..32),
    ) {
        let criteria: Vec<_> = criteria.iter().map(|(masses, exponent)| {
            let verdict = AbsoluteVerdict::combine(five(), vec![judgement(0, None, masses)]).unwrap();
            (verdict, Weight::new(10f64.powf(*exponent)).unwrap())
        }).collect();
        let rewards = criteria.iter().map(|(verdict, _)| verdict.reward);
        let (least, most) = (rewards.clone().fold(1.0, f64::min), rewards.fold(0.0, f64::max));
        let reward = CriteriaVerdict::combine(criteria).unwrap().reward;
        prop_assert!(least - 1e-9 <= reward && reward <= most + 1e-9, "{least} {reward} {most}");
    }

    /// Each prompt is judged once; exchanging A and B only exchanges which order it belongs to.
    #[test]
    fn exchanging_the_responses_is_the_exact_complement(
        firsts in prop::collection::vec((1e-6..1.0f64, 1e-6..1.0f64), 1..6),
        margin in 0.0..0.2f64,
    ) {
        let run = |exchanged: bool| {
            let (one, two) = if exchanged { (Order::BA, Order::AB) } else { (Order::AB, Order::BA) };
            let judgements = firsts.iter().enumerate().flat_map(|(i, (x, y))| {
                [judgement(i as u32, Some(one), &[*x, 1.0]), judgement(i as u32, Some(two), &[*y, 1.0])]
            });
            RelativeVerdict::combine(judgements.collect(), margin).unwrap()
        };
        let (straight, exchanged) = (run(false), run(true));
        prop_assert_eq!(exchanged.probability_a, 1.0 - straight.probability_a);
        prop_assert_eq!(exchanged.consistent, straight.consistent);
        let mirrored = match straight.preference {
            Preference::A => Preference::B,
            Preference::B => Preference::A,
            Preference::Tie => Preference::Tie,
        };
        prop_assert_eq!(exchanged.preference, mirrored);
    }
}
