//! What may be asked about an item, and where.

use clap::ValueEnum;

use crate::domain::Kind;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in super::super) enum KindArg {
    Absolute,
    Relative,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in super::super) enum ModeArg {
    Feedback,
    Score,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in super::super) enum MethodArg {
    Pairwise,
    Absolute,
}

impl MethodArg {
    pub(in super::super) fn name(self) -> &'static str {
        match self {
            Self::Pairwise => "pairwise",
            Self::Absolute => "absolute",
        }
    }
}

impl KindArg {
    pub(in super::super) fn path(self) -> &'static str {
        match self {
            Self::Absolute => "/v1/grade/absolute",
            Self::Relative => "/v1/grade/relative",
        }
    }
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Absolute => Self::Absolute,
            KindArg::Relative => Self::Relative,
        }
    }
}

impl ModeArg {
    pub(in super::super) fn name(self) -> &'static str {
        match self {
            Self::Feedback => "feedback",
            Self::Score => "score",
        }
    }
}

/// The route that an item is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Route {
    Grade(KindArg),
    Reward,
    Rank,
    Preferences,
}

impl Route {
    pub(in super::super) fn path(self) -> &'static str {
        match self {
            Self::Grade(kind) => kind.path(),
            Self::Reward => "/v1/rewards",
            Self::Rank => "/v1/rank",
            Self::Preferences => "/v1/preferences",
        }
    }

    /// The `object` of its verdicts.
    pub(in super::super) fn object(self) -> &'static str {
        match self {
            // A reward is kept with the verdict that it is of.
            Self::Grade(KindArg::Absolute) | Self::Reward => "verdict.absolute",
            Self::Grade(KindArg::Relative) => "verdict.relative",
            Self::Rank => "verdict.rank",
            Self::Preferences => "preferences",
        }
    }
}
