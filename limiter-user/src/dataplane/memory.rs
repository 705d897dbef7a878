//! A packet path without a kernel, for tests of the daemon's logic.
//!
//! It decides with the functions of `limiter-common`, as the kernel half does,
//! and counts as it does. Nothing here is concurrent, so nothing is reserved:
//! [`Memory::connect`] is a whole handshake. Clones share one world: a test
//! keeps one and gives the other to the daemon.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use limiter_common::{
    addr::Addr,
    event::{Explanation, Sample, SourceRecord},
    map::{Counters, FailOpen, Source, SourceKey},
    names,
    policy::UNGUARDED,
    verdict::{Point, Verdict},
    word::Word,
};

use super::{
    AttachMode, Attachment, CounterRow, Dataplane, DataplaneError, Fallback, First, Inherited, Opening,
    Recount,
};
use crate::{clock::Now, config::Config, policy::Compiled};

mod world;

pub use world::World;

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// A packet path in memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    world: Arc<Mutex<World>>,
}

impl Memory {
    /// Returns a packet path without a policy, at this moment.
    #[must_use]
    pub fn new(now: Now) -> Self {
        let memory = Self::default();
        memory.world().now_ns = now.monotonic_ns;
        memory
    }

    /// Returns the world, to look at or to tamper with.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes a handshake from `address` to `port`, if the policy lets it.
    pub fn connect(&self, address: IpAddr, port: u16) -> Verdict {
        self.world().connect(address.into(), port)
    }

    /// Closes one connection from `address` to `port`; `false` if there is none.
    #[must_use]
    pub fn close(&self, address: IpAddr, port: u16) -> bool {
        self.world().close(address.into(), port)
    }
}

impl Dataplane for Memory {
    fn apply(&mut self, policy: &Compiled, fallback: Option<Fallback<'_>>) -> Result<(), DataplaneError> {
        let mut world = self.world();
        world.check("apply")?;
        world.applied.push(policy.clone());
        world.fallback = fallback.map(|fallback| (fallback.policy.clone(), fallback.at_ns));
        Ok(())
    }

    fn set_local_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), DataplaneError> {
        let mut world = self.world();
        world.check("set_local_addresses")?;
        world.local = addresses.to_vec();
        Ok(())
    }

    fn counters(&self, services: u32, classes: u32) -> Result<Vec<CounterRow>, DataplaneError> {
        let world = self.world();
        world.check("counters")?;
        let asked =
            world.rows.iter().filter(|((service, class, _), _)| *service < services && *class < classes);
        Ok(asked
            .map(|(&(service, class, family), cells)| CounterRow {
                service,
                class,
                family,
                counters: Counters { cells: *cells },
            })
            .collect())
    }

    fn connections(&self) -> Result<Vec<u64>, DataplaneError> {
        let world = self.world();
        world.check("connections")?;
        Ok(world.connections())
    }

    fn fail_opens(&self) -> Result<Vec<(FailOpen, u64)>, DataplaneError> {
        self.world().check("fail_opens")?;
        Ok(FailOpen::ALL.map(|why| (why, 0)).to_vec())
    }

    fn recount(&mut self, idle_s: u32) -> Result<Recount, DataplaneError> {
        let mut world = self.world();
        world.check("recount")?;
        let now_s = world.now_ns / SECOND_NS;
        let idle = |source: &Source| {
            source.word.is_idle() && u64::from(source.accepted_at_s) + u64::from(idle_s) < now_s
        };
        let (sources, strays, living) = (world.counted(), world.strays(), world.living());
        world.sources.retain(|_, source| !idle(source));
        let totals = (0_u32..).take(names::SERVICES).map(|service| world.total(service)).collect();
        Ok(Recount { sources, strays, living, totals, classes: world.connections() })
    }

    fn sources(&self) -> Result<Vec<SourceRecord>, DataplaneError> {
        let world = self.world();
        world.check("sources")?;
        Ok(world.records())
    }

    fn correct(&mut self, key: SourceKey, delta: i32) -> Result<(), DataplaneError> {
        let mut world = self.world();
        world.check("correct")?;
        if let Some(source) = world.sources.get_mut(&key) {
            source.word = Word(source.word.0.wrapping_add_signed(i64::from(delta)));
        }
        Ok(())
    }

    fn explain(&self, source: Addr, _destination: Addr, port: u16) -> Result<Explanation, DataplaneError> {
        let world = self.world();
        world.check("explain")?;
        let Some(compiled) = world.policy() else {
            return Ok(Explanation::default());
        };
        let service = compiled.policy.service_of(port);
        if service == UNGUARDED {
            return Ok(Explanation { revision: compiled.policy.revision, ..Explanation::default() });
        }
        let facts = world.facts(compiled, source, service);
        let verdict = World::verdict(compiled, service, &facts);
        Ok(Explanation {
            cell: u32::try_from(verdict.cell(Point::Syn)).unwrap_or(u32::MAX),
            service,
            class: facts.class,
            revision: compiled.policy.revision,
            known: u32::from(facts.has_entry),
            held: facts.known.held,
            total: facts.known.total,
            unwatched: 0,
            tat_ns: facts.known.tat_ns,
            now_ns: facts.known.now_ns,
        })
    }

    fn heartbeat(&mut self) -> Result<(), DataplaneError> {
        let mut world = self.world();
        world.check("heartbeat")?;
        world.heartbeats += 1;
        Ok(())
    }

    fn samples(&mut self) -> Vec<Sample> {
        std::mem::take(&mut self.world().samples)
    }

    fn attachments(&self) -> Vec<Attachment> {
        vec![Attachment { interface: "memory".into(), mode: AttachMode::None, remark: String::new() }]
    }

    fn missing_checks(&self) -> &[&'static str] {
        &[]
    }

    fn orphans(&self) -> Vec<String> {
        Vec::new()
    }

    fn refresh_interfaces(&mut self, config: &Config) -> Result<Vec<String>, DataplaneError> {
        let mut world = self.world();
        world.check("refresh")?;
        let changed = world.interfaces.as_ref() != Some(&config.interfaces);
        world.interfaces = Some(config.interfaces.clone());
        Ok(if changed { vec!["memory is guarded".to_owned()] } else { Vec::new() })
    }

    fn is_whole(&self) -> bool {
        !self.world().taken_off
    }

    fn detach(&mut self) -> Result<(), DataplaneError> {
        let mut world = self.world();
        world.check("detach")?;
        world.detached = true;
        Ok(())
    }

    fn attach(&mut self, first: &First<'_>) -> Result<(), DataplaneError> {
        self.world().detached = false;
        self.world().taken_off = false;
        self.apply(first.policy, first.fallback)?;
        self.set_local_addresses(first.local)
    }
}

impl Opening for Memory {
    type Dataplane = Self;

    fn inherited(&self) -> Inherited {
        Inherited::default()
    }

    fn start(mut self, first: &First<'_>) -> Result<Self, DataplaneError> {
        self.attach(first)?;
        Ok(self)
    }

    fn detached(self) -> Result<Self, DataplaneError> {
        self.world().detached = true;
        Ok(self)
    }
}
