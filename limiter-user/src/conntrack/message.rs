//! What ctnetlink says: messages and the attributes that matter here.
//!
//! Own code, since `netlink-packet-netfilter` (0.4) can't do it: it has neither
//! zone, nor id, nor the statistics per CPU, and makes a dozen allocations for
//! each event, of which there are 150,000 a second at 20,000 connections. Here
//! nothing is allocated, every read is checked, and an entry of a port that
//! nobody asked for is given up after its first attribute.
//!
//! Numbers from `include/uapi/linux/netfilter/nfnetlink_conntrack.h`.

use limiter_common::addr::Addr;

/// Bytes of `struct nlmsghdr` and of `struct nfgenmsg`.
const HEADER_BYTES: usize = 16;
const GENERIC_BYTES: usize = 4;
/// Bytes of `struct nlattr`, and what attributes are aligned to.
const ATTRIBUTE_BYTES: usize = 4;
/// The bits of an attribute's type without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const TYPE_MASK: u16 = 0x3fff;
/// `NFNL_SUBSYS_CTNETLINK`, in the upper byte of a message's type.
const CONNTRACK: u16 = 1 << 8;
/// `IPCTNL_MSG_CT_*`.
const NEW: u16 = CONNTRACK;
pub(super) const GET: u16 = CONNTRACK | 1;
const DELETE: u16 = CONNTRACK | 2;
pub(super) const GET_STATS_CPU: u16 = CONNTRACK | 4;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_CREATE`: an event about an entry that was not there before.
const CREATE: u16 = 0x400;
/// `enum ctattr_type`.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOCOL_INFO: u16 = 4;
const ID: u16 = 12;
const ZONE: u16 = 18;
/// `enum ctattr_tuple`.
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const TUPLE_ZONE: u16 = 3;
/// `enum ctattr_ip`.
const V4_SOURCE: u16 = 1;
const V4_DESTINATION: u16 = 2;
const V6_SOURCE: u16 = 3;
const V6_DESTINATION: u16 = 4;
/// `enum ctattr_l4proto`.
pub(super) const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
pub(super) const DESTINATION_PORT: u16 = 3;
/// `CTA_PROTOINFO_TCP` and `CTA_PROTOINFO_TCP_STATE`.
const INFO_TCP: u16 = 1;
const INFO_TCP_STATE: u16 = 1;
/// `IPPROTO_TCP`.
pub(super) const TCP: u8 = 6;
/// `IPS_DYING`: on its way out of the table.
const DYING: u32 = 1 << 9;

/// The state of a TCP connection as connection tracking sees it, `enum tcp_conntrack`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// Nothing seen, or nothing said.
    #[default]
    None,
    /// A SYN was seen.
    SynSent,
    /// And answered.
    SynRecv,
    /// The handshake is done.
    Established,
    /// One side has closed.
    FinWait,
    /// And the other has acknowledged it.
    CloseWait,
    /// Both have closed.
    LastAck,
    /// Both have acknowledged it.
    TimeWait,
    /// A reset was seen.
    Close,
    /// Both sides sent a SYN.
    SynSent2,
}

impl State {
    /// Every state, in the order of the kernel's numbers.
    pub const ALL: [Self; 10] = [
        Self::None,
        Self::SynSent,
        Self::SynRecv,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Close,
        Self::SynSent2,
    ];

    /// Returns the `state` label of the metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SynSent => "syn_sent",
            Self::SynRecv => "syn_recv",
            Self::Established => "established",
            Self::FinWait => "fin_wait",
            Self::CloseWait => "close_wait",
            Self::LastAck => "last_ack",
            Self::TimeWait => "time_wait",
            Self::Close => "close",
            Self::SynSent2 => "syn_sent2",
        }
    }

    fn from_raw(raw: u8) -> Self {
        Self::ALL.get(usize::from(raw)).copied().unwrap_or_default()
    }
}

/// One direction of a tracked connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuple {
    /// Who sends in this direction.
    pub source: Addr,
    /// Who receives.
    pub destination: Addr,
    /// From which port.
    pub source_port: u16,
    /// To which port.
    pub destination_port: u16,
    /// The number of the protocol.
    pub protocol: u8,
    /// The zone of this direction, if it has one of its own.
    pub zone: Option<u16>,
}

/// One entry of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// As the first packet had it, before any translation.
    pub original: Tuple,
    /// As answers have it.
    pub reply: Tuple,
    /// Its zone; 0 without.
    pub zone: u16,
    /// Tells it from an earlier entry of the same tuples.
    pub id: u32,
    /// The state of its connection, if the message tells.
    pub state: Option<State>,
    /// Whether it is on its way out of the table.
    pub is_dying: bool,
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An entry came into being.
    New,
    /// An entry changed, or was asked for.
    Update,
    /// An entry is gone.
    Destroy,
    /// The statistics of a CPU.
    Statistics,
    /// The end of an answer.
    Done,
    /// An error, or that all is well, by the kernel's (negative) number.
    Error(i32),
    /// Anything else.
    Other,
}

/// One message, its attributes not yet looked at.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What it is about.
    pub kind: Kind,
    /// The CPU, of statistics.
    pub cpu: u16,
    attributes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Returns the entry it is about; none for one that is not TCP or whose original destination port
    /// is not `wanted`, and for what cannot be read.
    #[must_use]
    pub fn entry(&self, wanted: impl Fn(u16) -> bool) -> Option<Entry> {
        let mut entry = Entry::default();
        let (mut has_original, mut has_reply) = (false, false);
        for (kind, value) in Attributes(self.attributes) {
            match kind {
                ORIGINAL => {
                    entry.original = tuple(value)?;
                    if entry.original.protocol != TCP || !wanted(entry.original.destination_port) {
                        return None;
                    }
                    has_original = true;
                }
                REPLY => {
                    entry.reply = tuple(value)?;
                    has_reply = true;
                }
                STATUS => entry.is_dying = u32_be(value)? & DYING != 0,
                PROTOCOL_INFO => entry.state = state(value),
                ID => entry.id = u32_be(value)?,
                ZONE => entry.zone = u16_be(value)?,
                _ => {}
            }
        }
        if entry.zone == 0 {
            entry.zone = entry.original.zone.or(entry.reply.zone).unwrap_or(0);
        }
        (has_original && has_reply).then_some(entry)
    }

    /// Returns the numbers in it by attribute type, of statistics.
    pub fn numbers(&self) -> impl Iterator<Item = (u16, u32)> + 'a {
        Attributes(self.attributes).filter_map(|(kind, value)| Some((kind, u32_be(value)?)))
    }
}

/// The messages of a datagram; ends at the first that is cut short.
#[derive(Clone, Debug)]
pub struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = usize::try_from(u32_ne(self.0)?).ok()?;
        let kind = u16_ne(self.0.get(4..)?)?;
        let flags = u16_ne(self.0.get(6..)?)?;
        let body = self.0.get(HEADER_BYTES..length)?;
        self.0 = self.0.get(length.next_multiple_of(ATTRIBUTE_BYTES)..).unwrap_or_default();
        let kind = match kind {
            NEW if flags & CREATE != 0 => Kind::New,
            NEW => Kind::Update,
            DELETE => Kind::Destroy,
            GET_STATS_CPU => Kind::Statistics,
            DONE => Kind::Done,
            ERROR => Kind::Error(u32_ne(body)?.cast_signed()),
            _ => Kind::Other,
        };
        let cpu = body.get(2..).and_then(u16_be).unwrap_or(0);
        Some(Message { kind, cpu, attributes: body.get(GENERIC_BYTES..).unwrap_or_default() })
    }
}

/// Returns a request for everything of a kind, all families.
pub(super) fn request(kind: u16) -> [u8; HEADER_BYTES + GENERIC_BYTES] {
    /// `NLM_F_REQUEST` and `NLM_F_DUMP`.
    const FLAGS: u16 = 0x1 | 0x300;
    let mut bytes = [0; HEADER_BYTES + GENERIC_BYTES];
    bytes[..4].copy_from_slice(&20_u32.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&FLAGS.to_ne_bytes());
    bytes
}

/// Attributes in a row; ends at the first that is cut short.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_ne(self.0)?);
        let kind = u16_ne(self.0.get(2..)?)? & TYPE_MASK;
        let value = self.0.get(ATTRIBUTE_BYTES..length)?;
        self.0 = self.0.get(length.next_multiple_of(ATTRIBUTE_BYTES)..).unwrap_or_default();
        Some((kind, value))
    }
}

fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let mut tuple = Tuple::default();
    for (kind, value) in Attributes(bytes) {
        match kind {
            TUPLE_ADDRESSES => {
                for (kind, value) in Attributes(value) {
                    match kind {
                        V4_SOURCE => tuple.source = v4(value)?,
                        V4_DESTINATION => tuple.destination = v4(value)?,
                        V6_SOURCE => tuple.source = v6(value)?,
                        V6_DESTINATION => tuple.destination = v6(value)?,
                        _ => {}
                    }
                }
            }
            TUPLE_PROTOCOL => {
                for (kind, value) in Attributes(value) {
                    match kind {
                        PROTOCOL_NUMBER => tuple.protocol = *value.first()?,
                        SOURCE_PORT => tuple.source_port = u16_be(value)?,
                        DESTINATION_PORT => tuple.destination_port = u16_be(value)?,
                        _ => {}
                    }
                }
            }
            TUPLE_ZONE => tuple.zone = Some(u16_be(value)?),
            _ => {}
        }
    }
    Some(tuple)
}

fn state(info: &[u8]) -> Option<State> {
    let (_, tcp) = Attributes(info).find(|(kind, _)| *kind == INFO_TCP)?;
    let (_, value) = Attributes(tcp).find(|(kind, _)| *kind == INFO_TCP_STATE)?;
    value.first().copied().map(State::from_raw)
}

fn v4(bytes: &[u8]) -> Option<Addr> {
    Some(Addr::from_v4_be(u32_ne(bytes)?))
}

fn v6(bytes: &[u8]) -> Option<Addr> {
    bytes.first_chunk().copied().map(Addr::from_octets)
}

fn u16_ne(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u16_be(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().copied().map(u16::from_be_bytes)
}

fn u32_ne(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_ne_bytes)
}

fn u32_be(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_be_bytes)
}

#[cfg(test)]
pub(super) mod tests;
