//! Aligned columns.

use super::style::{Colour, Style};

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl Cell {
    /// A cell in a colour.
    pub fn coloured(text: impl Into<String>, colour: Option<Colour>) -> Self {
        Self {
            text: one_line(&text.into()),
            colour,
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::coloured(text, None)
    }
}

/// A cell is one line, whatever it holds; control characters would break the
/// table or the terminal.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Rows of cells below a heading.
#[derive(Clone, Debug)]
pub struct Table {
    heading: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
}

/// Between two columns.
const GAP: &str = "  ";

impl Table {
    /// An empty table with these columns.
    pub fn new(columns: &[&str]) -> Self {
        let heading = columns
            .iter()
            .map(|name| Cell::coloured(*name, Some(Colour::Bold)));
        Self {
            heading: heading.collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The same table without columns that hold nothing in any row.
    #[must_use]
    pub fn omit_empty_columns(mut self) -> Self {
        let holds = |column: usize| self.rows.iter().any(|row| !row[column].text.is_empty());
        let kept: Vec<bool> = (0..self.heading.len()).map(holds).collect();
        for line in std::iter::once(&mut self.heading).chain(&mut self.rows) {
            let mut keep = kept.iter().copied();
            line.retain(|_| keep.next().unwrap_or(true));
        }
        self
    }

    /// The text: every column as wide as its widest cell, no spaces at line ends,
    /// `empty` when there is no row.
    pub fn render(&self, style: Style, empty: &str) -> String {
        if self.rows.is_empty() {
            return format!("{}\n", style.paint(Colour::Dim, empty));
        }
        let lines = || std::iter::once(&self.heading).chain(&self.rows);
        let widths: Vec<usize> = (0..self.heading.len())
            .map(|column| {
                lines()
                    .filter_map(|line| line.get(column))
                    .map(Cell::width)
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        lines()
            .map(|line| render_line(line, &widths, style))
            .collect()
    }
}

fn render_line(line: &[Cell], widths: &[usize], style: Style) -> String {
    let last = line
        .iter()
        .rposition(|cell| !cell.text.is_empty())
        .unwrap_or(0);
    let mut text = String::new();
    for (column, (cell, width)) in line.iter().zip(widths).enumerate().take(last + 1) {
        let painted = cell.colour.map_or_else(
            || cell.text.clone(),
            |colour| style.paint(colour, &cell.text),
        );
        text.push_str(&painted);
        if column < last {
            text.push_str(&" ".repeat(width - cell.width()));
            text.push_str(GAP);
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_with_text() {
        let mut table = Table::new(&["NAME", "STATE", "NOTE"]);
        table.row([
            "größe".into(),
            Cell::coloured("ok", Some(Colour::Green)),
            "".into(),
        ]);
        table.row(["b".into(), "much longer".into(), "two\nlines".into()]);
        insta::assert_snapshot!(table.render(Style::Plain, "none"));
        insta::assert_snapshot!(table.render(Style::Coloured, "none").replace('\x1b', "^"));
    }

    #[test]
    fn columns_without_content_can_be_left_out() {
        let mut table = Table::new(&["A", "B", "C"]);
        table.row(["1".into(), "".into(), "3".into()]);
        assert_eq!(
            table.omit_empty_columns().render(Style::Plain, "none"),
            "A  C\n1  3\n"
        );
    }

    #[test]
    fn nothing_is_said_in_words() {
        assert_eq!(
            Table::new(&["NAME"]).render(Style::Plain, "no jobs"),
            "no jobs\n"
        );
    }
}
