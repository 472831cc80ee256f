//! Which items of which files are taken.

use clap::ValueEnum;

use super::super::CliError;
use crate::domain::agreement::report::DataFile;
use crate::domain::agreement::{Half, half, instruction_key, sample, sample_each};
use crate::labelled::{Labelled, LabelledFile, LabelledItem};

/// A half of the instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in super::super) enum Split {
    Dev,
    Test,
}

impl Split {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Test => "test",
        }
    }
}

/// How many items are drawn.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Draw {
    /// Of all, each set in proportion to its size.
    All(usize),
    /// Of each set.
    EachSet(usize),
}

/// What is taken.
pub(in super::super) struct Selection {
    pub(in super::super) files: Vec<DataFile>,
    pub(in super::super) items: Vec<LabelledItem>,
}

/// Takes the items of a half, and draws so many of them.
///
/// # Errors
/// When nothing is left.
pub(in super::super) fn select(
    files: Vec<LabelledFile>,
    split: Option<Split>,
    draw: Option<Draw>,
    seed: u64,
) -> Result<Selection, CliError> {
    let wanted = |item: &LabelledItem| match split {
        None => true,
        Some(Split::Dev) => half(instruction_key(&item.instruction)) == Half::Dev,
        Some(Split::Test) => half(instruction_key(&item.instruction)) == Half::Test,
    };
    let mut infos: Vec<DataFile> = Vec::with_capacity(files.len());
    let mut items: Vec<(usize, LabelledItem)> = Vec::new();
    for (at, LabelledFile { path, sha256, format, items: of_file, unlabelled }) in files.into_iter().enumerate() {
        let all = of_file.len() + unlabelled;
        infos.push(DataFile { path, sha256, format, items: all, unlabelled, absolute: 0, pairwise: 0 });
        items.extend(of_file.into_iter().filter(|item| wanted(item)).map(|item| (at, item)));
    }
    if let Some(draw) = draw {
        let names: Vec<(&str, &str)> = items.iter().map(|(_, item)| (item.set.as_str(), item.id.as_str())).collect();
        let taken = match draw {
            Draw::All(size) => sample(&names, size, seed),
            Draw::EachSet(size) => sample_each(&names, size, seed),
        };
        let mut taken = taken.into_iter().peekable();
        let mut position = 0;
        items.retain(|_| {
            position += 1;
            taken.next_if_eq(&(position - 1)).is_some()
        });
    }
    if items.is_empty() {
        return Err(CliError::Failed("no items are left; use a larger --sample, or no --split".into()));
    }
    for (at, item) in &items {
        match item.labelled {
            Labelled::Score { .. } => infos[*at].absolute += 1,
            Labelled::Pair { .. } => infos[*at].pairwise += 1,
        }
    }
    Ok(Selection { files: infos, items: items.into_iter().map(|(_, item)| item).collect() })
}
