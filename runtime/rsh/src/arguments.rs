//! The command line, as launchers write it for `rsh` and `ssh`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Whether standard input is left alone.
    pub(crate) no_input: bool,
    /// A node's address or name.
    pub(crate) address: Vec<u8>,
    /// The words of the command, joined by blanks.
    pub(crate) command: Vec<u8>,
}

/// Options of ssh without a value. What they ask for (no terminal, no forwarding, quiet, some
/// version of IP) is so anyway, or means nothing here.
const FLAGS: &[u8] = b"46AaCGgKkMNqsTtVvXxYy";

/// Options of ssh and rsh with a value. The user is the job's, the way is the daemons'.
const WITH_VALUE: &[u8] = b"BbcDEeFIiJLlmOoPpQRSWw";

const USAGE: &str = "usage: lote-rsh [-l USER] [-n] [options of ssh] ADDRESS COMMAND…";

/// Reads what follows the program's name.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut address = None;
    let mut words = words.map(OsString::into_vec);
    let mut rest = Vec::new();
    let mut has_options = true;
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"--" if has_options => has_options = false,
            [b'-', letters @ ..] if has_options && !letters.is_empty() => {
                option(&mut arguments, letters, &mut words)?;
            }
            _ if address.is_none() => address = Some(without_user(&word)),
            // From here on all is the command's.
            _ => {
                rest.push(word);
                rest.extend(words.by_ref());
            }
        }
    }
    arguments.address = address.ok_or(USAGE)?;
    if rest.is_empty() {
        return Err(format!("there is no command to start; {USAGE}"));
    }
    arguments.command = rest.join(&b' ');
    Ok(arguments)
}

/// One word of options, such as `-xn` or `-lroot`.
fn option(
    arguments: &mut Arguments,
    letters: &[u8],
    words: &mut impl Iterator<Item = Vec<u8>>,
) -> Result<(), String> {
    for (position, letter) in letters.iter().enumerate() {
        if *letter == b'n' {
            arguments.no_input = true;
        } else if WITH_VALUE.contains(letter) {
            let is_last = position + 1 == letters.len();
            if is_last && words.next().is_none() {
                let letter = char::from(*letter);
                return Err(format!("the option -{letter} needs a value; {USAGE}"));
            }
            return Ok(());
        } else if !FLAGS.contains(letter) {
            let letter = char::from(*letter);
            return Err(format!("there is no option -{letter}; {USAGE}"));
        }
    }
    Ok(())
}

/// `user@host` as `host`: everything runs as the job's user.
fn without_user(word: &[u8]) -> Vec<u8> {
    let at = word.iter().rposition(|byte| *byte == b'@');
    word.get(at.map_or(0, |at| at + 1)..)
        .unwrap_or_default()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, String> {
        parse(line.split(' ').map(OsString::from))
    }

    fn expected(no_input: bool, address: &str, command: &str) -> Arguments {
        Arguments {
            no_input,
            address: address.into(),
            command: command.into(),
        }
    }

    #[test]
    fn what_launchers_write_is_understood() {
        let plain = expected(false, "10.0.0.1", "orted -mca x 1");
        for line in [
            "10.0.0.1 orted -mca x 1",
            "-l lote 10.0.0.1 orted -mca x 1",
            "-x 10.0.0.1 orted -mca x 1",
            "-q -o StrictHostKeyChecking=no -oBatchMode=yes root@10.0.0.1 orted -mca x 1",
            "10.0.0.1 -l lote orted -mca x 1",
            "-- 10.0.0.1 orted -mca x 1",
        ] {
            assert_eq!(parsed(line).as_ref(), Ok(&plain), "{line}");
        }
        assert_eq!(parsed("-xn b true"), Ok(expected(true, "b", "true")));
        assert_eq!(parsed("b -n true"), Ok(expected(true, "b", "true")));
        // Behind the first word of the command nothing is ours.
        assert_eq!(parsed("b ls -n"), Ok(expected(false, "b", "ls -n")));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for line in ["-l lote", "10.0.0.1", "-l", "-Z b true", "-f b true", "-n"] {
            let reason = parsed(line).unwrap_err();
            assert!(reason.contains("usage: lote-rsh"), "{line}: {reason}");
        }
    }
}
