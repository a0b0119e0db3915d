//! Names and values below one another.

use super::style::{Colour, Style};

/// A list of names with their values, one resource's details.
#[derive(Clone, Debug, Default)]
pub struct Details {
    rows: Vec<(String, String)>,
}

impl Details {
    /// Adds a value. Every further line of it is indented below the first.
    pub fn add(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.rows.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a value if there is one.
    pub fn add_some(&mut self, name: &str, value: Option<impl Into<String>>) -> &mut Self {
        if let Some(value) = value {
            self.add(name, value);
        }
        self
    }

    /// The text, names dimmed, values aligned.
    pub fn render(&self, style: Style) -> String {
        let width = self
            .rows
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for (name, value) in &self.rows {
            for (at, line) in value.lines().enumerate() {
                let shown = if at == 0 { name.as_str() } else { "" };
                let padded = format!("{shown:<width$}");
                text.push_str(format!("{}  {line}", style.paint(Colour::Dim, &padded)).trim_end());
                text.push('\n');
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned_and_continued() {
        let mut details = Details::default();
        details
            .add("job", "j1")
            .add("last lines", "one\n  two")
            .add_some("none", None::<String>);
        assert_eq!(
            details.render(Style::Plain),
            "job         j1\nlast lines  one\n              two\n"
        );
    }
}
