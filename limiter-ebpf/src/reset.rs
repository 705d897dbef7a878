//! Answers a refused SYN by a reset, from the frame the SYN came in.
//!
//! The frame is cut to size, the headers are written anew (IP options and
//! extension headers are not repeated), and the frame goes back where it came
//! from. A budget per CPU bounds what a flood can make us send.

use limiter_common::{
    addr::Family,
    packet::{Bytes, Segment},
    reply::Reset,
};

use crate::{clock, hook::Hook, maps, packet::Frame};

/// Resets a CPU sends in a second; beyond it refusals are silent. A choice:
/// far above what refused clients need, far below what a link notices.
const RESETS_PER_SECOND: u64 = 20_000;

const ETHERNET_LEN: u32 = 14;
const TAG_LEN: u32 = 4;
const TCP_LEN: u32 = 20;

/// What of the Ethernet header goes back: addresses and tags.
struct Ethernet {
    destination: [u8; 6],
    source: [u8; 6],
    tags: [[u8; 4]; 2],
    ethertype: [u8; 2],
}

/// Turns the frame into a reset and sends it back; `None` if that can't be done.
#[inline(always)]
pub fn send<H: Hook>(ctx: &H, segment: &Segment, reset: &Reset) -> Option<u32> {
    match (segment.ip, segment.family) {
        (14, Family::V4) => rewrite::<H, 14, 20>(ctx, segment, reset),
        (14, Family::V6) => rewrite::<H, 14, 40>(ctx, segment, reset),
        (18, Family::V4) => rewrite::<H, 18, 20>(ctx, segment, reset),
        (18, Family::V6) => rewrite::<H, 18, 40>(ctx, segment, reset),
        (22, Family::V4) => rewrite::<H, 22, 20>(ctx, segment, reset),
        (22, Family::V6) => rewrite::<H, 22, 40>(ctx, segment, reset),
        _ => None,
    }
}

/// Takes one reset from the budget of this CPU; returns whether there was one left.
#[inline(always)]
pub fn is_within_budget(now_ns: u64) -> bool {
    let Some(budget) = maps::RESET_BUDGETS.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: this CPU's value of a live map; only softirq code uses it.
    let budget = unsafe { &mut *budget };
    if now_ns >= budget.ends_at_ns {
        budget.ends_at_ns = (u64::from(clock::seconds(now_ns)) + 1) * clock::SECOND_NS;
        budget.sent = 0;
    }
    budget.sent += 1;
    budget.sent <= RESETS_PER_SECOND
}

#[inline(always)]
fn rewrite<H: Hook, const LINK_LEN: u32, const IP_LEN: u32>(
    ctx: &H,
    segment: &Segment,
    reset: &Reset,
) -> Option<u32> {
    let ethernet = Ethernet::read::<LINK_LEN>(&Frame::new(ctx))?;
    ctx.cut(segment.tcp - (LINK_LEN + IP_LEN), LINK_LEN + IP_LEN + TCP_LEN)?;
    let frame = Frame::new(ctx);
    ethernet.write_back::<LINK_LEN>(&frame)?;
    // Not the family of the addresses: an IPv6 packet may carry v4-mapped ones.
    match segment.family {
        Family::V4 => frame.store(LINK_LEN, reset.ipv4())?,
        Family::V6 => {
            frame.store(LINK_LEN, reset.ipv6_start())?;
            store_words(&frame, LINK_LEN + 8, reset.from.words_be)?;
            store_words(&frame, LINK_LEN + 24, reset.to.words_be)?;
        }
    }
    ctx.store_reset(LINK_LEN + IP_LEN, reset)?;
    Some(ctx.send_back())
}

#[inline(always)]
fn store_words(frame: &Frame<'_, impl Hook>, offset: u32, [a, b, c, d]: [u32; 4]) -> Option<()> {
    frame.store(offset, a.to_ne_bytes())?;
    frame.store(offset + 4, b.to_ne_bytes())?;
    frame.store(offset + 8, c.to_ne_bytes())?;
    frame.store(offset + 12, d.to_ne_bytes())
}

impl Ethernet {
    #[inline(always)]
    fn read<const LINK_LEN: u32>(frame: &Frame<'_, impl Hook>) -> Option<Self> {
        let mut tags = [[0; 4]; 2];
        if LINK_LEN > ETHERNET_LEN {
            tags[0] = frame.load(ETHERNET_LEN - 2)?;
        }
        if LINK_LEN > ETHERNET_LEN + TAG_LEN {
            tags[1] = frame.load(ETHERNET_LEN - 2 + TAG_LEN)?;
        }
        Some(Self {
            destination: frame.load(0)?,
            source: frame.load(6)?,
            tags,
            ethertype: frame.load(LINK_LEN - 2)?,
        })
    }

    #[inline(always)]
    fn write_back<const LINK_LEN: u32>(&self, frame: &Frame<'_, impl Hook>) -> Option<()> {
        frame.store(0, self.source)?;
        frame.store(6, self.destination)?;
        if LINK_LEN > ETHERNET_LEN {
            frame.store(ETHERNET_LEN - 2, self.tags[0])?;
        }
        if LINK_LEN > ETHERNET_LEN + TAG_LEN {
            frame.store(ETHERNET_LEN - 2 + TAG_LEN, self.tags[1])?;
        }
        frame.store(LINK_LEN - 2, self.ethertype)
    }
}
