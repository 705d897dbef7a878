//! Totals of the network stack that carry no address: queues of listeners,
//! the backlog of the CPUs, interfaces.

use std::{fs, io};

/// Counters of TCP, in pairs of lines: names, then values.
const NETSTAT: &str = "/proc/net/netstat";
/// One line per CPU, in hexadecimal; the second number is what its backlog dropped.
const SOFTNET: &str = "/proc/net/softnet_stat";
/// One line per interface after two lines of heads.
const DEVICES: &str = "/proc/net/dev";
/// The column of dropped packets among those of received ones.
const DEVICE_DROPS: usize = 3;

/// Totals since the host, or its network namespace, exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections that found the queue of their listener full.
    pub accept_queue_overflows: u64,
    /// SYNs that found the queue of their listener full, answered with a cookie or dropped.
    pub syn_queue_overflows: u64,
    /// Packets that a CPU dropped, its backlog being full.
    pub softnet_drops: u64,
    /// Packets that an interface dropped, by name.
    pub interface_drops: Vec<(String, u64)>,
}

impl Totals {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// When the kernel does not show them.
    pub(super) fn read() -> io::Result<Self> {
        let tcp = fs::read_to_string(NETSTAT)?;
        let count = |name| tcp_counter(&tcp, name).unwrap_or(0);
        Ok(Self {
            accept_queue_overflows: count("ListenOverflows"),
            syn_queue_overflows: count("TCPReqQFullDoCookies") + count("TCPReqQFullDrop"),
            softnet_drops: softnet_drops(&fs::read_to_string(SOFTNET)?),
            interface_drops: interface_drops(&fs::read_to_string(DEVICES)?),
        })
    }
}

fn tcp_counter(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        if let Some(at) = names.split(' ').position(|candidate| candidate == name) {
            return values.split(' ').nth(at)?.parse().ok();
        }
    }
    None
}

fn softnet_drops(text: &str) -> u64 {
    let dropped = |line: &str| u64::from_str_radix(line.split_ascii_whitespace().nth(1)?, 16).ok();
    text.lines().filter_map(dropped).sum()
}

fn interface_drops(text: &str) -> Vec<(String, u64)> {
    let interface = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let drops = numbers.split_ascii_whitespace().nth(DEVICE_DROPS)?.parse().ok()?;
        Some((name.trim().to_owned(), drops))
    };
    text.lines().filter_map(interface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counters are found by their names, wherever a kernel puts them.
    #[test]
    fn counters_are_found_by_name() {
        let text = "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 7 3\nIpExt: InOctets\nIpExt: 9\n";
        assert_eq!(tcp_counter(text, "ListenOverflows"), Some(3));
        assert_eq!(tcp_counter(text, "InOctets"), Some(9));
        assert_eq!(tcp_counter(text, "TCPReqQFullDrop"), None);
    }

    /// Drops of every CPU count, and each interface has its own.
    #[test]
    fn drops_without_an_address_are_found() {
        assert_eq!(softnet_drops("000a 00000010 0\n000b 00000001 0\n"), 17);
        let text = "Inter-| Receive\n face |bytes packets errs drop fifo\n  eth0: 100 2 0 5 0 0\n    lo: 1 1 0 0 0 0\n";
        assert_eq!(interface_drops(text), [("eth0".to_owned(), 5), ("lo".to_owned(), 0)]);
    }

    /// The running kernel shows them.
    #[test]
    fn totals_are_read() {
        assert!(Totals::read().unwrap().interface_drops.iter().any(|(name, _)| name == "lo"));
    }
}
