//! How a server is to listen, and the socket made from that.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::sockopt::{Ipv6V6Only, ReuseAddr, ReusePort};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
};
use nix::{setsockopt_impl, sockopt_impl};

use super::{Server, accept_all};
use crate::host;
use crate::netns::Namespace;
use crate::wait;

sockopt_impl!(
    /// Seconds for which a handshake without data is not handed to the server.
    TcpDeferAccept,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    u32
);

/// The longest queue a namespace allows unless told otherwise (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// How long an address may still be taken.
const BIND_TIME: Duration = Duration::from_secs(2);

/// How a server listens; see [`Server::plan`].
#[derive(Clone, Debug)]
pub struct Plan {
    address: SocketAddr,
    backlog: i32,
    banner: Vec<u8>,
    accepting: bool,
    dual_stack: bool,
    defer_accept_s: u32,
    reuse_port: bool,
}

impl Plan {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            backlog: BACKLOG,
            banner: Vec::new(),
            accepting: true,
            dual_stack: false,
            defer_accept_s: 0,
            reuse_port: false,
        }
    }

    /// Sets the length of the accept queue.
    #[must_use]
    pub fn backlog(self, backlog: i32) -> Self {
        Self { backlog, ..self }
    }

    /// Says this to every client first.
    #[must_use]
    pub fn banner(self, banner: &[u8]) -> Self {
        Self { banner: banner.to_vec(), ..self }
    }

    /// Listens and never accepts: the kernel completes handshakes into the queue.
    #[must_use]
    pub fn never_accepting(self) -> Self {
        Self { accepting: false, ..self }
    }

    /// An IPv6 socket that takes IPv4 too, as v4-mapped addresses.
    #[must_use]
    pub fn dual_stack(self) -> Self {
        Self { dual_stack: true, ..self }
    }

    /// Waits for a client's data before the connection is handed over (`TCP_DEFER_ACCEPT`).
    #[must_use]
    pub fn defer_accept(self, seconds: u32) -> Self {
        Self { defer_accept_s: seconds, ..self }
    }

    /// Shares the port with other servers (`SO_REUSEPORT`).
    #[must_use]
    pub fn reuse_port(self) -> Self {
        Self { reuse_port: true, ..self }
    }

    /// Starts the server in `namespace`.
    #[must_use]
    pub fn listen(self, namespace: &Namespace) -> Server {
        host::raise_descriptor_limit();
        // A command that another thread starts holds a copy of every descriptor
        // until it runs: an earlier listener may outlive its close by that.
        let bound = namespace.run(|| {
            wait::until_some(BIND_TIME, || match self.listener() {
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => None,
                decided => Some(decided),
            })
        });
        let listener = bound
            .unwrap_or_else(|| Err(io::ErrorKind::AddrInUse.into()))
            .unwrap_or_else(|e| panic!("listening at {} in {}: {e}", self.address, namespace.name()));
        let address = listener.local_addr().expect("a listener has an address");
        let held = Arc::default();
        let worker = self.accepting.then(|| {
            let (stopped, stop) = io::pipe().expect("a pipe needs two descriptors");
            let (held, banner) = (Arc::clone(&held), self.banner);
            let listener = listener.try_clone().expect("duplicating a descriptor");
            (thread::spawn(move || accept_all(&listener, &stopped, &held, &banner)), stop)
        });
        Server { address, held, listener: Some(listener), worker }
    }

    fn listener(&self) -> io::Result<TcpListener> {
        let family = if self.address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let kind = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(family, SockType::Stream, kind, None)?;
        setsockopt(&socket, ReuseAddr, &true)?;
        if self.address.is_ipv6() {
            setsockopt(&socket, Ipv6V6Only, &!self.dual_stack)?;
        }
        if self.reuse_port {
            setsockopt(&socket, ReusePort, &true)?;
        }
        if self.defer_accept_s > 0 {
            setsockopt(&socket, TcpDeferAccept, &self.defer_accept_s)?;
        }
        bind(socket.as_raw_fd(), &SockaddrStorage::from(self.address))?;
        listen(&socket, Backlog::new(self.backlog)?)?;
        Ok(socket.into())
    }
}
