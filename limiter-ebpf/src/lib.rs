//! What both objects of the kernel half share: the packet path (`main.rs`) and
//! the witness (`witness/main.rs`). No program and no map is here.
#![no_std]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "the verifier checks every pointer: a wrong one does not load"
)]
#![expect(internal_features, reason = "core has no atomics for the BPF target, only the intrinsics")]

pub mod atomic;
pub mod clock;
pub mod constant;
pub mod context;
pub mod in_place;
pub mod opaque;
pub mod seq;
pub mod tcp_events;
