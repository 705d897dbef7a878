//! Prefixes as people write them: `192.0.2.0/24`, `2001:db8::/32`, or one address.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// Why a text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// It is neither an address nor an address with a length.
    #[error("`{0}` is no prefix")]
    Malformed(String),
    /// The length is too large for the address.
    #[error("`{text}` has a length above {limit}")]
    Length {
        /// What was written.
        text: String,
        /// The greatest length of the family.
        limit: u8,
    },
    /// Bits after the length are set.
    #[error("`{text}` has host bits set; the prefix is {meant}")]
    HostBits {
        /// What was written.
        text: String,
        /// The prefix without them.
        meant: IpNet,
    },
}

/// Reads a prefix or a single address; v4-mapped ones become IPv4.
///
/// # Errors
///
/// When the text is no prefix, or has host bits set.
pub fn parse(text: &str) -> Result<IpNet, PrefixError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(canonical(IpNet::from(address)));
    }
    let malformed = || PrefixError::Malformed(text.to_owned());
    let (address, length) = text.split_once('/').ok_or_else(malformed)?;
    let address: IpAddr = address.parse().map_err(|_| malformed())?;
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let limit = if address.is_ipv4() { 32 } else { 128 };
    let prefix = length
        .parse()
        .ok()
        .and_then(|length| IpNet::new(address, length).ok())
        .ok_or_else(|| PrefixError::Length { text: text.to_owned(), limit })?;
    if prefix.addr() != prefix.network() {
        return Err(PrefixError::HostBits { text: text.to_owned(), meant: canonical(prefix) });
    }
    Ok(canonical(prefix))
}

/// Returns the prefix without host bits, and as IPv4 if it is v4-mapped.
#[must_use]
pub fn canonical(prefix: IpNet) -> IpNet {
    let prefix = prefix.trunc();
    let IpNet::V6(v6) = prefix else { return prefix };
    let (Some(v4), Some(length)) = (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) else {
        return prefix;
    };
    // The length is at most 32: 96 was taken off.
    Ipv4Net::new(v4, length).unwrap_or_else(|_| Ipv4Net::from(Ipv4Addr::UNSPECIFIED)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each way of writing a prefix, and what it means.
    #[test]
    fn prefixes_are_read_as_written() {
        for (text, meant) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::/0", "::/0"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(parse(text).map(|prefix| prefix.to_string()), Ok(meant.to_owned()), "{text}");
        }
    }

    /// Each way of getting it wrong, and what the error says.
    #[test]
    fn mistakes_are_named() {
        for (text, says) in [
            ("192.0.2.7/24", "`192.0.2.7/24` has host bits set; the prefix is 192.0.2.0/24"),
            ("2001:db8::1/64", "`2001:db8::1/64` has host bits set; the prefix is 2001:db8::/64"),
            ("192.0.2.0/33", "`192.0.2.0/33` has a length above 32"),
            ("2001:db8::/129", "`2001:db8::/129` has a length above 128"),
            ("192.0.2.0/+24", "`192.0.2.0/+24` is no prefix"),
            ("192.0.2.0/", "`192.0.2.0/` is no prefix"),
            ("192.0.2", "`192.0.2` is no prefix"),
            ("mail.example.org", "`mail.example.org` is no prefix"),
            ("", "`` is no prefix"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), says);
        }
    }
}
