//! Addresses and ports as tests like to write them.

use std::net::SocketAddr;

/// Whatever names an address and a port: a [`SocketAddr`] or its text.
pub trait Endpoint {
    /// The address and port that are meant.
    fn endpoint(self) -> SocketAddr;
}

impl Endpoint for SocketAddr {
    fn endpoint(self) -> SocketAddr {
        self
    }
}

impl Endpoint for &str {
    fn endpoint(self) -> SocketAddr {
        self.parse().unwrap_or_else(|e| panic!("{self:?} is not address:port: {e}"))
    }
}
