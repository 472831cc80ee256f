//! When a verdict has no reward.

/// A verdict that is hardly the judge's own: it put less of its probability on the labels than is asked for. Such a
/// forced guess is unscored; it must not become a training signal.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "the model put {label_mass:.4} of its probability on the answers, less than the {least} that min_label_mass asks for"
)]
pub struct Unscored {
    /// The label mass, 0..1.
    pub label_mass: f64,
    /// What is asked for.
    pub least: f64,
}

/// Checks that a verdict is more than a forced guess.
///
/// # Errors
/// [`Unscored`] when its label mass is below `least`.
pub fn require_label_mass(label_mass: f64, least: f64) -> Result<(), Unscored> {
    // Not `<`, which NaN would pass.
    if label_mass >= least { Ok(()) } else { Err(Unscored { label_mass, least }) }
}
