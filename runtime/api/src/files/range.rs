//! Which bytes of a file a client asks for (RFC 9110 §14).

/// What to answer to a `Range` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Everything: no range, or one that is not understood.
    Whole,
    /// From `first` to `last`, both included.
    Part {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
    /// Nothing of what was asked for exists.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of `length` bytes. Several ranges at once
/// are answered with the whole file, which the standard allows.
pub(crate) fn select(header: Option<&str>, length: u64) -> Selection {
    let Some(range) = header.and_then(single_range) else {
        return Selection::Whole;
    };
    match range {
        (None, None) => Selection::Whole,
        (None, Some(suffix)) if suffix == 0 || length == 0 => Selection::Unsatisfiable,
        (None, Some(suffix)) => Selection::Part {
            first: length.saturating_sub(suffix),
            last: length - 1,
        },
        (Some(first), Some(last)) if last < first => Selection::Whole,
        (Some(first), _) if first >= length => Selection::Unsatisfiable,
        (Some(first), last) => Selection::Part {
            first,
            last: last.unwrap_or(u64::MAX).min(length - 1),
        },
    }
}

/// The two numbers of `bytes=a-b`, each of which may be absent.
fn single_range(header: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, range) = header.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    Some((number(first).ok()?, number(last).ok()?))
}

/// The text is neither a number nor empty.
struct NotANumber;

/// A number, or nothing.
fn number(text: &str) -> Result<Option<u64>, NotANumber> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|c| c.is_ascii_digit()) {
        return Err(NotANumber);
    }
    // A number beyond every file is as good as the largest.
    Ok(Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn part(first: u64, last: u64) -> Selection {
        Selection::Part { first, last }
    }

    #[test]
    fn follows_the_standard() {
        for (header, expected) in [
            ("bytes=0-", part(0, 9)),
            ("bytes=0-0", part(0, 0)),
            ("bytes=3-5", part(3, 5)),
            ("bytes=3-99", part(3, 9)),
            ("bytes=9-", part(9, 9)),
            ("bytes=-4", part(6, 9)),
            ("bytes=-99", part(0, 9)),
            ("BYTES=1-1", part(1, 1)),
            ("bytes=0-99999999999999999999999", part(0, 9)),
            ("bytes=10-", Selection::Unsatisfiable),
            ("bytes=99999999999999999999999-", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=5-3", Selection::Whole),
            ("bytes=0-1,4-5", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("bytes=a-b", Selection::Whole),
            ("lines=0-1", Selection::Whole),
            ("", Selection::Whole),
        ] {
            assert_eq!(select(Some(header), 10), expected, "{header}");
        }
        assert_eq!(select(None, 10), Selection::Whole);
        assert_eq!(select(Some("bytes=0-"), 0), Selection::Unsatisfiable);
        assert_eq!(select(Some("bytes=-5"), 0), Selection::Unsatisfiable);
    }

    proptest::proptest! {
        #[test]
        fn a_part_lies_inside(header in "bytes=[0-9]{0,3}-[0-9]{0,3}", length in 0_u64..500) {
            if let Selection::Part { first, last } = select(Some(&header), length) {
                proptest::prop_assert!(first <= last && last < length);
            }
        }
    }
}
