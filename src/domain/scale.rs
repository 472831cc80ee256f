//! Scales of consecutive integers, and scores that exist only on one.

use serde::Serialize;

/// Minimum number of levels of a scale.
pub(crate) const FEWEST_LEVELS: usize = 2;
/// Maximum number of levels of a scale (0 to 10).
pub(crate) const MOST_LEVELS: usize = 11;

/// A scale of 2 to 11 consecutive integers, such as 1 to 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scale {
    lowest: i32,
    levels: usize,
}

/// Why levels do not form a scale.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScale {
    /// Fewer than 2 or more than 11 levels.
    #[error("a scale has {FEWEST_LEVELS} to {MOST_LEVELS} levels, this one has {0}")]
    Size(usize),
    /// A level between the lowest and the highest is missing.
    #[error("levels are consecutive integers; level {0} is missing")]
    Gap(i32),
}

impl Scale {
    /// Builds the scale from its levels, in any order.
    ///
    /// # Errors
    /// When there are fewer than 2 or more than 11 levels, or when they are not consecutive.
    pub fn from_levels(levels: &[i32]) -> Result<Self, InvalidScale> {
        let mut sorted = levels.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if let Some(gap) = sorted.windows(2).find(|pair| pair[1] != pair[0] + 1) {
            return Err(InvalidScale::Gap(gap[0] + 1));
        }
        match sorted.len() {
            FEWEST_LEVELS..=MOST_LEVELS => Ok(Self { lowest: sorted[0], levels: sorted.len() }),
            other => Err(InvalidScale::Size(other)),
        }
    }

    /// The scale from the lowest level to the highest.
    ///
    /// # Errors
    /// If there are fewer than 2 or more than 11 levels.
    pub fn between([lowest, highest]: [i32; 2]) -> Result<Self, InvalidScale> {
        let levels = usize::try_from(i64::from(highest) - i64::from(lowest) + 1).unwrap_or(0);
        match levels {
            FEWEST_LEVELS..=MOST_LEVELS => Ok(Self { lowest, levels }),
            other => Err(InvalidScale::Size(other)),
        }
    }

    /// The lowest level.
    #[must_use]
    pub fn lowest(self) -> i32 {
        self.lowest
    }

    /// The highest level.
    #[must_use]
    pub fn highest(self) -> i32 {
        self.lowest + self.span()
    }

    /// Every score of the scale, lowest first.
    pub fn scores(self) -> impl Iterator<Item = Score> {
        (self.lowest..=self.highest()).map(|value| Score { value })
    }

    /// The number of levels.
    #[must_use]
    pub fn levels(self) -> usize {
        self.levels
    }

    /// The score at `index`, counted from the lowest; `None` if the scale has no such level.
    #[must_use]
    pub fn score(self, index: usize) -> Option<Score> {
        self.scores().nth(index)
    }

    /// Maps a value on the scale to 0..1: `(value - lowest) / (highest - lowest)`.
    #[must_use]
    pub fn fraction(self, value: f64) -> f64 {
        ((value - f64::from(self.lowest)) / f64::from(self.span())).clamp(0.0, 1.0)
    }

    /// From the lowest level to the highest.
    fn span(self) -> i32 {
        i32::try_from(self.levels - 1).expect("a scale has at most 11 levels")
    }
}

/// A score on a [`Scale`], which creates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Score {
    value: i32,
}

impl Score {
    /// The score as an integer.
    #[must_use]
    pub fn value(self) -> i32 {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_must_be_consecutive_and_few() {
        let check = |levels: &[i32], expected: Result<(i32, i32), InvalidScale>| {
            assert_eq!(Scale::from_levels(levels).map(|s| (s.lowest(), s.highest())), expected, "{levels:?}");
        };
        check(&[1, 2, 3, 4, 5], Ok((1, 5)));
        check(&[1, 0], Ok((0, 1)));
        check(&(0..11).collect::<Vec<_>>(), Ok((0, 10)));
        check(&[1, 2, 4, 5], Err(InvalidScale::Gap(3)));
        check(&[3], Err(InvalidScale::Size(1)));
        check(&[], Err(InvalidScale::Size(0)));
        check(&(0..12).collect::<Vec<_>>(), Err(InvalidScale::Size(12)));
        let ends = |ends| Scale::between(ends).map(|scale| (scale.lowest(), scale.highest()));
        assert_eq!((ends([1, 5]), ends([0, 10])), (Ok((1, 5)), Ok((0, 10))));
        assert_eq!(ends([3, 3]), Err(InvalidScale::Size(1)));
        assert_eq!(ends([5, 1]), Err(InvalidScale::Size(0)));
        assert!(ends([i32::MIN, i32::MAX]).is_err());
    }

    #[test]
    fn a_score_is_on_its_scale() {
        let scale = Scale::from_levels(&[0, 1, 2]).unwrap();
        assert_eq!(
            [0, 2, 3, usize::MAX].map(|index| scale.score(index).map(Score::value)),
            [Some(0), Some(2), None, None]
        );
        let edge = Scale::from_levels(&[i32::MAX - 1, i32::MAX]).unwrap();
        assert_eq!((edge.highest(), edge.fraction(f64::from(i32::MAX))), (i32::MAX, 1.0));
    }

    #[test]
    fn a_fraction_spans_zero_to_one() {
        let scale = Scale::from_levels(&[1, 2, 3, 4, 5]).unwrap();
        assert_eq!([1.0, 3.0, 5.0].map(|v| scale.fraction(v)), [0.0, 0.5, 1.0]);
    }
}
