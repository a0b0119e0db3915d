//! Files of file servers.

use serde_json::json;
use utoipa::openapi::Required;
use utoipa::openapi::path::{HttpMethod, Parameter};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::{Described, tagged};
use crate::openapi::parameters::{header, query, text};
use crate::openapi::schemas::server_file::{LoteServerFileList, LoteUpload};

fn at(rest: &str) -> String {
    format!(
        "/v1/groups/{{resourceGroupName}}/workspaces/{{workspaceName}}/fileServers/{{fileServerName}}{rest}"
    )
}

pub(crate) fn all() -> Vec<Described> {
    let uploads = || at("/uploads/{upload}");
    let upload = |method, id, what| Described::new(method, id, uploads(), what).parameter(path());
    tagged(
        "file servers",
        [
            list(),
            delete(HttpMethod::Delete, "FileServers_RemoveFile", at("/files"))
                .parameter(path())
                .parameter(flag("recursive", "Also a directory that is not empty, with all in it.")),
            read(),
            write(),
            Described::put(
                "FileServers_MakeDirectory",
                at("/directories"),
                "Makes a directory and those on the way to it",
            )
            .parameter(path())
            .empty("204", "It is there."),
            Described::put(
                "FileServers_MakeLink",
                at("/links"),
                "Makes a symbolic link to something on the file server",
            )
            .parameter(path())
            .parameter(query(
                "target",
                "Where it leads; a path from the link's own directory.",
                text().max_length(Some(4_095)),
            ))
            .parameter(overwrite())
            .empty("204", "It is there."),
            upload(
                HttpMethod::Get,
                "FileServers_GetUpload",
                "Tells which chunks of a file have arrived",
            )
            .answers::<LoteUpload>("The chunks."),
            upload(
                HttpMethod::Put,
                "FileServers_PutChunk",
                "Takes one chunk of a file; the first one begins the upload",
            )
            .parameter(size())
            .parameter(query(
                "offset",
                "Where the chunk begins: a multiple of 8388608.",
                bytes(),
            ))
            .parameter(digest())
            .takes_bytes()
            .empty("204", "It has arrived."),
            finish(upload(
                HttpMethod::Post,
                "FileServers_CompleteUpload",
                "Makes the file of its chunks",
            ))
            .parameter(size())
            .parameter(query(
                "sha256",
                "The SHA-256 of the SHA-256s of all chunks, one after the other, in hexadecimal digits.",
                text(),
            ))
            .empty("204", "The file is there."),
            delete(HttpMethod::Delete, "FileServers_DeleteUpload", uploads()).parameter(path()),
        ],
    )
}

fn list() -> Described {
    Described::get(
        "FileServers_ListFiles",
        at("/files"),
        "Lists a directory of a file server",
    )
    .parameter(path())
    .parameter(flag(
        "itself",
        "Tell what this is, rather than what is in it.",
    ))
    .lists::<LoteServerFileList>()
}

fn read() -> Described {
    let types = ["text/plain", "application/octet-stream"];
    let digest = "The SHA-256 of the bytes in this answer, if they are at most 8388608.";
    Described::get(
        "FileServers_ReadFile",
        at("/content"),
        "Reads a file, or a part of it",
    )
    .parameter(path())
    .parameter(header("Range", "Which bytes of it."))
    .parameter(header("If-Range", "All of it, if its ETag is another one."))
    .sends("200", &types, "The file.")
    .with_header("ETag", "Changes with the file.")
    .with_header("Content-Digest", digest)
    .sends("206", &types, "The bytes that were asked for.")
    .with_header("ETag", "Changes with the file.")
    .with_header("Content-Digest", digest)
}

fn write() -> Described {
    let put = Described::put(
        "FileServers_WriteFile",
        at("/content"),
        "Writes a file of up to 8388608 bytes; larger ones are uploaded in chunks",
    );
    finish(put.parameter(path()))
        .parameter(digest())
        .takes_bytes()
        .empty("204", "The file is there.")
}

fn delete(method: HttpMethod, id: &str, path: String) -> Described {
    let what = if id.ends_with("Upload") {
        "Gives up an upload and removes what has arrived"
    } else {
        "Removes a file, a link, or a directory"
    };
    Described::new(method, id, path, what)
        .empty("200", "It is gone.")
        .empty("204", "There was none.")
}

fn finish(described: Described) -> Described {
    described
        .parameter(overwrite())
        .parameter(query(
            "mode",
            "Its permissions in octal digits.",
            text().default(Some(json!("0644"))),
        ))
        .parameter(query(
            "modified",
            "When it was last written; now without.",
            text(),
        ))
}

fn path() -> Parameter {
    let what = "The path on the file server.";
    query("path", what, text().default(Some(json!("."))))
}

fn overwrite() -> Parameter {
    flag("overwrite", "Take the place of what has the name.")
}

fn flag(name: &str, what: &str) -> Parameter {
    let flag = ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .default(Some(json!(false)));
    query(name, what, flag)
}

fn bytes() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0))
}

fn size() -> Parameter {
    let mut size = query("size", "The size of the whole file in bytes.", bytes());
    size.required = Required::True;
    size
}

fn digest() -> Parameter {
    let what = "The SHA-256 of the body: `sha-256=:BASE64:` (RFC 9530).";
    let mut digest = header("Content-Digest", what);
    digest.required = Required::True;
    digest
}
