//! The scene that most suites about the daemon play in: a mail port on the first client's link, a
//! server that holds what it accepts, and that client.

use std::net::SocketAddr;

use crate::client::{Burst, Target};
use crate::server::{BANNER, Server};
use crate::veth::Bed;

/// The port that [`server`] listens on.
pub const SMTP: u16 = 25;

/// A configuration that enforces a limit on [`SMTP`], with nothing that could suspend it: all
/// sources of such a scene are refused, for which the circuit breaker would open.
#[must_use]
pub fn config(connections_per_source: usize) -> String {
    format!(
        "mode = \"enforce\"\ninterfaces = [\"srv0\"]\n[breaker]\nenabled = false\n[[service]]\nname = \"smtp\"\n\
         ports = [{SMTP}]\nconnections_per_source = {connections_per_source}\n"
    )
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
