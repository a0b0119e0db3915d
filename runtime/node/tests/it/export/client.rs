//! A small client of NFS version 3, for what `libnfs` has no command.

use std::net::SocketAddr;
use std::time::Duration;

use lote_model::export::ExportPoint;
use nfs3_client::io::{AsyncRead, AsyncWrite};
use nfs3_client::net::Connector;
use nfs3_client::nfs3_types::nfs3::{
    CREATE3args, GETATTR3args, LOOKUP3args, Nfs3Option, Nfs3Result, READ3args, READDIR3args,
    RENAME3args, SETATTR3args, WRITE3args, cookieverf3, createhow3, diropargs3, fattr3, filename3,
    nfs_fh3, nfsstat3, sattr3, stable_how,
};
use nfs3_client::nfs3_types::rpc::{auth_unix, opaque_auth};
use nfs3_client::nfs3_types::xdr_codec::Opaque;
use nfs3_client::tokio::{TokioConnector, TokioIo};
use nfs3_client::{Nfs3Connection, Nfs3ConnectionBuilder};
use tokio::net::TcpStream;

type Connection = Nfs3Connection<Stream>;

/// A connection that says when the server has closed it: the crate reads on for ever.
pub struct Stream(TokioIo<TcpStream>);

struct StreamConnector;

impl AsyncRead for Stream {
    async fn async_read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.async_read(buffer).await {
            Ok(0) if !buffer.is_empty() => Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => read,
        }
    }
}

impl AsyncWrite for Stream {
    async fn async_write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.async_write(bytes).await
    }
}

impl Connector for StreamConnector {
    type Connection = Stream;

    async fn connect(&self, address: SocketAddr) -> std::io::Result<Stream> {
        TokioConnector.connect(address).await.map(Stream)
    }

    async fn connect_with_port(&self, address: SocketAddr, port: u16) -> std::io::Result<Stream> {
        let connected = TokioConnector.connect_with_port(address, port).await;
        connected.map(Stream)
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Who {
    pub address: String,
    pub user: u32,
    pub privileged_port: bool,
}

/// A client that connects again when the server was away, with the handles that it has.
pub struct Client {
    point: ExportPoint,
    who: Who,
    connection: Connection,
    /// How often it had to connect again.
    pub reconnects: u32,
}

/// What the server answers, or why not.
pub type Answer<T> = Result<T, nfsstat3>;

async fn connect(point: &ExportPoint, who: &Who) -> Result<Connection, String> {
    let credential = auth_unix {
        stamp: 0,
        machinename: Opaque::borrowed(b"test"),
        uid: who.user,
        gid: who.user,
        gids: vec![],
    };
    let builder = Nfs3ConnectionBuilder::new(StreamConnector, &who.address, &point.path)
        .nfs3_port(point.nfs_port)
        .mount_port(point.mount_port.unwrap())
        .connect_from_privileged_port(who.privileged_port)
        .credential(opaque_auth::auth_unix(&credential));
    builder.mount().await.map_err(|error| error.to_string())
}

fn answer<T, E>(result: Nfs3Result<T, E>) -> Answer<T> {
    match result {
        Nfs3Result::Ok(value) => Ok(value),
        Nfs3Result::Err((status, _)) => Err(status),
    }
}

fn entry<'a>(directory: &nfs_fh3, name: &'a str) -> diropargs3<'a> {
    diropargs3 {
        dir: directory.clone(),
        name: filename3::from(name.as_bytes()),
    }
}

/// Asks, and connects and asks again for as long as the server does not answer.
macro_rules! ask {
    ($client:ident, $call:ident, $arguments:expr) => {{
        loop {
            match $client.connection.$call(&$arguments).await {
                Ok(result) => break answer(result),
                Err(_) => $client.reconnect().await,
            }
        }
    }};
}

impl Client {
    pub async fn try_new(point: &ExportPoint, who: &Who) -> Result<Self, String> {
        Ok(Self {
            connection: connect(point, who).await?,
            point: point.clone(),
            who: who.clone(),
            reconnects: 0,
        })
    }

    /// As a user of this machine.
    pub async fn new(point: &ExportPoint, user: u32) -> Self {
        let who = Who {
            address: "127.0.0.1".into(),
            user,
            privileged_port: true,
        };
        Self::try_new(point, &who).await.unwrap()
    }

    async fn reconnect(&mut self) {
        self.reconnects += 1;
        loop {
            match connect(&self.point, &self.who).await {
                Ok(connection) => {
                    self.connection = connection;
                    return;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    pub fn root(&self) -> nfs_fh3 {
        self.connection.root_nfs_fh3()
    }

    pub async fn look_up(&mut self, directory: &nfs_fh3, name: &str) -> Answer<nfs_fh3> {
        let found = ask!(
            self,
            lookup,
            LOOKUP3args {
                what: entry(directory, name)
            }
        );
        found.map(|found| found.object)
    }

    pub async fn attributes(&mut self, file: &nfs_fh3) -> Answer<fattr3> {
        let object = file.clone();
        let found = ask!(
            self,
            getattr,
            GETATTR3args {
                object: object.clone()
            }
        );
        found.map(|found| found.obj_attributes)
    }

    pub async fn create(&mut self, directory: &nfs_fh3, name: &str, mode: u32) -> Answer<nfs_fh3> {
        let attributes = sattr3 {
            mode: Nfs3Option::Some(mode),
            ..sattr3::default()
        };
        let made = ask!(
            self,
            create,
            CREATE3args {
                where_: entry(directory, name),
                how: createhow3::UNCHECKED(attributes.clone()),
            }
        );
        match made {
            Ok(_) => self.look_up(directory, name).await,
            Err(status) => Err(status),
        }
    }

    pub async fn write(&mut self, file: &nfs_fh3, offset: u64, bytes: &[u8]) -> Answer<u32> {
        let count = u32::try_from(bytes.len()).unwrap();
        let written = ask!(
            self,
            write,
            WRITE3args {
                file: file.clone(),
                offset,
                count,
                stable: stable_how::UNSTABLE,
                data: Opaque::borrowed(bytes),
            }
        );
        written.map(|written| written.count)
    }

    pub async fn read(&mut self, file: &nfs_fh3, offset: u64, count: u32) -> Answer<Vec<u8>> {
        let file = file.clone();
        let read = ask!(
            self,
            read,
            READ3args {
                file: file.clone(),
                offset,
                count,
            }
        );
        read.map(|read| read.data.as_ref().to_vec())
    }

    pub async fn rename(&mut self, directory: &nfs_fh3, from: &str, to: &str) -> Answer<()> {
        let renamed = ask!(
            self,
            rename,
            RENAME3args {
                from: entry(directory, from),
                to: entry(directory, to),
            }
        );
        renamed.map(drop)
    }

    /// Gives a file to a user, which only root may.
    pub async fn give_away(&mut self, file: &nfs_fh3, user: u32) -> Answer<()> {
        let attributes = sattr3 {
            uid: Nfs3Option::Some(user),
            ..sattr3::default()
        };
        let done = ask!(
            self,
            setattr,
            SETATTR3args {
                object: file.clone(),
                new_attributes: attributes.clone(),
                guard: Nfs3Option::None,
            }
        );
        done.map(drop)
    }

    /// All names of a directory, page by page.
    pub async fn list(&mut self, directory: &nfs_fh3) -> Answer<Vec<String>> {
        let (mut names, mut cookie) = (Vec::new(), 0);
        let mut cookieverf = cookieverf3::default();
        loop {
            let page = ask!(
                self,
                readdir,
                READDIR3args {
                    dir: directory.clone(),
                    cookie,
                    cookieverf,
                    count: 64 << 10,
                }
            )?;
            cookieverf = page.cookieverf;
            for entry in page.reply.entries.into_inner() {
                cookie = entry.cookie;
                names.push(String::from_utf8(entry.name.0.as_ref().to_vec()).unwrap());
            }
            if page.reply.eof {
                return Ok(names);
            }
        }
    }
}
