//! Switching machines on and off.
//!
//! * [`command`] — an operator's command, for IPMI, Redfish or a switched socket.
//! * [`wake`] — Wake-on-LAN, which can only switch on; machines switch themselves off.
//! * [`interface`] — the hardware address by which this machine is woken.

pub mod command;
pub mod interface;
pub mod wake;

pub use command::{CommandError, OperatorCommand};
pub use interface::{has_address, mac_address};
pub use wake::{WakeError, wake};

#[cfg(test)]
mod testing;
