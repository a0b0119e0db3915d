//! Output of several processes on one stream: every line says whose it is.

/// Puts labels before lines. Bytes are passed on as they come: a line need not be
/// complete to be seen.
#[derive(Debug, Default)]
pub struct Prefixer {
    /// Whose line has no end yet.
    open: Option<String>,
}

impl Prefixer {
    /// The bytes to show for a piece of the output of `label`. If another process
    /// is in the middle of a line, that line is broken rather than held back.
    pub fn feed(&mut self, label: &str, piece: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(piece.len() + 16);
        if !piece.is_empty() && self.open.as_deref().is_some_and(|open| open != label) {
            shown.push(b'\n');
            self.open = None;
        }
        for line in piece.split_inclusive(|&byte| byte == b'\n') {
            if self.open.is_none() {
                shown.extend_from_slice(format!("[{label}] ").as_bytes());
            }
            shown.extend_from_slice(line);
            self.open = (!line.ends_with(b"\n")).then(|| label.to_owned());
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(pieces: &[(&str, &str)]) -> String {
        let mut prefixer = Prefixer::default();
        let bytes: Vec<u8> = pieces
            .iter()
            .flat_map(|(label, piece)| prefixer.feed(label, piece.as_bytes()))
            .collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_in_pieces_has_one_label() {
        assert_eq!(
            shown(&[("0", "epoch "), ("0", "1\nepo"), ("0", "ch 2\n")]),
            "[0] epoch 1\n[0] epoch 2\n"
        );
    }

    #[test]
    fn another_process_breaks_an_open_line() {
        assert_eq!(
            shown(&[("0", "half"), ("1", "one\n"), ("0", " line\n")]),
            "[0] half\n[1] one\n[0]  line\n"
        );
    }

    proptest! {
        /// Nothing is lost or changed but the labels and the line ends that breaks add.
        #[test]
        fn every_process_keeps_its_bytes(pieces in prop::collection::vec((0..3_u8, "[ab\n]{0,6}"), 0..20)) {
            let mut prefixer = Prefixer::default();
            for (label, piece) in &pieces {
                let shown = prefixer.feed(&label.to_string(), piece.as_bytes());
                let text = String::from_utf8(shown).unwrap().replace(&format!("[{label}] "), "");
                let kept = text.strip_suffix(piece.as_str()).unwrap();
                prop_assert!(kept.is_empty() || kept == "\n");
            }
        }
    }
}
