//! One connection to the server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nfs3_client::io::{AsyncRead, AsyncWrite};
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Ports that only root may bind, above those that services have: the server believes the user of a call only if it
/// comes from such a port.
const PRIVILEGED: std::ops::Range<u16> = 512..1024;

/// How long one attempt to connect may take.
const CONNECTING: Duration = Duration::from_secs(10);

/// When nothing has come for so long, the kernel asks whether the server is still there.
const IDLE: Duration = Duration::from_secs(10);
const BETWEEN: Duration = Duration::from_secs(5);
const PROBES: u32 = 4;

/// What has not been acknowledged after so many milliseconds never will be.
const UNACKNOWLEDGED: u32 = 30_000;

/// Connects from a privileged port.
///
/// # Errors
///
/// What the system says; `PermissionDenied` when not root.
pub(crate) async fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let first = fastrand::u16(PRIVILEGED);
    let ports = (first..PRIVILEGED.end).chain(PRIVILEGED.start..first);
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in ports {
        match connect_from(server, port).await {
            Ok(stream) => return Ok(stream),
            // Taken, or the last connection between the two ports is not over yet.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
                ) =>
            {
                last = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

async fn connect_from(server: SocketAddr, port: u16) -> io::Result<TcpStream> {
    let (socket, any) = match server {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    };
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(any, port))?;
    let stream = tokio::time::timeout(CONNECTING, socket.connect(server))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, IDLE)?;
    sockopt::set_tcp_keepintvl(&stream, BETWEEN)?;
    sockopt::set_tcp_keepcnt(&stream, PROBES)?;
    sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED)?;
    Ok(stream)
}

/// A connection lent to one call. The client library's own wrapper owns the stream, and takes the end of a stream for an
/// invitation to read again.
pub(crate) struct Wire<'a>(pub(crate) &'a mut TcpStream);

impl AsyncRead for Wire<'_> {
    async fn async_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf).await? {
            0 if !buf.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

impl AsyncWrite for Wire<'_> {
    async fn async_write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf).await
    }
}
