//! Offsets of kernel structures, from the kernel's own type information (BTF).
//!
//! The programs get them as constants. One that is missing stays 0: the check
//! that needs it is left out, and `missing` says so.

use std::collections::BTreeMap;

use crate::{dataplane::DataplaneError, kernel_types::KernelTypes};

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
    /// Finds what the packet path needs.
    ///
    /// # Errors
    ///
    /// When the kernel lacks what nothing works without.
    pub fn of(types: &KernelTypes) -> Result<Self, DataplaneError> {
        Self::find(types, &WANTED)
    }

    /// Finds these offsets.
    pub(crate) fn find(types: &KernelTypes, wanted: &[Wanted]) -> Result<Self, DataplaneError> {
        let mut offsets = Self { values: BTreeMap::new(), missing: Vec::new() };
        for (constant, path, need) in wanted {
            let offset = path.iter().map(|(of, member)| types.offset_of(of, member)).sum::<Option<u32>>();
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
