//! Thousands of clients at once.
//!
//! [`Burst::connect`] starts all its connects from both cores at the same
//! moment and waits until each is decided: greeted, connected, refused, reset
//! or out of time. The connections stay open until the burst is dropped.

mod connect;

use std::fmt;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use crate::host;
use crate::netns::Namespace;

/// Threads that connect, one for each of the first CPUs.
const THREADS: usize = 2;

/// How a connect ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server spoke.
    Greeted(Vec<u8>),
    /// The handshake is done, as far as the client can tell, and the server has not spoken.
    Connected,
    /// `ECONNREFUSED`: a reset answered the SYN.
    Refused,
    /// `ECONNRESET`: a reset came after the SYN-ACK.
    Reset,
    /// The server closed without a word.
    Closed,
    /// Nothing came by the deadline.
    TimedOut,
    /// Any other error.
    Failed(io::ErrorKind),
}

/// One connect and what became of it.
#[derive(Debug)]
pub struct Attempt {
    /// How it ended.
    pub outcome: Outcome,
    /// From the start of the connect to its outcome.
    pub took: Duration,
    /// The connection, unless it was refused.
    pub stream: Option<TcpStream>,
}

/// What to connect to, and what to wait for; see [`Burst::connect`].
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// Where to.
    pub server: SocketAddr,
    /// Local addresses, used in turn; the kernel chooses if there is none.
    pub sources: &'a [IpAddr],
    /// Whether a connect is decided only when the server has spoken.
    pub greeted: bool,
    /// When to stop waiting.
    pub deadline: Duration,
}

/// Many connects that were started at once.
pub struct Burst {
    /// One for each connect.
    pub attempts: Vec<Attempt>,
}

impl fmt::Debug for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.attempts.iter().map(|a| (&a.outcome, a.took))).finish()
    }
}

impl<'a> Target<'a> {
    /// A server that speaks first, from the address the kernel chooses, within 10 s.
    #[must_use]
    pub fn greeting(server: SocketAddr) -> Self {
        Self { server, sources: &[], greeted: true, deadline: Duration::from_secs(10) }
    }

    /// A server that says nothing.
    #[must_use]
    pub fn silent(server: SocketAddr) -> Self {
        Self { greeted: false, ..Self::greeting(server) }
    }

    /// Connects from these addresses in turn.
    #[must_use]
    pub fn from(self, sources: &'a [IpAddr]) -> Self {
        Self { sources, ..self }
    }

    /// Waits no longer than this.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }
}

impl Burst {
    /// Starts `count` connects in `namespace` at once and waits for every outcome.
    #[must_use]
    pub fn connect(namespace: &Namespace, target: &Target<'_>, count: usize) -> Self {
        host::raise_descriptor_limit();
        let together = Barrier::new(THREADS);
        let attempts = thread::scope(|scope| {
            let (together, target) = (&together, target);
            let half = |cpu: usize| {
                let indices = (cpu..count).step_by(THREADS);
                scope.spawn(move || namespace.run(|| connect::connect_some(target, indices, cpu, together)))
            };
            let threads: Vec<_> = (0..THREADS).map(half).collect();
            threads.into_iter().flat_map(|t| t.join().expect("a connecting thread does not panic")).collect()
        });
        Self { attempts }
    }

    /// How many ended like `outcome`.
    #[must_use]
    pub fn count(&self, outcome: impl Fn(&Outcome) -> bool) -> usize {
        self.attempts.iter().filter(|a| outcome(&a.outcome)).count()
    }

    /// How many the server greeted.
    #[must_use]
    pub fn greeted(&self) -> usize {
        self.count(|o| matches!(o, Outcome::Greeted(_)))
    }

    /// How many are connected as far as the client can tell, greeted or not.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.count(|o| matches!(o, Outcome::Greeted(_) | Outcome::Connected))
    }

    /// How many saw a reset, before or after the SYN-ACK.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.count(|o| matches!(o, Outcome::Refused | Outcome::Reset))
    }

    /// The longest time any attempt took.
    #[must_use]
    pub fn slowest(&self) -> Duration {
        self.attempts.iter().map(|a| a.took).max().unwrap_or_default()
    }

    /// How many connections neither side has closed or reset so far.
    #[must_use]
    pub fn open(&self) -> usize {
        // Non-blocking: "would block" is an open connection with nothing to say.
        let open = |stream: &TcpStream| match stream.peek(&mut [0]) {
            Ok(bytes) => bytes > 0,
            Err(e) => e.kind() == io::ErrorKind::WouldBlock,
        };
        self.attempts.iter().filter(|a| a.stream.as_ref().is_some_and(open)).count()
    }

    /// Closes the connections of the first `count` attempts that have one.
    pub fn close(&mut self, count: usize) {
        for attempt in self.attempts.iter_mut().filter(|a| a.stream.is_some()).take(count) {
            attempt.stream = None;
        }
    }
}

/// Makes the close of a socket a reset in place of a FIN.
#[track_caller]
pub fn reset_on_close(socket: &impl AsFd) {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(socket, sockopt::Linger, &at_once).expect("setting SO_LINGER");
}

/// Waits for what the server does next; returns 0 if it closes.
///
/// # Errors
///
/// When it does nothing for so long, or resets.
pub fn read_next(mut stream: &TcpStream, within: Duration) -> io::Result<usize> {
    stream.set_read_timeout(Some(within))?;
    stream.read(&mut [0])
}
