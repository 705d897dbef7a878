//! A daemon that dies, is replaced or finds what does not fit: no gap, no count lost.
//!
//! | module | what it shows |
//! | --- | --- |
//! | `deaths` | ten kills under load; what is attached goes on, and for how long |
//! | `upgrades` | a stop that keeps everything, pins that do not fit, pins of others |
//! | `keys` | prefix lengths and ports change under open connections |
//! | `leftovers` | a stop and a cleanup leave nothing |
#![forbid(unsafe_code)]

mod deaths;
mod keys;
mod leftovers;
mod upgrades;

use std::net::SocketAddr;
use std::time::Duration;

use limiter_tests::client::{Burst, Target};
use limiter_tests::daemon::Daemon;
use limiter_tests::server::{BANNER, Server};
use limiter_tests::veth::Bed;

/// How long a condition may take on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where the server listens.
const SMTP: u16 = 25;
/// What a source may have open.
const LIMIT: usize = 12;
const CONFIG: &str = r#"
mode = "enforce"
interfaces = ["srv0"]
[[service]]
name = "smtp"
ports = [25]
connections_per_source = 12
"#;

/// Where the client reaches the server.
fn target(bed: &Bed) -> SocketAddr {
    SocketAddr::new(bed.client().server_ipv4(), SMTP)
}

/// A server that greets.
fn greeter(bed: &Bed) -> Server {
    Server::plan(target(bed)).banner(BANNER).listen(&bed.server)
}

/// Opens so many connections from the first client at once.
fn connect(bed: &Bed, count: usize) -> Burst {
    Burst::connect(&bed.client().namespace, &Target::greeting(target(bed)), count)
}

/// How many connections there are by source, from a recount made for it.
fn by_source(daemon: &Daemon<'_>) -> Vec<u64> {
    let top = daemon.ctl_json(&["top"]);
    top["sources"].as_array().expect("sources").iter().filter_map(|s| s["open"].as_u64()).collect()
}

/// One source holds so many connections, and recounts have nothing to correct.
#[track_caller]
fn assert_one_source_holds(daemon: &Daemon<'_>, wanted: u64) {
    assert_eq!(daemon.open("smtp"), wanted);
    for _ in 0..3 {
        assert_eq!(by_source(daemon), [wanted], "one source holds all");
    }
    daemon.assert_sound();
}
