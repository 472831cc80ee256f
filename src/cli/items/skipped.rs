//! Rows of a file that are left out because they cannot be used (`--skip-invalid`).

use crate::labelled::DataError;

/// Maximum number of rows to show.
const MOST_SHOWN: usize = 5;

/// Such rows, in their order.
#[derive(Debug, Default)]
pub(in super::super) struct Skipped(Vec<DataError>);

impl Skipped {
    /// Those of a file, by the numbers of their rows.
    pub(super) fn of(mut rows: Vec<(usize, DataError)>) -> Self {
        rows.sort_by_key(|(number, _)| *number);
        Self(rows.into_iter().map(|(_, error)| error).collect())
    }

    /// How many there are.
    pub(in super::super) fn count(&self) -> usize {
        self.0.len()
    }

    /// All of them: where each is, and what is wrong with it.
    pub(in super::super) fn all(&self) -> Vec<String> {
        self.0.iter().map(DataError::to_string).collect()
    }

    /// The first of them, and how many more there are.
    pub(in super::super) fn shown(&self) -> Vec<String> {
        let mut shown: Vec<String> = self.0.iter().take(MOST_SHOWN).map(DataError::to_string).collect();
        if self.count() > MOST_SHOWN {
            shown.push(format!("and {} more", self.count() - MOST_SHOWN));
        }
        shown
    }

    /// What a command says of them at its end; nothing if there are none.
    pub(in super::super) fn message(&self) -> Option<String> {
        let rows = match self.count() {
            0 => return None,
            1 => "1 row was skipped because it cannot be used".to_owned(),
            count => format!("{count} rows were skipped because they cannot be used"),
        };
        Some(self.shown().iter().fold(rows, |text, row| text + "\n  " + row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rows_are_shown_in_their_order() {
        assert_eq!(Skipped::default().message(), None);
        let row = |number: usize| (number, DataError::at(format!("a.csv:{number}"), "has 2 cells"));
        let one = Skipped::of(vec![row(3)]);
        assert_eq!(
            one.message().as_deref(),
            Some("1 row was skipped because it cannot be used\n  a.csv:3: has 2 cells")
        );
        let many = Skipped::of((1..=7).rev().map(row).collect());
        let message = many.message().unwrap();
        assert!(message.starts_with("7 rows were skipped") && message.contains("\n  a.csv:1: has 2 cells\n  a.csv:2"));
        assert!(message.ends_with("\n  a.csv:5: has 2 cells\n  and 2 more"), "{message}");
        assert_eq!(many.all().len(), 7);
    }
}
