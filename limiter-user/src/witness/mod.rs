//! The witness: what the rest of the kernel does to packets of mail.
//!
//! It watches and counts, and never changes how a packet fares. Where the kernel
//! cannot tell something, that is said, and the rest works.
//!
//! | module | what it owns |
//! | --- | --- |
//! | `kernel` | the programs in the kernel, and their maps |
//! | [`offsets`] | what they need to know of the kernel's structures |
//! | `reasons` | why the kernel drops packets, by name |
//! | `tags` | whose a packet is |
//! | [`sight`] | what was seen, as metrics show it |
//! | `silence` | servers that have not spoken |
//! | `listeners` | queues of listening sockets |
//! | [`netstat`] | totals without an address |
//! | `recent` | what grew within the last minute |

pub mod netstat;
pub mod offsets;
pub mod sight;

mod kernel;
mod listeners;
mod reasons;
mod recent;
mod silence;
mod tags;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use limiter_common::witness::{DropSample, FlowRecord, Tag};

use self::{
    kernel::Kernel,
    listeners::Listener,
    netstat::Totals,
    reasons::Reasons,
    recent::Recent,
    silence::Silence,
    tags::{Marks, Upstreams},
};
use crate::{
    clock::Now,
    config::Config,
    conntrack::{self, Flow},
    control::protocol::Refusal,
    kernel_types::KernelTypes,
    policy::{Compiled, Names},
};

pub use self::{recent::Minute, sight::Sight, tags::OUTBOUND};

/// What `verdict` and `point` say of a packet that the kernel dropped.
const KERNEL_DROP: &str = "kernel_drop";
const KERNEL: &str = "kernel";

/// The witness.
#[derive(Default)]
pub struct Witness {
    kernel: Option<Kernel>,
    /// Why the kernel tells nothing, in a sentence.
    blind: Option<String>,
    reasons: Reasons,
    upstreams: Upstreams,
    marks: Option<Marks>,
    /// The revision that the marks are of.
    marked: u32,
    local: Vec<IpAddr>,
    silence: Silence,
    listeners: Vec<Listener>,
    /// Totals of the last look; none before the first.
    totals: Option<Totals>,
    recent: Recent,
    since: Option<Now>,
}

impl Witness {
    /// Starts to watch; what cannot be watched is said by [`Witness::blind`].
    #[must_use]
    pub fn start(config: &Config, compiled: &Compiled, local: &[IpAddr], now: Now) -> Self {
        let mut witness = Self { since: Some(now), local: local.to_vec(), ..Self::default() };
        if !config.witness.enabled {
            return witness;
        }
        if let Err(error) = witness.open(config, compiled) {
            tracing::warn!(error = format!("{error:#}"), "the witness sees no drops of the kernel");
            witness.blind = Some(format!("{error:#}"));
        }
        witness
    }

    fn open(&mut self, config: &Config, compiled: &Compiled) -> anyhow::Result<()> {
        let types = KernelTypes::read()?;
        self.reasons = Reasons::of(&types)?;
        let marks = Marks::of(config, &compiled.policy.service_of_port, &mut self.upstreams);
        let marks = marks.ok_or_else(|| anyhow::anyhow!("no memory for a table of ports"))?;
        let kernel = Kernel::start(&types, &config.runtime.cgroup, &self.reasons, &marks, &self.local)?;
        tracing::info!(missing = kernel.missing.join(", "), "the witness watches");
        self.kernel = Some(kernel);
        self.marks = Some(marks);
        self.marked = compiled.policy.revision;
        Ok(())
    }

    /// Returns why the kernel tells nothing, if that is so.
    #[must_use]
    pub fn blind(&self) -> Option<&str> {
        self.blind.as_deref()
    }

    /// Returns whether it watches.
    #[must_use]
    pub const fn is_watching(&self) -> bool {
        self.kernel.is_some()
    }

    /// Follows a policy and the host's own addresses.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; it is tried again at the next call.
    pub fn follow(&mut self, config: &Config, compiled: &Compiled, local: &[IpAddr]) -> anyhow::Result<()> {
        let Some(kernel) = &mut self.kernel else {
            return Ok(());
        };
        if self.local != local {
            kernel.set_local_addresses(local)?;
            self.local = local.to_vec();
        }
        if self.marked != compiled.policy.revision {
            let marks = Marks::of(config, &compiled.policy.service_of_port, &mut self.upstreams);
            if marks.is_some()
                && marks != self.marks
                && let Some(new) = &marks
            {
                kernel.mark(new)?;
                self.marks = marks;
            }
            self.marked = compiled.policy.revision;
        }
        Ok(())
    }

    /// Takes the dropped packets of the kernel since the last call, to be shown beside our own refusals.
    pub fn dropped(&mut self, names: &Names, now: Now) -> Vec<Refusal> {
        let samples = self.kernel.as_mut().map(Kernel::samples).unwrap_or_default();
        samples.iter().map(|sample| self.shown(sample, names, now)).collect()
    }

    fn shown(&self, sample: &DropSample, names: &Names, now: Now) -> Refusal {
        let key = sample.key;
        Refusal {
            at_ms: now.unix_ms_of(sample.at_ns),
            address: IpAddr::from(key.remote),
            port: key.local_port,
            remote_port: Some(key.remote_port),
            service: self.upstreams.label(sample.drop.tag, names),
            class: String::new(),
            verdict: KERNEL_DROP.to_owned(),
            reason: self.reasons.name(sample.drop.reason),
            point: KERNEL.to_owned(),
            direction: Some(sight::direction(sample.drop.direction).to_owned()),
            established: sample.drop.established != 0,
        }
    }

    /// Notes what grew, for [`Witness::recent`].
    ///
    /// # Errors
    ///
    /// When the kernel does not tell.
    pub fn second(&mut self, now: Now) -> anyhow::Result<()> {
        if let Some(kernel) = &self.kernel {
            self.recent.take(kernel.drops()?, now);
        }
        Ok(())
    }

    /// Looks at listeners, totals and live connections.
    ///
    /// # Errors
    ///
    /// When the kernel does not tell.
    pub fn look(&mut self, silent_after: Duration, now: Now) -> anyhow::Result<()> {
        if self.since.is_none() {
            return Ok(());
        }
        self.listeners = listeners::listeners()?;
        self.totals = Some(Totals::read()?);
        self.recent.listen(&self.listeners, now);
        if let Some(kernel) = &mut self.kernel {
            let flows = kernel.flows()?;
            kernel.leave_seeded(&flows)?;
            let watched = self.since.map_or(Duration::ZERO, |since| {
                Duration::from_nanos(now.monotonic_ns.saturating_sub(since.monotonic_ns))
            });
            self.silence = Silence::of(&flows, silent_after, watched, now);
        }
        Ok(())
    }

    /// Returns the connections that connection tracking must know of as well: those of clients to services, and
    /// of this host to other mail servers; none while it does not watch.
    ///
    /// # Errors
    ///
    /// When the kernel does not tell.
    pub fn open_connections(&self) -> anyhow::Result<Option<Vec<Flow>>> {
        let Some(kernel) = &self.kernel else {
            return Ok(None);
        };
        let flow = |record: &FlowRecord| {
            let service = match Tag(record.flow.tag) {
                Tag::OUTBOUND => conntrack::OUTBOUND,
                tag if tag.as_upstream().is_some() => return None,
                tag => u32::from(tag.0),
            };
            Some(Flow { local: local(record), remote: remote(record), service })
        };
        Ok(Some(kernel.flows()?.iter().filter_map(flow).collect()))
    }

    /// Returns what the packets of a service met within the last minute.
    #[must_use]
    pub fn recent(&self, service: u32, ports: &[u16]) -> Minute {
        self.recent.minute(u8::try_from(service).unwrap_or(Tag::NONE.0), ports, &self.reasons)
    }

    /// Returns what mail that this host sends met within the last minute.
    #[must_use]
    pub fn recent_outbound(&self) -> Minute {
        self.recent.minute(Tag::OUTBOUND.0, &[], &self.reasons)
    }

    /// Returns connections on which the server of a service has not spoken, and all of its connections.
    #[must_use]
    pub fn silent(&self, service: u32) -> (u64, u64) {
        self.silence.of_service(service)
    }

    /// Returns service and remote address of each of them.
    pub fn silent_addresses(&self) -> impl Iterator<Item = (u32, IpAddr)> + '_ {
        self.silence.addresses()
    }

    /// Returns those of a service's ports on which nobody listens; none before the first look.
    pub fn unheard<'a>(&'a self, ports: &'a [u16]) -> impl Iterator<Item = u16> + 'a {
        let heard = |port: &u16| self.listeners.iter().any(|listener| listener.port == *port);
        let looked = self.totals.is_some();
        ports.iter().copied().filter(move |port| looked && !heard(port))
    }
}

fn local(record: &FlowRecord) -> SocketAddr {
    SocketAddr::new(record.key.local.into(), record.key.local_port)
}

fn remote(record: &FlowRecord) -> SocketAddr {
    SocketAddr::new(record.key.remote.into(), record.key.remote_port)
}
