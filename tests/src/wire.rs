//! A packet socket on one device: frames out as they are, frames in as they came.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{RcvBufForce, SendTimeout, SndBuf};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::frame::Reply;
use crate::netns::Namespace;

/// Holds some ten thousand small frames: the default buffer loses all beyond 200.
const RECEIVE_BUFFER_BYTES: usize = 32 << 20;
/// Room for some 150 small frames. A veth's ring holds 256 and drops the rest
/// (`VETH_RING_SIZE`, `drivers/net/veth.c`): so the socket waits before that.
const SEND_BUFFER_BYTES: usize = 56 << 10;
/// How long a full ring may take to drain, in seconds.
const SEND_TIME_S: i64 = 10;
/// Longest frame that is read in full; loopback and segmentation offload have longer ones.
const FRAME_BYTES_MAX: usize = 65_600;

/// A packet socket bound to one device.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Wire {
    /// Opens a socket that sees every frame of `device` in `namespace` from now on.
    #[must_use]
    pub fn open(namespace: &Namespace, device: &str) -> Self {
        Self::with_protocol(namespace, device, Some(SockProtocol::EthAll))
    }

    /// Opens a socket that only sends: a flood is not slowed by its own answers.
    #[must_use]
    pub fn send_only(namespace: &Namespace, device: &str) -> Self {
        Self::with_protocol(namespace, device, None)
    }

    fn with_protocol(namespace: &Namespace, device: &str, protocol: Option<SockProtocol>) -> Self {
        let socket = namespace.run(|| {
            let kind = SockType::Raw;
            let socket = socket(AddressFamily::Packet, kind, SockFlag::SOCK_CLOEXEC, protocol)
                .unwrap_or_else(|e| panic!("opening a packet socket: {e}"));
            // The list of interfaces is the safe way to a link-layer address.
            let interfaces = getifaddrs().unwrap_or_else(|e| panic!("listing interfaces: {e}"));
            let link = interfaces
                .filter(|interface| interface.interface_name == device)
                .find_map(|interface| interface.address?.as_link_addr().copied())
                .unwrap_or_else(|| panic!("no device {device} in {}", namespace.name()));
            bind(socket.as_raw_fd(), &link).unwrap_or_else(|e| panic!("binding to {device}: {e}"));
            socket
        });
        setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER_BYTES)
            .and_then(|()| setsockopt(&socket, SndBuf, &SEND_BUFFER_BYTES))
            .and_then(|()| setsockopt(&socket, SendTimeout, &TimeVal::seconds(SEND_TIME_S)))
            .unwrap_or_else(|e| panic!("sizing the buffers of a packet socket: {e}"));
        Self { socket, buffer: vec![0; FRAME_BYTES_MAX] }
    }

    /// Sends one frame; on a veth it has met the receiver's stack when this
    /// returns, unless the receiver's NAPI is threaded or steered to another CPU.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty());
        assert_eq!(sent, Ok(frame.len()), "sending a frame of {} bytes", frame.len());
    }

    /// Returns the next frame, or `None` if there is none by `end`.
    ///
    /// Frames that the namespace itself sends are among them.
    pub fn receive(&mut self, end: Instant) -> Option<Vec<u8>> {
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => return Some(self.buffer[..length].to_vec()),
                Err(Errno::EAGAIN) => {}
                Err(e) => panic!("receiving a frame: {e}"),
            }
            let left = end.checked_duration_since(Instant::now())?;
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => panic!("polling a packet socket: {e}"),
            }
        }
    }

    /// Returns the next TCP segment from `source`, or `None` if there is none by `end`.
    pub fn receive_from(&mut self, source: SocketAddr, end: Instant) -> Option<Reply> {
        loop {
            let reply = Reply::parse(&self.receive(end)?);
            if let Some(reply) = reply.filter(|reply| reply.source == source) {
                return Some(reply);
            }
        }
    }
}
