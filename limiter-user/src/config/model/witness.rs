//! What the witness watches, as it is meant.

use std::{net::SocketAddr, time::Duration};

use serde::Serialize;

/// Ports of other mail servers that mail is sent to.
const OUTBOUND_PORTS: [u16; 3] = [25, 465, 587];

/// What the witness watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WitnessSettings {
    /// Whether it does at all.
    pub enabled: bool,
    /// When a server that has not spoken counts as silent, from the handshake.
    pub silent_after: Duration,
    /// Ports of others to which connections of this host are mail.
    pub outbound_ports: Vec<u16>,
}

impl Default for WitnessSettings {
    fn default() -> Self {
        // Greet delays take seconds; a server that lets a client wait longer is likely to be stuck.
        let silent_after = Duration::from_secs(10);
        Self { enabled: true, silent_after, outbound_ports: OUTBOUND_PORTS.to_vec() }
    }
}

/// Something that the mail server needs: authentication, a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub addresses: Vec<SocketAddr>,
}
