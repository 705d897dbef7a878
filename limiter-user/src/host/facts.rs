//! Facts of the host as the kernel tells them: its release, addresses, settings that limiter acts upon.

use std::{collections::BTreeSet, fs, io, net::IpAddr};

use nix::{ifaddrs::getifaddrs, sys::utsname::uname};

/// Where the kernel says how it treats TCP Fast Open.
const FAST_OPEN: &str = "/proc/sys/net/ipv4/tcp_fastopen";
/// The bit of it that lets servers accept data in a SYN.
const FAST_OPEN_SERVER: u32 = 2;

/// Facts that do not change while the daemon runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The release of the kernel.
    pub kernel: String,
}

impl Host {
    /// Reads them; what cannot be read is empty.
    #[must_use]
    pub fn read() -> Self {
        let kernel =
            uname().map_or_else(|_| String::new(), |names| names.release().to_string_lossy().into_owned());
        Self { kernel }
    }
}

/// Returns the addresses of all interfaces, each once.
///
/// # Errors
///
/// When the kernel does not tell.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let addresses = getifaddrs()?.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    Ok(addresses.collect::<BTreeSet<_>>().into_iter().collect())
}

/// Returns whether servers accept data in a SYN, which proves nothing about its source.
#[must_use]
pub fn server_fast_open() -> bool {
    let setting = fs::read_to_string(FAST_OPEN).ok().and_then(|text| text.trim().parse::<u32>().ok());
    setting.is_some_and(|bits| bits & FAST_OPEN_SERVER != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The host has a loopback address at least, and every address once.
    #[test]
    fn own_addresses_are_found() {
        let addresses = local_addresses().unwrap();
        assert!(addresses.is_sorted());
        assert_eq!(addresses.len(), addresses.iter().collect::<BTreeSet<_>>().len());
    }

    /// The kernel has a release.
    #[test]
    fn kernel_is_named() {
        assert!(Host::read().kernel.contains('.'));
    }
}
