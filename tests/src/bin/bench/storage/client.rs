//! A client of both servers: connections that share the work, each with one call at a time.

#![allow(clippy::expect_used, reason = "a call that fails ends the measurement")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use nfs3_client::nfs3_types::nfs3::{
    COMMIT3args, CREATE3args, GETATTR3args, LOOKUP3args, Nfs3Option, READ3args, READDIRPLUS3args,
    REMOVE3args, WRITE3args, cookieverf3, createhow3, diropargs3, filename3, nfs_fh3, sattr3,
    set_mode3, stable_how,
};
use nfs3_client::nfs3_types::rpc::{auth_unix, opaque_auth};
use nfs3_client::nfs3_types::xdr_codec::Opaque;
use nfs3_client::tokio::{TokioConnector, TokioIo};
use nfs3_client::{Nfs3Client, Nfs3ConnectionBuilder};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// Connections.
const CONNECTIONS: usize = 4;

/// Who asks: an ordinary user, as jobs are.
const USER: u32 = 20_001;

/// The size of one read or write of the large file.
const MEBIBYTE: u32 = 1 << 20;

type Connection = Nfs3Client<TokioIo<TcpStream>>;

/// Connections to one server, and the root of its export.
pub(super) struct Client {
    connections: Vec<Arc<Mutex<Connection>>>,
    root: nfs_fh3,
}

fn place<'a>(directory: &nfs_fh3, name: &'a str) -> diropargs3<'a> {
    diropargs3 {
        dir: directory.clone(),
        name: filename3::from(name.as_bytes()),
    }
}

fn small(number: usize) -> String {
    format!("small-{number:05}")
}

impl Client {
    pub(super) async fn connect(ports: (u16, u16), export: &str) -> Self {
        let mut connections = Vec::new();
        let mut root = None;
        for _ in 0..CONNECTIONS {
            let credential = opaque_auth::auth_unix(&auth_unix {
                uid: USER,
                gid: USER,
                ..auth_unix::default()
            });
            let connected = Nfs3ConnectionBuilder::new(TokioConnector, "127.0.0.1", export)
                .nfs3_port(ports.0)
                .mount_port(ports.1)
                .credential(credential)
                .mount()
                .await
                .unwrap_or_else(|error| panic!("{export} cannot be mounted: {error}"));
            root = Some(connected.root_nfs_fh3());
            connections.push(Arc::new(Mutex::new(connected.into_nfs3_client())));
        }
        Self {
            connections,
            root: root.unwrap_or_default(),
        }
    }

    /// Runs the same on every connection; they share what is to be done.
    async fn share<F>(&self, work: impl Fn(Arc<Mutex<Connection>>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for connection in &self.connections {
            tasks.spawn(work(Arc::clone(connection)));
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap_or_else(|error| panic!("a connection failed: {error}"));
        }
    }

    async fn first(&self) -> tokio::sync::MutexGuard<'_, Connection> {
        self.connections[0].lock().await
    }

    pub(super) async fn create(&self, name: &str) -> nfs_fh3 {
        create(&mut *self.first().await, &self.root, name).await
    }

    /// Writes a file of so many MiB, and makes it durable.
    pub(super) async fn write(&self, file: &nfs_fh3, mebibytes: u32) {
        let next = Arc::new(AtomicU32::new(0));
        self.share(|connection| {
            let (next, file) = (Arc::clone(&next), file.clone());
            async move {
                let mut connection = connection.lock().await;
                let data = vec![0x5a_u8; MEBIBYTE as usize];
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= mebibytes {
                        break;
                    }
                    let arguments = WRITE3args {
                        file: file.clone(),
                        offset: u64::from(number) * u64::from(MEBIBYTE),
                        count: MEBIBYTE,
                        stable: stable_how::UNSTABLE,
                        data: Opaque::borrowed(&data),
                    };
                    let written = connection
                        .write(&arguments)
                        .await
                        .expect("a reply")
                        .unwrap();
                    assert_eq!(written.count, MEBIBYTE);
                }
            }
        })
        .await;
        commit(&mut *self.first().await, file).await;
    }

    pub(super) async fn read(&self, file: &nfs_fh3, mebibytes: u32) {
        let next = Arc::new(AtomicU32::new(0));
        self.share(|connection| {
            let (next, file) = (Arc::clone(&next), file.clone());
            async move {
                let mut connection = connection.lock().await;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= mebibytes {
                        break;
                    }
                    let arguments = READ3args {
                        file: file.clone(),
                        offset: u64::from(number) * u64::from(MEBIBYTE),
                        count: MEBIBYTE,
                    };
                    let read = connection.read(&arguments).await.expect("a reply").unwrap();
                    assert_eq!(read.data.len(), MEBIBYTE as usize);
                }
            }
        })
        .await;
    }

    pub(super) async fn remove(&self, name: &str) {
        remove(&mut *self.first().await, &self.root, name).await;
    }

    /// As programs make small files: created, written, closed.
    pub(super) async fn create_small(&self, count: usize) {
        self.each_small(count, |mut connection, root, name| async move {
            let file = create(&mut connection, &root, &name).await;
            let data = [0x5a_u8; 4096];
            let arguments = WRITE3args {
                file: file.clone(),
                offset: 0,
                count: 4096,
                stable: stable_how::UNSTABLE,
                data: Opaque::borrowed(&data),
            };
            connection
                .write(&arguments)
                .await
                .expect("a reply")
                .unwrap();
            commit(&mut connection, &file).await;
        })
        .await;
    }

    pub(super) async fn look_up_small(&self, count: usize) {
        self.each_small(count, |mut connection, root, name| async move {
            let what = place(&root, &name);
            let found = connection.lookup(&LOOKUP3args { what }).await;
            let object = found.expect("a reply").unwrap().object;
            let attributes = connection.getattr(&GETATTR3args { object }).await;
            attributes.expect("a reply").unwrap();
        })
        .await;
    }

    pub(super) async fn remove_small(&self, count: usize) {
        self.each_small(count, |mut connection, root, name| async move {
            remove(&mut connection, &root, &name).await;
        })
        .await;
    }

    async fn each_small<F>(
        &self,
        count: usize,
        work: impl Fn(tokio::sync::OwnedMutexGuard<Connection>, nfs_fh3, String) -> F
        + Clone
        + Send
        + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let next = Arc::new(AtomicUsize::new(0));
        self.share(|connection| {
            let (next, root, work) = (Arc::clone(&next), self.root.clone(), work.clone());
            async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let connection = Arc::clone(&connection).lock_owned().await;
                    work(connection, root.clone(), small(number)).await;
                }
            }
        })
        .await;
    }

    /// Lists a directory with attributes; answers how many entries there were.
    pub(super) async fn list(&self, name: &str) -> usize {
        let mut connection = self.first().await;
        let what = place(&self.root, name);
        let found = connection.lookup(&LOOKUP3args { what }).await;
        let directory = found.expect("a reply").unwrap().object;
        let (mut cookie, mut verifier, mut listed) = (0, cookieverf3::default(), 0);
        loop {
            let arguments = READDIRPLUS3args {
                dir: directory.clone(),
                cookie,
                cookieverf: verifier,
                dircount: 128 << 10,
                maxcount: 128 << 10,
            };
            let page = connection.readdirplus(&arguments).await;
            let page = page.expect("a reply").unwrap();
            let entries = page.reply.entries.into_inner();
            listed += entries.len();
            verifier = page.cookieverf;
            if let Some(last) = entries.last() {
                cookie = last.cookie;
            }
            if page.reply.eof {
                return listed;
            }
        }
    }
}

async fn create(connection: &mut Connection, root: &nfs_fh3, name: &str) -> nfs_fh3 {
    let arguments = CREATE3args {
        where_: place(root, name),
        how: createhow3::UNCHECKED(sattr3 {
            mode: set_mode3::Some(0o644),
            ..sattr3::default()
        }),
    };
    let made = connection
        .create(&arguments)
        .await
        .expect("a reply")
        .unwrap();
    match made.obj {
        Nfs3Option::Some(file) => file,
        Nfs3Option::None => panic!("the server made a file and gave no handle"),
    }
}

async fn commit(connection: &mut Connection, file: &nfs_fh3) {
    let arguments = COMMIT3args {
        file: file.clone(),
        offset: 0,
        count: 0,
    };
    connection
        .commit(&arguments)
        .await
        .expect("a reply")
        .unwrap();
}

async fn remove(connection: &mut Connection, root: &nfs_fh3, name: &str) {
    let object = place(root, name);
    let removed = connection.remove(&REMOVE3args { object }).await;
    removed.expect("a reply").unwrap();
}
