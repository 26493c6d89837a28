//! Many rows in one `INSERT`, each value a parameter: a JSON array of long texts costs more to take apart than to store.

use std::{iter, sync::OnceLock};

/// Rows in one statement at most: with eleven columns far from SQLite's bound of 32 766 parameters.
const MOST: usize = 256;

/// An `INSERT` for any number of rows that is a power of two. So there are few texts, and each is prepared once.
pub(super) struct ManyRows {
    head: &'static str,
    columns: usize,
    tail: &'static str,
    texts: [OnceLock<String>; MOST.ilog2() as usize + 1],
}

impl ManyRows {
    pub(super) const fn new(head: &'static str, columns: usize, tail: &'static str) -> Self {
        Self { head, columns, tail, texts: [const { OnceLock::new() }; MOST.ilog2() as usize + 1] }
    }

    /// The statement for so many rows, which [`pieces`] chose.
    pub(super) fn text(&'static self, rows: usize) -> &'static str {
        let rows = rows.clamp(1, MOST).ilog2();
        self.texts[rows as usize].get_or_init(|| {
            let row = format!("({})", vec!["?"; self.columns].join(", "));
            let rows = vec![row.as_str(); 1 << rows].join(", ");
            format!("{} VALUES {rows} {}", self.head, self.tail)
        })
    }
}

/// The rows in pieces whose lengths are powers of two, the longest first.
pub(super) fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    iter::from_fn(move || {
        let length = 1 << rows.len().min(MOST).checked_ilog2()?;
        let (piece, rest) = rows.split_at(length);
        rows = rest;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_as_many_parameters_as_rows_have_values() {
        static INSERT: ManyRows = ManyRows::new("INSERT INTO t (a, b)", 2, "");
        assert_eq!(INSERT.text(1), "INSERT INTO t (a, b) VALUES (?, ?) ");
        assert_eq!(INSERT.text(4).matches("(?, ?)").count(), 4);
        assert_eq!(INSERT.text(256).matches('?').count(), 512);
    }

    #[test]
    fn pieces_are_all_the_rows_in_their_order() {
        for count in [0, 1, 2, 3, 127, 255, 256, 257, 1_000] {
            let rows: Vec<usize> = (0..count).collect();
            let lengths: Vec<usize> = pieces(&rows).map(<[usize]>::len).collect();
            assert!(lengths.iter().all(|length| length.is_power_of_two() && *length <= MOST), "{lengths:?}");
            assert_eq!(pieces(&rows).collect::<Vec<_>>().concat(), rows);
        }
    }
}
