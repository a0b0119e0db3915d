//! The streams of one started command, its signals and its end, for as long as somebody listens.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lote_model::id::NodeName;
use lote_rsh::protocol::{CHUNK_BYTES, INPUT_WINDOW_BYTES, Kind, Start};
use nix::sys::signal::Signal;
use tokio::io::{AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::BoxedChannel;
use super::frames::{self, Payload, refuse};
use super::hang_up::{self, hang_up};
use super::member::Member;
use super::process::{Ending, Process, ending};
use crate::launch::{ProcessSpec, Supervised};

/// Messages that wait to be written. When there are so many, the command has to wait.
const WAITING_MAX: usize = 16;

/// The signals that can be passed on. Others are the shim's own, or nobody's business.
const PASSED_ON: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTERM,
];

/// How often it is looked whether a shim has opened its pipes.
const SHIM_PAUSE: Duration = Duration::from_millis(1);

/// How much input may be on its way.
const WINDOW: usize = INPUT_WINDOW_BYTES as usize;

/// What it means when the other side says nothing more without a farewell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenSilent {
    /// `lote-rsh` itself is gone.
    HangUp,
    /// A daemon is being restarted, or the network is down.
    Wait,
}

/// How a session ends.
#[derive(Debug)]
enum End {
    /// The command has ended, and this was told.
    Told,
    /// `lote-rsh` is gone.
    HungUp,
    /// The connection is gone.
    Lost,
    /// Another session has taken over.
    Replaced,
}

/// Starts the command, or finds it, and carries its streams.
pub(super) async fn serve(
    member: &Arc<Member>,
    from: &NodeName,
    start: &Start,
    mut channel: BoxedChannel,
    when_silent: WhenSilent,
) {
    let process = match member.start(from, start).await {
        Ok(process) => process,
        Err(reason) => return refuse(&mut channel, Kind::Refused, &reason).await,
    };
    let attention = member.attend(start.id);
    let session = Session {
        member,
        process: &process,
        has_input: start.has_input,
        when_silent,
        unwritten: AtomicUsize::new(0),
    };
    let end = tokio::select! {
        end = session.carry(channel) => end,
        () = attention.replaced.cancelled() => End::Replaced,
    };
    match (end, process.running()) {
        (End::Replaced, _) => {}
        (End::HungUp, Some(running)) => {
            hang_up(running).await;
            member.leave(&start.id, &attention);
            process.forget_streams();
        }
        (End::Lost, Some(_)) => hang_up::unless_attended(member, start.id),
        (End::Told, _) => {
            member.leave(&start.id, &attention);
            process.forget_streams();
        }
        (End::HungUp | End::Lost, None) => member.leave(&start.id, &attention),
    }
}

struct Session<'a> {
    member: &'a Member,
    process: &'a Process,
    has_input: bool,
    when_silent: WhenSilent,
    /// How many bytes of input wait to be written.
    unwritten: AtomicUsize,
}

impl Session<'_> {
    async fn carry(&self, channel: BoxedChannel) -> End {
        let (reader, mut writer) = tokio::io::split(channel);
        let (say, said) = mpsc::channel(WAITING_MAX);
        let say = Saying(say);
        let (feed, fed) = mpsc::unbounded_channel();
        let talk = async {
            self.to_the_end(&say, fed).await;
            drop(say);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            told = write_all(said, &mut writer) => match told {
                Ok(()) => End::Told,
                Err(_) => self.silence(),
            },
            end = self.listen(reader, feed) => end,
            () = talk => End::Lost,
        }
    }

    fn silence(&self) -> End {
        match self.when_silent {
            WhenSilent::HangUp => End::HungUp,
            WhenSilent::Wait => End::Lost,
        }
    }

    /// Says everything that is to be said of the command.
    async fn to_the_end(&self, say: &Saying, fed: mpsc::UnboundedReceiver<Feed>) {
        say.message(Kind::Started, &[]).await;
        let ended = CancellationToken::new();
        let pipes = self.pipes();
        let outputs = async {
            tokio::join!(
                copy(&pipes.stdout, Kind::Output, say, &ended),
                copy(&pipes.stderr, Kind::Errors, say, &ended)
            )
        };
        let end = async {
            let outcome = self.process.ended().await;
            ended.cancel();
            outcome
        };
        let input = async {
            if let (Some(path), Some(running)) = (&pipes.stdin, self.process.running()) {
                self.write_input(path, fed, say, running).await;
            }
            std::future::pending::<()>().await;
        };
        let (outcome, copied) = tokio::select! {
            (outcome, copied) = async { tokio::join!(end, outputs) } => (outcome, copied),
            () = input => return,
        };
        for error in [copied.0, copied.1].into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "cannot read the output of a remotely started command");
        }
        match ending(outcome, &self.member.parts.node) {
            Ending::Code(code) => say.message(Kind::Exit, &[code]).await,
            Ending::Reason(reason) => say.message(Kind::Refused, reason.as_bytes()).await,
        }
    }

    /// Hears what the other side says, to the end of the conversation.
    async fn listen(
        &self,
        mut reader: ReadHalf<BoxedChannel>,
        feed: mpsc::UnboundedSender<Feed>,
    ) -> End {
        loop {
            match frames::read(&mut reader).await {
                Ok(Some((Kind::Input, bytes))) => {
                    if self.unwritten.fetch_add(bytes.len(), Ordering::Relaxed) > WINDOW {
                        // More than there was room for: no lote-rsh of ours.
                        return End::HungUp;
                    }
                    feed.send(Feed::Bytes(bytes)).ok();
                }
                Ok(Some((Kind::InputEnd, _))) => {
                    feed.send(Feed::End).ok();
                }
                Ok(Some((Kind::Signal, number))) => self.signal(&number),
                Ok(Some(_)) => return End::HungUp,
                Ok(None) | Err(_) => return self.silence(),
            }
        }
    }

    fn signal(&self, number: &[u8]) {
        let number = number.first().map(|number| i32::from(*number));
        let signal = number.and_then(|number| Signal::try_from(number).ok());
        let passed = signal.filter(|signal| PASSED_ON.contains(signal));
        if let (Some(signal), Some(process)) = (passed, self.process.running()) {
            hang_up::send(process, signal);
        }
    }

    /// Writes what comes to the command's standard input, and says how much there is room for.
    async fn write_input(
        &self,
        path: &PathBuf,
        mut fed: mpsc::UnboundedReceiver<Feed>,
        say: &Saying,
        process: &Supervised,
    ) {
        let Ok(mut sender) = open_sender(path).await else {
            return;
        };
        while let Some(feed) = fed.recv().await {
            let Feed::Bytes(bytes) = feed else {
                drop(sender);
                // The other holder is the shim.
                process.close_input().ok();
                return;
            };
            if sender.write_all(&bytes).await.is_err() {
                return;
            }
            self.unwritten.fetch_sub(bytes.len(), Ordering::Relaxed);
            let credit = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            say.message(Kind::Credit, &credit.to_le_bytes()).await;
        }
    }

    fn pipes(&self) -> Pipes {
        let [stdin, stdout, stderr] = ProcessSpec::pipes_of(&self.process.record);
        Pipes {
            stdin: self.has_input.then_some(stdin),
            stdout,
            stderr,
        }
    }
}

struct Pipes {
    stdin: Option<PathBuf>,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// What comes for standard input.
enum Feed {
    Bytes(Payload),
    End,
}

/// The way of messages to the other side.
struct Saying(mpsc::Sender<(Kind, Vec<u8>)>);

impl Saying {
    /// When the other side is gone, the session ends elsewhere.
    async fn message(&self, kind: Kind, payload: &[u8]) {
        self.0.send((kind, payload.to_vec())).await.ok();
    }
}

/// Writes messages until there are no more.
async fn write_all(
    mut said: mpsc::Receiver<(Kind, Vec<u8>)>,
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    while let Some((kind, payload)) = said.recv().await {
        frames::write(writer, kind, &payload).await?;
    }
    writer.shutdown().await
}

/// Reads a pipe until the command has ended and nothing is left in it.
async fn copy(
    path: &PathBuf,
    kind: Kind,
    say: &Saying,
    ended: &CancellationToken,
) -> io::Result<()> {
    // Held open both ways: that the command has closed it says nothing.
    let opened = pipe::OpenOptions::new()
        .read_write(true)
        .open_receiver(path);
    let receiver = match opened {
        // Removed once the end was told before.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut bytes = vec![0; CHUNK_BYTES];
    loop {
        let is_over = tokio::select! {
            biased;
            ready = receiver.readable() => ready.map(|()| false)?,
            () = ended.cancelled() => true,
        };
        match receiver.try_read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                let read = bytes.get(..length).unwrap_or_default();
                say.message(kind, read).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if is_over {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Opens the pipe of a command's standard input once its shim has: what was written before would
/// be gone if this end was closed.
async fn open_sender(path: &PathBuf) -> io::Result<pipe::Sender> {
    loop {
        match pipe::OpenOptions::new().open_sender(path) {
            Err(error) if error.raw_os_error() == Some(nix::libc::ENXIO) => {
                tokio::time::sleep(SHIM_PAUSE).await;
            }
            opened => return opened,
        }
    }
}
