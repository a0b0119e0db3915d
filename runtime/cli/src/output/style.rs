//! Colours, for terminals only.

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// No escape sequences at all.
    Plain,
    /// ANSI colours.
    Coloured,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Well.
    Green,
    /// On its way, or needs a look.
    Yellow,
    /// Failed.
    Red,
    /// Headings.
    Bold,
    /// Less important.
    Dim,
}

impl Style {
    /// Colours on a terminal, unless `NO_COLOR` is set to anything (no-color.org)
    /// or the terminal is a dumb one.
    pub fn choose(is_terminal: bool, no_color: Option<&str>, term: Option<&str>) -> Self {
        let refused = no_color.is_some_and(|value| !value.is_empty()) || term == Some("dumb");
        if is_terminal && !refused {
            Self::Coloured
        } else {
            Self::Plain
        }
    }

    /// The text in the colour.
    pub fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Red => "31",
            Colour::Bold => "1",
            Colour::Dim => "2",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_willing_terminals() {
        assert_eq!(Style::choose(true, None, Some("xterm")), Style::Coloured);
        assert_eq!(Style::choose(true, Some(""), None), Style::Coloured);
        for (terminal, no_color, term) in [
            (false, None, None),
            (true, Some("1"), None),
            (true, None, Some("dumb")),
        ] {
            assert_eq!(Style::choose(terminal, no_color, term), Style::Plain);
        }
        assert_eq!(Style::Plain.paint(Colour::Red, "x"), "x");
        assert_eq!(Style::Coloured.paint(Colour::Red, "x"), "\x1b[31mx\x1b[0m");
    }
}
