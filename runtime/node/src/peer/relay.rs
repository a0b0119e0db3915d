//! From a process of the job to the daemon of another node, and back.

use std::sync::Arc;
use std::time::Duration;

use lote_model::id::NodeName;
use lote_rsh::protocol::{Asked, Kind, Start};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use super::BoxedChannel;
use super::frames::{self, refuse};
use super::member::Member;

/// How long the other daemon may take to hear that a process has gone.
const FAREWELL_MAX: Duration = Duration::from_secs(10);

/// Passes messages on until either side is gone, or the command has ended.
pub(super) async fn to(member: &Arc<Member>, node: &NodeName, start: Start, stream: UnixStream) {
    let (mut from_process, mut to_process) = stream.into_split();
    let over = member.over();
    let channel = tokio::select! {
        channel = open(member, node, start) => channel,
        () = over.cancelled() => return,
    };
    let channel = match channel {
        Ok(channel) => channel,
        Err(reason) => {
            let reason = format!("node {node}, where the command was to start, {reason}");
            return refuse(&mut to_process, Kind::Broken, &reason).await;
        }
    };
    let (mut from_node, mut to_node) = tokio::io::split(channel);
    let up = up(&mut from_process, &mut to_node);
    let down = down(node, &mut from_node, &mut to_process);
    tokio::select! {
        () = down => {}
        () = up => {}
        () = over.cancelled() => {}
    }
}

async fn open(member: &Member, node: &NodeName, start: Start) -> Result<BoxedChannel, String> {
    let parts = &member.parts;
    let Some(calls) = parts.calls.get() else {
        return Err("cannot be reached: this daemon knows no others".into());
    };
    let mut channel = calls.call(node).await?;
    let asked = Asked {
        job: parts.uid.to_string(),
        attempt: parts.attempt,
    };
    let start = Zeroizing::new(start.encode());
    let said = async {
        frames::write(&mut channel, Kind::Asked, &asked.encode()).await?;
        frames::write(&mut channel, Kind::Start, &start).await
    };
    said.await
        .map_err(|error| format!("cannot be reached: {error}"))?;
    Ok(channel)
}

/// What the process says. When it is gone, the command is to end.
async fn up(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) {
    loop {
        let Ok(Some((kind @ (Kind::Input | Kind::InputEnd | Kind::Signal), payload))) =
            frames::read(from).await
        else {
            let farewell = async {
                frames::write(to, Kind::Hangup, &[]).await?;
                to.shutdown().await
            };
            tokio::time::timeout(FAREWELL_MAX, farewell).await.ok();
            return;
        };
        if frames::write(to, kind, &payload).await.is_err() {
            // Who reads finds out, and says it.
            return std::future::pending().await;
        }
    }
}

/// What the other daemon says, to the last message.
async fn down(
    node: &NodeName,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) {
    loop {
        match frames::read(from).await {
            Ok(Some((kind, payload))) => {
                let written = frames::write(to, kind, &payload).await;
                if matches!(kind, Kind::Exit | Kind::Refused | Kind::Broken) {
                    to.shutdown().await.ok();
                    return;
                }
                if written.is_err() {
                    // The process is gone, which the other direction says.
                    return std::future::pending().await;
                }
            }
            ended => {
                let how = ended
                    .err()
                    .map_or("closed".to_owned(), |error| error.to_string());
                let reason = format!("the connection with the daemon of node {node} broke: {how}");
                return refuse(to, Kind::Broken, &reason).await;
            }
        }
    }
}
