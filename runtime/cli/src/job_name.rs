//! Names for jobs that were given none: readable, in order of time, unique.

use jiff::Timestamp;
use lote_model::name::NAME_LENGTH_MAX;

/// Letters and digits that are not mistaken for one another.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";

/// Makes a name such as `train-0804-101530-k3f9`: what it is, month and day, the
/// time (UTC), and 20 random bits against two submissions in the same second.
pub fn generate(stem: &str, now: Timestamp, random: [u8; 4]) -> String {
    let suffix: String = random
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
        .collect();
    let when = now.strftime("%m%d-%H%M%S");
    let tail = format!("-{when}-{suffix}");
    let mut name = fitting(stem);
    name.truncate(NAME_LENGTH_MAX - tail.len());
    name + &tail
}

/// What a command is about: the script, else the program, without folder and ending.
pub fn stem_of(command: &[String]) -> &str {
    let script = command
        .iter()
        .find(|word| has_ending(word, "py") || has_ending(word, "sh"));
    let word = script.or(command.first()).map_or("job", String::as_str);
    stem_of_file(word)
}

/// A file's name without folder and ending.
pub fn stem_of_file(path: &str) -> &str {
    std::path::Path::new(path)
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or("job")
}

/// Whether a file's name ends so, in any case.
pub(crate) fn has_ending(word: &str, ending: &str) -> bool {
    std::path::Path::new(word)
        .extension()
        .is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// The characters a name may have, others as `-`; `job` when nothing is left.
fn fitting(stem: &str) -> String {
    let name: String = stem
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        })
        .collect();
    match name.trim_matches('-') {
        "" => "job".into(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lote_model::name::ResourceName;
    use proptest::prelude::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_name_tells_what_and_when() {
        let now: Timestamp = "2026-08-04T10:15:30Z".parse().unwrap();
        assert_eq!(
            generate("train", now, [0, 1, 2, 3]),
            "train-0804-101530-abcd"
        );
    }

    #[test]
    fn the_script_names_the_job() {
        assert_eq!(stem_of(&words("python3 -u src/train.py --lr 0.1")), "train");
        assert_eq!(stem_of(&words("/usr/bin/nvidia-smi")), "nvidia-smi");
        assert_eq!(stem_of(&[]), "job");
    }

    proptest! {
        #[test]
        fn every_generated_name_is_valid(stem in ".{0,100}", random in any::<[u8; 4]>()) {
            let name = generate(&stem, Timestamp::UNIX_EPOCH, random);
            prop_assert!(ResourceName::new(name).is_ok());
        }
    }
}
