//! What nftables holds, `iptables-nft` included, as one hash.
//!
//! Asked of the kernel over netlink and not of `nft -s list ruleset`: the daemon
//! has given up what a program that it starts would need, and elements that a
//! rule or a time-out adds and removes would change that hash by themselves.
//! Counters, handles and uses are left out; the same rules loaded anew have the
//! same hash.

use std::{
    fmt::{self, Display, Formatter},
    fs, io,
};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::errno::Errno;
use sha2::{Digest as _, Sha256};

use crate::state::file::hex;

/// `NFNL_SUBSYS_NFTABLES`, the upper byte of a message's type.
const SUBSYSTEM: u16 = 10 << 8;
/// Bytes of `struct nlmsghdr` and of `struct nfgenmsg`.
const HEADER: usize = 16;
const GENERAL: usize = 4;
/// Bits of an attribute's type that are flags.
const KIND: u16 = 0x3fff;
/// `NFT_MSG_GETSETELEM`.
const GET_ELEMENTS: u16 = 13;
/// `NFT_SET_TIMEOUT` and `NFT_SET_EVAL`: elements come and go by themselves.
const MOVING_SET: u32 = 0x10 | 0x20;
/// How often a dump is begun anew that a change went through.
const TRIES: u32 = 5;
/// Digits of the hash that are shown.
const SHOWN: usize = 16;
/// Tables of iptables-legacy, a name a line.
const LEGACY: [&str; 2] = ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"];

/// A kind of object: how it is asked for, and which attributes do not count.
struct Kind {
    get: u16,
    volatile: &'static [u16],
}

// Attributes by their numbers in include/uapi/linux/netfilter/nf_tables.h.
const TABLES: Kind = Kind { get: 1, volatile: &[3, 4] };
const CHAINS: Kind = Kind { get: 4, volatile: &[2, 6, 8] };
const RULES: Kind = Kind { get: 7, volatile: &[3, 6] };
const SETS: Kind = Kind { get: 10, volatile: &[16, 19, 20] };
const OBJECTS: Kind = Kind { get: 19, volatile: &[5, 6] };
const FLOWTABLES: Kind = Kind { get: 23, volatile: &[4, 5] };

/// A ruleset, told from others by its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    hash: String,
    tables: usize,
    chains: usize,
    rules: usize,
}

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { hash, tables, chains, rules } = self;
        write!(f, "{hash} ({tables} tables, {chains} chains, {rules} rules)")
    }
}

/// Reads the ruleset in the network namespace of the caller.
///
/// A kernel without nftables has an empty one.
///
/// # Errors
///
/// When the kernel does not tell.
pub fn read() -> io::Result<Ruleset> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted && tries < TRIES => {}
            outcome => return outcome,
        }
    }
}

/// Names the tables of iptables-legacy, which nftables does not show.
#[must_use]
pub fn legacy() -> Option<String> {
    let mut names: Vec<String> = LEGACY
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    names.sort();
    names.dedup();
    (!names.is_empty()).then(|| names.join(", "))
}

fn try_read() -> io::Result<Ruleset> {
    let mut hasher = Sha256::new();
    let mut counts = [0; 3];
    for (at, kind) in [TABLES, CHAINS, RULES, SETS, OBJECTS, FLOWTABLES].iter().enumerate() {
        let messages = match dump(kind.get, 0, &[]) {
            Err(error) if at == 0 && is_absent(&error) => Vec::new(),
            messages => messages?,
        };
        if let Some(count) = counts.get_mut(at) {
            *count = messages.len();
        }
        let mut written: Vec<Vec<u8>> = messages.iter().map(|message| canonical(message, kind)).collect();
        // The order of rules counts, that of all else does not.
        if kind.get != RULES.get {
            written.sort();
        }
        for bytes in &written {
            put(&mut hasher, bytes);
        }
        if kind.get == SETS.get {
            let mut elements = Vec::new();
            for set in messages.iter().filter(|set| !is_moving(set)) {
                elements.extend(elements_of(set)?);
            }
            elements.sort();
            for bytes in &elements {
                put(&mut hasher, bytes);
            }
        }
    }
    let hash = hex(&hasher.finalize()).chars().take(SHOWN).collect();
    let [tables, chains, rules] = counts;
    Ok(Ruleset { hash, tables, chains, rules })
}

/// Adds bytes to a hash such that no two lists of them look the same.
fn put(hasher: &mut Sha256, bytes: &[u8]) {
    hasher.update((bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

/// Whether an error says that there is no nftables in this kernel.
fn is_absent(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EINVAL | Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT))
}

/// Asks for every object of a kind; returns each with its `nfgenmsg` in front.
fn dump(get: u16, family: u8, attributes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let length = HEADER + GENERAL + attributes.len();
    let mut request = vec![0; length];
    let mut header = NetlinkBuffer::new(&mut request);
    header.set_length(u32::try_from(length).map_err(io::Error::other)?);
    header.set_message_type(SUBSYSTEM | get);
    header.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
    if let Some((general, rest)) =
        request.get_mut(HEADER..).and_then(|body| body.split_at_mut_checked(GENERAL))
    {
        general.copy_from_slice(&[family, 0, 0, 0]);
        rest.copy_from_slice(attributes);
    }
    socket.send(&request, 0)?;
    let mut found = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
            let (length, payload) = (message.length() as usize, message.payload());
            if message.flags() & NLM_F_DUMP_INTR != 0 {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "the ruleset changes all the time"));
            }
            match message.message_type() {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => {
                    let code = payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return Err(io::Error::from_raw_os_error(-code));
                }
                _ => found.push(payload.to_vec()),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// Returns the attributes in bytes, by number.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).map(|attribute| {
        let value = attribute.into_inner();
        let length = value.first_chunk().map_or(0, |length| usize::from(u16::from_ne_bytes(*length)));
        let kind = value.get(2..).and_then(<[u8]>::first_chunk).map_or(0, |kind| u16::from_ne_bytes(*kind));
        (kind & KIND, value.get(4..length).unwrap_or_default())
    })
}

/// Writes an attribute such that no two lists of them look the same.
fn write(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend(kind.to_be_bytes());
    out.extend((value.len() as u64).to_be_bytes());
    out.extend(value);
}

/// Returns an object without what moves by itself.
fn canonical(message: &[u8], object: &Kind) -> Vec<u8> {
    let (general, body) = message.split_at(message.len().min(GENERAL));
    let mut out: Vec<u8> = general.iter().take(1).copied().collect();
    // `NFTA_OBJ_TYPE`: the data of a counter are its counts, and a quota says how much of it is used.
    let is_a = |stateful: u32| {
        object.get == OBJECTS.get
            && attributes(body).any(|(kind, value)| kind == 3 && value == stateful.to_be_bytes())
    };
    let (is_counter, is_quota) = (is_a(1), is_a(2));
    for (kind, value) in attributes(body).filter(|(kind, _)| !object.volatile.contains(kind)) {
        match (object.get, kind) {
            (get, 4) if get == RULES.get => write(&mut out, kind, &expressions(value)),
            (_, 4) if is_counter => {}
            (_, 4) if is_quota => write(&mut out, kind, &without_use(value)),
            _ => write(&mut out, kind, value),
        }
    }
    out
}

/// Returns the expressions of a rule without what they count.
fn expressions(list: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, expression) in attributes(list) {
        let name = attributes(expression).find_map(|(kind, value)| (kind == 1).then_some(value));
        let name = name.unwrap_or_default();
        write(&mut out, kind, name);
        for (_, data) in attributes(expression).filter(|(kind, _)| *kind == 2) {
            match name {
                b"counter\0" | b"last\0" => {}
                b"quota\0" => out.extend(without_use(data)),
                _ => write(&mut out, 2, data),
            }
        }
    }
    out
}

/// Returns the data of a quota without `NFTA_QUOTA_CONSUMED`.
fn without_use(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    attributes(data).filter(|(kind, _)| *kind != 4).for_each(|(kind, value)| write(&mut out, kind, value));
    out
}

fn is_moving(set: &[u8]) -> bool {
    let body = set.get(GENERAL..).unwrap_or_default();
    let flags = attributes(body).find_map(|(kind, value)| (kind == 3).then(|| value.first_chunk().copied()));
    flags.flatten().is_some_and(|flags| u32::from_be_bytes(flags) & MOVING_SET != 0)
}

/// Returns the elements of a set, each with the names of table and set.
fn elements_of(set: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let (general, body) = set.split_at(set.len().min(GENERAL));
    let family = general.first().copied().unwrap_or_default();
    // Table and name have the same numbers in a set and in a request for its elements.
    let mut request = Vec::new();
    for (kind, value) in attributes(body).filter(|(kind, _)| matches!(kind, 1 | 2)) {
        let length = u16::try_from(4 + value.len()).map_err(io::Error::other)?;
        request.extend(length.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend(value);
        request.resize(request.len().next_multiple_of(4), 0);
    }
    let mut found = Vec::new();
    for message in dump(GET_ELEMENTS, family, &request)? {
        let body = message.get(GENERAL..).unwrap_or_default();
        let lists = attributes(body).filter(|(kind, _)| *kind == 3);
        for (_, element) in lists.flat_map(|(_, list)| attributes(list)) {
            let mut out = request.clone();
            out.push(family);
            // Expiry and expressions, which count.
            attributes(element)
                .filter(|(kind, _)| !matches!(kind, 5 | 7 | 11))
                .for_each(|(kind, value)| write(&mut out, kind, value));
            found.push(out);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut out = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn expression(name: &[u8], data: &[u8]) -> Vec<u8> {
        attribute(1, &[attribute(1, name), attribute(2, data)].concat())
    }

    /// A rule of this handle and position, which has counted so many packets, for this port.
    fn rule(handle: u8, packets: u8, port: u8) -> Vec<u8> {
        let list = [expression(b"cmp\0", &[0, port]), expression(b"counter\0", &[packets; 8])].concat();
        let body = [
            attribute(1, b"filter\0"),
            attribute(3, &[handle; 8]),
            attribute(0x8000 | 4, &list),
            attribute(6, &[handle; 8]),
        ];
        [vec![1, 0, 0, handle], body.concat()].concat()
    }

    /// Counts, handles and positions do not count; what a rule does, does.
    #[test]
    fn counters_and_handles_do_not_count() {
        let written = |handle, packets, port| canonical(&rule(handle, packets, port), &RULES);
        assert_eq!(written(1, 0, 25), written(9, 200, 25));
        assert_ne!(written(1, 0, 25), written(1, 0, 26));
    }

    /// Bytes that make no sense end a list and nothing else.
    #[test]
    fn what_cannot_be_parsed_is_no_harm() {
        for length in 0..64 {
            let bytes = vec![0xff; length];
            assert!(canonical(&bytes, &RULES).len() <= length + 16);
            assert!(!is_moving(&bytes) || length > GENERAL);
        }
    }
}
