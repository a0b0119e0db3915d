//! What may go wrong with a file on a file server, as answers that say what to do.

use std::io;

use axum::http::StatusCode;
use lote_model::quantity::format_bytes;

use super::INCOMPLETE;
use crate::error::ApiError;
use crate::files::beneath::is_escape;
use crate::files::relative::RelativePath;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The system said no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A name that nothing may be written to.
    #[error("the name is reserved")]
    Name,
    /// Another request is writing the same.
    #[error("another request is writing there")]
    Busy,
    /// There is less room than a file needs.
    #[error("too little room")]
    Room {
        /// What the file takes.
        needed: u64,
        /// What can be written.
        free: u64,
    },
    /// What came does not have the digest that came with it.
    #[error("wrong digest")]
    Digest,
    /// The chunks that are there are not those of the digest.
    #[error("the chunks are not those of the digest")]
    Whole,
    /// There is no such upload.
    #[error("no such upload")]
    NoUpload,
    /// The upload is of a file of another size.
    #[error("another size")]
    Size {
        /// The size that it was begun with.
        begun_with: Option<u64>,
    },
    /// Chunks are missing.
    #[error("chunks are missing")]
    Missing {
        /// How many.
        count: u64,
        /// Where the first of them begins.
        first: u64,
    },
}

impl From<nix::Error> for Fault {
    fn from(error: nix::Error) -> Self {
        Self::Io(error.into())
    }
}

impl Fault {
    /// As an answer about `path`.
    pub(super) fn about(self, path: &RelativePath) -> ApiError {
        let conflict = |code: &str, message: String| ApiError::conflict(code, message);
        match self {
            Self::Io(error) => of_the_system(&error, path),
            Self::Name => {
                let message = format!(
                    "'{path}' cannot be written to: it is the file server itself, or a part of it \
                     begins with {INCOMPLETE}, which is for uploads"
                );
                ApiError::bad_request("InvalidPath", message).at("path")
            }
            Self::Busy => {
                let message =
                    format!("another request is writing the same part of '{path}'; try again");
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "UploadBusy", message)
            }
            Self::Room { needed, free } => {
                let message = format!(
                    "'{path}' takes {}, and {} are free on the file server; remove something there",
                    format_bytes(needed),
                    format_bytes(free)
                );
                full(message)
            }
            Self::Digest => {
                let message = format!(
                    "what arrived for '{path}' does not have the digest that was sent with it; \
                     nothing of it counts; send it again"
                );
                ApiError::bad_request("ContentDigestMismatch", message)
            }
            Self::Whole => conflict(
                "UploadDigestMismatch",
                format!(
                    "the chunks of '{path}' that are there are not those of this digest; send \
                     those that differ again"
                ),
            ),
            Self::NoUpload => {
                let message = format!("there is no such upload to '{path}'");
                ApiError::not_found("UploadNotFound", message)
            }
            Self::Size { begun_with } => {
                let begun = begun_with.map_or("another size".to_owned(), |size| {
                    format!("a size of {size} bytes")
                });
                let message = format!(
                    "this upload to '{path}' was begun with {begun}; take another name for the \
                     upload, or delete this one"
                );
                conflict("UploadDiffers", message)
            }
            Self::Missing { count, first } => conflict(
                "UploadIncomplete",
                format!("{count} chunks of '{path}' are missing, the first at byte {first}"),
            ),
        }
    }
}

/// 507.
fn full(message: String) -> ApiError {
    ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "FileServerFull", message)
}

fn of_the_system(error: &io::Error, path: &RelativePath) -> ApiError {
    use io::ErrorKind as Kind;
    let conflict = |code: &str, message: String| ApiError::conflict(code, message);
    let forbidden =
        |code: &str, message: String| ApiError::new(StatusCode::FORBIDDEN, code, message);
    if is_escape(error) {
        let message = format!("'{path}' leads out of the file server, or around in it for ever");
        return forbidden("PathEscapesDirectory", message);
    }
    match error.kind() {
        Kind::NotFound => ApiError::not_found(
            "FileNotFound",
            format!("'{path}' is not on the file server"),
        ),
        Kind::NotADirectory => conflict(
            "NotADirectory",
            format!("'{path}', or a part of it, is no directory"),
        ),
        Kind::IsADirectory => conflict("IsADirectory", format!("'{path}' is a directory")),
        Kind::AlreadyExists => conflict(
            "FileExists",
            format!("'{path}' is there already; ask with overwrite=true to replace it"),
        ),
        Kind::DirectoryNotEmpty => conflict(
            "DirectoryNotEmpty",
            format!(
                "'{path}' is not empty (an upload that is not complete counts as well); ask with \
                 recursive=true to remove all that is in it"
            ),
        ),
        Kind::PermissionDenied => forbidden(
            "FileNotPermitted",
            format!("the workspace's user has no permission to do that with '{path}'"),
        ),
        Kind::StorageFull | Kind::QuotaExceeded => full(format!(
            "the file server is full, so '{path}' was not written; remove something there"
        )),
        Kind::FileTooLarge => full(format!(
            "'{path}' is larger than the file server's file system takes"
        )),
        Kind::InvalidFilename => {
            let message = format!("'{path}' has a name that is too long");
            ApiError::bad_request("InvalidPath", message).at("path")
        }
        Kind::ReadOnlyFilesystem => conflict(
            "FileServerReadOnly",
            "the file server can only be read at the moment".to_owned(),
        ),
        _ => ApiError::internal(&format!("cannot work on '{path}': {error}")),
    }
}
