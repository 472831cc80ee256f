//! How far a judge agrees with labels: the statistics, each with a bootstrap interval, and the report of them.
//!
//! Pure: it knows numbers and names of instructions, and nothing of files or judges.

pub mod report;
