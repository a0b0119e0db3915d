//! The files of a network boot, for iPXE and the initial RAM disk of nodes: `lote image serve`.
//!
//! They hold no secret of the cluster and are read before a machine could prove who it is, so they
//! are served to everybody, by HTTP, which is all that firmware speaks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, serve as serve_router};
use tokio::net::TcpListener;
use tower_http::services::ServeFile;

/// The script that iPXE is told to load.
pub const SCRIPT: &str = "boot.ipxe";

/// What the script loads, and the machine after it.
pub const FILES: [&str; 3] = ["vmlinuz", "initrd", "filesystem.squashfs"];

/// In the script: where the files are.
const URL: &str = "@URL@";

/// In the script: the last words of the kernel's command line, a variable of iPXE.
const OPTIONS: &str = "${lote}";

/// What is served.
#[derive(Debug)]
struct Script {
    path: PathBuf,
    options: Option<String>,
}

/// Serves the files of `directory` until the process ends. `options` are added to the kernel's
/// command line, such as `lote.join=https://10.0.0.11:8471`.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    directory: &Path,
    options: Option<String>,
) -> std::io::Result<()> {
    let script = Arc::new(Script {
        path: directory.join(SCRIPT),
        options,
    });
    let mut router = Router::new().route(&format!("/{SCRIPT}"), get(answer_script));
    for name in FILES {
        let file = ServeFile::new(directory.join(name));
        router = router.route_service(&format!("/{name}"), file);
    }
    let unknown = || async { (StatusCode::NOT_FOUND, "no file of a network boot\n") };
    serve_router(listener, router.fallback(unknown).with_state(script)).await
}

async fn answer_script(State(script): State<Arc<Script>>, headers: HeaderMap) -> Response {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let Some(host) = host.filter(|host| is_host(host)) else {
        return (StatusCode::BAD_REQUEST, "the request names no host\n").into_response();
    };
    match tokio::fs::read_to_string(&script.path).await {
        Ok(text) => {
            let text = filled_in(&text, host, script.options.as_deref());
            ([(header::CONTENT_TYPE, "text/plain")], text).into_response()
        }
        Err(error) => {
            tracing::warn!(path = %script.path.display(), %error, "cannot read the script of a network boot");
            (StatusCode::NOT_FOUND, "there is no script\n").into_response()
        }
    }
}

/// The script with the address at which the machine asked for it.
fn filled_in(script: &str, host: &str, options: Option<&str>) -> String {
    let script = script.replace(URL, &format!("http://{host}"));
    match options {
        Some(options) => script.replace(OPTIONS, options),
        None => script,
    }
}

/// Whether it is a host and perhaps a port, and no code of a script.
fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_names_the_server_that_was_asked() {
        let script = "kernel vmlinuz fetch=@URL@/filesystem.squashfs ${lote}\n";
        assert_eq!(
            filled_in(script, "10.0.0.1:8470", Some("lote.join=x")),
            "kernel vmlinuz fetch=http://10.0.0.1:8470/filesystem.squashfs lote.join=x\n"
        );
        assert!(filled_in(script, "h", None).ends_with("${lote}\n"));
    }

    #[test]
    fn a_host_is_no_code() {
        assert!(is_host("[fd00::1]:8470") && is_host("boot.local"));
        assert!(!is_host("h\nshell") && !is_host("a b") && !is_host("") && !is_host("${x}"));
    }
}
