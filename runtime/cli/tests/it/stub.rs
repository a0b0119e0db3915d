//! A daemon of a few lines: answers each request by a function of the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) token: Option<String>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Method and path in one, for `match`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path())
    }
}

/// Writes a body, piece by piece.
type WriteBody = Box<dyn FnOnce(&mut Chunks<'_>) -> std::io::Result<()> + Send>;

/// What is answered.
pub(crate) enum Reply {
    /// A status, further headers, and a body.
    Whole(u16, Vec<(&'static str, String)>, String),
    /// 200 and whatever the function writes, as it writes it. `Err` breaks the
    /// connection in the middle.
    Stream(WriteBody),
}

impl Reply {
    pub(crate) fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::Whole(status, Vec::new(), value.to_string())
    }

    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(
            status,
            &serde_json::json!({"error": {"code": code, "message": message}}),
        )
    }
}

/// Writes chunks of a body, each at once.
pub(crate) struct Chunks<'a>(&'a mut TcpStream);

impl Chunks<'_> {
    pub(crate) fn send(&mut self, piece: &str) -> std::io::Result<()> {
        write!(self.0, "{:x}\r\n{piece}\r\n", piece.len())?;
        self.0.flush()
    }
}

/// A running stub.
pub(crate) struct Stub {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Stub {
    /// Serves until the test's process ends.
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (requests.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (seen, answer) = (seen.clone(), answer.clone());
                std::thread::spawn(move || serve(connection, &seen, answer.as_ref()));
            }
        });
        Self { url, requests }
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The requests of this method and path.
    pub(crate) fn requests_of(&self, line: &str) -> Vec<Request> {
        self.requests()
            .into_iter()
            .filter(|request| request.line() == line)
            .collect()
    }
}

/// One request per connection: `connection: close` keeps the stub simple.
fn serve(
    mut connection: TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request) -> Reply,
) {
    let Some(request) = read(&connection) else {
        return;
    };
    seen.lock().unwrap().push(request.clone());
    let _ = match answer(&request) {
        Reply::Whole(status, headers, body) => {
            let headers: String = headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"))
                .collect();
            let length = body.len();
            write!(
                connection,
                "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
        }
        Reply::Stream(write_body) => write!(
            connection,
            "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        )
        .and_then(|()| write_body(&mut Chunks(&mut connection)))
        .and_then(|()| write!(connection, "0\r\n\r\n")),
    };
}

fn read(connection: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(connection);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut token) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => token = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        target,
        token,
        body: String::from_utf8(body).ok()?,
    })
}
