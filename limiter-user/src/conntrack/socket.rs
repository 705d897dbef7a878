//! The sockets of ctnetlink: one that hears of changes, and one per question.
//!
//! Questions have sockets of their own, so that an answer and the changes that
//! happen meanwhile are told apart, and the filter of the one is not in the way
//! of the other.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::{
    errno::Errno,
    sys::{
        socket::{MsgFlags, recv, setsockopt, sockopt},
        time::TimeVal,
    },
};
use socket2::SockRef;

use super::{
    filter,
    message::{self, Kind, Message, Messages},
};

/// `NFNLGRP_CONNTRACK_NEW`, `_UPDATE` and `_DESTROY`.
const GROUPS: [u32; 3] = [1, 2, 3];
/// Bytes of events that may wait. A choice: over a hundred milliseconds of 20,000 new connections a second; the kernel
/// doubles it, and takes the memory only while events wait.
const BUFFER_BYTES: usize = 16 << 20;
/// Bytes of the largest datagram: the kernel puts up to 32 KiB of an answer into one.
pub(super) const DATAGRAM_BYTES: usize = 64 << 10;
/// How long the kernel may take for a part of an answer, in seconds.
const ANSWER_S: i64 = 5;
/// Where the kernel lists netlink sockets of this namespace, with what each has lost.
const SOCKETS: &str = "/proc/thread-self/net/netlink";

/// What came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A datagram of so many bytes.
    Datagram(usize),
    /// Nothing is waiting.
    Nothing,
    /// There was no room for some of it.
    Overrun,
}

/// Hears of changes.
pub(super) struct Events {
    socket: Socket,
    port: u32,
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Events {
    /// Begins to hear of changes of entries to these ports, in the network namespace of the caller.
    pub(super) fn open(ports: &[u16]) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let port = socket.bind_auto()?.port_number();
        // Without CAP_NET_ADMIN there is what net.core.rmem_max allows.
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)
            .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &BUFFER_BYTES))?;
        let mut events = Self { socket, port };
        // First the filter: what came before it would be of any port.
        events.filter(ports)?;
        for group in GROUPS {
            events.socket.add_membership(group)?;
        }
        Ok(events)
    }

    /// Hears of other ports from here on.
    pub(super) fn filter(&mut self, ports: &[u16]) -> io::Result<()> {
        SockRef::from(&self.socket).attach_filter(&filter::program(ports))
    }

    /// Takes the next datagram without waiting for one.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            match recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => return Ok(Received::Datagram(length)),
                Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                Err(Errno::ENOBUFS) => return Ok(Received::Overrun),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns how many events found no room since the socket is there, if the kernel tells.
    pub(super) fn lost(&self) -> Option<u64> {
        lost(&fs::read_to_string(SOCKETS).ok()?, self.port)
    }
}

/// Reads the losses of the socket with this port out of the kernel's list.
fn lost(list: &str, port: u32) -> Option<u64> {
    // sk, Eth (the protocol), Pid (the port), Groups, Rmem, Wmem, Dump, Locks, Drops, Inode.
    let fields = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|fields| {
        let number = |at: usize| fields.get(at).and_then(|field: &&str| field.parse::<i64>().ok());
        number(1) == Some(NETLINK_NETFILTER as i64) && number(2) == Some(i64::from(port))
    })?;
    fields.get(8)?.parse().ok()
}

/// An answer of the kernel that comes in parts.
pub(super) struct Answer {
    socket: Socket,
    is_done: bool,
}

impl Answer {
    /// Asks for the whole table.
    pub(super) fn entries() -> io::Result<Self> {
        Self::to(message::GET)
    }

    /// Asks for the statistics of every CPU.
    pub(super) fn statistics() -> io::Result<Self> {
        Self::to(message::GET_STATS_CPU)
    }

    fn to(kind: u16) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_S, 0))?;
        socket.send(&message::request(kind), 0)?;
        Ok(Self { socket, is_done: false })
    }

    /// Takes the next part; returns whether there may be more.
    pub(super) fn next(&mut self, buffer: &mut [u8], mut take: impl FnMut(&Message<'_>)) -> io::Result<bool> {
        if self.is_done {
            return Ok(false);
        }
        let length = recv(self.socket.as_raw_fd(), buffer, MsgFlags::empty())?;
        for message in Messages(buffer.get(..length).unwrap_or_default()) {
            match message.kind {
                Kind::Done | Kind::Error(0) => self.is_done = true,
                Kind::Error(code) => return Err(io::Error::from_raw_os_error(code.saturating_neg())),
                _ => take(&message),
            }
        }
        Ok(!self.is_done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The losses are those of our socket: right protocol, right port.
    #[test]
    fn losses_are_found_in_the_list() {
        let list = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
                    0000000000000000 0   4242       00000000 0        0        0     2        7        1\n\
                    0000000000000000 12  -990       00000007 0        0        0     2        8        2\n\
                    0000000000000000 12  4242       00000007 512      0        0     2        129      3\n";
        assert_eq!(lost(list, 4242), Some(129));
        assert_eq!(lost(list, 4243), None);
        assert_eq!(lost("", 4242), None);
    }
}
