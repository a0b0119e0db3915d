//! Calls over several connections, repeated until the server answers.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fuser::Errno;
use nfs3_client::RpcError;
use nfs3_client::rpc::RpcClient;
use nfs3_types::nfs3::{NFS_PROGRAM, Nfs3Result, PROGRAM, VERSION, nfsstat3};
use nfs3_types::rpc::opaque_auth;
use nfs3_types::xdr_codec::{Pack, Unpack};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::{Credential, Wire, connect};

/// Connections, each with one call at a time: so many slow calls may wait before others do.
const CONNECTIONS: usize = 16;

/// After so long without an answer the call is sent again over another connection.
const ANSWERING: Duration = Duration::from_mins(1);

/// Between two attempts: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// When the server has been away for so long, it is said.
const SAID_AFTER: Duration = Duration::from_secs(3);

/// What the server said.
pub(crate) struct Answer<T> {
    pub(crate) result: Result<T, nfsstat3>,
    /// An earlier sending of this call may have been carried out, its answer lost.
    pub(crate) repeated: bool,
}

impl<T> Answer<T> {
    /// The same with another form of what it is about.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        Answer {
            result: self.result.map(change),
            repeated: self.repeated,
        }
    }

    /// # Errors
    ///
    /// What the server's refusal is to a caller.
    pub(crate) fn or_errno(self) -> Result<T, Errno> {
        self.result.map_err(crate::status::errno)
    }
}

/// The connections to one server.
pub(crate) struct Pool {
    server: SocketAddr,
    idle: Mutex<Vec<TcpStream>>,
    places: Semaphore,
    away: Mutex<Away>,
}

/// Since when the server has not answered, and whether that was said.
#[derive(Default)]
struct Away {
    since: Option<Instant>,
    said: bool,
}

/// Why an attempt failed.
enum Failure {
    /// The call did not leave.
    NotSent,
    /// It may have arrived.
    Lost,
    /// The server will say the same again.
    Final(Errno),
}

impl Pool {
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self {
            server,
            idle: Mutex::default(),
            places: Semaphore::new(CONNECTIONS),
            away: Mutex::default(),
        }
    }

    /// Makes a call, as often as it takes. Give up by dropping it.
    ///
    /// # Errors
    ///
    /// `EACCES` when the server does not believe the caller, `EIO` when it does not speak the protocol.
    pub(crate) async fn call<C, T, E>(
        &self,
        who: &Credential,
        procedure: NFS_PROGRAM,
        arguments: &C,
    ) -> Result<Answer<T>, Errno>
    where
        C: Pack + Send + Sync,
        T: Unpack + Send,
        E: Unpack + Send,
    {
        let mut repeated = false;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.attempt::<C, T, E>(who, procedure, arguments).await {
                // The server needs time for it, and has not begun.
                Ok(Nfs3Result::Err((nfsstat3::NFS3ERR_JUKEBOX, _))) => self.answers(),
                Ok(Nfs3Result::Ok(value)) => {
                    self.answers();
                    let result = Ok(value);
                    return Ok(Answer { result, repeated });
                }
                Ok(Nfs3Result::Err((status, _))) => {
                    self.answers();
                    let result = Err(status);
                    return Ok(Answer { result, repeated });
                }
                Err(Failure::Final(error)) => {
                    self.answers();
                    return Err(error);
                }
                Err(Failure::NotSent) => self.is_away(),
                Err(Failure::Lost) => {
                    self.is_away();
                    repeated = true;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn attempt<C, T, E>(
        &self,
        who: &Credential,
        procedure: NFS_PROGRAM,
        arguments: &C,
    ) -> Result<Nfs3Result<T, E>, Failure>
    where
        C: Pack + Send + Sync,
        T: Unpack + Send,
        E: Unpack + Send,
    {
        let place = self.places.acquire().await;
        let mut stream = match self.lend() {
            Some(stream) => stream,
            None => connect(self.server).await.map_err(|_| Failure::NotSent)?,
        };
        let outcome = {
            let mut client =
                RpcClient::new_with_auth(Wire(&mut stream), who.sent(), opaque_auth::default());
            let call = client.call(PROGRAM, VERSION, procedure as u32, arguments);
            tokio::time::timeout(ANSWERING, call)
                .await
                .map_err(|_| Failure::Lost)?
        };
        // After an error nobody knows what the next byte of it would be.
        if outcome.is_ok() {
            self.give_back(stream);
        }
        drop(place);
        outcome.map_err(|error| failure(&error))
    }

    /// A connection that nobody uses, and that the server has not closed meanwhile.
    fn lend(&self) -> Option<TcpStream> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let stream = idle.pop()?;
            // An idle connection has nothing to read; what can be read is its end.
            let mut byte = [0; 1];
            match stream.try_read(&mut byte) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Some(stream);
                }
                _ => {}
            }
        }
    }

    fn give_back(&self, stream: TcpStream) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(stream);
    }

    fn is_away(&self) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *away.since.get_or_insert_with(Instant::now);
        if !away.said && since.elapsed() >= SAID_AFTER {
            away.said = true;
            eprintln!(
                "the NFS server {} does not answer; waiting for it",
                self.server
            );
        }
    }

    fn answers(&self) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if away.said {
            eprintln!("the NFS server {} answers again", self.server);
        }
        *away = Away::default();
    }
}

fn failure(error: &RpcError) -> Failure {
    match error {
        RpcError::Io(_)
        | RpcError::FragmentedReply
        | RpcError::UnexpectedXid
        | RpcError::UnexpectedCall
        // The server is starting: it listens before it knows all it will serve.
        | RpcError::ProgUnavail
        | RpcError::SystemErr => Failure::Lost,
        RpcError::Auth(_) => Failure::Final(Errno::EACCES),
        _ => Failure::Final(Errno::EIO),
    }
}

#[cfg(test)]
mod tests {
    use nfs3_types::rpc::auth_stat;

    use super::*;

    #[test]
    fn what_may_have_arrived_is_sent_again_and_a_refusal_is_not() {
        let broken = RpcError::Io(std::io::ErrorKind::UnexpectedEof.into());
        assert!(matches!(failure(&broken), Failure::Lost));
        let refused = RpcError::Auth(auth_stat::AUTH_TOOWEAK);
        assert!(matches!(failure(&refused), Failure::Final(Errno::EACCES)));
    }
}
