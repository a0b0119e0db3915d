//! What people read where output is missing. Pure.

use jiff::Timestamp;
use lote_model::quantity::format_bytes;

fn reason(limit: u64) -> String {
    format!(
        "the file system of the output did not take it in time, and more than {} was waiting (--spool-limit)",
        format_bytes(limit)
    )
}

/// At the place of the missing bytes. Depends on nothing that changes, so that writing it again
/// is no change.
pub(super) fn in_output(bytes: u64) -> String {
    format!(
        "\n[lote: {bytes} bytes of output were dropped here: the file system of the output did \
         not take them in time]\n"
    )
}

/// In the launcher's log.
pub(super) fn for_log(file: &str, bytes: u64, limit: u64) -> String {
    format!(
        "{:.3} {bytes} bytes of {file} were dropped: {}\n",
        Timestamp::now(),
        reason(limit)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_how_much_and_why() {
        assert!(in_output(17).contains("17 bytes"));
        let line = for_log("stdout.txt", 17, 1 << 30);
        assert!(
            line.contains("17 bytes of stdout.txt") && line.contains("1.0 GiB"),
            "{line}"
        );
    }
}
