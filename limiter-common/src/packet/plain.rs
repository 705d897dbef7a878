//! The usual shape of a TCP segment, without a walk: untagged Ethernet, then IPv4 without options
//! or IPv6 without extension headers.
//!
//! Every header is where it always is, so that one comparison with the end of the frame is enough.
//! Tags are left to the walk: known here too, they cost every frame more than they save theirs.

use super::{Bytes, PROTO_TCP, Segment, Tcp, ethernet, ip};
use crate::addr::Family;

const IP: u32 = ethernet::HEADER_LEN;
const TCP_V4: u32 = IP + ip::IPV4_LEN;
const TCP_V6: u32 = IP + ip::IPV6_LEN;
/// Version 4, and a header of five words.
const IPV4_PLAIN: u8 = 0x45;

/// Returns the segment in a frame of the usual shape and its TCP header; `None` for all others,
/// whether or not they have one.
#[inline(always)]
pub fn plain(bytes: &impl Bytes) -> Option<(Segment, Tcp)> {
    // What lies furthest back comes first: the compiler leaves out the comparisons for what lies before it.
    let at_v4 = Tcp(bytes.load(TCP_V4)?);
    match u16::from_be_bytes(bytes.load(ethernet::TYPE_OFFSET)?) {
        ethernet::IPV4 => {
            let [version_ihl, _, len_0, len_1, _, _, frag_0, frag_1]: [u8; 8] = bytes.load(IP)?;
            let [proto] = bytes.load(IP + 9)?;
            let is_whole = u16::from_be_bytes([frag_0, frag_1]) & ip::IPV4_FRAGMENT == 0;
            let end = IP + u32::from(u16::from_be_bytes([len_0, len_1]));
            let segment = Segment { family: Family::V4, ip: IP, tcp: TCP_V4, end };
            let is_plain =
                version_ihl == IPV4_PLAIN && proto == PROTO_TCP && is_whole && segment.holds(&at_v4);
            is_plain.then_some((segment, at_v4))
        }
        ethernet::IPV6 => {
            let tcp = Tcp(bytes.load(TCP_V6)?);
            let [version, _, _, _, len_0, len_1, next, _]: [u8; 8] = bytes.load(IP)?;
            let end = TCP_V6 + u32::from(u16::from_be_bytes([len_0, len_1]));
            let segment = Segment { family: Family::V6, ip: IP, tcp: TCP_V6, end };
            (version >> 4 == 6 && next == PROTO_TCP && segment.holds(&tcp)).then_some((segment, tcp))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    use super::super::{Stop, link, segment};
    use super::*;

    /// What the walk through all headers finds.
    fn walked(bytes: &[u8]) -> Result<(Segment, Tcp), Stop> {
        let segment = segment::<4>(&bytes, link(&bytes)?)?;
        Ok((segment, segment.header(&bytes)?))
    }

    /// A frame of the usual shape, behind so many tags.
    fn frame(is_v6: bool, tags: usize) -> Vec<u8> {
        let mut frame = vec![0; if is_v6 { 90 } else { 70 }];
        frame[12..14].copy_from_slice(if is_v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
        let (tcp, proto) = if is_v6 { (54, 20) } else { (34, 23) };
        frame[14] = if is_v6 { 0x60 } else { IPV4_PLAIN };
        frame[if is_v6 { 19 } else { 17 }] = if is_v6 { 36 } else { 56 };
        frame[proto] = PROTO_TCP;
        frame[tcp + 12] = 0x50;
        for _ in 0..tags {
            frame.splice(12..12, [0x81, 0, 0, 5]);
        }
        frame
    }

    /// The usual shape is found without a walk, in either family.
    #[test]
    fn usual_frames_are_plain() {
        for is_v6 in [false, true] {
            let frame = frame(is_v6, 0);
            assert_eq!(plain(&frame.as_slice()), Some(walked(&frame).unwrap()), "IPv6: {is_v6}");
        }
    }

    proptest! {
        /// Whatever the bytes are: what is taken for plain is what the walk finds.
        #[test]
        fn plain_frames_are_what_the_walk_finds(
            is_v6: bool,
            tags in 0_usize..4,
            changes in prop::collection::vec((12_usize..70, any::<u8>()), 0..4),
            len in 50_usize..100,
        ) {
            let mut frame = frame(is_v6, tags);
            for (at, byte) in changes {
                if let Some(place) = frame.get_mut(at) {
                    *place = byte;
                }
            }
            frame.truncate(len);
            if let Some(found) = plain(&frame.as_slice()) {
                prop_assert_eq!(walked(&frame), Ok(found));
            }
        }
    }
}
