//! Labelled items with the judge's verdicts on them.

use std::path::PathBuf;

use super::super::CliError;
use super::verdicts::{Said, Verdicts, said};
use crate::domain::calibration::{DataSource, Example, Examples, Labelled, MadeFor, RawAbsolute, RawPair};
use crate::domain::{Kind, Preference, Scale};
use crate::labelled::{self, DataError, LabelledItem, Mapping};

/// What a map is made from.
pub(super) struct Gathered {
    pub(super) examples: Examples,
    pub(super) joined: Joined,
}

/// Items that were joined with verdicts.
pub(in super::super) struct Joined {
    /// The names of the sets, by their numbers in the examples.
    pub(in super::super) sets: Vec<String>,
    pub(in super::super) data: Vec<DataSource>,
    pub(in super::super) made_for: MadeFor,
    /// Items of the kind that have no verdict.
    pub(in super::super) without_verdict: usize,
    /// Items that have no label.
    pub(in super::super) unlabelled: usize,
    /// Lines of the verdicts that hold an error.
    pub(in super::super) failed: usize,
}

/// Labelled items of one kind.
pub(in super::super) struct Labels {
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
    pub(in super::super) fn read(data: &[PathBuf], mapping: &Mapping, kind: Option<Kind>) -> Result<Self, CliError> {
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
    pub(in super::super) fn items(&self) -> &[LabelledItem] {
        &self.items
    }

    /// The kind of verdict that they are for.
    pub(in super::super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Joins the items with the judge's verdicts on them, by their ids. `each` gets those with a verdict, and the number of
    /// their set.
    ///
    /// # Errors
    /// Those of `each`; when no item has a verdict.
    pub(in super::super) fn join<S>(
        self,
        mut verdicts: Verdicts<S>,
        mut each: impl FnMut(LabelledItem, S, usize) -> Result<(), CliError>,
    ) -> Result<Joined, CliError> {
        let Self { files, items, unlabelled, .. } = self;
        let (mut sets, mut data, mut without_verdict) = (Vec::new(), Vec::new(), 0);
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
                each(item, said, set)?;
            }
            data.push(source);
        }
        if data.iter().all(|source: &DataSource| source.items == 0) {
            return Err(CliError::Failed("no item of --data has a verdict; verdicts name items by their ids".into()));
        }
        let Verdicts { made_for, failed, .. } = verdicts;
        Ok(Joined { sets, data, made_for, without_verdict, unlabelled, failed })
    }
}

impl Gathered {
    /// Joins items with the verdicts that a map is made from.
    ///
    /// # Errors
    /// With the line that is wrong; when no item has a verdict.
    pub(super) fn of(labels: Labels, verdicts: &[PathBuf]) -> Result<Self, CliError> {
        let kind = labels.kind();
        let (mut scores, mut pairs, mut graded_alone) = (Vec::new(), Vec::new(), Vec::new());
        let joined = labels.join(Verdicts::read(verdicts, kind, said)?, |item, said, set| {
            match example(item, said, set)? {
                Made::Score(example) => scores.push(example),
                Made::Pair(example) => pairs.push(example),
                Made::GradedAlone(example) => graded_alone.push(example),
            }
            Ok(())
        })?;
        let examples = match kind {
            Kind::Absolute => Examples::Scores(scores),
            // All verdicts are on one prompt, so all pairs were compared in one way.
            Kind::Relative if pairs.is_empty() => Examples::GradedAlone(graded_alone),
            Kind::Relative => Examples::Pairs(pairs),
        };
        Ok(Self { examples, joined })
    }
}

enum Made {
    Score(Example<RawAbsolute>),
    Pair(Example<RawPair>),
    GradedAlone(Example<[RawAbsolute; 2]>),
}

fn example(item: LabelledItem, said: Said, set: usize) -> Result<Made, CliError> {
    let instruction = item.instruction;
    Ok(match (said, item.labelled) {
        (Said::Score { scale, raw }, labelled::Labelled::Score { label, scale: of_label, length }) => {
            let label = share(&item.place, label, of_label.unwrap_or(scale))?;
            let raw = RawAbsolute { characters: length, ..raw };
            Made::Score(Example { labelled: Labelled { raw, label }, instruction, set })
        }
        (Said::Pair(orders), labelled::Labelled::Pair { label, lengths, .. }) => {
            let labelled = Labelled { raw: RawPair::new(orders, lengths), label: for_a(label) };
            Made::Pair(Example { labelled, instruction, set })
        }
        (Said::GradedAlone(grades), labelled::Labelled::Pair { label, lengths: [a, b], .. }) => {
            let [of_a, of_b] = *grades;
            let raw = [RawAbsolute { characters: a, ..of_a }, RawAbsolute { characters: b, ..of_b }];
            Made::GradedAlone(Example { labelled: Labelled { raw, label: for_a(label) }, instruction, set })
        }
        _ => return Err(DataError::at(item.place, "is not of the kind of its verdict").into()),
    })
}

/// The share of a label that is for A.
fn for_a(label: Preference) -> f64 {
    match label {
        Preference::A => 1.0,
        Preference::B => 0.0,
        Preference::Tie => 0.5,
    }
}

/// A label on 0..1.
///
/// # Errors
/// If it is not on its scale.
pub(in super::super) fn share(place: &str, label: f64, scale: Scale) -> Result<f64, DataError> {
    let (lowest, highest) = (f64::from(scale.lowest()), f64::from(scale.highest()));
    if (lowest..=highest).contains(&label) {
        return Ok(scale.fraction(label));
    }
    Err(DataError::at(place, format!("its label {label} is not on the scale {lowest} to {highest}")))
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
