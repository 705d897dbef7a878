//! A filter in the kernel that spares events about other connections the way to us.
//!
//! Classic BPF on the socket, by the ports of a [`Guard`](super::Guard): the
//! kernel then neither queues nor counts as lost what nobody asked for. The
//! attributes of an event lie at fixed places (`ctnetlink_conntrack_event` of
//! `net/netfilter/nf_conntrack_netlink.c`): original tuple, its addresses, its
//! protocol. Where they do not, everything passes: the parser looks again.

use socket2::SockFilter;

use super::message::{DESTINATION_PORT, PROTOCOL_NUMBER, TCP};

/// Opcodes of `include/uapi/linux/bpf_common.h`.
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// What the filter answers: the whole message, or none of it.
const PASS: u32 = u32::MAX;
const SKIP: u32 = 0;
/// Where `nfgen_family` is.
const FAMILY: u32 = 16;
/// `AF_INET` and `AF_INET6`.
const INET: u32 = 2;
const INET6: u32 = 10;
/// Where the attribute of the protocol's number begins behind two addresses of each family.
const V4_PROTOCOL: u32 = 48;
const V6_PROTOCOL: u32 = 72;
/// From there to the attribute of the destination port: two attributes of eight bytes.
const TO_PORT: u32 = 16;
/// In an attribute: its type, its value.
const TYPE: u32 = 2;
const VALUE: u32 = 4;
/// Ports that a filter is made for; with more, all of TCP passes. A choice, far below `BPF_MAXINSNS`.
const PORTS_MAX: usize = 512;

/// Returns a filter that passes events about TCP to these ports.
#[must_use]
pub fn program(ports: &[u16]) -> Vec<SockFilter> {
    let mut program = vec![SockFilter::new(LOAD_BYTE, 0, 0, FAMILY)];
    for (family, protocol) in [(INET, V4_PROTOCOL), (INET6, V6_PROTOCOL)] {
        let block = block(protocol, ports);
        // An offset of a conditional jump has one byte: jump over a jump that has four.
        program.push(SockFilter::new(JUMP_IF_EQUAL, 1, 0, family));
        program.push(jump(block.len()));
        program.extend(block);
        // Only the first block may follow the other: each ends in an answer.
    }
    program.push(SockFilter::new(RETURN, 0, 0, PASS));
    program
}

/// `BPF_JA` over so many instructions.
fn jump(instructions: usize) -> SockFilter {
    const JUMP: u16 = 0x05;
    SockFilter::new(JUMP, 0, 0, u32::try_from(instructions).unwrap_or(0))
}

/// Answers for one family.
fn block(protocol: u32, ports: &[u16]) -> Vec<SockFilter> {
    let port = protocol + TO_PORT;
    let mut block = vec![
        SockFilter::new(LOAD_HALF, 0, 0, protocol + TYPE),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, loaded(PROTOCOL_NUMBER)),
        SockFilter::new(RETURN, 0, 0, PASS),
        SockFilter::new(LOAD_BYTE, 0, 0, protocol + VALUE),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, u32::from(TCP)),
        SockFilter::new(RETURN, 0, 0, SKIP),
        SockFilter::new(LOAD_HALF, 0, 0, port + TYPE),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, loaded(DESTINATION_PORT)),
        SockFilter::new(RETURN, 0, 0, PASS),
        SockFilter::new(LOAD_HALF, 0, 0, port + VALUE),
    ];
    if ports.len() > PORTS_MAX {
        block.push(SockFilter::new(RETURN, 0, 0, PASS));
        return block;
    }
    for wanted in ports {
        block.push(SockFilter::new(JUMP_IF_EQUAL, 0, 1, u32::from(*wanted)));
        block.push(SockFilter::new(RETURN, 0, 0, PASS));
    }
    block.push(SockFilter::new(RETURN, 0, 0, SKIP));
    block
}

/// Returns what a load, which is big-endian, finds where the kernel wrote a number of the host's order.
fn loaded(number: u16) -> u32 {
    u32::from(u16::from_be_bytes(number.to_ne_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A filter has room for every port asked for, and gives up sorting where they are too many.
    #[test]
    fn programs_are_bounded() {
        /// `BPF_MAXINSNS`.
        const INSTRUCTIONS_MAX: usize = 4096;
        let ports: Vec<u16> = (1..=1_000).collect();
        assert!(program(&ports[..PORTS_MAX]).len() < INSTRUCTIONS_MAX);
        assert!(program(&ports).len() < program(&ports[..20]).len());
    }
}
