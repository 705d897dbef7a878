//! TCP servers that keep count of the connections they hold.
//!
//! A server keeps every descriptor it accepted until it is told to close some,
//! whatever the clients do: what a mail server does while it works for a
//! client that has left. It counts how many it holds and the most it ever held.

mod plan;

use std::collections::VecDeque;
use std::io::{PipeReader, PipeWriter, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub use plan::Plan;

use crate::netns::Namespace;
use crate::wait;

/// What an SMTP server says first.
pub const BANNER: &[u8] = b"220 test ESMTP\r\n";

/// A listening server; it stops, and closes everything, when dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    held: Arc<Mutex<Held>>,
    // The accepting thread holds a duplicate.
    listener: Option<TcpListener>,
    worker: Option<(JoinHandle<()>, PipeWriter)>,
}

#[derive(Debug, Default)]
struct Held {
    streams: VecDeque<TcpStream>,
    accepted: usize,
    most: usize,
}

impl Server {
    /// Accepts everything at `address`, says nothing, queues up to 4096.
    #[must_use]
    pub fn plan(address: SocketAddr) -> Plan {
        Plan::new(address)
    }

    /// Accepts everything at `address` in `namespace` and greets with [`BANNER`].
    #[must_use]
    pub fn greeting(namespace: &Namespace, address: SocketAddr) -> Self {
        Self::plan(address).banner(BANNER).listen(namespace)
    }

    /// How many connections it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.lock().streams.len()
    }

    /// The most connections it ever held at once.
    #[must_use]
    pub fn most(&self) -> usize {
        self.lock().most
    }

    /// How many connections it accepted, closed ones included.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.lock().accepted
    }

    /// Waits until it holds exactly `wanted` connections and returns how long that took.
    #[expect(clippy::must_use_candidate, reason = "most tests wait and do not measure")]
    #[track_caller]
    pub fn wait_held(&self, wanted: usize, deadline: Duration) -> Duration {
        let what = format!("the number of connections held at {}", self.address);
        wait::until_eq(&what, &wanted, deadline, || self.held())
    }

    /// Closes the `count` oldest connections.
    #[track_caller]
    pub fn close(&self, count: usize) {
        drop(self.take(count));
    }

    /// Hands out the `count` oldest connections, which it counts no longer.
    #[track_caller]
    #[must_use]
    pub fn take(&self, count: usize) -> Vec<TcpStream> {
        let mut held = self.lock();
        let there = held.streams.len();
        assert!(count <= there, "{count} connections wanted, {there} held");
        held.streams.drain(..count).collect()
    }

    /// Closes the listener, and with it what was queued and not accepted; keeps what it holds.
    pub fn stop_listening(&mut self) {
        if let Some((worker, stop)) = self.worker.take() {
            drop(stop);
            if worker.join().is_err() {
                eprintln!("the server at {} panicked", self.address);
            }
        }
        self.listener = None;
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("the accepting thread does not panic")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_listening();
    }
}

/// Accepts until the other end of `stopped` is closed.
fn accept_all(listener: &TcpListener, stopped: &PipeReader, held: &Mutex<Held>, banner: &[u8]) {
    loop {
        let mut ready = [
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut ready, PollTimeout::NONE).expect("polling a listener and a pipe");
        if ready[1].any() == Some(true) {
            return;
        }
        // An error is one connection that died in the queue, or an empty queue.
        while let Ok((mut stream, _)) = listener.accept() {
            // Counted first: a client that was greeted is among those held.
            let mut held = held.lock().expect("the test does not panic with the lock held");
            held.accepted += 1;
            let greeted = stream.write_all(banner);
            held.streams.push_back(stream);
            held.most = held.most.max(held.streams.len());
            drop(held);
            if let Err(e) = greeted {
                // Held all the same: a server does not know before it reads.
                eprintln!("no banner for a client that has left: {e}");
            }
        }
    }
}
