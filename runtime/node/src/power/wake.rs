//! Wake-on-LAN.
//!
//! A magic packet is 102 bytes, so it is put together here: of the crates that do it, those that
//! are kept well have licences that this project does not take, and the others have had no
//! release for years.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::interface;

/// The port of the discard service, which network cards look at by custom.
const PORT: u16 = 9;

/// How often it is sent: switches drop what they have no room for.
const TIMES: u32 = 5;

/// The pause between two.
const PAUSE: Duration = Duration::from_millis(500);

/// A machine cannot be woken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WakeError {
    /// What is given is no hardware address.
    #[error("'{0}' is no hardware address such as aa:bb:cc:dd:ee:ff: give its daemon --mac")]
    Address(String),
    /// The packet cannot be sent.
    #[error("cannot send a packet to wake {mac} to {to}")]
    Send {
        /// The hardware address.
        mac: String,
        /// Where it was sent.
        to: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Reads `aa:bb:cc:dd:ee:ff`; also with dashes.
pub fn parse(text: &str) -> Result<[u8; 6], WakeError> {
    let wrong = || WakeError::Address(text.to_owned());
    let mut bytes = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        let part = parts
            .next()
            .filter(|part| part.len() == 2)
            .ok_or_else(wrong)?;
        let is_hex = part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        *byte = is_hex.then_some(value).ok_or_else(wrong)?;
    }
    match parts.next() {
        None => Ok(bytes),
        Some(_) => Err(wrong()),
    }
}

/// Six bytes of ones, then the address sixteen times.
fn packet(mac: [u8; 6]) -> [u8; 102] {
    let mut packet = [0xff; 102];
    for part in packet[6..].chunks_exact_mut(mac.len()) {
        part.copy_from_slice(&mac);
    }
    packet
}

/// Calls a machine, some times in a row, in all networks of this one.
///
/// # Errors
///
/// If the address is none, or no network takes the packet. Whether the machine hears it, nobody
/// tells.
pub async fn wake(mac: &str) -> Result<(), WakeError> {
    let packet = packet(parse(mac)?);
    let mut targets = interface::broadcast_addresses();
    if targets.is_empty() {
        targets.push(Ipv4Addr::BROADCAST);
    }
    for time in 0..TIMES {
        if time > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let mut sent = targets.iter().map(|target| send(&packet, *target));
        // One network is enough: nobody knows in which the machine is.
        let mut last = sent.next();
        for next in sent {
            if last.as_ref().is_none_or(Result::is_err) {
                last = Some(next);
            }
        }
        if let Some(Err((to, source))) = last {
            return Err(WakeError::Send {
                mac: mac.to_owned(),
                to,
                source,
            });
        }
    }
    Ok(())
}

fn send(packet: &[u8], target: Ipv4Addr) -> Result<(), (SocketAddr, std::io::Error)> {
    let to = SocketAddr::from((target, PORT));
    let send = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_broadcast(true)?;
        socket.send_to(packet, to).map(drop)
    };
    send().map_err(|source| (to, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_six_bytes_of_ones_and_the_address_sixteen_times() {
        let mac = [0x00, 0x1b, 0x21, 0xab, 0xcd, 0xef];
        let packet = packet(mac);
        assert_eq!(packet[..6], [0xff; 6]);
        assert!(packet[6..].chunks(6).all(|part| part == mac));
        assert_eq!(packet[6..].chunks(6).count(), 16);
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let mac = [0x00, 0x1b, 0x21, 0xab, 0xcd, 0xef];
        for text in ["00:1b:21:ab:cd:ef", "00-1B-21-AB-CD-EF"] {
            assert_eq!(parse(text).unwrap(), mac);
        }
        for text in [
            "",
            "00:1b:21:ab:cd",
            "00:1b:21:ab:cd:ef:00",
            "0:1b:21:ab:cd:ef",
            "+0:1b:21:ab:cd:ef",
            "gg:1b:21:ab:cd:ef",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains("--mac"), "{error}");
        }
    }
}
