use proptest::prelude::*;

use super::*;

const SCALE: usize = 5;

fn scale() -> Scale {
    Scale::from_levels(&[1, 2, 3, 4, 5]).unwrap()
}

/// A juror that gives each score of 1 to 5 its share.
fn scored(shares: &[f64; SCALE], weight: f64) -> ScoreBallot {
    let masses: Vec<f64> = shares.iter().map(|share| share.ln()).collect();
    let (distribution, _) = Distribution::from_log_masses(&masses).unwrap();
    let expected = distribution.expectation((0..5).map(f64::from));
    ScoreBallot { score: distribution.argmax(), reward: expected / 4.0, distribution, label_mass: 0.9, weight }
}

fn pair(probability_a: f64, weight: f64) -> PairBallot {
    let preference = Preference::with_margin(probability_a, 0.0);
    PairBallot { preference, probability_a, consistent: Some(true), label_mass: 0.9, weight }
}

fn score(ballots: &[ScoreBallot], combine: Combine) -> AbsoluteVerdict {
    AbsoluteVerdict::of_jury(scale(), ballots.to_vec(), combine, Vec::new()).unwrap()
}

fn prefer(ballots: &[PairBallot], combine: Combine) -> RelativeVerdict {
    let by_mean = |probability_a| Preference::with_margin(probability_a, 0.0);
    RelativeVerdict::of_jury(ballots.to_vec(), combine, by_mean, Vec::new()).unwrap()
}

#[test]
fn a_majority_outvotes_and_a_mean_weighs() {
    let sure = |score: usize| std::array::from_fn(|index| if index + 1 == score { 0.96 } else { 0.01 });
    let three = [scored(&sure(5), 1.0), scored(&sure(5), 1.0), scored(&sure(1), 1.0)];
    let majority = score(&three, Combine::Majority);
    assert_eq!(majority.score.value(), 5);
    assert!((majority.reward - three[0].reward).abs() < 1e-12, "those of the majority alone");
    assert!((majority.agreement - 2.0 / 3.0).abs() < 1e-12);
    let mean = score(&three, Combine::Mean);
    let rewards: f64 = three.iter().map(|ballot| ballot.reward).sum();
    assert!((mean.reward - rewards / 3.0).abs() < 1e-12);
    let heavy = [scored(&sure(5), 1.0), scored(&sure(5), 1.0), scored(&sure(1), 3.0)];
    assert_eq!(score(&heavy, Combine::Weighted).score.value(), 1);
}

#[test]
fn equal_votes_are_decided_by_the_mean() {
    let check = |ballots: &[PairBallot], expected: Preference| {
        assert_eq!(prefer(ballots, Combine::Majority).preference, expected, "{ballots:?}");
    };
    let tie = |probability_a| PairBallot { preference: Preference::Tie, ..pair(probability_a, 1.0) };
    check(&[pair(0.9, 1.0), pair(0.4, 1.0)], Preference::A);
    check(&[pair(0.9, 1.0), tie(0.5)], Preference::A);
    check(&[pair(0.75, 1.0), pair(0.25, 1.0)], Preference::Tie);
    check(&[pair(0.9, 1.0), tie(0.5), tie(0.5)], Preference::Tie);
    check(&[pair(0.6, 1.0), pair(0.6, 1.0), pair(0.0, 1.0)], Preference::A);
    let mean = prefer(&[pair(0.6, 1.0), pair(0.6, 1.0), pair(0.0, 1.0)], Combine::Mean);
    assert_eq!(mean.preference, Preference::B);
    assert_eq!(prefer(&[tie(0.6), tie(0.7)], Combine::Mean).preference, Preference::Tie, "all say so");
}

#[test]
fn nobody_decides_nothing() {
    let none = AbsoluteVerdict::of_jury(scale(), Vec::new(), Combine::Mean, Vec::new());
    assert_eq!(none, Err(InvalidVerdict::Empty));
    let none = RelativeVerdict::of_jury(Vec::new(), Combine::Mean, |_| Preference::Tie, Vec::new());
    assert_eq!(none, Err(InvalidVerdict::Empty));
    let two = Distribution::from_log_masses(&[-1.0, -1.0]).unwrap().0;
    let other = ScoreBallot { distribution: two, ..scored(&[0.2; 5], 1.0) };
    let wrong = AbsoluteVerdict::of_jury(scale(), vec![other], Combine::Mean, Vec::new());
    assert_eq!(wrong, Err(InvalidVerdict::Labels { expected: 5, found: 2 }));
}

#[test]
fn agreement_and_spread_are_those_of_their_formulas() {
    let kappa = |labels: &[usize], levels| free_marginal_kappa(labels, levels);
    assert_eq!(kappa(&[2], 5), None);
    assert_eq!(kappa(&[], 5), None);
    assert_eq!(kappa(&[2, 2, 2], 5), Some(1.0));
    // Two of six ordered pairs agree: (1/3 - 1/5) / (1 - 1/5).
    assert!((kappa(&[0, 0, 4], 5).unwrap() - 1.0 / 6.0).abs() < 1e-12);
    assert!((kappa(&[0, 1], 2).unwrap() + 1.0).abs() < 1e-12);
    assert_eq!(spread(&[0.5]), None);
    assert!((spread(&[0.2, 0.4, 0.6]).unwrap() - 0.2).abs() < 1e-12);
}

#[test]
fn noise_turns_a_score_around_on_its_scale() {
    let verdict = score(&[scored(&[0.1, 0.5, 0.2, 0.1, 0.1], 1.0)], Combine::Mean);
    let flipped = ScoreBallot::of(&verdict, 1.0, true);
    assert_eq!((verdict.score.value(), flipped.score), (2, 3), "2 becomes 4, whose index is 3");
    assert!((flipped.reward - (1.0 - verdict.reward)).abs() < 1e-12);
    assert!((flipped.distribution.expectation((0..5).map(f64::from)) / 4.0 - flipped.reward).abs() < 1e-12);
}

fn combines() -> impl Strategy<Value = Combine> {
    prop_oneof![Just(Combine::Mean), Just(Combine::Majority), Just(Combine::Weighted)]
}

fn weights(combine: Combine) -> BoxedStrategy<f64> {
    if combine == Combine::Weighted { (0.001..1000.0f64).boxed() } else { Just(1.0).boxed() }
}

fn score_jury() -> impl Strategy<Value = (Combine, Vec<ScoreBallot>)> {
    combines().prop_flat_map(|combine| {
        let ballot = (prop::array::uniform5(0.001..1.0f64), weights(combine), 0.0..1.0f64);
        let ballot =
            ballot.prop_map(|(shares, weight, mass)| ScoreBallot { label_mass: mass, ..scored(&shares, weight) });
        (Just(combine), prop::collection::vec(ballot, 1..16))
    })
}

fn pair_jury() -> impl Strategy<Value = (Combine, Vec<PairBallot>)> {
    combines().prop_flat_map(|combine| {
        let ballot = (0..=(1_u64 << 40), weights(combine), prop::bool::ANY, prop::option::of(prop::bool::ANY));
        let ballot = ballot.prop_map(|(p, weight, inconsistent, consistent)| {
            let ballot = pair(p as f64 / (1_u64 << 40) as f64, weight);
            let preference = if inconsistent { Preference::Tie } else { ballot.preference };
            PairBallot { preference, consistent, ..ballot }
        });
        (Just(combine), prop::collection::vec(ballot, 1..16))
    })
}

proptest! {
    #[test]
    fn a_jury_of_one_is_its_juror((combine, ballots) in score_jury(), (combining, pairs) in pair_jury()) {
        let (juror, verdict) = (&ballots[0], score(&ballots[..1], combine));
        prop_assert_eq!(verdict.score, scale().score(juror.score).unwrap());
        prop_assert!((verdict.reward - juror.reward).abs() < 1e-12);
        prop_assert_eq!((verdict.label_mass, verdict.agreement), (juror.label_mass, 1.0));
        let (juror, verdict) = (pairs[0], prefer(&pairs[..1], combining));
        prop_assert_eq!((verdict.preference, verdict.probability_a), (juror.preference, juror.probability_a));
        prop_assert_eq!(verdict.consistent, juror.consistent);
    }

    #[test]
    fn the_order_of_jurors_does_not_matter((combine, ballots) in score_jury(), (combining, pairs) in pair_jury()) {
        let turned = |ballots: &[ScoreBallot]| ballots.iter().rev().cloned().collect::<Vec<_>>();
        prop_assert_eq!(score(&ballots, combine), score(&turned(&ballots), combine));
        let reversed: Vec<PairBallot> = pairs.iter().rev().copied().collect();
        prop_assert_eq!(prefer(&pairs, combining), prefer(&reversed, combining));
    }

    #[test]
    fn exchanging_the_responses_gives_the_complement((combine, pairs) in pair_jury()) {
        let exchanged: Vec<PairBallot> = pairs.iter().map(|ballot| ballot.flipped()).collect();
        let (one, other) = (prefer(&pairs, combine), prefer(&exchanged, combine));
        prop_assert_eq!(one.probability_a, 1.0 - other.probability_a);
        prop_assert_eq!(one.preference, other.preference.exchanged());
        prop_assert_eq!(one.consistent, other.consistent);
    }

    #[test]
    fn only_the_ratios_of_weights_matter((combine, ballots) in score_jury(), factor in 0.01..100.0f64) {
        let scaled: Vec<ScoreBallot> =
            ballots.iter().map(|ballot| ScoreBallot { weight: ballot.weight * factor, ..ballot.clone() }).collect();
        let (one, other) = (score(&ballots, combine), score(&scaled, combine));
        prop_assert_eq!(one.score, other.score);
        prop_assert!((one.reward - other.reward).abs() < 1e-9 && (one.agreement - other.agreement).abs() < 1e-9);
    }

    #[test]
    fn numbers_stay_in_their_ranges((combine, ballots) in score_jury()) {
        let verdict = score(&ballots, combine);
        prop_assert!((verdict.distribution.probabilities().iter().sum::<f64>() - 1.0).abs() < 1e-9);
        prop_assert!((0.0..=1.0).contains(&verdict.reward) && (0.0..=1.0).contains(&verdict.label_mass));
        let expected = (verdict.expected_score - 1.0) / 4.0;
        prop_assert!((verdict.reward - expected).abs() < 1e-9, "the reward is that of the distribution");
        prop_assert!(verdict.agreement > 0.0 || combine != Combine::Majority);
    }
}
