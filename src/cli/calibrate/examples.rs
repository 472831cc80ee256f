//! Labelled items with the judge's verdicts on them.

use std::path::PathBuf;

use super::super::CliError;
use super::verdicts::{Said, Verdicts};
use crate::domain::calibration::{DataSource, Example, Examples, Labelled, MadeFor, RawAbsolute, RawPair};
use crate::domain::{Kind, Preference};
use crate::labelled::{self, DataError, LabelledItem, Mapping};

/// What a map is made from.
pub(super) struct Gathered {
    pub(super) examples: Examples,
    /// The names of the sets, by their numbers in the examples.
    pub(super) sets: Vec<String>,
    pub(super) data: Vec<DataSource>,
    pub(super) made_for: MadeFor,
    /// Items of the kind that have no verdict.
    pub(super) without_verdict: usize,
    /// Items that have no label.
    pub(super) unlabelled: usize,
    /// Lines of the verdicts that hold an error.
    pub(super) failed: usize,
}

/// Labelled items of one kind.
pub(super) struct Labels {
    kind: Kind,
    /// The files, and how many of the items are of each.
    files: Vec<(DataSource, usize)>,
    items: Vec<LabelledItem>,
    /// The number of items that have no label.
    unlabelled: usize,
}

impl Labels {
    /// Reads files of labelled items, and keeps those of the kind.
    ///
    /// # Errors
    /// With the line that is wrong; when there are both kinds and none is chosen, or no item is of the kind.
    pub(super) fn read(data: &[PathBuf], mapping: &Mapping, kind: Option<Kind>) -> Result<Self, CliError> {
        let read = labelled::read(data, mapping)?;
        let kind = match kind {
            Some(kind) => kind,
            None => the_kind(read.iter().flat_map(|file| &file.items))?,
        };
        let (mut files, mut items, mut unlabelled) = (Vec::new(), Vec::new(), 0);
        for file in read {
            unlabelled += file.unlabelled;
            let of_kind: Vec<LabelledItem> = file.items.into_iter().filter(|item| kind_of(item) == kind).collect();
            let name = file.path.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
            files.push((DataSource { name, sha256: format!("sha256:{}", file.sha256), items: 0 }, of_kind.len()));
            items.extend(of_kind);
        }
        if items.is_empty() {
            return Err(CliError::Failed(format!("the data has no item of the kind {}", kind.name())));
        }
        Ok(Self { kind, files, items, unlabelled })
    }

    /// The items.
    pub(super) fn items(&self) -> &[LabelledItem] {
        &self.items
    }

    /// Joins the items with the judge's verdicts on them, by their ids.
    ///
    /// # Errors
    /// With the line that is wrong; when no item has a verdict.
    pub(super) fn join(self, verdicts: &[PathBuf]) -> Result<Gathered, CliError> {
        let verdicts = Verdicts::read(verdicts, self.kind)?;
        gather(self, verdicts)
    }
}

fn gather(labels: Labels, mut verdicts: Verdicts) -> Result<Gathered, CliError> {
    let Labels { kind, files, items, unlabelled } = labels;
    let (mut sets, mut sources, mut without_verdict) = (Vec::new(), Vec::new(), 0);
    let (mut scores, mut pairs) = (Vec::new(), Vec::new());
    let mut items = items.into_iter();
    for (mut source, count) in files {
        for item in items.by_ref().take(count) {
            let Some(said) = verdicts.by_id.remove(&item.id) else {
                without_verdict += 1;
                continue;
            };
            let set = sets.iter().position(|set| *set == item.set).unwrap_or_else(|| {
                sets.push(item.set.clone());
                sets.len() - 1
            });
            source.items += 1;
            match example(item, said, set)? {
                Joined::Score(example) => scores.push(example),
                Joined::Pair(example) => pairs.push(example),
            }
        }
        sources.push(source);
    }
    let examples = match kind {
        Kind::Absolute => Examples::Scores(scores),
        Kind::Relative => Examples::Pairs(pairs),
    };
    if examples.is_empty() {
        return Err(CliError::Failed("no item of --data has a verdict; verdicts name items by their ids".into()));
    }
    Ok(Gathered {
        examples,
        sets,
        data: sources,
        made_for: verdicts.made_for,
        without_verdict,
        unlabelled,
        failed: verdicts.failed,
    })
}

enum Joined {
    Score(Example<RawAbsolute>),
    Pair(Example<RawPair>),
}

fn example(item: LabelledItem, said: Said, set: usize) -> Result<Joined, CliError> {
    let instruction = item.instruction;
    Ok(match (said, item.labelled) {
        (Said::Score { scale, raw }, labelled::Labelled::Score { label, scale: of_label, length }) => {
            let of_label = of_label.unwrap_or(scale);
            let (lowest, highest) = (f64::from(of_label.lowest()), f64::from(of_label.highest()));
            if !(lowest..=highest).contains(&label) {
                let what = format!("its label {label} is not on the scale {lowest} to {highest}");
                return Err(DataError::at(item.place, what).into());
            }
            let raw = RawAbsolute { characters: length, ..raw };
            Joined::Score(Example { labelled: Labelled { raw, label: of_label.fraction(label) }, instruction, set })
        }
        (Said::Pair(orders), labelled::Labelled::Pair { label, lengths, .. }) => {
            let label = match label {
                Preference::A => 1.0,
                Preference::B => 0.0,
                Preference::Tie => 0.5,
            };
            Joined::Pair(Example { labelled: Labelled { raw: RawPair::new(orders, lengths), label }, instruction, set })
        }
        _ => return Err(DataError::at(item.place, "is not of the kind of its verdict").into()),
    })
}

fn kind_of(item: &LabelledItem) -> Kind {
    match item.labelled {
        labelled::Labelled::Score { .. } => Kind::Absolute,
        labelled::Labelled::Pair { .. } => Kind::Relative,
    }
}

fn the_kind<'a>(items: impl Iterator<Item = &'a LabelledItem>) -> Result<Kind, CliError> {
    let mut kinds = items.map(kind_of);
    let first = kinds.next().unwrap_or(Kind::Absolute);
    if kinds.any(|kind| kind != first) {
        return Err(CliError::Failed("the data has scores and pairs; choose with --kind absolute or relative".into()));
    }
    Ok(first)
}
