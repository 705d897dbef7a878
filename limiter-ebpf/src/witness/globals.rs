//! Constants that the daemon sets before loading: offsets from the kernel's
//! type information, and the network namespace.
//!
//! An offset of 0 stands for "not known": what needs it is left out.

use limiter_ebpf::global;

global!(
    /// Offset of `sk_buff.head`.
    skb_head_offset, SKB_HEAD_OFFSET: u32
);
global!(
    /// Offset of `sk_buff.network_header`.
    skb_network_header_offset, SKB_NETWORK_HEADER_OFFSET: u32
);
global!(
    /// Offset of `sk_buff.protocol`.
    skb_protocol_offset, SKB_PROTOCOL_OFFSET: u32
);
global!(
    /// Offset of `sk_buff.skb_iif`.
    skb_iif_offset, SKB_IIF_OFFSET: u32
);
global!(
    /// Offset of `sk_buff.dev`.
    skb_dev_offset, SKB_DEV_OFFSET: u32
);
global!(
    /// Offset of `sk_buff.sk`.
    skb_sk_offset, SKB_SK_OFFSET: u32
);
global!(
    /// Offset of `net_device.nd_net`.
    dev_net_offset, DEV_NET_OFFSET: u32
);
global!(
    /// Offset of `net.net_cookie`.
    net_cookie_offset, NET_COOKIE_OFFSET: u32
);
global!(
    /// Offset of `sock_common.skc_net`.
    net_offset, NET_OFFSET: u32
);
global!(
    /// Offset of `sock_common.skc_v6_daddr`.
    v6_daddr_offset, V6_DADDR_OFFSET: u32
);
global!(
    /// Offset of `sock_common.skc_v6_rcv_saddr`.
    v6_rcv_saddr_offset, V6_RCV_SADDR_OFFSET: u32
);
global!(
    /// Offset of `inet_sock.inet_sport`.
    sport_offset, SPORT_OFFSET: u32
);
global!(
    /// Offset of `sock_common.skc_dport`.
    dport_offset, DPORT_OFFSET: u32
);
global!(
    /// Offset of `sock_common.skc_state`.
    state_offset, STATE_OFFSET: u32
);
global!(
    /// Offset of `sock.sk_protocol`.
    protocol_offset, PROTOCOL_OFFSET: u32
);
global!(
    /// Offset of `inet_connection_sock.icsk_retransmits`.
    icsk_retransmits_offset, ICSK_RETRANSMITS_OFFSET: u32
);
global!(
    /// Offset of `tcp_sock.bytes_acked`.
    bytes_acked_offset, BYTES_ACKED_OFFSET: u32
);
global!(
    /// Cookie of the network namespace that limiter guards.
    netns_cookie, NETNS_COOKIE: u64
);
