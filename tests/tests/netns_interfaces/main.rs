//! Interfaces as they are: several, that come and go, and that others have programs on.
//!
//! | module | what it shows |
//! | --- | --- |
//! | `changes` | links that vanish and return, a default route that moves, a reload, a program taken off |
//! | `tc` | behind a foreign XDP program, by TCX and by a filter; nothing is left behind |
#![forbid(unsafe_code)]

mod changes;
mod tc;

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use limiter_common::names;
use limiter_tests::daemon::Daemon;
use limiter_tests::netns::Namespace;
use limiter_tests::server::Server;
use limiter_tests::veth::{Bed, Client};
use limiter_tests::wait;
use serde_json::Value;

/// Few connections, so that each says something.
const LIMIT: u32 = 2;
const SMTP: u16 = 25;
/// How long a client waits for a greeting: a refusal takes far less.
const CLIENT_TIME: Duration = Duration::from_secs(2);
/// How long an interface that came back may be unguarded.
const GUARD_TIME: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);

/// A configuration in `enforce`, with what `interfaces` and `attach` are to be; without the breaker, since
/// here every source is refused.
fn config(interfaces: &str, attach: &str) -> String {
    format!(
        "mode = \"enforce\"\ninterfaces = {interfaces}\nattach = \"{attach}\"\n[[service]]\nname = \"smtp\"\n\
         ports = [{SMTP}]\nconnections_per_source = {LIMIT}\n[breaker]\nenabled = false\n"
    )
}

/// A server that greets, on both families.
fn greeter(bed: &Bed) -> Server {
    let anywhere: SocketAddr = ([0_u16; 8], SMTP).into();
    Server::plan(anywhere).dual_stack().banner(b"220 ready\r\n").listen(&bed.server)
}

fn connect(client: &Client, server: IpAddr) -> io::Result<TcpStream> {
    client.namespace.run(|| {
        let mut stream = TcpStream::connect_timeout(&(server, SMTP).into(), CLIENT_TIME)?;
        stream.set_read_timeout(Some(CLIENT_TIME))?;
        stream.read_exact(&mut [0; 4])?;
        Ok(stream)
    })
}

/// Opens as many connections as the limit allows, over IPv4 and over IPv6.
#[track_caller]
fn fill(client: &Client) -> Vec<TcpStream> {
    let servers = [client.server_ipv4(), client.server_ipv6()];
    let connect = |server| connect(client, server).unwrap_or_else(|e| panic!("{server} lets it in: {e}"));
    servers.into_iter().flat_map(|server| (0..LIMIT).map(move |_| server)).map(connect).collect()
}

/// Connects over both families, which must end in a reset.
#[track_caller]
fn refused(client: &Client) {
    for server in [client.server_ipv4(), client.server_ipv6()] {
        let kind = connect(client, server).map(|_| ()).map_err(|e| e.kind());
        let reset = matches!(kind, Err(io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset));
        assert!(reset, "{server} refuses by a reset: {kind:?}");
    }
}

/// SYNs that were refused as they arrived.
fn refused_at_syn(daemon: &Daemon<'_>) -> u64 {
    let labels = [("verdict", "refuse"), ("point", "syn"), ("reason", "connections_per_source")];
    daemon.count("limiter_packets_total", &labels)
}

/// What status says of an interface.
fn attachment(daemon: &Daemon<'_>, interface: &str) -> Value {
    let status = daemon.ctl_json(&["status"]);
    let attachments = status["attachments"].as_array().expect("attachments");
    let found = attachments.iter().find(|attachment| attachment["interface"] == interface);
    found.cloned().unwrap_or(Value::Null)
}

/// How an interface is guarded.
fn mode(daemon: &Daemon<'_>, interface: &str) -> String {
    attachment(daemon, interface)["mode"].as_str().unwrap_or("absent").to_owned()
}

/// Waits until an interface is guarded in this way.
#[track_caller]
fn wait_mode(daemon: &Daemon<'_>, interface: &str, wanted: &str) -> Duration {
    let what = format!("the mode of {interface}");
    wait::until_eq(&what, &wanted.to_owned(), GUARD_TIME, || mode(daemon, interface))
}

/// Waits until the daemon knows the addresses of the server: they come after their interface, by a command of
/// their own.
#[track_caller]
fn wait_addresses(daemon: &Daemon<'_>, server: &Namespace) {
    let count = |n: usize| f64::from(u32::try_from(n).expect("a count fits"));
    let there = || count(server.output("ip", &["-oneline", "address", "show"]).lines().count());
    let known = || {
        daemon.metric("limiter_map_fill_ratio", &[("map", "local_addresses")]) * count(names::LOCAL_ADDRESSES)
    };
    wait::until("the addresses of the server are known", GUARD_TIME, || (known() - there()).abs() < 0.5);
}

/// The id of the XDP program on a device.
fn xdp_program(bed: &Bed, device: &str) -> Option<String> {
    let shown = bed.server.output("ip", &["link", "show", "dev", device]);
    let mut words = shown.split_whitespace().skip_while(|word| !word.starts_with("prog/xdp")).skip(2);
    words.next().map(ToOwned::to_owned)
}
