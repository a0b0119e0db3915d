//! Files of file servers.

use utoipa::ToSchema;

/// A file, directory or link on a file server.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteServerFile {
    /// Its name in its directory.
    name: String,
    /// Set when the name is not UTF-8. It is shown with marks in place of what cannot be read, and nothing can be done with it by this interface.
    name_is_not_utf8: Option<bool>,
    /// What it is.
    #[schema(rename = "type")]
    kind: LoteServerFileType,
    /// The length of a file in bytes.
    size: Option<i64>,
    /// When it was last written.
    #[schema(format = DateTime)]
    modified: String,
    /// Its permissions in octal digits.
    mode: String,
    /// The validator that the content of a file is sent with.
    etag: Option<String>,
    /// Where a link leads, as it stands in the link.
    target: Option<String>,
}

/// What a name on a file server stands for.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum LoteServerFileType {
    File,
    Directory,
    Link,
    Other,
}

/// One page of a directory of a file server.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteServerFileList {
    /// What is in it, by name.
    value: Vec<LoteServerFile>,
    /// The whole URL of the next page, if there is one.
    next_link: Option<String>,
}

/// What has arrived of a file that is sent in chunks.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteUpload {
    /// The size of the whole file in bytes.
    size: i64,
    /// How long each chunk is, but for the last.
    chunk_bytes: i64,
    /// The chunks that are there.
    chunks: Vec<LoteUploadChunk>,
}

/// A chunk that has arrived.
#[derive(ToSchema)]
pub(crate) struct LoteUploadChunk {
    /// Where it begins in the file.
    offset: i64,
    /// Its length in bytes.
    length: i64,
    /// Its SHA-256 in hexadecimal digits.
    sha256: String,
}
