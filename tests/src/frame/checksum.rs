//! The Internet checksum (RFC 1071) and its pseudo-headers.

use std::net::IpAddr;

/// Returns the checksum to write over `bytes` whose checksum field is zero.
///
/// Over bytes that hold their checksum it returns 0 if that is right.
#[must_use]
pub fn internet(bytes: &[u8]) -> u16 {
    finish(sum(bytes))
}

/// Returns the checksum of a transport header and payload, pseudo-header included.
#[must_use]
pub fn transport(source: IpAddr, destination: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    let addresses = match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => sum(&s.octets()) + sum(&d.octets()),
        (IpAddr::V6(s), IpAddr::V6(d)) => sum(&s.octets()) + sum(&d.octets()),
        _ => panic!("one packet has one address family"),
    };
    let length = u64::try_from(segment.len()).expect("a segment fits in an IP packet");
    finish(addresses + u64::from(protocol) + length + sum(segment))
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|c| u64::from(u16::from_be_bytes([c[0], c.get(1).copied().unwrap_or(0)]))).sum()
}

fn finish(mut sum: u64) -> u16 {
    // Four additions fold the carries of any 64-bit sum.
    for _ in 0..4 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("the carries are folded")
}

#[cfg(test)]
mod tests {
    use super::internet;

    /// The worked example of RFC 1071, section 3: the sum is ddf2.
    #[test]
    fn matches_the_example_of_rfc_1071() {
        assert_eq!(internet(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    /// An odd last byte counts as the upper half of a word.
    #[test]
    fn pads_an_odd_length_with_zero() {
        assert_eq!(internet(&[0x12]), internet(&[0x12, 0x00]));
    }
}
