//! Amendments that only a program may make: user space never writes a live entry.
//!
//! The daemon packs them into a frame and runs this program by
//! `BPF_PROG_TEST_RUN`, which runs it in a softirq: between the tombstone and
//! the removal of an entry nothing on this CPU comes in between.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use limiter_common::{
    event::Amendment,
    map::{Holder, SourceKey},
};
use zerocopy::FromBytes as _;

use crate::{packet::Frame, source, store};
use limiter_common::packet::Bytes as _;

/// Carries out every amendment in the frame.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> u32 {
    let frame = Frame::new(ctx);
    let mut index = 0;
    while index < Amendment::PER_FRAME {
        let Some(bytes) = frame.load::<{ size_of::<Amendment>() }>(index * size_of::<Amendment>() as u32)
        else {
            break;
        };
        let Ok(amendment) = Amendment::read_from_bytes(&bytes) else {
            break;
        };
        carry_out(&amendment.key, amendment.delta);
        index += 1;
    }
    xdp_action::XDP_PASS
}

#[inline(always)]
fn carry_out(key: &SourceKey, delta: i32) {
    match key.holder() {
        Holder::Service(service) => return store::correct_total(service, delta),
        Holder::Class(service, class) => return store::correct_class(service, class, delta),
        Holder::Source(_) => {}
    }
    let Some(source) = source::find(key) else { return };
    if delta == 0 {
        source::remove_if_idle(key, source);
    } else {
        source.correct(delta);
    }
}
