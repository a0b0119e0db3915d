//! How this daemon switches machines when it leads, and itself when it does not.

use lote_cli::node_args::{PowerSettings, PowerSwitching};
use lote_control::actions::PowerOrder;
use lote_control::config::PowerPolicy;
use lote_control::driver::{PowerSwitch, Switching};
use lote_model::node::NodeRecord;
use lote_model::problem::explain;
use lote_node::power::{OperatorCommand, wake};

/// Switches machines as the operator's options say.
#[derive(Debug)]
pub(super) struct Switch(PowerSettings);

impl Switch {
    pub(super) fn new(settings: PowerSettings) -> Self {
        Self(settings)
    }

    async fn order(&self, node: &NodeRecord, order: PowerOrder) -> Result<(), String> {
        let words = match (&self.0.switching, order) {
            (PowerSwitching::WakeOnLan { .. }, PowerOrder::On) => {
                let mac = node.mac_address.as_deref().unwrap_or_default();
                return wake(mac).await.map_err(|error| explain(&error));
            }
            // It sees the record and does it itself.
            (PowerSwitching::WakeOnLan { .. }, PowerOrder::Off) => return Ok(()),
            (PowerSwitching::Commands { on, .. }, PowerOrder::On) => on,
            (PowerSwitching::Commands { off, .. }, PowerOrder::Off) => off,
        };
        let command = OperatorCommand {
            words: words.clone(),
            time_limit: self.0.command_limit,
        };
        command.run(node).await.map_err(|error| explain(&error))
    }
}

impl PowerSwitch for Switch {
    fn switch<'a>(&'a self, node: &'a NodeRecord, order: PowerOrder) -> Switching<'a> {
        Box::pin(self.order(node, order))
    }
}

/// What switches this machine off, where machines do that themselves.
pub(super) fn own_off(settings: Option<&PowerSettings>) -> Option<OperatorCommand> {
    let settings = settings?;
    match &settings.switching {
        PowerSwitching::WakeOnLan { off } => Some(OperatorCommand {
            words: off.clone(),
            time_limit: settings.command_limit,
        }),
        PowerSwitching::Commands { .. } => None,
    }
}

/// What the leader goes by.
pub(super) fn policy(settings: &PowerSettings) -> PowerPolicy {
    let duration = |time: std::time::Duration| {
        jiff::SignedDuration::try_from(time).unwrap_or(jiff::SignedDuration::MAX)
    };
    PowerPolicy {
        off_after: settings.off_after.map(duration),
        keep_powered: settings.keep_powered,
        needs_mac_address: matches!(settings.switching, PowerSwitching::WakeOnLan { .. }),
        on_within: duration(settings.on_within),
        off_within: duration(settings.off_within),
    }
}
