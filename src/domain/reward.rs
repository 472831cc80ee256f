//! When a verdict has no reward.

/// A verdict whose label mass is below the minimum: a forced guess, which is unscored and must not become a training
/// signal.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("the label mass is {label_mass:.4}, below min_label_mass ({least}): a verdict would be a guess")]
pub struct Unscored {
    /// The label mass, 0..1.
    pub label_mass: f64,
    /// The required minimum.
    pub least: f64,
}

/// Checks that a verdict is not a forced guess.
///
/// # Errors
/// [`Unscored`] when its label mass is below `least`.
pub fn require_label_mass(label_mass: f64, least: f64) -> Result<(), Unscored> {
    // Not `<`, because NaN would pass.
    if label_mass >= least { Ok(()) } else { Err(Unscored { label_mass, least }) }
}
