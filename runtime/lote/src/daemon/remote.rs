//! Remote starts inside a gang: joins the node's part, which starts processes, with the API's,
//! which has the way between daemons.

use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::pin::Pin;

use lote_api::state::ApiState;
use lote_api::{PeerStream, RemoteStartDoor, open_channel};
use lote_model::id::NodeName;
use lote_node::peer::{BoxedChannel, Calling, PeerCalls, RemoteStarts};

/// The way to other daemons, for the node.
pub(super) struct Calls(pub(super) ApiState);

impl Debug for Calls {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("Calls")
    }
}

impl PeerCalls for Calls {
    fn call<'a>(&'a self, node: &'a NodeName) -> Calling<'a> {
        Box::pin(async move {
            let stream = open_channel(&self.0, node).await?;
            Ok(Box::new(stream) as BoxedChannel)
        })
    }
}

/// What the door for other daemons does with their channels.
pub(super) struct Starts(pub(super) RemoteStarts);

impl RemoteStartDoor for Starts {
    fn serve(
        &self,
        from: NodeName,
        stream: Box<dyn PeerStream>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let starts = self.0.clone();
        Box::pin(async move { starts.serve(&from, Box::new(stream)).await })
    }
}
