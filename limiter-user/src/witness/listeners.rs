//! Listening sockets of guarded ports, and how full their queues are: the kernel
//! tells over `sock_diag`, as it tells `ss`.

use std::{collections::BTreeMap, io};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_LISTEN},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

/// Room for one answer of a dump: the kernel fills at most this much at once.
const ANSWER_BYTES: usize = 1 << 16;

/// One listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// Its port.
    pub(super) port: u16,
    /// Its number on this host, for as long as it lives.
    pub(super) inode: u32,
    /// Connections that wait to be accepted.
    pub(super) accept_queue: u32,
    /// Handshakes that are not complete, of all listeners of the port.
    pub(super) syn_queue: u32,
    /// How long either may get.
    pub(super) backlog: u32,
    /// Packets that it dropped since it listens, its queues being full or memory short.
    pub(super) drops: u32,
}

/// Returns the listening sockets of this network namespace.
///
/// # Errors
///
/// When the kernel does not tell.
pub(super) fn listeners() -> io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    let mut handshakes: BTreeMap<u16, u32> = BTreeMap::new();
    for family in [AF_INET, AF_INET6] {
        dump(family, |response| {
            let port = response.header.socket_id.source_port;
            if response.header.state == TCP_LISTEN {
                found.push(listener(&response));
            } else {
                *handshakes.entry(port).or_default() += 1;
            }
        })?;
    }
    for listener in &mut found {
        listener.syn_queue = handshakes.get(&listener.port).copied().unwrap_or(0);
    }
    Ok(found)
}

fn listener(response: &InetResponse) -> Listener {
    let header = &response.header;
    let drops = response.nlas.iter().find_map(|nla| match nla {
        Nla::MemInfo(memory) => Some(memory.drops),
        _ => None,
    });
    Listener {
        port: header.socket_id.source_port,
        inode: header.inode,
        accept_queue: header.recv_queue,
        syn_queue: 0,
        backlog: header.send_queue,
        drops: drops.unwrap_or(0),
    }
}

/// Asks for listeners and incomplete handshakes of a family.
fn dump(family: u8, mut take: impl FnMut(InetResponse)) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request(family), 0)?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES);
    loop {
        answer.clear();
        socket.recv(&mut answer, 0)?;
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            let len = message.header.length as usize;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => take(*response),
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            // Messages begin at multiples of four.
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        }
    }
}

fn request(family: u8) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::SKMEMINFO,
        states: StateFlags::LISTEN | StateFlags::SYN_RECV,
        socket_id: if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() },
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A listener is found with the connection that waits in its queue, in both families.
    #[test]
    fn a_waiting_connection_is_seen() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let server = TcpListener::bind(address).unwrap();
            let port = server.local_addr().unwrap().port();
            let _client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
            let found = listeners().unwrap();
            let found: Vec<_> = found.iter().filter(|listener| listener.port == port).collect();
            assert_eq!(found.len(), 1, "{address}");
            assert_eq!((found[0].accept_queue, found[0].drops), (1, 0));
            assert!(found[0].backlog >= 1 && found[0].inode > 0);
        }
    }
}
