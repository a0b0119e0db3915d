//! The files of a file server.

use std::collections::HashMap;

use lote_model::path::ChildPath;
use lote_model::transfer::{Digest, hex, parse_hex};
use serde::Deserialize;
use serde_json::Value;

use super::Stamp;
use super::place::split;
use super::scan::LocalFile;
use crate::answer::{ServerFile, ServerFileKind};
use crate::failure::Failure;
use crate::http::Client;
use crate::place;

/// A file server, and how to reach it.
#[derive(Clone, Debug)]
pub struct Remote<'a> {
    client: &'a Client,
    base: String,
}

/// An upload as the daemon tells of it.
#[derive(Debug, Default, Deserialize)]
struct Upload {
    chunks: Vec<UploadChunk>,
}

/// One chunk of it.
#[derive(Debug, Deserialize)]
struct UploadChunk {
    offset: u64,
    sha256: String,
}

impl<'a> Remote<'a> {
    /// The file server of that name.
    pub fn new(client: &'a Client, server: &ChildPath) -> Self {
        Self {
            client,
            base: place::child(server, "fileservers"),
        }
    }

    /// Who is asked.
    pub fn client(&self) -> &'a Client {
        self.client
    }

    /// The URL of something about a path.
    pub fn url(&self, what: &str, path: &str, more: &[(&str, &str)]) -> String {
        let mut query = vec![("path", path)];
        query.extend(more);
        place::with_query(&format!("{}/{what}", self.base), &query)
    }

    /// What is in a directory, as the daemon answers it.
    pub fn list(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let action = format!("list '{path}'");
        self.client.list(&action, &self.url("files", path, &[]))
    }

    /// What is in a directory.
    pub fn files(&self, path: &str) -> Result<Vec<ServerFile>, Failure> {
        let action = format!("list '{path}'");
        let values = self.list(path)?;
        let files = values
            .iter()
            .map(|value| self.client.understood(&action, value));
        files.collect()
    }

    /// What a path is; none if there is nothing.
    pub fn look_at(&self, path: &str) -> Result<Option<ServerFile>, Failure> {
        let action = format!("look at '{path}'");
        let url = self.url("files", path, &[("itself", "true")]);
        match self.client.list(&action, &url) {
            Err(failure) if is_nothing(&failure) => Ok(None),
            values => {
                let values = values?;
                let first = values
                    .first()
                    .map(|value| self.client.understood(&action, value));
                first.transpose()
            }
        }
    }

    /// Whether a path is a directory, or a link to one.
    pub fn is_directory(&self, path: &str) -> Result<bool, Failure> {
        Ok(match self.look_at(path)? {
            Some(file) if file.kind == ServerFileKind::Link => self.files(path).is_ok(),
            Some(file) => file.kind == ServerFileKind::Directory,
            None => false,
        })
    }

    /// The stamps of the files in a directory, by name; empty if there is none.
    pub fn stamps(&self, path: &str) -> Result<HashMap<String, Option<Stamp>>, Failure> {
        let files = match self.files(path) {
            Err(failure) if is_nothing(&failure) => Vec::new(),
            files => files?,
        };
        let stamped = files.into_iter().map(|file| {
            let stamp = file.stamp();
            (file.name, stamp)
        });
        Ok(stamped.collect())
    }

    /// Makes a directory.
    pub fn make_directory(&self, path: &str) -> Result<(), Failure> {
        let action = format!("make directory '{path}'");
        let url = self.url("directories", path, &[]);
        self.client.put(&action, &url, None).map(drop)
    }

    /// Makes a link.
    pub fn make_link(&self, path: &str, target: &str, overwrite: bool) -> Result<(), Failure> {
        let action = format!("make link '{path}'");
        let more = [("target", target), ("overwrite", yes_or_no(overwrite))];
        let url = self.url("links", path, &more);
        self.client.put(&action, &url, None).map(drop)
    }

    /// Writes a small file.
    pub fn write(
        &self,
        file: &LocalFile,
        overwrite: bool,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let finish = finish(file, overwrite);
        let url = self.url("content", &file.remote, &borrowed(&finish));
        self.client.put_bytes(&sending(file), &url, digest, bytes)
    }

    /// The digests of the chunks that are there of an upload, by where they begin.
    pub fn uploaded(&self, file: &LocalFile, name: &str) -> Result<HashMap<u64, Digest>, Failure> {
        let action = sending(file);
        let url = self.url(&format!("uploads/{name}"), &file.remote, &[]);
        let upload = match self.client.get_as::<Upload>(&action, &url) {
            Err(failure) if is_nothing(&failure) => Upload::default(),
            // Broken off at a bad moment: nothing can be made of it.
            Err(failure) if failure.code() == Some("UploadDiffers") => {
                self.give_up(file, name)?;
                Upload::default()
            }
            upload => upload?,
        };
        let known = |chunk: &UploadChunk| Some((chunk.offset, parse_hex(&chunk.sha256)?));
        Ok(upload.chunks.iter().filter_map(known).collect())
    }

    /// Sends a chunk.
    pub fn send_chunk(
        &self,
        file: &LocalFile,
        name: &str,
        offset: u64,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let (size, offset) = (file.stamp.size.to_string(), offset.to_string());
        let more = [("size", size.as_str()), ("offset", offset.as_str())];
        let url = self.url(&format!("uploads/{name}"), &file.remote, &more);
        self.client.put_bytes(&sending(file), &url, digest, bytes)
    }

    /// Makes the file of its chunks.
    pub fn complete(
        &self,
        file: &LocalFile,
        name: &str,
        overwrite: bool,
        whole: &Digest,
    ) -> Result<(), Failure> {
        let mut more = finish(file, overwrite);
        more.push(("size", file.stamp.size.to_string()));
        more.push(("sha256", hex(whole)));
        let url = self.url(&format!("uploads/{name}"), &file.remote, &borrowed(&more));
        match self.client.post(&sending(file), &url, None) {
            // Perhaps it was completed, and only the answer was lost.
            Err(failure) if is_nothing(&failure) && self.is_there(file)? => Ok(()),
            done => done.map(drop),
        }
    }

    /// Removes what has arrived of a file.
    pub fn give_up(&self, file: &LocalFile, name: &str) -> Result<(), Failure> {
        let url = self.url(&format!("uploads/{name}"), &file.remote, &[]);
        self.client.delete(&sending(file), &url).map(drop)
    }

    /// Whether the file server has the file as it is here.
    pub fn is_there(&self, file: &LocalFile) -> Result<bool, Failure> {
        let there = self.look_at(&file.remote)?;
        let there = there.and_then(|there| there.stamp());
        Ok(there.is_some_and(|there| there.is_same(file.stamp)))
    }

    /// The stamps of what is in the way of a file.
    pub fn in_the_way(&self, path: &str) -> Result<Option<Option<Stamp>>, Failure> {
        let (directory, name) = split(path);
        Ok(self.stamps(directory)?.remove(name))
    }

    /// Removes something; whether it was there.
    pub fn remove(&self, path: &str, recursive: bool) -> Result<bool, Failure> {
        let action = format!("remove '{path}'");
        let url = self.url("files", path, &[("recursive", yes_or_no(recursive))]);
        Ok(self.client.delete(&action, &url)?.is_some())
    }
}

/// Whether a refusal says that there is nothing of that name.
fn is_nothing(failure: &Failure) -> bool {
    matches!(failure.code(), Some("FileNotFound" | "UploadNotFound"))
}

fn sending(file: &LocalFile) -> String {
    format!("send '{}'", file.path.display())
}

fn finish(file: &LocalFile, overwrite: bool) -> Vec<(&'static str, String)> {
    vec![
        ("overwrite", yes_or_no(overwrite).to_owned()),
        ("mode", format!("{:04o}", file.mode)),
        ("modified", file.stamp.modified.to_string()),
    ]
}

fn borrowed<'s>(query: &'s [(&'static str, String)]) -> Vec<(&'static str, &'s str)> {
    let pairs = query.iter().map(|(name, value)| (*name, value.as_str()));
    pairs.collect()
}

fn yes_or_no(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}
