//! The SYN that `check` asks about.

use limiter_common::addr::{Addr, Family};

/// Port that the SYN pretends to come from; no decision looks at it.
const SOURCE_PORT: u16 = 40_000;
/// Length of the TCP header, in its upper four bits of words.
const DATA_OFFSET: u8 = 5 << 4;
const SYN: u8 = 0x02;
const TCP: u8 = 6;
const HOPS: u8 = 64;

/// Returns an Ethernet frame with a SYN; checksums are left out, since XDP does not look at them.
pub(super) fn syn(source: Addr, destination: Addr, port: u16) -> Vec<u8> {
    let mut frame = vec![0; 12];
    let (from, to) = (source.octets(), destination.octets());
    match destination.family() {
        Family::V4 => {
            frame.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0x40, 0, HOPS, TCP, 0, 0]);
            frame.extend(&from[12..]);
            frame.extend(&to[12..]);
        }
        Family::V6 => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, TCP, HOPS]);
            frame.extend(from);
            frame.extend(to);
        }
    }
    frame.extend(SOURCE_PORT.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0, DATA_OFFSET, SYN, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use limiter_common::packet::{link, segment};

    use super::*;

    /// The frame parses to the segment that was asked for, in both families.
    #[test]
    fn the_probe_is_a_syn_to_the_port() {
        for (from, to) in [("192.0.2.1", "198.51.100.2"), ("2001:db8::1", "2001:db8::2")] {
            let (from, to) =
                (Addr::from(from.parse::<IpAddr>().unwrap()), Addr::from(to.parse::<IpAddr>().unwrap()));
            let frame = syn(from, to, 25);
            let bytes = frame.as_slice();
            let segment = segment::<0>(&bytes, link(&bytes).unwrap()).unwrap();
            let tcp = segment.header(&bytes).unwrap();
            assert!(tcp.is_syn() && tcp.destination_port() == 25);
            assert_eq!((segment.source(&bytes), segment.destination(&bytes)), (Some(from), Some(to)));
            assert_eq!(segment.end as usize, frame.len());
        }
    }
}
