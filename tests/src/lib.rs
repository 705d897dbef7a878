//! Test beds of limiter: what the kernel suites stand on.
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`frame`] | packets that read like packets, and a parser for the replies |
//! | [`fixture`] | the programs on a real kernel, attached to nothing, frame by frame |
//! | [`bench`] | what each path through the programs costs |
//! | [`netns`], [`veth`] | private namespaces on a real kernel, joined by veth pairs |
//! | [`xdp`] | the smallest XDP programs, which a veth's other end needs |
//! | [`generator`] | SYNs by the million, made in the kernel |
//! | [`sock_ops`] | a foreign program that wants a cgroup for itself |
//! | [`raw`], [`wire`] | handshakes in flight from addresses that no host owns |
//! | [`scene`] | a mail port, a server that holds, one client: where most suites about the daemon play |
//! | [`server`], [`client`] | TCP servers that keep count, thousands of connects at once |
//! | [`mail`] | a private Postfix and a minimal SMTP dialogue |
//! | [`daemon`], [`metrics`], [`map_memory`], [`usage`] | the real `limiterd` in a bed, what it reports and what it takes |
//! | [`disk`] | a disk under the state directory that is full, or read-only |
//! | [`record`] | what Prometheus would have seen of a run, and the alerts that fire on it |
//! | [`replay`] | recorded outages, played against the limiter |
//! | [`vm`] | another kernel, for one script |
//! | [`screen`], [`interrupt`] | what programs for people print, and when they are to end |
//! | [`random`] | cases made from a seed |
//! | [`host`], [`process`], [`wait`] | requirements, child processes, conditions with a deadline |
//!
//! Everything here panics with the cause where a bed cannot be built: that is the
//! failure of the test. Every wait has a deadline and every loop a bound.
#![forbid(unsafe_code)]
#![expect(
    clippy::missing_panics_doc,
    reason = "a bed that cannot be built panics, which is the failure of the test"
)]

pub mod bench;
pub mod client;
pub mod daemon;
pub mod disk;
pub mod fixture;
pub mod frame;
pub mod generator;
pub mod host;
pub mod interrupt;
pub mod mail;
pub mod map_memory;
pub mod metrics;
pub mod netns;
pub mod process;
pub mod random;
pub mod raw;
pub mod record;
pub mod replay;
pub mod scene;
pub mod screen;
pub mod server;
pub mod sock_ops;
pub mod tc;
pub mod usage;
pub mod veth;
pub mod vm;
pub mod wait;
pub mod wire;
pub mod xdp;
