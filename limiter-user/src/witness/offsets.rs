//! Which offsets of kernel structures the witness needs.

use crate::{
    dataplane::{
        DataplaneError,
        kernel::offsets::{Need, Offsets, Wanted},
    },
    kernel_types::KernelTypes,
};

/// What the programs of the witness need; what is not essential leaves a figure out.
const WANTED: [Wanted; 17] = [
    ("SKB_HEAD_OFFSET", &[("sk_buff", "head")], Need::Essential),
    ("SKB_NETWORK_HEADER_OFFSET", &[("sk_buff", "network_header")], Need::Essential),
    ("SKB_PROTOCOL_OFFSET", &[("sk_buff", "protocol")], Need::Essential),
    ("SKB_IIF_OFFSET", &[("sk_buff", "skb_iif")], Need::Essential),
    ("SKB_DEV_OFFSET", &[("sk_buff", "dev")], Need::Essential),
    ("SKB_SK_OFFSET", &[("sk_buff", "sk")], Need::Essential),
    ("DEV_NET_OFFSET", &[("net_device", "nd_net")], Need::Essential),
    ("NET_COOKIE_OFFSET", &[("net", "net_cookie")], Need::Essential),
    ("NET_OFFSET", &[("sock_common", "skc_net")], Need::Essential),
    ("V6_DADDR_OFFSET", &[("sock_common", "skc_v6_daddr")], Need::Essential),
    ("V6_RCV_SADDR_OFFSET", &[("sock_common", "skc_v6_rcv_saddr")], Need::Essential),
    ("SPORT_OFFSET", &[("inet_sock", "inet_sport")], Need::Essential),
    ("DPORT_OFFSET", &[("sock_common", "skc_dport")], Need::Essential),
    ("STATE_OFFSET", &[("sock_common", "skc_state")], Need::Essential),
    ("PROTOCOL_OFFSET", &[("sock", "sk_protocol")], Need::Essential),
    ("ICSK_RETRANSMITS_OFFSET", &[("inet_connection_sock", "icsk_retransmits")], Need::Essential),
    ("BYTES_ACKED_OFFSET", &[("tcp_sock", "bytes_acked")], Need::Essential),
];

/// Finds what the witness needs.
///
/// # Errors
///
/// When the kernel lacks what nothing works without.
pub fn of(types: &KernelTypes) -> Result<Offsets, DataplaneError> {
    Offsets::find(types, &WANTED)
}
