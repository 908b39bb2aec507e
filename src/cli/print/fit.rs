//! Fits tables to the width of a terminal: cells that are too wide are cut.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns between two cells.
pub(super) const GAP: usize = 2;

/// Cells are not cut to fewer columns than this, even if the table stays too wide.
const NARROWEST: usize = 8;

/// Stands for the part that was cut out.
const CUT: char = '…';

/// What a column holds, which decides how its cells are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Texts, which are cut at the end.
    Text,
    /// Keys of properties. Many begin alike, so they are cut in the middle, and they get twice
    /// the width of texts.
    Key,
    /// Numbers, which are never cut.
    Number,
}

impl ColumnKind {
    fn share(self) -> usize {
        match self {
            ColumnKind::Text => 1,
            ColumnKind::Key => 2,
            ColumnKind::Number => 0,
        }
    }
}

/// Cuts cells, so that lines are at most `width` columns wide if possible. `rows` include the heads.
pub(super) fn fit(kinds: &[ColumnKind], rows: &mut [Vec<String>], width: usize) {
    let widest = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width()).max();
    let widths: Vec<usize> = (0..kinds.len()).map(|at| widest(at).unwrap_or_default()).collect();
    let room = width.saturating_sub(GAP * kinds.len().saturating_sub(1));
    let limit = |at: usize, unit: usize| match kinds[at].share() {
        0 => widths[at],
        share => widths[at].min((share * unit).max(NARROWEST)),
    };
    let total = |unit: usize| (0..kinds.len()).map(|at| limit(at, unit)).sum::<usize>();
    // The largest unit with which the table fits.
    let unit = (0..=room).rev().find(|unit| total(*unit) <= room).unwrap_or_default();
    for row in rows {
        for (at, cell) in row.iter_mut().enumerate().take(kinds.len()) {
            if cell.width() > limit(at, unit) {
                *cell = cut(cell, limit(at, unit), kinds[at] == ColumnKind::Key);
            }
        }
    }
}

/// Cuts a text, which must be wider, to at most `width` columns.
fn cut(text: &str, width: usize, in_the_middle: bool) -> String {
    let rest = width.saturating_sub(1);
    // The ends of keys tell more than their beginnings.
    let end_width = if in_the_middle { rest * 2 / 3 } else { 0 };
    let start: String = within(text.chars(), rest - end_width).collect();
    let mut end: Vec<char> = within(text.chars().rev(), end_width).collect();
    end.reverse();
    [start, CUT.into(), end.into_iter().collect()].concat()
}

/// The first characters that are together at most `width` columns wide.
fn within(chars: impl Iterator<Item = char>, width: usize) -> impl Iterator<Item = char> {
    chars.scan(0, move |used, c| {
        *used += c.width().unwrap_or_default();
        (*used <= width).then_some(c)
    })
}

#[cfg(test)]
mod tests {
    use super::ColumnKind::{Key, Number, Text};
    use super::*;

    fn fitted(kinds: &[ColumnKind], row: &[&str], width: usize) -> Vec<String> {
        let mut rows = [row.iter().map(ToString::to_string).collect()];
        fit(kinds, &mut rows, width);
        let [row] = rows;
        row
    }

    #[test]
    fn keys_are_cut_in_the_middle_and_texts_at_the_end() {
        let row = ["net.java.sip.communicator.PASSWORD", "a long, long value", "1234567890"];
        let kinds = [Key, Text, Number];
        assert_eq!(fitted(&kinds, &row, 200), row);
        assert_eq!(fitted(&kinds, &row, 66), row);
        assert_eq!(fitted(&kinds, &row, 50), ["net.java…icator.PASSWORD", "a long, lon…", "1234567890"]);
        // What does not fit even so stays too wide.
        assert_eq!(fitted(&kinds, &row, 5), ["net…WORD", "a long,…", "1234567890"]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_narrow_columns_stay_whole() {
        let row = ["net.java.sip.communicator.impl.protocol.jabber", "日本語の長い値です", "é…", "77"];
        let kinds = [Key, Text, Text, Number];
        for width in 26..80 {
            let cells = fitted(&kinds, &row, width);
            let line = cells.iter().map(|cell| cell.width()).sum::<usize>() + GAP * 3;
            assert!(line <= width, "{width}: {cells:?}");
            assert_eq!(cells[2..], row[2..]);
        }
    }
}
