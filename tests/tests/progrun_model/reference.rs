//! The law, written down a second time: slow, obvious, and sharing no code with
//! the programs. Addresses are numbers, classes and prefixes are lists, reasons
//! are the words of the metrics.

use std::collections::{BTreeMap, BTreeSet};

/// `::ffff:0:0/96`, where IPv4 lives.
pub(crate) const V4_MAPPED: u128 = 0xffff_0000_0000;
/// The class of the host's own addresses.
pub(crate) const LOCAL_CLASS: usize = 1;
pub(crate) const CLASSES: usize = 6;
pub(crate) const SERVICES: usize = 4;

/// How a class is treated in a service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    Exempt,
    Denied,
    Limited { connections: u32, interval_ns: u64, burst_ns: u64 },
}

/// How a service enforces.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the design")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mode {
    pub(crate) enforce: bool,
    pub(crate) reset: bool,
    pub(crate) suspended: bool,
    pub(crate) count_local: bool,
    pub(crate) syn_quota: bool,
    pub(crate) ceiling: u32,
}

/// A prefix, and its class in each service.
#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    pub(crate) address: u128,
    pub(crate) bits: u32,
    pub(crate) classes: [usize; SERVICES],
}

/// What is known of a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) open: u32,
    pub(crate) tat_ns: u64,
}

/// Everything a verdict can depend on. Service 0 stands for none.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) own: BTreeSet<u128>,
    pub(crate) service_of: BTreeMap<u16, usize>,
    pub(crate) modes: [Mode; SERVICES],
    pub(crate) rules: [[Rule; CLASSES]; SERVICES],
    pub(crate) prefixes: Vec<Prefix>,
    pub(crate) v4_bits: u32,
    pub(crate) v6_bits: u32,
    pub(crate) sources: BTreeMap<(u128, usize), Source>,
    pub(crate) totals: [u32; SERVICES],
    /// No daemon was seen for longer than it may be away.
    pub(crate) unwatched: bool,
}

/// Where and what was counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Counted {
    pub(crate) service: usize,
    pub(crate) class: usize,
    pub(crate) is_v6: bool,
    pub(crate) verdict: &'static str,
    pub(crate) reason: &'static str,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) action: &'static str,
    pub(crate) counted: Option<Counted>,
    /// Whom a connection would be charged to, if limits were asked.
    pub(crate) source: Option<(u128, usize)>,
}

const IGNORED: Judgement = Judgement { action: "pass", counted: None, source: None };

/// What a frame is.
enum Parsed {
    NotTcp,
    Fragment { is_v6: bool },
    Unparseable { is_v6: bool },
    Segment { is_v6: bool, source: u128, destination: u128, port: u16, flags: u8 },
}

fn byte(frame: &[u8], at: usize) -> Option<usize> {
    frame.get(at).map(|byte| usize::from(*byte))
}

fn number(frame: &[u8], at: usize, len: usize) -> Option<u128> {
    let bytes = frame.get(at..at + len)?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
}

fn parse(frame: &[u8]) -> Parsed {
    let mut kind = number(frame, 12, 2).expect("a frame has an Ethernet header");
    let mut at = 14;
    for _ in 0..2 {
        if kind == 0x8100 || kind == 0x88a8 {
            let Some(inner) = number(frame, at + 2, 2) else {
                return Parsed::Unparseable { is_v6: false };
            };
            kind = inner;
            at += 4;
        }
    }
    match kind {
        0x0800 => parse_v4(frame, at).unwrap_or(Parsed::Unparseable { is_v6: false }),
        0x86dd => parse_v6(frame, at).unwrap_or(Parsed::Unparseable { is_v6: true }),
        0x8100 | 0x88a8 => Parsed::Unparseable { is_v6: false },
        _ => Parsed::NotTcp,
    }
}

fn parse_v4(frame: &[u8], ip: usize) -> Option<Parsed> {
    frame.get(ip..ip + 20)?;
    if byte(frame, ip)? / 16 != 4 {
        return None;
    }
    if byte(frame, ip + 9)? != 6 {
        return Some(Parsed::NotTcp);
    }
    let (more, offset) = (number(frame, ip + 6, 2)? & 0x2000, number(frame, ip + 6, 2)? & 0x1fff);
    if more != 0 || offset != 0 {
        return Some(Parsed::Fragment { is_v6: false });
    }
    let header = byte(frame, ip)? % 16 * 4;
    if header < 20 {
        return None;
    }
    let end = ip + usize::try_from(number(frame, ip + 2, 2)?).ok()?;
    let source = V4_MAPPED | number(frame, ip + 12, 4)?;
    let destination = V4_MAPPED | number(frame, ip + 16, 4)?;
    segment(frame, false, (source, destination), ip + header, end)
}

fn parse_v6(frame: &[u8], ip: usize) -> Option<Parsed> {
    frame.get(ip..ip + 8)?;
    if byte(frame, ip)? / 16 != 6 {
        return None;
    }
    let end = ip + 40 + usize::try_from(number(frame, ip + 4, 2)?).ok()?;
    let mut next = byte(frame, ip + 6)?;
    let mut at = ip + 40;
    let mut headers = 0;
    while next != 6 {
        headers += 1;
        if headers > 4 {
            return None;
        }
        let units = || byte(frame, at + 1);
        let len = match next {
            0 | 43 | 60 => {
                frame.get(at..at + 4)?;
                8 + 8 * units()?
            }
            44 => {
                frame.get(at..at + 4)?;
                let field = number(frame, at + 2, 2)?;
                if field >> 3 != 0 || field & 1 != 0 {
                    return Some(Parsed::Fragment { is_v6: true });
                }
                8
            }
            51 => {
                frame.get(at..at + 4)?;
                8 + 4 * units()?
            }
            _ => return Some(Parsed::NotTcp),
        };
        next = byte(frame, at)?;
        at += len;
    }
    let addresses = (number(frame, ip + 8, 16)?, number(frame, ip + 24, 16)?);
    segment(frame, true, addresses, at, end)
}

fn segment(frame: &[u8], is_v6: bool, addresses: (u128, u128), tcp: usize, end: usize) -> Option<Parsed> {
    frame.get(tcp..tcp + 20)?;
    let header = byte(frame, tcp + 12)? / 16 * 4;
    if header < 20 || tcp + header > end {
        return None;
    }
    let port = u16::try_from(number(frame, tcp + 2, 2)?).ok()?;
    let flags = *frame.get(tcp + 13)?;
    let (source, destination) = addresses;
    Some(Parsed::Segment { is_v6, source, destination, port, flags })
}

fn masked(address: u128, bits: u32) -> u128 {
    if bits == 0 { 0 } else { address >> (128 - bits) << (128 - bits) }
}

impl World {
    /// Whom a connection from `address` is charged to.
    pub(crate) fn source_key(&self, address: u128) -> u128 {
        let is_v4 = masked(address, 96) == V4_MAPPED;
        masked(address, if is_v4 { 96 + self.v4_bits } else { self.v6_bits })
    }

    fn class_of(&self, address: u128, service: usize) -> usize {
        let covering = self.prefixes.iter().filter(|p| masked(address, p.bits) == p.address);
        covering.max_by_key(|p| p.bits).map_or(0, |p| p.classes[service])
    }

    /// What speaks against a connection, in the order of the design.
    fn objection(&self, class: usize, key: (u128, usize), now_ns: u64) -> Result<&'static str, &'static str> {
        let service = key.1;
        let (connections, interval_ns, burst_ns) = match self.rules[service][class] {
            Rule::Exempt => return Ok("exempt"),
            Rule::Denied => return Err("deny"),
            Rule::Limited { connections, interval_ns, burst_ns } => (connections, interval_ns, burst_ns),
        };
        let known = self.sources.get(&key);
        let tat_ns = known.map_or(0, |source| source.tat_ns);
        if interval_ns > 0 && tat_ns > now_ns + burst_ns {
            return Err("new_connection_quota");
        }
        if connections > 0 && known.map_or(0, |source| source.open) >= connections {
            return Err("connections_per_source");
        }
        if self.is_full(class, service) {
            return Err("connections_total");
        }
        Ok("within_limits")
    }

    /// Whether the ceiling of a service leaves no room for this class.
    fn is_full(&self, class: usize, service: usize) -> bool {
        let mode = &self.modes[service];
        let bears_ceiling = class != LOCAL_CLASS || mode.count_local;
        bears_ceiling && mode.ceiling > 0 && self.totals[service] >= mode.ceiling
    }

    /// Judges a frame at a time.
    pub(crate) fn judge(&self, frame: &[u8], now_ns: u64) -> Judgement {
        let passed = |is_v6, reason| {
            let counted = Counted { service: 0, class: 0, is_v6, verdict: "pass", reason };
            Judgement { counted: Some(counted), ..IGNORED }
        };
        let (is_v6, source, destination, port, flags) = match parse(frame) {
            Parsed::NotTcp => return IGNORED,
            Parsed::Fragment { is_v6 } => return passed(is_v6, "fragment"),
            Parsed::Unparseable { is_v6 } => return passed(is_v6, "unparseable"),
            Parsed::Segment { is_v6, source, destination, port, flags } => {
                (is_v6, source, destination, port, flags)
            }
        };
        let Some(&service) = self.service_of.get(&port) else {
            return IGNORED;
        };
        let (syn, rst, ack) = (flags & 2 != 0, flags & 4 != 0, flags & 16 != 0);
        if !syn || rst || ack {
            // No handshake is in flight in this world, so no ACK completes one.
            return IGNORED;
        }
        if !self.own.contains(&destination) {
            let counted = Counted { service, class: 0, is_v6, verdict: "pass", reason: "not_for_us" };
            return Judgement { counted: Some(counted), ..IGNORED };
        }
        let class = self.class_of(source, service);
        let key = (self.source_key(source), service);
        let mode = &self.modes[service];
        let (verdict, reason) = match self.objection(class, key, now_ns) {
            Ok(reason) => ("pass", reason),
            Err(reason) => {
                let per_source = reason == "new_connection_quota" || reason == "connections_per_source";
                let observes = per_source && (mode.suspended || self.unwatched);
                match (mode.enforce, observes) {
                    (true, false) => ("refuse", reason),
                    // What suspends the limits of one source suspends no ceiling.
                    (true, true) if self.is_full(class, service) => ("refuse", "connections_total"),
                    _ => ("would_refuse", reason),
                }
            }
        };
        let action = match (verdict, mode.reset) {
            ("refuse", true) => "tx",
            ("refuse", false) => "drop",
            _ => "pass",
        };
        let counted = Counted { service, class, is_v6, verdict, reason };
        Judgement { action, counted: Some(counted), source: Some(key) }
    }
}
