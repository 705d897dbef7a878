//! Constants that the daemon sets before loading: offsets from the kernel's
//! type information, the network namespace, the hash seed.
//!
//! An offset of 0 stands for "not known": the check that needs it is left out.
//! The verifier sees these as constants and prunes what they switch off.

use limiter_ebpf::global;

global!(
    /// Offset of `tcp_request_sock.snt_isn`.
    snt_isn_offset, SNT_ISN_OFFSET: u32
);
global!(
    /// Offset of `sock_common.skc_v6_daddr`.
    v6_daddr_offset, V6_DADDR_OFFSET: u32
);
global!(
    /// Offset of `sock_common.skc_num`.
    num_offset, NUM_OFFSET: u32
);
global!(
    /// Offset of `sock_common.skc_state`.
    state_offset, STATE_OFFSET: u32
);
global!(
    /// Offset of `sock_common.skc_net`.
    net_offset, NET_OFFSET: u32
);
global!(
    /// Offset of `net.net_cookie`.
    net_cookie_offset, NET_COOKIE_OFFSET: u32
);
global!(
    /// Offset of the length of a listener's SYN queue, from the start of its `tcp_sock`.
    syn_queue_offset, SYN_QUEUE_OFFSET: u32
);
global!(
    /// Offset of `sock.sk_max_ack_backlog`.
    backlog_offset, BACKLOG_OFFSET: u32
);
global!(
    /// Offset of `sock_common.skc_flags`.
    flags_offset, FLAGS_OFFSET: u32
);
global!(
    /// Offset of `tcp_sock.bytes_received`.
    bytes_received_offset, BYTES_RECEIVED_OFFSET: u32
);
global!(
    /// Cookie of the network namespace that limiter guards; 0 for all.
    netns_cookie, NETNS_COOKIE: u64
);
global!(
    /// Seed of the hashes, random at every load of fresh maps.
    hash_seed, HASH_SEED: u64
);
