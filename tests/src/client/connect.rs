//! The connecting itself: one CPU, one epoll, every connect decided once.

use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};

use super::{Attempt, Outcome, Target};
use crate::host;

/// Longest greeting that is read.
const GREETING_BYTES_MAX: usize = 512;
/// Events fetched at a time.
const EVENTS: usize = 256;

/// A connect on its way: undecided while it has no outcome.
struct Connect {
    started: Instant,
    stream: Option<TcpStream>,
    decided: Option<(Outcome, Duration)>,
}

/// Connects on one CPU, all before the first answer is looked at.
pub(super) fn connect_some(
    target: &Target<'_>,
    indices: impl Iterator<Item = usize>,
    cpu: usize,
    together: &Barrier,
) -> Vec<Attempt> {
    host::stay_on(cpu);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("one more descriptor");
    together.wait();
    let end = Instant::now() + target.deadline;
    let mut connects: Vec<Connect> = Vec::new();
    for n in indices {
        let connect = Connect::start(target, n);
        if let Some(stream) = &connect.stream {
            let interest = EpollFlags::EPOLLOUT | EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
            let event = EpollEvent::new(interest, connects.len() as u64);
            epoll.add(stream, event).expect("polling a socket");
        }
        connects.push(connect);
    }
    let mut undecided = connects.iter().filter(|c| c.decided.is_none()).count();
    let mut events = [EpollEvent::empty(); EVENTS];
    while undecided > 0 {
        let Some(left) = end.checked_duration_since(Instant::now()) else {
            break;
        };
        let timeout = EpollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(EpollTimeout::MAX);
        let ready = match epoll.wait(&mut events, timeout) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => continue,
            Err(e) => panic!("waiting for {undecided} connects: {e}"),
        };
        for event in &events[..ready] {
            let n = usize::try_from(event.data()).expect("an index");
            undecided -= usize::from(connects[n].decide(target.greeted));
        }
    }
    connects.into_iter().map(Connect::finish).collect()
}

impl Connect {
    fn start(target: &Target<'_>, n: usize) -> Self {
        let started = Instant::now();
        match open(target, n) {
            Ok(stream) => Self { started, stream: Some(stream), decided: None },
            Err(e) => {
                let decided = Some((failure(&e.into()), started.elapsed()));
                Self { started, stream: None, decided }
            }
        }
    }

    /// Looks at a connect that had an event; true if that decides it.
    fn decide(&mut self, greeted: bool) -> bool {
        let (Some(stream), None) = (&mut self.stream, &self.decided) else {
            return false;
        };
        self.decided = outcome(stream, greeted).map(|outcome| (outcome, self.started.elapsed()));
        self.decided.is_some()
    }

    fn finish(self) -> Attempt {
        let Self { started, stream, decided } = self;
        let (outcome, took) = decided.unwrap_or_else(|| {
            let connected = stream.as_ref().is_some_and(|s| s.peer_addr().is_ok());
            (if connected { Outcome::Connected } else { Outcome::TimedOut }, started.elapsed())
        });
        let open = matches!(outcome, Outcome::Greeted(_) | Outcome::Connected);
        Attempt { outcome, took, stream: stream.filter(|_| open) }
    }
}

fn open(target: &Target<'_>, n: usize) -> nix::Result<TcpStream> {
    let family = if target.server.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let kind = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, kind, None)?;
    if !target.sources.is_empty() {
        let source = SocketAddr::new(target.sources[n % target.sources.len()], 0);
        bind(socket.as_raw_fd(), &SockaddrStorage::from(source))?;
    }
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(target.server)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket.into()),
        Err(e) => Err(e),
    }
}

/// The outcome of a connect that had an event, or `None` while it has none.
fn outcome(stream: &mut TcpStream, greeted: bool) -> Option<Outcome> {
    match stream.take_error() {
        Ok(None) => {}
        Ok(Some(e)) | Err(e) => return Some(failure(&e)),
    }
    let mut greeting = [0; GREETING_BYTES_MAX];
    match stream.read(&mut greeting) {
        Ok(0) => Some(Outcome::Closed),
        Ok(length) => Some(Outcome::Greeted(greeting[..length].to_vec())),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => (!greeted).then_some(Outcome::Connected),
        Err(e) => Some(failure(&e)),
    }
}

fn failure(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Outcome::Refused,
        io::ErrorKind::ConnectionReset => Outcome::Reset,
        io::ErrorKind::TimedOut => Outcome::TimedOut,
        kind => Outcome::Failed(kind),
    }
}
