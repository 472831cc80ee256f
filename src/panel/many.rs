//! Several responses to one instruction: each graded alone, or compared in pairs, and put in order.

use super::{Absolute, Relative};
use crate::grading::{Judgement, Method, Preference};
use crate::rank::{self, Contest};

/// Something for each response, or for each of the pairs that are compared.
#[derive(Debug)]
pub enum Many<A, R> {
    /// For each response, in the order of the request.
    Alone(Vec<A>),
    /// For each pair.
    Pairs(Vec<Pair<R>>),
}

/// Two of the responses, named by their places in the request, and what is known of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair<T> {
    /// The place of the one that is called A.
    pub a: usize,
    /// The place of the one that is called B.
    pub b: usize,
    /// What is known of them.
    pub of: T,
}

/// Responses put in order.
#[derive(Debug)]
pub struct Ranked {
    /// The places of the responses, best first.
    pub ranking: Vec<usize>,
    /// How strong each is, in the order of the request; their sum is 1.
    pub strengths: Vec<f64>,
    /// Pairs of which neither is better, each with the lower place first.
    pub ties: Vec<[usize; 2]>,
    /// What the order is made from.
    pub verdicts: Many<Absolute, Relative>,
}

/// What is to be judged so that responses can be put in order: each alone, or the pairs of [`rank::pairs`].
///
/// Who meets whom is decided by the order of the texts and not by their places in the request, so that the same
/// responses in another order are compared in the same pairs.
#[must_use]
pub fn meetings(responses: &[String], method: Method) -> Many<usize, ()> {
    let count = responses.len();
    match method {
        Method::Absolute => Many::Alone((0..count).collect()),
        Method::Pairwise => {
            let mut seats: Vec<usize> = (0..count).collect();
            seats.sort_by_key(|place| &responses[*place]);
            let seated = |(a, b): (usize, usize)| Pair { a: seats[a], b: seats[b], of: () };
            let mut pairs: Vec<_> = rank::pairs(count).into_iter().map(seated).collect();
            pairs.sort_unstable_by_key(Pair::places);
            Many::Pairs(pairs)
        }
    }
}

impl Ranked {
    /// Puts `count` responses in order: by their rewards, or by the strengths that explain the comparisons best.
    /// Rewards that are closer than `tie_margin` are ties.
    #[must_use]
    pub fn new(verdicts: Many<Absolute, Relative>, count: usize, tie_margin: f64) -> Self {
        let (strengths, ties) = match &verdicts {
            Many::Alone(graded) => {
                let rewards: Vec<f64> = graded.iter().map(Absolute::reward).collect();
                (rank::to_shares(&rewards), rank::ties(&rewards, tie_margin))
            }
            Many::Pairs(pairs) => {
                let contests: Vec<Contest> = pairs.iter().map(Pair::contest).collect();
                let tied = pairs.iter().filter(|pair| pair.of.preference() == Preference::Tie);
                (rank::strengths(count, &contests), tied.map(Pair::places).collect())
            }
        };
        Self { ranking: rank::best_first(&strengths), strengths, ties, verdicts }
    }
}

impl Many<Absolute, Relative> {
    /// The first judgement of all.
    #[must_use]
    pub fn first_judgement(&self) -> Option<&Judgement> {
        match self {
            Self::Alone(graded) => graded.first()?.first_judgement(),
            Self::Pairs(pairs) => pairs.first()?.of.first_judgement(),
        }
    }

    /// The label mass of the least sure verdict.
    #[must_use]
    pub fn label_mass(&self) -> f64 {
        match self {
            Self::Alone(graded) => graded.iter().map(Absolute::label_mass).fold(1.0, f64::min),
            Self::Pairs(pairs) => pairs.iter().map(|pair| pair.of.label_mass()).fold(1.0, f64::min),
        }
    }
}

impl<T> Pair<T> {
    /// The places, the lower one first.
    #[must_use]
    pub fn places(&self) -> [usize; 2] {
        [self.a.min(self.b), self.a.max(self.b)]
    }
}

impl Pair<Relative> {
    pub(super) fn contest(&self) -> Contest {
        Contest { a: self.a, b: self.b, probability_a: self.of.probability_a() }
    }
}
