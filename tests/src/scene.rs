//! The scene that most suites about the daemon play in: a mail port on the first client's link, a
//! server that holds what it accepts, and that client.

use std::net::SocketAddr;

use crate::client::{Burst, Target};
use crate::server::{BANNER, Server};
use crate::veth::Bed;

/// The port that [`server`] listens on.
pub const SMTP: u16 = 25;

/// A configuration that enforces a limit on [`SMTP`], on the links of so many clients.
///
/// It ends with the service, for tests that have more to say of it.
#[must_use]
pub fn policy(clients: usize, connections_per_source: usize) -> String {
    let interfaces: Vec<String> = (0..clients).map(|n| format!("srv{n}")).collect();
    format!(
        "mode = \"enforce\"\ninterfaces = {interfaces:?}\n[[service]]\nname = \"smtp\"\nports = [{SMTP}]\n\
         connections_per_source = {connections_per_source}\n"
    )
}

/// The policy for one client, with nothing that could suspend it: all sources of such a scene are
/// refused, for which the circuit breaker would open.
#[must_use]
pub fn config(connections_per_source: usize) -> String {
    policy(1, connections_per_source).replacen("[[service]]", "[breaker]\nenabled = false\n[[service]]", 1)
}

/// Where the first client reaches the server.
#[must_use]
pub fn address(bed: &Bed) -> SocketAddr {
    SocketAddr::new(bed.client().server_ipv4(), SMTP)
}

/// Starts a server that greets and holds.
#[must_use]
#[track_caller]
pub fn server(bed: &Bed) -> Server {
    Server::plan(address(bed)).banner(BANNER).listen(&bed.server)
}

/// Tries so many connections of the first client at once; one counts as let in when it is greeted.
#[must_use]
#[track_caller]
pub fn connect(bed: &Bed, count: usize) -> Burst {
    Burst::connect(&bed.client().namespace, &Target::greeting(address(bed)), count)
}

/// Whether an XDP program is on the server's end of the first client's link.
#[must_use]
#[track_caller]
pub fn has_xdp(bed: &Bed) -> bool {
    bed.server.output("ip", &["link", "show", "dev", "srv0"]).contains("xdp")
}
