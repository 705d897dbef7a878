//! Aligned columns, and colours where a terminal shows them.

use std::borrow::Cow;

/// Spaces between two columns.
const GAP: &str = "  ";

/// How a text stands out on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Not at all.
    Plain,
    /// As a heading.
    Bold,
    /// As something that is well.
    Good,
    /// As something to look at.
    Warning,
    /// As something that is wrong.
    Bad,
    /// As something of less weight.
    Faint,
}

impl Style {
    /// Returns the text with the escape sequences of the style, if colours are wanted.
    #[must_use]
    pub fn paint(self, text: &str, colour: bool) -> Cow<'_, str> {
        let code = match self {
            Self::Plain => return text.into(),
            Self::Bold => 1,
            Self::Good => 32,
            Self::Warning => 33,
            Self::Bad => 31,
            Self::Faint => 2,
        };
        if colour { format!("\x1b[{code}m{text}\x1b[0m").into() } else { text.into() }
    }
}

/// One cell.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
    right: bool,
}

impl Cell {
    /// Returns a cell of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::styled(text, Style::Plain)
    }

    /// Returns a cell of text that stands out.
    pub fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style, right: false }
    }

    /// Returns a cell with a number, which is aligned at the right.
    pub fn number(number: impl Into<u64>) -> Self {
        Self { text: number.into().to_string(), style: Style::Plain, right: true }
    }

    /// Returns a cell of text that is aligned at the right, as numbers with a unit are.
    pub fn right(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Style::Plain, right: true }
    }

    /// Returns a cell with a number, or a dash where there is none.
    pub fn optional(number: Option<impl Into<u64>>) -> Self {
        number.map_or(Self { text: "-".into(), style: Style::Faint, right: true }, Self::number)
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Rows below a heading, with a cell for each of its words.
#[derive(Clone, Debug)]
pub struct Table<const COLUMNS: usize> {
    heading: [&'static str; COLUMNS],
    rows: Vec<[Cell; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// Returns a table without rows.
    #[must_use]
    pub const fn new(heading: [&'static str; COLUMNS]) -> Self {
        Self { heading, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: [Cell; COLUMNS]) {
        self.rows.push(cells);
    }

    /// Returns the table as lines.
    #[must_use]
    pub fn lines(&self, colour: bool) -> String {
        let widest =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(Cell::width).max();
        let is_right =
            |column: usize| self.rows.first().and_then(|row| row.get(column)).is_some_and(|cell| cell.right);
        let widths: Vec<usize> = (0..)
            .zip(&self.heading)
            .map(|(column, word)| widest(column).unwrap_or_default().max(word.len()))
            .collect();
        let heading: Vec<Cell> = (0..)
            .zip(&self.heading)
            .map(|(column, word)| Cell {
                text: (*word).to_owned(),
                style: Style::Bold,
                right: is_right(column),
            })
            .collect();
        let mut lines = String::new();
        let rows = self.rows.iter().map(<[Cell; COLUMNS]>::as_slice);
        for row in std::iter::once(heading.as_slice()).chain(rows) {
            lines.push_str(line(row, &widths, colour).trim_end());
            lines.push('\n');
        }
        lines
    }
}

fn line(row: &[Cell], widths: &[usize], colour: bool) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        let padding = " ".repeat(width.saturating_sub(cell.width()));
        let text = cell.style.paint(&cell.text, colour);
        if !line.is_empty() {
            line.push_str(GAP);
        }
        let (before, after) = if cell.right { (padding.as_str(), "") } else { ("", padding.as_str()) };
        line.extend([before, &text, after]);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<2> {
        let mut table = Table::new(["NAME", "OPEN"]);
        table.row([Cell::styled("smtp", Style::Good), Cell::number(7_u32)]);
        table.row([Cell::text("submission"), Cell::optional(None::<u32>)]);
        table
    }

    /// Text is aligned at the left, numbers and their heading at the right, and no line ends in spaces.
    #[test]
    fn columns_are_aligned() {
        assert_eq!(table().lines(false), "NAME        OPEN\nsmtp           7\nsubmission     -\n");
    }

    /// Colours do not count as width.
    #[test]
    fn colours_leave_the_alignment() {
        let plain: String = table().lines(true);
        let stripped = ["\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[0m"]
            .iter()
            .fold(plain.clone(), |text, escape| text.replace(escape, ""));
        assert_ne!(plain, stripped);
        assert_eq!(stripped, table().lines(false));
    }
}
