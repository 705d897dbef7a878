//! Packets that the kernel dropped on mail ports, by reason.
//!
//! A packet of a live connection that a policy dropped is counted as such: the
//! expected value is zero. What TCP itself discards never is.

use aya_ebpf::programs::BtfTracePointContext;
use limiter_common::witness::{DropKey, DropSample, Flow, FlowKey, IN, OUT, Tag};

use crate::{
    maps,
    skb::{Home, Segment, Skb},
    store,
};

/// Counts a packet that the kernel dropped, if it is one of mail.
#[inline(always)]
pub fn count(ctx: &BtfTracePointContext) {
    let skb = Skb(ctx.arg(0));
    let reason: u32 = ctx.arg(2);
    let home = skb.home();
    if home == Home::Foreign {
        return;
    }
    let Some(segment) = skb.segment() else {
        return;
    };
    let Some((key, direction)) = ends(&segment, skb.is_received()) else {
        return;
    };
    let flow = live(&key);
    let tag = flow.map_or_else(|| unknown(&key), |flow| Tag(flow.tag));
    // Without a device or socket it was TCP that discarded it, in whatever namespace: only a
    // connection that is ours tells.
    if tag == Tag::NONE || home == Home::Unknown && flow.is_none() {
        return;
    }
    let established = u8::from(flow.is_some() && store::is_policy(reason));
    let drop = DropKey { reason, tag: tag.0, direction, established, pad: 0 };
    store::count_drop(&drop);
    store::sample(&DropSample { at_ns: 0, key, drop, pad: 0 });
}

/// Returns the ends of a segment as this host sees them, and whether it is on its way in or out;
/// `None` for one that is neither from nor to this host.
#[inline(always)]
fn ends(segment: &Segment, is_received: bool) -> Option<(FlowKey, u8)> {
    let (from_us, to_us) = (store::is_local(segment.from), store::is_local(segment.to));
    // Over the loopback interface it is both, one after the other.
    if to_us && (!from_us || is_received) {
        let key = FlowKey {
            local: segment.to,
            remote: segment.from,
            local_port: segment.to_port,
            remote_port: segment.from_port,
        };
        return Some((key, IN));
    }
    let key = FlowKey {
        local: segment.from,
        remote: segment.to,
        local_port: segment.from_port,
        remote_port: segment.to_port,
    };
    from_us.then_some((key, OUT))
}

#[inline(always)]
fn live(key: &FlowKey) -> Option<Flow> {
    // SAFETY: a copy; an entry that is recycled meanwhile gives the tag of another connection at worst.
    unsafe { maps::FLOWS_LIVE.get(key) }.copied()
}

/// Returns whose packet it is that belongs to no live connection.
#[inline(always)]
fn unknown(key: &FlowKey) -> Tag {
    crate::flow::owner(key).0
}
