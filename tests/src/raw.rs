//! Handshakes in flight, from addresses that no host owns.
//!
//! On a veth a client's handshake completes inside one softirq, so ordinary
//! connects hardly overlap. Here all SYNs are answered before the first ACK is
//! sent, and each handshake is then completed in a [`Shape`] of the test's
//! choice. No host resets what it does not know, since the addresses are
//! static neighbours only ([`Client::add_ghosts`]).

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Mutex;
use std::time::{Duration, Instant};

mod handshake;

pub use handshake::{Handshake, Shape};

use crate::frame::{Reply, Tcp};
use crate::veth::Client;
use crate::wire::Wire;

/// How long the kernel may take to answer a batch; its own first retransmission comes after 1 s.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Source ports that sets of handshakes take in turn: above what servers listen on.
const PORTS: Range<u16> = 10_000..65_000;

/// A set of handshakes with one server.
pub struct Handshakes {
    all: Vec<Handshake>,
    by_client: HashMap<SocketAddr, usize>,
    server: SocketAddr,
    wire: Wire,
}

impl fmt::Debug for Handshakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.all).finish()
    }
}

impl Handshakes {
    /// Prepares `count` handshakes, spread over `sources`, and sends nothing.
    ///
    /// Each set has source ports of its own: what the server still holds of an
    /// earlier one is not in the way.
    #[must_use]
    pub fn prepare(client: &Client, server: SocketAddr, sources: &[IpAddr], count: u16) -> Self {
        static NEXT: Mutex<u16> = Mutex::new(PORTS.start);
        let mut next = NEXT.lock().expect("nothing panics with the lock held");
        let first_port = if count > PORTS.end.saturating_sub(*next) { PORTS.start } else { *next };
        *next = first_port.saturating_add(count);
        drop(next);
        Self::prepare_from(first_port, client, server, sources, count)
    }

    /// Prepares handshakes whose source ports begin at `first_port`.
    #[must_use]
    pub fn prepare_from(
        first_port: u16,
        client: &Client,
        server: SocketAddr,
        sources: &[IpAddr],
        count: u16,
    ) -> Self {
        client.add_ghosts(sources);
        let macs = (client.ghost_mac(), client.server_mac());
        let handshake = |n: u16| {
            let source = SocketAddr::new(sources[usize::from(n) % sources.len()], first_port + n);
            Handshake::new(macs, source, server, n)
        };
        let all: Vec<_> = (0..count).map(handshake).collect();
        let by_client = all.iter().enumerate().map(|(n, h)| (h.client, n)).collect();
        let wire = Wire::open(&client.namespace, &client.device());
        Self { all, by_client, server, wire }
    }

    /// Sends all SYNs and waits until each is answered by a SYN-ACK.
    #[must_use]
    #[track_caller]
    pub fn in_flight(client: &Client, server: SocketAddr, sources: &[IpAddr], count: u16) -> Self {
        let mut handshakes = Self::prepare(client, server, sources, count);
        handshakes.send_syns();
        let answered = handshakes.wait_for(ANSWER_TIME, |h| h.server_isn.is_some());
        assert_eq!(answered, usize::from(count), "every SYN is answered by a SYN-ACK");
        handshakes
    }

    /// Sends the SYN of every handshake, or once more.
    pub fn send_syns(&self) {
        for handshake in &self.all {
            self.wire.send(&handshake.frame(Tcp::syn().seq(handshake.isn)).to_bytes());
        }
    }

    /// Completes every handshake that has its SYN-ACK.
    pub fn complete(&mut self, shape: &Shape) {
        self.complete_some(0..self.all.len(), shape);
    }

    /// Completes some of the handshakes, by their order.
    ///
    /// The frames are written out first and then sent without a pause.
    pub fn complete_some(&mut self, which: Range<usize>, shape: &Shape) {
        let answered = || which.clone().filter(|&n| self.all[n].server_isn.is_some());
        let frames = answered().flat_map(|n| self.all[n].completion(shape));
        let bytes: Vec<_> = match shape {
            Shape::Fragments(chunk, _) => frames.flat_map(|frame| frame.to_fragments(*chunk)).collect(),
            _ => frames.map(|frame| frame.to_bytes()).collect(),
        };
        for bytes in &bytes {
            self.wire.send(bytes);
        }
        for handshake in self.all[which].iter_mut().filter(|h| h.server_isn.is_some()) {
            handshake.completed(shape);
        }
    }

    /// Sends a segment on every handshake that `tcp` makes one for.
    pub fn send_each(&mut self, tcp: impl Fn(&Handshake) -> Option<Tcp>) {
        for handshake in &mut self.all {
            if let Some(tcp) = tcp(handshake) {
                let taken = tcp.sequence_len();
                self.wire.send(&handshake.frame(tcp).to_bytes());
                handshake.advance(taken);
            }
        }
    }

    /// Reads until `met` holds for every handshake, or the time is up; returns for how many it holds.
    pub fn wait_for(&mut self, deadline: Duration, met: impl Fn(&Handshake) -> bool) -> usize {
        self.wait_until(deadline, |all| all.iter().all(&met));
        self.count(met)
    }

    /// Reads until `met` holds for the set and says whether it does in time.
    pub fn wait_until(&mut self, deadline: Duration, met: impl Fn(&[Handshake]) -> bool) -> bool {
        let end = Instant::now() + deadline;
        while !met(&self.all) {
            let Some(reply) = self.wire.receive_from(self.server, end) else {
                return met(&self.all);
            };
            self.note(reply);
        }
        true
    }

    /// Reads, and acknowledges what arrives, for the whole of `span`.
    pub fn hold(&mut self, span: Duration) {
        self.wait_until(span, |_| false);
    }

    /// For how many handshakes `met` holds.
    #[must_use]
    pub fn count(&self, met: impl Fn(&Handshake) -> bool) -> usize {
        self.all.iter().filter(|h| met(h)).count()
    }

    /// All handshakes, in the order of their ports.
    #[must_use]
    pub fn all(&self) -> &[Handshake] {
        &self.all
    }

    /// The socket they are sent from, for frames of other kinds.
    #[must_use]
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    fn note(&mut self, reply: Reply) {
        let Some(&n) = self.by_client.get(&reply.destination) else {
            return;
        };
        if let Some(answer) = self.all[n].note(reply) {
            self.wire.send(&answer.to_bytes());
        }
    }
}
