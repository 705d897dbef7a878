//! `limiterctl` and the HTTP side against the live daemon, on a veth.
//!
//! | module | what it shows |
//! | --- | --- |
//! | `access` | who may ask and who may change |
//! | `rules` | allow, deny, remove and list are in effect at once |
//! | `views` | status, top, drops and check say what is so, and change nothing |
//! | `follow` | `top --follow`, in a pipe and on a terminal |
//! | `policy` | modes and reloads: a bad one leaves the policy in force |
//! | `privileges` | what the daemon may do is what it needs |
//! | `http` | metrics and health |
//! | `lifecycle` | attaching, a second daemon, an ordered stop |
#![forbid(unsafe_code)]

mod access;
mod follow;
mod http;
mod lifecycle;
mod policy;
mod privileges;
mod rules;
mod views;

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Output;
use std::time::Duration;

use limiter_tests::daemon::Daemon;
use limiter_tests::server::Server;
use limiter_tests::veth::{Bed, Client};
use limiter_tests::wait;

/// The limit of most tests here: few connections, so that each says something.
const LIMIT: u32 = 2;
/// Where the server listens.
const SMTP: u16 = 25;
/// How long a client waits for a greeting: a refusal takes far less.
const CLIENT_TIME: Duration = Duration::from_secs(2);
/// How long the kernel may take to free the slot of a closed connection.
const RELEASE_TIME: Duration = Duration::from_secs(5);

/// A daemon's configuration with [`LIMIT`], in `enforce`.
fn config() -> String {
    format!(
        "mode = \"enforce\"\ninterfaces = [\"srv0\"]\n[[service]]\nname = \"smtp\"\nports = [{SMTP}]\n\
         connections_per_source = {LIMIT}\n"
    )
}

/// A server that greets, on both families.
fn greeter(bed: &Bed, port: u16) -> Server {
    let anywhere: SocketAddr = ([0_u16; 8], port).into();
    Server::plan(anywhere).dual_stack().banner(b"220 ready\r\n").listen(&bed.server)
}

/// Connects from a client's namespace and waits for the greeting.
fn connect_to(client: &Client, server: IpAddr, port: u16) -> io::Result<TcpStream> {
    client.namespace.run(|| {
        let mut stream = TcpStream::connect_timeout(&(server, port).into(), CLIENT_TIME)?;
        stream.set_read_timeout(Some(CLIENT_TIME))?;
        stream.read_exact(&mut [0; 4])?;
        Ok(stream)
    })
}

/// Connects to the mail port over IPv4.
fn connect(client: &Client) -> io::Result<TcpStream> {
    connect_to(client, client.server_ipv4(), SMTP)
}

/// Connects, which must succeed.
#[track_caller]
fn accepted(client: &Client) -> TcpStream {
    connect(client).unwrap_or_else(|e| panic!("{} is let in: {e}", client.ipv4()))
}

/// Connects, which must end in a reset.
#[track_caller]
fn refused(client: &Client) {
    let kind = connect(client).map(|_| ()).map_err(|e| e.kind());
    let reset = matches!(kind, Err(io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset));
    assert!(reset, "{} is refused by a reset: {kind:?}", client.ipv4());
}

/// Opens as many connections as the limit allows.
#[track_caller]
fn fill(client: &Client) -> Vec<TcpStream> {
    (0..LIMIT).map(|_| accepted(client)).collect()
}

/// Waits until no connection is charged any more.
#[track_caller]
fn wait_empty(daemon: &Daemon<'_>) {
    wait::until_eq("open connections", &0, RELEASE_TIME, || daemon.open("smtp"));
}

/// Runs `limiterctl`, which must fail with `code`; returns what it said.
#[track_caller]
fn fails(daemon: &Daemon<'_>, arguments: &[&str], code: i32) -> String {
    let output: Output = daemon.ctl(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "limiterctl {arguments:?}: {said}");
    said
}

/// A client's address, as one types it.
fn address(client: &Client) -> String {
    client.ipv4().to_string()
}
