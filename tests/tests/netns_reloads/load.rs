//! The load: a thread that completes handshakes in flight, then connects for real, over and over.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use limiter_tests::client::reset_on_close;
use limiter_tests::frame::Flags;
use limiter_tests::raw::{Handshakes, Shape};
use limiter_tests::server::Server;
use limiter_tests::veth::{Bed, Client};

use crate::policies::{PORT, Policies};

/// Handshakes in flight at a time, over all sources of one family.
const IN_FLIGHT: u16 = 64;
/// How long answers to SYNs may take: a SYN that is lost is no loss here.
const ANSWER_TIME: Duration = Duration::from_millis(200);
/// How long a connect may take.
const CLIENT_TIME: Duration = Duration::from_millis(500);
/// Connects over either family between two sets of handshakes.
const CONNECTS: u32 = 200;

/// What became of the load.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    connects: BTreeMap<String, u64>,
    handshakes: u64,
    accepted: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connects, handshakes, accepted } = self;
        write!(f, "{handshakes} handshakes in flight, connects {connects:?}, {accepted} accepted")
    }
}

/// Ends the load, also when the work panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does some work under load, and returns what became of both.
pub(crate) fn during<T>(bed: &Bed, policies: &Policies, work: impl FnOnce() -> T) -> (T, Tally) {
    let anywhere: SocketAddr = ([0_u16; 8], PORT).into();
    let server = Server::plan(anywhere).dual_stack().listen(&bed.server);
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let load =
            scope.spawn(|| bed.client().namespace.run(|| go_on(bed.client(), &server, policies, &stopped)));
        let stop = Stop(&stopped);
        let done = work();
        drop(stop);
        (done, load.join().expect("the load does not panic"))
    })
}

fn go_on(client: &Client, server: &Server, policies: &Policies, stopped: &AtomicBool) -> Tally {
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = policies.ghosts.iter().partition(|ghost| ghost.is_ipv4());
    let mut tally = Tally::default();
    while !stopped.load(Ordering::Relaxed) {
        for (address, sources) in [(client.server_ipv4(), &v4), (client.server_ipv6(), &v6)] {
            let target = SocketAddr::new(address, PORT);
            handshakes(client, target, sources);
            tally.handshakes += u64::from(IN_FLIGHT);
            for _ in 0..CONNECTS {
                let outcome =
                    connect(target).map_or_else(|e| format!("{:?}", e.kind()), |()| "done".to_owned());
                *tally.connects.entry(outcome).or_default() += 1;
            }
        }
        // Only this thread closes: what is held now is there to be closed.
        server.close(server.held());
    }
    tally.accepted = server.accepted();
    tally
}

/// Connects, and resets the connection: thousands of closed ones would use up the local ports.
fn connect(server: SocketAddr) -> io::Result<()> {
    let stream = TcpStream::connect_timeout(&server, CLIENT_TIME)?;
    reset_on_close(&stream);
    Ok(())
}

/// Sends a set of SYNs, completes what is answered and resets it.
fn handshakes(client: &Client, target: SocketAddr, sources: &[IpAddr]) {
    let mut set = Handshakes::prepare(client, target, sources, IN_FLIGHT);
    set.send_syns();
    set.wait_for(ANSWER_TIME, |h| h.server_isn.is_some() || h.reset.is_some());
    set.complete(&Shape::Ack);
    set.send_each(|handshake| Some(handshake.segment(Flags::RST | Flags::ACK)));
}
