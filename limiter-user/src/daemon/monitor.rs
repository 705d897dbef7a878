//! Listens for changes of the host's network: interfaces, addresses, default
//! routes. What changed is not taken from the messages but looked at anew, so a
//! message lost (the kernel says that some were) costs nothing.

use std::{future::Future, io, time::Duration};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use tokio::time::sleep;

use super::{Daemon, Handle};
use crate::host::local_addresses;

/// Multicast groups, `enum rtnetlink_groups` of `include/uapi/linux/rtnetlink.h`: links, addresses
/// and routes of both families.
const GROUPS: [u32; 5] = [1, 5, 7, 9, 11];
/// How long further messages are waited for before looking: one change of an interface makes a
/// dozen of them. A choice: short beside the second in which an interface has to be guarded again.
const SETTLE: Duration = Duration::from_millis(100);
/// How long to wait after an error that does not go away by itself.
const RETRY: Duration = Duration::from_secs(5);

/// A socket that hears of changes.
pub struct Monitor {
    socket: TokioSocket,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

impl Monitor {
    /// Begins to listen, in the network namespace of the caller.
    ///
    /// # Errors
    ///
    /// When the kernel has no such socket for us.
    pub fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        for group in GROUPS {
            socket.socket_mut().add_membership(group)?;
        }
        Ok(Self { socket })
    }

    /// Waits until something has changed that matters here.
    ///
    /// # Errors
    ///
    /// When the socket fails.
    pub async fn changed(&self) -> io::Result<()> {
        loop {
            match self.socket.recv_from_full().await {
                Ok((bytes, _)) if matters(&bytes) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    tracing::info!(
                        "the kernel had more news of the network than there was room for; looking anew"
                    );
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Throws away what is waiting: it is looked at anew anyway.
    fn drain(&self) {
        while self.socket.socket_ref().recv_from_full().is_ok() {}
    }
}

/// Looks at the network whenever it changes, until `stopped`.
pub async fn watch(monitor: Monitor, handle: Handle, stopped: impl Future<Output = ()> + Send) {
    let watching = async {
        loop {
            if let Err(error) = monitor.changed().await {
                tracing::warn!(%error, "changes of the network are not heard of");
                sleep(RETRY).await;
                continue;
            }
            sleep(SETTLE).await;
            monitor.drain();
            if handle
                .ask(|daemon: &mut Daemon, now| daemon.look_at_network(local_addresses(), now))
                .await
                .is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        () = stopped => {}
        () = watching => {}
    }
}

/// Whether a datagram tells of an interface, an address or a default route; in doubt it does.
fn matters(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) else { return true };
        match message.payload {
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
            ) if route.header.destination_prefix_length != 0 => {}
            _ => return true,
        }
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::NetlinkHeader;
    use netlink_packet_route::{link::LinkMessage, route::RouteMessage};

    use super::*;

    fn datagram(messages: Vec<RouteNetlinkMessage>) -> Vec<u8> {
        let written = messages.into_iter().flat_map(|message| {
            let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
            message.finalize();
            let mut bytes = vec![0; message.buffer_len()];
            message.serialize(&mut bytes);
            bytes
        });
        written.collect()
    }

    fn route(prefix_len: u8) -> RouteNetlinkMessage {
        let mut route = RouteMessage::default();
        route.header.destination_prefix_length = prefix_len;
        RouteNetlinkMessage::NewRoute(route)
    }

    /// A route to a network is nothing to look at the host for; a default route, an interface and what
    /// cannot be read is, alone and behind others.
    #[test]
    fn routes_to_networks_do_not_matter() {
        assert!(!matters(&datagram(vec![route(24)])));
        assert!(!matters(&datagram(vec![route(24), route(64)])));
        assert!(matters(&datagram(vec![route(0)])));
        assert!(matters(&datagram(vec![route(24), route(0)])));
        assert!(matters(&datagram(vec![route(24), RouteNetlinkMessage::DelLink(LinkMessage::default())])));
        assert!(matters(&[7; 20]));
    }
}
