//! Files on their way to and from a file server: the chunks they travel in, and
//! the digests that go with them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How much of a file travels in one request, in bytes: all chunks of a file have
/// this length, but for the last.
pub const CHUNK_BYTES: u64 = 8 << 20;

/// The largest file that is taken, in bytes: an exbibyte, and less than where
/// offsets end.
pub const FILE_BYTES_MAX: u64 = 1 << 60;

/// The length of a SHA-256, in bytes.
pub const DIGEST_BYTES: u64 = 32;

/// A SHA-256.
pub type Digest = [u8; 32];

/// The digest of a chunk that is not there.
pub const ABSENT: Digest = [0; 32];

/// One chunk of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chunk {
    /// The how-many-th it is, from 0.
    pub index: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is; never 0.
    pub length: u64,
}

/// The chunks of a file of a known size, and how a file that is not complete yet is
/// laid out: as long as the whole, and behind that a digest for each chunk, which is
/// written after the chunk and tells that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    size: u64,
}

impl Layout {
    /// That of a file of `size` bytes; none for one that is too large.
    pub fn new(size: u64) -> Option<Self> {
        (size <= FILE_BYTES_MAX).then_some(Self { size })
    }

    /// The one whose incomplete file is `length` bytes long.
    pub fn of_incomplete(length: u64) -> Option<Self> {
        let count = length.div_ceil(CHUNK_BYTES + DIGEST_BYTES);
        let layout = Self::new(length.checked_sub(count * DIGEST_BYTES)?)?;
        (layout.count() == count).then_some(layout)
    }

    /// The size of the whole file, in bytes.
    pub fn size(self) -> u64 {
        self.size
    }

    /// How many chunks there are.
    pub fn count(self) -> u64 {
        self.size.div_ceil(CHUNK_BYTES)
    }

    /// How long the file is while it is not complete.
    pub fn incomplete_length(self) -> u64 {
        self.size + self.count() * DIGEST_BYTES
    }

    /// All chunks, in their order.
    pub fn chunks(self) -> impl Iterator<Item = Chunk> {
        (0..self.count()).filter_map(move |index| self.chunk(index))
    }

    /// One of them.
    pub fn chunk(self, index: u64) -> Option<Chunk> {
        let offset = index.checked_mul(CHUNK_BYTES)?;
        (offset < self.size).then(|| Chunk {
            index,
            offset,
            length: CHUNK_BYTES.min(self.size - offset),
        })
    }

    /// The one that begins at `offset`.
    pub fn chunk_at(self, offset: u64) -> Option<Chunk> {
        let chunk = self.chunk(offset / CHUNK_BYTES)?;
        (chunk.offset == offset).then_some(chunk)
    }

    /// Where the digest of a chunk stands in the incomplete file.
    pub fn digest_offset(self, chunk: Chunk) -> u64 {
        self.size + chunk.index * DIGEST_BYTES
    }
}

/// A digest in the form of the header `Content-Digest` (RFC 9530).
pub fn content_digest(digest: &Digest) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest))
}

/// The SHA-256 in a `Content-Digest` header, among digests of other kinds.
pub fn parse_content_digest(header: &str) -> Option<Digest> {
    let mut digests = header.split(',').filter_map(|one| one.split_once('='));
    let (_, value) = digests.find(|(kind, _)| kind.trim().eq_ignore_ascii_case("sha-256"))?;
    let encoded = value.trim().strip_prefix(':')?.strip_suffix(':')?;
    STANDARD.decode(encoded).ok()?.try_into().ok()
}

/// A digest in hexadecimal digits.
pub fn hex(digest: &Digest) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = digest
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]));
    digits.collect()
}

/// Reads a digest in hexadecimal digits.
pub fn parse_hex(text: &str) -> Option<Digest> {
    let text = text.as_bytes();
    let mut digest = [0; 32];
    if text.len() != 2 * digest.len() {
        return None;
    }
    for (byte, digits) in digest.iter_mut().zip(text.chunks(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_chunks_up_to_its_end() {
        let layout = Layout::new(2 * CHUNK_BYTES + 5).unwrap();
        let lengths: Vec<u64> = layout.chunks().map(|chunk| chunk.length).collect();
        assert_eq!(lengths, [CHUNK_BYTES, CHUNK_BYTES, 5]);
        assert_eq!(layout.chunk_at(CHUNK_BYTES).unwrap().index, 1);
        assert_eq!(layout.chunk_at(CHUNK_BYTES + 1), None);
        assert_eq!(layout.chunk_at(3 * CHUNK_BYTES), None);
        assert_eq!(Layout::new(0).unwrap().chunks().count(), 0);
        assert_eq!(Layout::new(u64::MAX), None);
        assert!(Layout::new(FILE_BYTES_MAX).unwrap().incomplete_length() < i64::MAX as u64);
    }

    #[test]
    fn digests_have_two_notations() {
        let digest: Digest = std::array::from_fn(|at| u8::try_from(at * 7).unwrap());
        assert_eq!(parse_content_digest(&content_digest(&digest)), Some(digest));
        let among = format!("md5=:AAAA:, {}", content_digest(&digest));
        assert_eq!(parse_content_digest(&among), Some(digest));
        assert_eq!(parse_hex(&hex(&digest)), Some(digest));
        assert_eq!(parse_hex(&hex(&digest).to_uppercase()), Some(digest));
        for bad in [
            "",
            "sha-256",
            "sha-256=",
            "sha-256=:AAAA:",
            "sha-256=:!:",
            "sha-512=:AA==:",
        ] {
            assert_eq!(parse_content_digest(bad), None, "{bad}");
        }
        for bad in ["", "00", &"g".repeat(64), &"ä".repeat(32)] {
            assert_eq!(parse_hex(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_incomplete_file_tells_its_size(size in 0_u64..=FILE_BYTES_MAX) {
            let layout = Layout::new(size).unwrap();
            let found = Layout::of_incomplete(layout.incomplete_length());
            proptest::prop_assert_eq!(found, Some(layout));
        }

        #[test]
        fn sizes_near_the_bounds_of_chunks(chunks in 0_u64..100, more in 0_u64..3) {
            let size = (chunks * CHUNK_BYTES + more).saturating_sub(1);
            let layout = Layout::new(size).unwrap();
            let found = Layout::of_incomplete(layout.incomplete_length());
            proptest::prop_assert_eq!(found, Some(layout));
        }
    }
}
