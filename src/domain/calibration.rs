//! Maps from what a judge says to what people say, fitted to labels.
//!
//! A calibration reads a verdict's distribution, or its `probability_a`, and nothing else; a fit reads a few more scalars
//! that the judge computes anyhow. Both are small files with a digest of their own, made for one model and one prompt.
//! Maps of pairs are antisymmetric: for A and B exchanged they give exactly one minus what they gave.

mod apply;
mod features;
mod file;
mod fitting;
mod isotonic;
pub(super) mod linear;
pub(super) mod numeric;
mod ordinal;
mod parameters;
pub(super) mod split;
mod study;
mod temperature;

pub use apply::Calibrator;
pub use features::{AbsoluteFeature, PairFeature, RawAbsolute, RawOrder, RawPair, graded_alone};
pub use file::{
    CalibrationFile, CalibrationObject, Calibrations, Content, DataSource, Figures, HeldOut, InvalidCalibration,
    LeftOutSet, MadeFor, Mismatch,
};
pub use fitting::{CannotFit, Labelled, MapMethod};
pub use parameters::{Parameters, preferred};
pub use study::{Example, Examples, calibrated, fitted};

#[cfg(test)]
mod tests;
