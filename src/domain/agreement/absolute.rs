//! Scores against labels.

use std::collections::BTreeMap;

use super::bootstrap::{Bootstrap, Draws, Statistic, clusters};
use super::categorical::{Rated, confusion, kappa, quadratic};
use super::correlation::{Point, kendall_tau_b, pearson, spearman};
use super::items::{Judged, Placed, ScoreItem, ScoreVerdict, by_set, by_subset};
use super::report::{Absolute, Histogram, ScoreFigures};
use crate::domain::Scale;

/// An item, its verdict, and nothing else.
pub(super) type Scored<'a> = Judged<'a, ScoreItem, ScoreVerdict>;

/// The score that a label between two scores stands for; halves go up.
#[must_use]
pub fn rounded(label: f64) -> i32 {
    // Labels lie on a scale of some levels.
    (label + 0.5).floor() as i32
}

/// Scored items with the numbers that statistics are made of.
pub(super) struct Scores {
    pub(super) clusters: usize,
    points: Vec<Point>,
    rated: Vec<Rated>,
    levels: usize,
}

impl Scores {
    /// Labels and scores are on that scale.
    pub(super) fn of(scale: Scale, items: &[Scored<'_>]) -> Self {
        let (cluster, clusters) = clusters(items.iter().map(|item| item.place().instruction));
        let level = |score: i32| (score.clamp(scale.lowest(), scale.highest()) - scale.lowest()) as usize;
        let point = |(cluster, (item, verdict)): (&usize, &Scored<'_>)| Point {
            cluster: *cluster,
            x: item.label,
            y: verdict.expected,
        };
        let rated = |(cluster, (item, verdict)): (&usize, &Scored<'_>)| {
            (*cluster, level(rounded(item.label)), level(verdict.score))
        };
        Self {
            clusters,
            points: cluster.iter().zip(items).map(point).collect(),
            rated: cluster.iter().zip(items).map(rated).collect(),
            levels: scale.levels(),
        }
    }

    pub(super) fn pearson(&self) -> Statistic<'_> {
        pearson(self.clusters, &self.points)
    }

    pub(super) fn spearman(&self) -> Statistic<'_> {
        spearman(&self.points)
    }

    pub(super) fn kendall_tau_b(&self) -> Statistic<'_> {
        kendall_tau_b(&self.points)
    }

    pub(super) fn mae(&self) -> Statistic<'_> {
        let errors = self.points.iter().map(|point| (point.cluster, (point.x - point.y).abs(), 1.0));
        Statistic::ratio(self.clusters, self.points.len(), errors)
    }

    pub(super) fn quadratic_kappa(&self) -> Statistic<'_> {
        kappa(self.levels, &self.rated, quadratic)
    }

    /// The share of items whose score is at most so many levels from the label.
    pub(super) fn within(&self, levels: usize) -> Statistic<'_> {
        let near = |(cluster, label, score): &Rated| (*cluster, label.abs_diff(*score) <= levels);
        Statistic::share(self.clusters, &self.rated.iter().map(near).collect::<Vec<_>>())
    }

    fn figures(&self, bootstrap: Bootstrap) -> ScoreFigures {
        let draws = Draws::new(bootstrap, self.clusters);
        ScoreFigures {
            pearson: draws.figure(&self.pearson()),
            spearman: draws.figure(&self.spearman()),
            kendall_tau_b: draws.figure(&self.kendall_tau_b()),
            mae: draws.figure(&self.mae()),
            quadratic_kappa: draws.figure(&self.quadratic_kappa()),
            exact: draws.figure(&self.within(0)),
            off_by_one: draws.figure(&self.within(1)),
        }
    }
}

/// How far scores agree with labels on the same scale; `None` where nothing was scored.
pub(super) fn absolute(
    scale: Scale,
    items: &[Judged<'_, ScoreItem, ScoreVerdict>],
    bootstrap: Bootstrap,
) -> Option<Absolute> {
    if items.is_empty() {
        return None;
    }
    let of_groups = |groups: BTreeMap<String, Vec<Scored<'_>>>| {
        groups.into_iter().map(|(name, items)| (name, Scores::of(scale, &items).figures(bootstrap))).collect()
    };
    let all = Scores::of(scale, items);
    let confusion = confusion(all.levels, &all.rated);
    let histogram = Histogram {
        label: confusion.iter().map(|row| row.iter().sum()).collect(),
        judge: (0..all.levels).map(|score| confusion.iter().map(|row| row[score]).sum()).collect(),
    };
    Some(Absolute {
        figures: all.figures(bootstrap),
        scale: [scale.lowest(), scale.highest()],
        confusion,
        histogram,
        by_set: of_groups(by_set(items)),
        by_subset: of_groups(by_subset(items)),
    })
}
