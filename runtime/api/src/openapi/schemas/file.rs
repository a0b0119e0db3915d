//! Output files of jobs.

use utoipa::ToSchema;

/// A file or directory among a job's output.
#[derive(ToSchema)]
#[schema(as = File, rename_all = "camelCase")]
pub(crate) struct OutputFile {
    /// Its name in its directory.
    #[schema(read_only)]
    name: Option<String>,
    /// What it is.
    #[schema(read_only)]
    file_type: Option<FileType>,
    /// A link that needs no other permission, for files only.
    #[schema(read_only)]
    download_url: Option<String>,
    /// Length and time, for files only.
    properties: Option<FileProperties>,
}

/// What a name stands for.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum FileType {
    File,
    Directory,
}

/// Length and time of a file.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct FileProperties {
    /// When it was last written.
    #[schema(read_only, format = DateTime)]
    last_modified: Option<String>,
    /// Its length in bytes.
    #[schema(read_only)]
    content_length: Option<i64>,
}

/// One page of a directory.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct FileListResult {
    /// The files and directories, by name.
    #[schema(read_only)]
    value: Option<Vec<OutputFile>>,
    /// The whole URL of the next page, if there is one; it is asked for with POST.
    #[schema(read_only)]
    next_link: Option<String>,
}
