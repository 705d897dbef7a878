//! Offsets of kernel structures, from the kernel's own type information (BTF).
//!
//! The programs get them as constants. One that is missing stays 0: the check
//! that needs it is left out, and `missing` says so.

use std::collections::BTreeMap;

use btf_rs::{Btf, BtfType, Struct, Type};

use crate::dataplane::DataplaneError;

/// Where the kernel keeps its type information.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// Nested anonymous structures and unions that are searched: the kernel has two levels here.
const DEPTH_MAX: u32 = 4;

/// A constant of the programs, and the members whose offsets add up to it.
pub(crate) type Wanted = (&'static str, &'static [(&'static str, &'static str)], Need);

/// What is lost without an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing works without it.
    Essential,
    /// A check is left out.
    Check,
}

/// What the packet path needs.
const WANTED: [Wanted; 10] = [
    ("SNT_ISN_OFFSET", &[("tcp_request_sock", "snt_isn")], Need::Check),
    ("V6_DADDR_OFFSET", &[("sock_common", "skc_v6_daddr")], Need::Essential),
    ("NUM_OFFSET", &[("sock_common", "skc_num")], Need::Essential),
    ("STATE_OFFSET", &[("sock_common", "skc_state")], Need::Essential),
    ("NET_OFFSET", &[("sock_common", "skc_net")], Need::Check),
    ("NET_COOKIE_OFFSET", &[("net", "net_cookie")], Need::Check),
    (
        "SYN_QUEUE_OFFSET",
        &[("inet_connection_sock", "icsk_accept_queue"), ("request_sock_queue", "qlen")],
        Need::Check,
    ),
    ("BACKLOG_OFFSET", &[("sock", "sk_max_ack_backlog")], Need::Check),
    ("FLAGS_OFFSET", &[("sock_common", "skc_flags")], Need::Check),
    ("BYTES_RECEIVED_OFFSET", &[("tcp_sock", "bytes_received")], Need::Check),
];

/// The offsets of this kernel.
#[derive(Debug)]
pub struct Offsets {
    /// Value by constant.
    pub values: BTreeMap<&'static str, u32>,
    /// Constants whose check is left out.
    pub missing: Vec<&'static str>,
}

impl Offsets {
    /// Reads the offsets of the running kernel.
    ///
    /// # Errors
    ///
    /// When the kernel has no type information, or lacks what nothing works without.
    pub fn of_running_kernel() -> Result<Self, DataplaneError> {
        Self::read(&WANTED)
    }

    /// Reads these offsets of the running kernel.
    pub(crate) fn read(wanted: &[Wanted]) -> Result<Self, DataplaneError> {
        let btf = Btf::from_file(VMLINUX).map_err(|_| DataplaneError::Btf { what: VMLINUX.to_owned() })?;
        let mut offsets = Self { values: BTreeMap::new(), missing: Vec::new() };
        for (constant, path, need) in wanted {
            let offset = path.iter().map(|(of, member)| offset_in(&btf, of, member)).sum::<Option<u32>>();
            match (offset, need) {
                (None, Need::Essential) => {
                    return Err(DataplaneError::Btf { what: format!("{path:?}") });
                }
                (None, Need::Check) => offsets.missing.push(*constant),
                (Some(_), Need::Essential | Need::Check) => {}
            }
            offsets.values.insert(*constant, offset.unwrap_or(0));
        }
        Ok(offsets)
    }
}

/// Returns the offset of a member in bytes.
fn offset_in(btf: &Btf, structure: &str, member: &str) -> Option<u32> {
    btf.resolve_types_by_name(structure).ok()?.iter().find_map(|found| match found {
        Type::Struct(found) => member_of(btf, found, member, DEPTH_MAX),
        _ => None,
    })
}

fn member_of(btf: &Btf, structure: &Struct, name: &str, depth: u32) -> Option<u32> {
    structure.members.iter().find_map(|member| {
        let at = member.bit_offset() / 8;
        let found = btf.resolve_name(member).unwrap_or_default();
        if found == name {
            return Some(at);
        }
        if !found.is_empty() || depth == 0 {
            return None;
        }
        match btf.resolve_type_by_id(member.get_type_id()?).ok()? {
            Type::Struct(inner) | Type::Union(inner) => Some(at + member_of(btf, &inner, name, depth - 1)?),
            _ => None,
        }
    })
}
