//! One handshake: what it sends in which shape, and what it makes of the answers.

use std::net::SocketAddr;

use crate::frame::{Extension, Flags, Frame, Mac, Reply, Tcp};

/// How a handshake is completed.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A bare ACK.
    Ack,
    /// One segment that acknowledges and carries data.
    AckWithData(Vec<u8>),
    /// A bare ACK and, right behind it, a segment with data.
    AckThenData(Vec<u8>),
    /// Completes and half-closes at once.
    FinAck,
    /// One segment with data, in fragments of this many bytes.
    ///
    /// 8 splits the TCP header, which IPv4 allows; over IPv6 the kernel drops a
    /// first fragment without the whole TCP header (RFC 8200, section 4.5).
    Fragments(usize, Vec<u8>),
    /// A bare ACK behind this many IPv6 destination options headers.
    OptionHeaders(usize),
    /// An ACK of a sequence number that the server never sent.
    ForgedAck,
    /// A bare ACK with a wrong checksum.
    BadChecksum,
    /// A reset in place of the ACK.
    Reset,
}

/// One handshake: what was sent, and what came back.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The claimed source.
    pub client: SocketAddr,
    /// The server's address and port.
    pub server: SocketAddr,
    /// Sequence number of the SYN.
    pub isn: u32,
    /// Sequence number of the SYN-ACK, once there was one.
    pub server_isn: Option<u32>,
    /// How many SYN-ACKs came; more than one means that the server still waits.
    pub syn_acks: u32,
    /// The first reset that came.
    pub reset: Option<Reply>,
    /// Whether the server closed its side.
    pub fin: bool,
    /// What the server said, in order.
    pub data: Vec<u8>,
    /// Every segment whose checksum was wrong.
    pub bad_checksums: u32,
    macs: (Mac, Mac),
    id: u16,
    next_seq: u32,
    next_ack: u32,
    completed: bool,
}

impl Handshake {
    /// The `n`th of a set: its sequence numbers and fragment identification follow from that.
    pub(super) fn new(macs: (Mac, Mac), client: SocketAddr, server: SocketAddr, n: u16) -> Self {
        // Far apart, so that no segment fits into another connection by chance.
        let isn = u32::from(n).wrapping_mul(0x9e37_79b9);
        Self {
            client,
            server,
            isn,
            server_isn: None,
            syn_acks: 0,
            reset: None,
            fin: false,
            data: Vec::new(),
            bad_checksums: 0,
            macs,
            id: n + 1,
            next_seq: isn,
            next_ack: 0,
            completed: false,
        }
    }

    /// A frame of this connection; sequence and acknowledgement are the segment's own.
    #[must_use]
    pub fn frame(&self, tcp: Tcp) -> Frame {
        Frame::tcp(self.client, self.server, tcp).between(self.macs.0, self.macs.1).id(self.id)
    }

    /// The next segment in order, with these flags.
    #[must_use]
    pub fn segment(&self, flags: Flags) -> Tcp {
        Tcp::new(flags).seq(self.next_seq).ack(self.next_ack)
    }

    pub(super) fn completion(&self, shape: &Shape) -> Vec<Frame> {
        let ack = self.segment(Flags::ACK);
        match shape {
            Shape::Ack => vec![self.frame(ack)],
            Shape::AckWithData(data) | Shape::Fragments(_, data) => {
                vec![self.frame(ack.with(Flags::PSH).payload(data.as_slice()))]
            }
            Shape::AckThenData(data) => {
                let data = ack.clone().with(Flags::PSH).payload(data.as_slice());
                vec![self.frame(ack), self.frame(data)]
            }
            Shape::FinAck => vec![self.frame(ack.with(Flags::FIN))],
            Shape::OptionHeaders(count) => {
                let options = |frame: Frame, _| frame.extension(Extension::DestinationOptions);
                vec![(0..*count).fold(self.frame(ack), options)]
            }
            Shape::ForgedAck => vec![self.frame(ack.ack(self.next_ack.wrapping_add(0x0100_0000)))],
            Shape::BadChecksum => vec![self.frame(ack.broken_checksum())],
            Shape::Reset => vec![self.frame(self.segment(Flags::RST))],
        }
    }

    /// Notes that `shape` was sent.
    pub(super) fn completed(&mut self, shape: &Shape) {
        self.completed = true;
        let taken = match shape {
            Shape::AckWithData(data) | Shape::AckThenData(data) | Shape::Fragments(_, data) => data.len(),
            Shape::FinAck => 1,
            Shape::Ack | Shape::OptionHeaders(_) | Shape::ForgedAck | Shape::BadChecksum | Shape::Reset => 0,
        };
        self.advance(u32::try_from(taken).expect("a segment has less than 64 KiB"));
    }

    /// Notes that a segment took this much of the sequence space.
    pub(super) fn advance(&mut self, taken: u32) {
        self.next_seq = self.next_seq.wrapping_add(taken);
    }

    /// Notes a segment and returns what the client answers to it.
    pub(super) fn note(&mut self, reply: Reply) -> Option<Frame> {
        if !reply.checksum_ok || !reply.ip_checksum_ok {
            self.bad_checksums += 1;
        }
        let (flags, seq) = (reply.tcp.flags, reply.tcp.seq);
        if flags.has(Flags::RST) {
            self.reset.get_or_insert(reply);
            return None;
        }
        if flags.has(Flags::SYN | Flags::ACK) {
            self.syn_acks += 1;
            self.server_isn = Some(seq);
            self.next_ack = seq.wrapping_add(1);
            self.next_seq = self.isn.wrapping_add(1);
            return None;
        }
        let taken = reply.tcp.sequence_len();
        if !self.completed || taken == 0 {
            return None;
        }
        if seq == self.next_ack {
            self.next_ack = seq.wrapping_add(taken);
            self.fin |= flags.has(Flags::FIN);
            self.data.extend(reply.tcp.payload);
        }
        Some(self.frame(self.segment(Flags::ACK)))
    }
}
