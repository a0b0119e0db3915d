//! `/etc/hosts` as a gang sees it.
//!
//! Libraries for collective work look up the machine's own name to find the interface to use.
//! Most systems answer with a loopback address there, which other nodes cannot reach. So the
//! processes of a gang see a copy of the file in which every node of it has its address.

use std::net::IpAddr;

use lote_model::allocation::GangMember;

/// The file for the node with `rank`. `machine` is the file as it is, `host_name` the machine's
/// own name, which may differ from the node's. Members whose address is itself a name are left to
/// the machine's own ways of looking names up.
pub(super) fn gang_hosts(machine: &str, host_name: &str, gang: &[GangMember], rank: u32) -> String {
    let own = usize::try_from(rank).ok().and_then(|rank| gang.get(rank));
    let knows_own = own.is_some_and(|member| address(member).is_some());
    let mut text = String::new();
    for line in machine.lines() {
        match without_loopback(line, host_name).filter(|_| knows_own) {
            Some(line) => text.push_str(&line),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    for (member, of) in gang.iter().zip(0..) {
        let Some(address) = address(member) else {
            continue;
        };
        let machine_name = (of == rank && member.node.as_str() != host_name).then_some(host_name);
        let names = std::iter::once(member.node.as_str()).chain(machine_name);
        let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
        text.push_str(&[&address.to_string(), "\t", &names.join(" "), "\n"].concat());
    }
    text
}

fn address(member: &GangMember) -> Option<IpAddr> {
    member.address.parse().ok()
}

/// A loopback line without the name; none for a line that does not give it one.
fn without_loopback(line: &str, host_name: &str) -> Option<String> {
    let content = line.split('#').next().unwrap_or_default();
    let mut fields = content.split_whitespace();
    let address = fields.next()?.parse::<IpAddr>().ok()?;
    let names: Vec<&str> = fields.collect();
    if !address.is_loopback() || !names.contains(&host_name) {
        return None;
    }
    let others: Vec<&str> = names
        .into_iter()
        .filter(|name| *name != host_name)
        .collect();
    Some(if others.is_empty() {
        String::new()
    } else {
        format!("{address}\t{}", others.join(" "))
    })
}

#[cfg(test)]
mod tests {
    use lote_model::id::NodeName;

    use super::*;

    const MACHINE: &str = "127.0.0.1\tlocalhost\n127.0.1.1 box box.lan # own\n::1 localhost box\n";

    fn gang(addresses: &[&str]) -> Vec<GangMember> {
        let member = |(index, address): (usize, &&str)| GangMember {
            node: NodeName::new(format!("n{index}")),
            address: (*address).to_owned(),
        };
        addresses.iter().enumerate().map(member).collect()
    }

    #[test]
    fn every_node_has_its_address_and_the_machine_no_loopback() {
        let text = gang_hosts(MACHINE, "box", &gang(&["10.0.0.1", "10.0.0.2"]), 1);
        assert_eq!(
            text,
            "127.0.0.1\tlocalhost\n127.0.1.1\tbox.lan\n::1\tlocalhost\n\
             10.0.0.1\tn0\n10.0.0.2\tn1 box\n"
        );
    }

    #[test]
    fn a_machine_known_by_name_only_keeps_its_file() {
        let text = gang_hosts(MACHINE, "box", &gang(&["box.lan", "10.0.0.2"]), 0);
        assert_eq!(text, format!("{MACHINE}10.0.0.2\tn1\n"));
    }
}
