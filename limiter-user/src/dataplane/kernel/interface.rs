//! Facts about network interfaces: which one the default route uses, what kind
//! one is, which XDP program it has.

use std::{fs, io};

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage, LinkXdp, XdpAttached},
};

use super::netlink;

/// Destination of the default route in `/proc/net/route`, and its column.
const DEFAULT_V4: &str = "00000000";
/// Destination of the default route in `/proc/net/ipv6_route`.
const DEFAULT_V6: &str = "00000000000000000000000000000000";

/// What limiter wants to know of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interface {
    /// Its index.
    pub(super) index: u32,
    /// Whether it is one end of a veth pair.
    pub(super) is_veth: bool,
    /// The id of the XDP program on it.
    pub(super) xdp_program: Option<u32>,
    /// Whether that is attached in the network stack.
    pub(super) is_generic: bool,
}

/// Looks up an interface.
pub(super) fn look_up(name: &str) -> io::Result<Interface> {
    let mut request = LinkMessage::default();
    request.attributes.push(LinkAttribute::IfName(name.to_owned()));
    match netlink::ask(RouteNetlinkMessage::GetLink(request), 0)? {
        Some(RouteNetlinkMessage::NewLink(link)) => Ok(facts(&link)),
        other => Err(io::Error::other(format!("unexpected answer from the kernel: {other:?}"))),
    }
}

fn facts(link: &LinkMessage) -> Interface {
    let mut interface = Interface { index: link.header.index, ..Interface::default() };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Xdp(xdp) => {
                interface.xdp_program = program_of(xdp);
                interface.is_generic = xdp.contains(&LinkXdp::Attached(XdpAttached::SocketBuffer));
            }
            LinkAttribute::LinkInfo(infos) => {
                interface.is_veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth));
            }
            _ => {}
        }
    }
    interface
}

fn program_of(xdp: &[LinkXdp]) -> Option<u32> {
    xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) if *id != 0 => Some(*id),
        _ => None,
    })
}

/// Returns the interface of the default route of this network namespace.
pub(super) fn of_default_route() -> io::Result<String> {
    let v4 = fs::read_to_string("/proc/thread-self/net/route")?;
    let v6 = fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap_or_default();
    default_v4(&v4).or_else(|| default_v6(&v6)).ok_or_else(|| io::Error::other("there is no default route"))
}

fn default_v4(table: &str) -> Option<String> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let (name, destination) = (columns.next()?, columns.next()?);
        let mask = columns.nth(5)?;
        (destination == DEFAULT_V4 && mask == DEFAULT_V4).then(|| name.to_owned())
    })
}

fn default_v6(table: &str) -> Option<String> {
    table.lines().find_map(|line| {
        let mut columns = line.split_whitespace();
        let (destination, prefix_len) = (columns.next()?, columns.next()?);
        let name = columns.next_back()?;
        (destination == DEFAULT_V6 && prefix_len == "00" && name != "lo").then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The route to everywhere names the interface; routes to networks do not.
    #[test]
    fn the_default_route_is_found() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth1\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert_eq!(default_v4(table).as_deref(), Some("eth0"));
        assert_eq!(default_v4("Iface\tDestination\n"), None);
    }

    /// The same for IPv6; the kernel's own default route over `lo` (no route) does not count.
    #[test]
    fn the_default_route_of_ipv6_is_found() {
        let zeroes = "0".repeat(32);
        let no_route = format!("{zeroes} 00 {zeroes} 00 {zeroes} ffffffff 00000001 00000000 00200200 lo\n");
        let route = format!("{zeroes} 00 {zeroes} 00 fe80 00000400 00000003 00000000 00450003 eth0\n");
        assert_eq!(default_v6(&format!("{no_route}{route}")).as_deref(), Some("eth0"));
        assert_eq!(default_v6(&no_route), None);
    }

    /// Loopback exists everywhere, is no veth, and has index 1.
    #[test]
    fn loopback_is_found() {
        let lo = look_up("lo").unwrap();
        assert_eq!(lo, Interface { index: 1, ..Interface::default() });
        assert!(look_up("no-such-if").is_err());
    }
}
