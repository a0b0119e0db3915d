//! Which kind of file an image is in.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// A header, and what contents are filled up to.
const BLOCK: usize = 512;

/// How many entries are looked at; the one that tells is among the first or the last.
const ENTRIES_MAX: usize = 100_000;

/// How skopeo calls the kind of a file: what `docker save` writes, or an OCI layout in a file.
pub(super) fn transport(path: &Path) -> io::Result<&'static str> {
    let mut file = File::open(path)?;
    let is_layout = holds(&mut file, b"oci-layout")?;
    Ok(if is_layout {
        "oci-archive"
    } else {
        "docker-archive"
    })
}

/// Whether a tar file has an entry of this name at its top. One that is compressed has none that
/// could be read.
fn holds(file: &mut (impl Read + Seek), name: &[u8]) -> io::Result<bool> {
    let mut header = [0; BLOCK];
    for _ in 0..ENTRIES_MAX {
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        let own = header[..100].split(|byte| *byte == 0).next();
        let own = own.unwrap_or_default();
        if own.strip_prefix(b"./").unwrap_or(own) == name {
            return Ok(true);
        }
        let Some(size) = size(&header[124..136]) else {
            return Ok(false);
        };
        let filled = size.next_multiple_of(BLOCK as u64);
        let Ok(filled) = i64::try_from(filled) else {
            return Ok(false);
        };
        file.seek(SeekFrom::Current(filled))?;
    }
    Ok(false)
}

/// The size in a header: octal digits, or for large files a number.
fn size(field: &[u8]) -> Option<u64> {
    if let [0x80, rest @ ..] = field {
        let tail = rest.last_chunk::<8>()?;
        return Some(u64::from_be_bytes(*tail)).filter(|size| *size <= 1 << 50);
    }
    let text = std::str::from_utf8(field).ok()?;
    let text = text.trim_matches(|c: char| c == '\0' || c == ' ');
    u64::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(names: &[&str]) -> io::Cursor<Vec<u8>> {
        let mut bytes = Vec::new();
        for name in names {
            let mut header = [0; BLOCK];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..135].copy_from_slice(b"00000000003");
            bytes.extend(header);
            bytes.extend([b'x'; BLOCK]);
        }
        bytes.extend([0; 2 * BLOCK]);
        io::Cursor::new(bytes)
    }

    #[test]
    fn a_layout_is_known_by_its_mark() {
        let has = |names: &[&str]| holds(&mut tar(names), b"oci-layout").unwrap();
        assert!(has(&["blobs/a", "oci-layout"]));
        assert!(has(&["./index.json", "./oci-layout"]));
        assert!(!has(&["manifest.json", "x/oci-layout"]));
        let zipped = [0x1f, 0x8b, 8].repeat(1000);
        assert!(!holds(&mut io::Cursor::new(zipped), b"oci-layout").unwrap());
    }

    #[test]
    fn large_sizes_are_numbers() {
        assert_eq!(size(b"00000000017\0"), Some(15));
        let mut large = [0; 12];
        (large[0], large[7]) = (0x80, 2);
        assert_eq!(size(&large), Some(2 << 32));
        assert_eq!(size(b"no number   "), None);
    }
}
