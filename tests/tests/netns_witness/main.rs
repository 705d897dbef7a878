//! The witness on the real kernel: what else drops packets, and servers that keep silent.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`drops`] | packets of live connections, dropped at every hook and by every policy |
//! | [`connections`] | retransmissions, upstreams, first bytes, silence |
//! | [`queues`] | listeners that overflow, ports without one |
#![forbid(unsafe_code)]

mod connections;
mod drops;
mod queues;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use limiter_tests::daemon::Daemon;
use limiter_tests::netns::Namespace;
use limiter_tests::veth::Bed;

/// How long a condition may take on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a peer may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The port of the guarded service, and of other mail servers.
const SMTP: u16 = 25;

/// A connection between a client's namespace and the server's, both ends in hand.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

impl Pair {
    /// Connects from one namespace to a listener in another.
    #[track_caller]
    fn connect(client: &Namespace, server: &Namespace, address: SocketAddr) -> Self {
        let listener = server.run(|| TcpListener::bind(address)).expect("a listener");
        let client = client.run(|| TcpStream::connect_timeout(&address, ANSWER)).expect("a connection");
        let (server, _) = listener.accept().expect("its other end");
        for end in [&client, &server] {
            end.set_read_timeout(Some(ANSWER)).expect("a time-out");
            end.set_nodelay(true).expect("no delay");
        }
        Self { client, server }
    }

    /// Sends a line each way.
    #[track_caller]
    fn talk(&mut self) {
        let mut line = [0; 5];
        self.server.write_all(b"220 \n").expect("the server speaks");
        self.client.read_exact(&mut line).expect("the client hears");
        self.client.write_all(b"NOOP\n").expect("the client speaks");
        self.server.read_exact(&mut line).expect("the server hears");
    }
}

/// A daemon that enforces on the first client's link, with more lines of configuration.
#[track_caller]
fn daemon<'a>(bed: &'a Bed, rest: &str) -> Daemon<'a> {
    let config = format!(
        "mode = \"enforce\"\ninterfaces = [\"srv0\"]\n[[service]]\nname = \"smtp\"\nports = [{SMTP}]\n{rest}"
    );
    Daemon::start(&bed.server, &config)
}

/// Where a family's server is on the first client's link.
fn server(bed: &Bed, v6: bool) -> IpAddr {
    if v6 { bed.client().server_ipv6() } else { bed.client().server_ipv4() }
}

/// Where a family's client is.
fn client(bed: &Bed, v6: bool) -> IpAddr {
    if v6 { bed.client().ipv6() } else { bed.client().ipv4() }
}

/// Loads a rule at a hook of netfilter, in a table of its own: [`let_pass`] removes it.
#[track_caller]
fn drop_at(namespace: &Namespace, hook: &str, rule: &str) {
    namespace.nft(&format!(
        "table inet test {{\n chain c {{\n type filter hook {hook} priority 0\n {rule}\n }}\n}}\n"
    ));
}

/// Removes the rule.
#[track_caller]
fn let_pass(namespace: &Namespace) {
    namespace.nft("delete table inet test\n");
}
