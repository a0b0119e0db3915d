//! Bytes on their way from a client to the disk, summed up as they come.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use lote_model::id::UnixId;
use lote_model::transfer::{Digest, parse_content_digest};
use sha2::{Digest as _, Sha256};

use super::fault::Fault;
use crate::error::ApiError;
use crate::files::blocking;
use crate::files::content::CONTENT_DIGEST;
use crate::files::identity::FsIdentity;

/// How long a client may send nothing of what it has announced.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What a request brings.
pub(super) struct Incoming {
    pub(super) body: Body,
    /// The digest that must come out.
    pub(super) digest: Digest,
}

impl Incoming {
    /// The body with the digest that its head names.
    pub(super) fn of(headers: &HeaderMap, body: Body) -> Result<Self, ApiError> {
        let named = headers.get(CONTENT_DIGEST);
        let digest = named
            .and_then(|value| value.to_str().ok())
            .and_then(parse_content_digest);
        let digest = digest.ok_or_else(|| {
            let message = "the header Content-Digest must have the SHA-256 of the body, in the form \
                           sha-256=:BASE64: (RFC 9530)";
            ApiError::bad_request("InvalidContentDigest", message).at("Content-Digest")
        })?;
        Ok(Self { body, digest })
    }

    /// The length that its head announces, if it does.
    pub(super) fn announced(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }
}

/// Where in a file what comes is written, and with whose rights: their limits on
/// what may be written apply.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) owner: Option<UnixId>,
}

/// How a body did not become a part of a file.
pub(super) enum Broken {
    /// The client is to blame.
    Request(ApiError),
    /// The disk, or the digest.
    Fault(Fault),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Fault(error.into())
    }
}

/// Writes the whole body, which may be up to `length_max` bytes long; its length.
/// The digest is right if this succeeds.
pub(super) async fn write(
    mut incoming: Incoming,
    place: Place,
    length_max: u64,
) -> Result<u64, Broken> {
    let mut hasher = Sha256::new();
    let mut length = 0;
    while let Some(piece) = next_piece(&mut incoming.body)
        .await
        .map_err(Broken::Request)?
    {
        length += piece.len() as u64;
        if length > length_max {
            return Err(Broken::Request(too_long(length_max)));
        }
        let mut place = place.clone();
        place.offset += length - piece.len() as u64;
        hasher = blocking(move || put(&place, &piece, hasher)).await?;
    }
    let found: Digest = hasher.finalize().into();
    if found == incoming.digest {
        Ok(length)
    } else {
        Err(Fault::Digest.into())
    }
}

fn put(place: &Place, piece: &Bytes, mut hasher: Sha256) -> io::Result<Sha256> {
    let _identity = FsIdentity::assume(place.owner)?;
    place.file.write_all_at(piece, place.offset)?;
    hasher.update(piece);
    Ok(hasher)
}

async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    loop {
        let frame = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
        let Some(frame) = frame.map_err(|_| silent())? else {
            return Ok(None);
        };
        let frame = frame
            .map_err(|_| ApiError::bad_request("IncompleteBody", "the request body broke off"))?;
        if let Ok(piece) = frame.into_data() {
            return Ok(Some(piece));
        }
    }
}

fn silent() -> ApiError {
    let seconds = SILENCE_MAX.as_secs();
    let message = format!("nothing of the request body came for {seconds} s");
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", message)
}

/// 413.
pub(super) fn too_long(length_max: u64) -> ApiError {
    let message = format!(
        "the request body is too long: at most {length_max} bytes are taken here; larger files \
         are sent in chunks"
    );
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestBodyTooLarge",
        message,
    )
}
