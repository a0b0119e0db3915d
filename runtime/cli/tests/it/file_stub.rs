//! A file server of a few lines, in memory, that can be made to fail.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use lote_model::transfer::{Digest, Layout, content_digest, hex, parse_content_digest, parse_hex};
use serde_json::{Value, json};
use sha2::Digest as _;

pub(crate) fn sum(bytes: &[u8]) -> Digest {
    sha2::Sha256::digest(bytes).into()
}

/// A file as it is there.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    pub(crate) modified: Timestamp,
    pub(crate) mode: String,
}

/// An upload that is not complete: its size, and its chunks by where they begin.
type Upload = (u64, BTreeMap<u64, Vec<u8>>);

/// What is there, what was asked, and what shall go wrong.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) files: BTreeMap<String, File>,
    pub(crate) directories: BTreeSet<String>,
    pub(crate) links: BTreeMap<String, String>,
    pub(crate) uploads: HashMap<String, Upload>,
    /// Method and what it is about, of each request.
    pub(crate) seen: Vec<String>,
    pub(crate) faults: Vec<Fault>,
    /// Requests of this kind are not answered from the so-many-th on.
    pub(crate) hang: Option<(&'static str, usize)>,
}

/// What goes wrong once with a request of a kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 503.
    Unavailable(&'static str),
    /// The connection breaks, in the middle of what is answered.
    Breaks(&'static str),
    /// A byte of what is answered is another one.
    Damages(&'static str),
    /// The file becomes another one just before.
    Changes(&'static str),
    /// 507.
    Full(&'static str),
}

pub(crate) struct FileStub {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

struct Request {
    /// Such as `GET content` or `PUT uploads`.
    kind: String,
    upload: String,
    query: HashMap<String, String>,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl FileStub {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let state = shared.clone();
                std::thread::spawn(move || serve(&connection, &state));
            }
        });
        Self { url, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        let file = File {
            bytes: bytes.to_vec(),
            modified: "2020-01-02T03:04:05.123456789Z".parse().unwrap(),
            mode: "0644".into(),
        };
        self.state().files.insert(path.into(), file);
    }

    pub(crate) fn count(&self, kind: &str) -> usize {
        let state = self.state();
        state
            .seen
            .iter()
            .filter(|seen| seen.starts_with(kind))
            .count()
    }
}

fn serve(mut connection: &TcpStream, state: &Mutex<State>) {
    let Some(request) = read(connection) else {
        return;
    };
    let mut guard = state.lock().unwrap();
    let about = request.query.get("path").cloned().unwrap_or_default();
    guard.seen.push(format!("{} {about}", request.kind));
    if let Some((kind, after)) = guard.hang {
        let earlier = guard
            .seen
            .iter()
            .filter(|seen| seen.starts_with(kind))
            .count();
        if request.kind == kind && earlier > after {
            drop(guard);
            // For as long as the other side lives.
            let _ = connection.read(&mut [0]);
            return;
        }
    }
    let mut fault = None;
    let kind = request.kind.clone();
    guard.faults.retain(|one| {
        let of = match one {
            Fault::Unavailable(of)
            | Fault::Breaks(of)
            | Fault::Damages(of)
            | Fault::Changes(of)
            | Fault::Full(of) => *of,
        };
        let applies = fault.is_none() && of == kind;
        if applies {
            fault = Some(*one);
        }
        !applies
    });
    if let Some(Fault::Changes(_)) = fault
        && let Some(file) = guard.files.get_mut(&about)
    {
        file.bytes.push(b'!');
    }
    let mut answer = match fault {
        Some(Fault::Unavailable(_)) => refusal(503, "StoreUnavailable"),
        Some(Fault::Full(_)) => refusal(507, "FileServerFull"),
        _ => guard.answer(request),
    };
    drop(guard);
    if let Some(Fault::Damages(_)) = fault {
        answer.body[0] ^= 1;
    }
    let headers: String = answer
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let head = format!(
        "HTTP/1.1 {} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
        answer.status,
        answer.body.len()
    );
    let _ = connection.write_all(head.as_bytes());
    if let Some(Fault::Breaks(_)) = fault {
        answer.body.truncate(answer.body.len() / 2);
    }
    let _ = connection.write_all(&answer.body);
}

fn read(connection: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(connection);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    // A job's output is what is on the file server, by links of the same.
    let rest = if path.ends_with("/listOutputFiles") {
        "listOutputFiles"
    } else {
        path.split("/fileservers/nfs/").nth(1)?
    };
    let (what, upload) = rest.split_once('/').unwrap_or((rest, ""));
    let decoded = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8()
            .unwrap()
            .into_owned()
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    Some(Request {
        kind: format!("{method} {what}"),
        upload: upload.to_owned(),
        query: pairs
            .map(|(name, value)| (decoded(name), decoded(value)))
            .collect(),
        headers,
        body,
    })
}

fn refusal(status: u16, code: &str) -> Answer {
    let body = json!({"error": {"code": code, "message": "so it is"}});
    Answer {
        status,
        headers: vec![("content-type", "application/json".into())],
        body: body.to_string().into_bytes(),
    }
}

fn done() -> Answer {
    Answer {
        status: 204,
        headers: vec![],
        body: vec![],
    }
}

fn told(value: &Value) -> Answer {
    Answer {
        status: 200,
        headers: vec![("content-type", "application/json".into())],
        body: value.to_string().into_bytes(),
    }
}

fn etag(file: &File) -> String {
    format!("\"{}\"", hex(&sum(&file.bytes)))
}

impl State {
    fn answer(&mut self, request: Request) -> Answer {
        let get = |name: &str| request.query.get(name).cloned().unwrap_or_default();
        let path = get("path");
        match request.kind.as_str() {
            "GET files" if get("itself") == "true" => self.itself(&path),
            "GET files" => self.list(&path),
            "POST listOutputFiles" => self.output(&get("directory"), &request.headers["host"]),
            "GET content" => self.content(&path, &request.headers),
            "PUT content" => self.finish(&path, request.body.clone(), &request),
            "PUT directories" => {
                self.directories.insert(path);
                done()
            }
            "PUT links" => {
                self.links.insert(path, get("target"));
                done()
            }
            "GET uploads" => match self.uploads.get(&request.upload) {
                None => refusal(404, "UploadNotFound"),
                Some((size, chunks)) => {
                    let chunks = chunks.iter().map(|(offset, bytes)| {
                        json!({"offset": offset, "length": bytes.len(), "sha256": hex(&sum(bytes))})
                    });
                    told(
                        &json!({"size": size, "chunkBytes": 8 << 20, "chunks": chunks.collect::<Vec<_>>()}),
                    )
                }
            },
            "PUT uploads" => {
                let digest = request
                    .headers
                    .get("content-digest")
                    .and_then(|text| parse_content_digest(text));
                if digest != Some(sum(&request.body)) {
                    return refusal(400, "ContentDigestMismatch");
                }
                let (size, offset) = (get("size").parse().unwrap(), get("offset").parse().unwrap());
                let upload = self
                    .uploads
                    .entry(request.upload)
                    .or_insert((size, BTreeMap::new()));
                upload.1.insert(offset, request.body);
                done()
            }
            "POST uploads" => {
                let Some((size, chunks)) = self.uploads.remove(&request.upload) else {
                    return refusal(404, "UploadNotFound");
                };
                assert_eq!(chunks.len() as u64, Layout::new(size).unwrap().count());
                let digests: Vec<Digest> = chunks.values().map(|chunk| sum(chunk)).collect();
                assert_eq!(parse_hex(&get("sha256")), Some(sum(&digests.concat())));
                let bytes = chunks.into_values().collect::<Vec<_>>().concat();
                self.finish(&path, bytes, &request)
            }
            "DELETE uploads" => {
                self.uploads.remove(&request.upload);
                done()
            }
            "DELETE files" => match self.files.remove(&path) {
                Some(_) => told(&json!({})),
                None => done(),
            },
            other => panic!("{other}"),
        }
    }

    fn finish(&mut self, path: &str, bytes: Vec<u8>, request: &Request) -> Answer {
        if self.files.contains_key(path) && request.query["overwrite"] != "true" {
            return refusal(409, "FileExists");
        }
        let file = File {
            bytes,
            modified: request.query["modified"].parse().unwrap(),
            mode: request.query["mode"].clone(),
        };
        self.files.insert(path.to_owned(), file);
        done()
    }

    fn entry(&self, path: &str) -> Option<Value> {
        let name = path.rsplit('/').next()?;
        if let Some(file) = self.files.get(path) {
            return Some(
                json!({"name": name, "type": "file", "size": file.bytes.len(),
                "modified": file.modified, "mode": file.mode, "etag": etag(file)}),
            );
        }
        let other = |kind: &str| json!({"name": name, "type": kind, "modified": "2020-01-01T00:00:00Z", "mode": "0755"});
        if let Some(target) = self.links.get(path) {
            let mut link = other("link");
            link["target"] = target.as_str().into();
            return Some(link);
        }
        let below = format!("{path}/");
        let is_directory = path == "."
            || self.directories.contains(path)
            || self.all().any(|one| one.starts_with(&below));
        is_directory.then(|| other("directory"))
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.files
            .keys()
            .chain(&self.directories)
            .chain(self.links.keys())
    }

    fn itself(&self, path: &str) -> Answer {
        match self.entry(path) {
            Some(entry) => told(&json!({"value": [entry]})),
            None => refusal(404, "FileNotFound"),
        }
    }

    fn list(&self, path: &str) -> Answer {
        let Some(found) = self.entry(path) else {
            return refusal(404, "FileNotFound");
        };
        if found["type"] == "file" {
            return refusal(409, "NotADirectory");
        }
        let prefix = if path == "." {
            String::new()
        } else {
            format!("{path}/")
        };
        let names: BTreeSet<String> = self
            .all()
            .filter_map(|one| one.strip_prefix(&prefix))
            .map(|rest| format!("{prefix}{}", rest.split('/').next().unwrap()))
            .collect();
        let entries: Vec<Value> = names.iter().filter_map(|name| self.entry(name)).collect();
        told(&json!({"value": entries}))
    }

    fn output(&self, directory: &str, host: &str) -> Answer {
        let directory = directory.trim_start_matches("./");
        let listed = self.list(directory);
        if listed.status != 200 {
            return told(&json!({"value": []}));
        }
        let listed: Value = serde_json::from_slice(&listed.body).unwrap();
        let values = listed["value"].as_array().unwrap().iter().map(|entry| {
            let name = entry["name"].as_str().unwrap();
            let path = if directory == "." {
                name.to_owned()
            } else {
                format!("{directory}/{name}")
            };
            let url = format!("http://{host}/v1/x/fileservers/nfs/content?path={path}");
            if entry["type"] == "directory" {
                return json!({"name": name, "fileType": "directory"});
            }
            json!({"name": name, "fileType": "file", "downloadUrl": url, "properties":
                {"lastModified": entry["modified"], "contentLength": entry["size"]}})
        });
        told(&json!({"value": values.collect::<Vec<_>>()}))
    }

    fn content(&self, path: &str, headers: &HashMap<String, String>) -> Answer {
        let Some(file) = self.files.get(path) else {
            return refusal(404, "FileNotFound");
        };
        let same = headers
            .get("if-range")
            .is_none_or(|wanted| *wanted == etag(file));
        let range = headers.get("range").filter(|_| same);
        let (status, bytes, range) = match range {
            None => (200, file.bytes.clone(), None),
            Some(range) => {
                let (first, last) = range
                    .strip_prefix("bytes=")
                    .unwrap()
                    .split_once('-')
                    .unwrap();
                let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                let described = format!("bytes {first}-{last}/{}", file.bytes.len());
                (206, file.bytes[first..=last].to_vec(), Some(described))
            }
        };
        let mut headers = vec![
            ("etag", etag(file)),
            ("content-digest", content_digest(&sum(&bytes))),
        ];
        headers.extend(range.map(|range| ("content-range", range)));
        Answer {
            status,
            headers,
            body: bytes,
        }
    }
}
