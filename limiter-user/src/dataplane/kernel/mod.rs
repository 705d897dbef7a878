//! The packet path in the kernel: loads the programs, keeps their links, and
//! speaks to them through maps, iterators and test runs.

mod attach;
mod clsact;
mod generation;
mod in_place;
mod interface;
mod interfaces;
mod link;
mod load;
pub mod local;
mod netlink;
pub mod offsets;
mod opening;
pub mod pins;
mod probe;
pub mod ranges;
mod switch;
mod tables;
mod tc;
mod xdp;

use std::{net::IpAddr, os::fd::BorrowedFd};

use aya::programs::{ProgramError, TestRun as _, TestRunOptions, Xdp};
use limiter_common::{
    addr::Addr,
    event::{Amendment, Explanation, Sample, SourceRecord},
    map::{FailOpen, SourceKey},
};
use zerocopy::{FromBytes, IntoBytes as _};

pub(crate) use self::attach::cgroup_path;
pub use self::opening::{KernelOpening, clean_up_unused};
use self::{generation::Ledger, interfaces::bring_in_line, load::Loaded, pins::Pins, tables::Tables};
use super::{Attachment, CounterRow, Dataplane, DataplaneError, Fallback, First, Recount, records, syscall};
use crate::{clock::Now, config::Config, policy::Compiled};

/// Links that belong to no interface.
const HOST_LINKS: [&str; 4] = ["release", "give_back", "charge", "gate"];
/// What the programs that are run by hand return when they have done their work.
const XDP_PASS: u32 = 2;
/// Shortest frame that a test run of XDP takes (an Ethernet header).
const FRAME_MIN: usize = 14;

/// The packet path of the running kernel.
#[derive(Debug)]
pub struct Kernel {
    opened: KernelOpening,
    running: Option<Running>,
}

/// The programs and maps of a packet path that is attached.
struct Running {
    pins: Pins,
    loaded: Loaded,
    tables: Tables,
    ledger: Ledger,
    attachments: Vec<Attachment>,
    /// What open connections are charged by: ports to services, and the lengths of prefixes.
    keyed_by: Option<Keying>,
}

/// The part of a policy that says whom a connection is charged to.
#[derive(PartialEq, Eq)]
struct Keying {
    ports: Box<[u8; 1 << 16]>,
    masks: [Addr; 2],
}

impl Keying {
    fn of(compiled: &Compiled) -> Self {
        let policy = &compiled.policy;
        Self { ports: Box::new(policy.service_of_port), masks: [policy.ipv4_mask, policy.ipv6_mask] }
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("attachments", &self.attachments).finish_non_exhaustive()
    }
}

impl Kernel {
    fn running(&self) -> Result<&Running, DataplaneError> {
        self.running.as_ref().ok_or(DataplaneError::Detached)
    }
}

impl Running {
    /// Attaches to the interfaces of a configuration, as far as they are there.
    fn attach_interfaces(&mut self, config: &Config) -> Result<(), DataplaneError> {
        let outcome = bring_in_line(&mut self.loaded, &self.pins, config, &[]);
        self.attachments = outcome.attachments;
        outcome.errors.into_iter().next().map_or(Ok(()), Err)
    }

    /// Puts a policy in force; open connections are charged to whom it says.
    fn apply(&mut self, policy: &Compiled, fallback: Option<Fallback<'_>>) -> Result<(), DataplaneError> {
        self.switch(policy, fallback)?;
        self.charge_anew(policy)
    }

    /// Switches to a policy.
    fn switch(&mut self, policy: &Compiled, fallback: Option<Fallback<'_>>) -> Result<(), DataplaneError> {
        let prepared = self.tables.prepare(policy, fallback)?;
        let names = fallback.map_or(&policy.names, |fallback| {
            // Ids are only ever added: the longer list has all of them.
            if fallback.policy.names.services.len() + fallback.policy.names.classes.len()
                > policy.names.services.len() + policy.names.classes.len()
            {
                &fallback.policy.names
            } else {
                &policy.names
            }
        });
        let revision = prepared.revision();
        self.ledger.note(revision, self.tables.slots_around(&prepared), names)?;
        self.tables.switch(prepared)?;
        // The slots of before are free again.
        self.ledger.note(revision, self.tables.slots(), names)
    }

    /// Charges open connections to whom a policy says, if that changed.
    fn charge_anew(&mut self, policy: &Compiled) -> Result<(), DataplaneError> {
        let keying = Keying::of(policy);
        if self.keyed_by.as_ref() != Some(&keying) {
            self.rekey()?;
            // Ports that the new policy guards may have connections already.
            self.loaded.adopt()?;
            self.keyed_by = Some(keying);
        }
        Ok(())
    }

    /// Charges open connections to whom the policy in force says.
    fn rekey(&self) -> Result<(), DataplaneError> {
        let nothing: Vec<SourceKey> = self.records("rekey", self.tables.charges())?;
        debug_assert!(nothing.is_empty(), "the program writes nothing");
        Ok(())
    }

    fn records<T: FromBytes>(
        &self,
        iterator: &'static str,
        map: BorrowedFd<'_>,
    ) -> Result<Vec<T>, DataplaneError> {
        let failed = |error: std::io::Error| DataplaneError::Map {
            map: iterator,
            operation: "iterating",
            source: error.into(),
        };
        let program = self.loaded.iterator(iterator)?;
        let file = syscall::iterate_map(program, map).map_err(failed)?;
        let (records, left_over) = records::read(file).map_err(failed)?;
        if left_over != 0 {
            return Err(DataplaneError::Records { iterator, left_over, record_len: size_of::<T>() });
        }
        Ok(records)
    }

    fn amend(&self, amendments: &[Amendment]) -> Result<(), DataplaneError> {
        for batch in amendments.chunks(Amendment::PER_FRAME as usize) {
            let mut frame = batch.as_bytes().to_vec();
            frame.resize(frame.len().max(FRAME_MIN), 0);
            self.run("amend", &frame, &mut [])?;
        }
        Ok(())
    }

    fn recount(&mut self, idle_s: u32) -> Result<Recount, DataplaneError> {
        let number = self.tables.begin_recount()?;
        let strays = self.records("recount", self.tables.charges())?;
        // What is compared is read at one time, as far as that goes.
        let living = self.tables.living()?;
        let (totals, classes) = (self.tables.totals()?, self.tables.connections()?);
        let mut sources = self.sources()?;
        for record in &mut sources {
            record.source.living = record.source.living.in_recount(number);
        }
        let now = Now::read();
        let idle = sources.iter().filter(|record| is_idle(record, idle_s, now));
        let removals: Vec<_> = idle.map(|record| Amendment { key: record.key, delta: 0 }).collect();
        self.amend(&removals)?;
        Ok(Recount { sources, strays, living, totals, classes })
    }

    fn sources(&self) -> Result<Vec<SourceRecord>, DataplaneError> {
        self.records("sources", self.tables.sources())
    }

    fn explain(&self, source: Addr, destination: Addr, port: u16) -> Result<Explanation, DataplaneError> {
        let frame = probe::syn(source, destination, port);
        let mut out = vec![0; frame.len()];
        if self.run("explain", &frame, &mut out)? != XDP_PASS {
            return Err(DataplaneError::NoExplanation);
        }
        let (explanation, _) = Explanation::read_from_prefix(&out).map_err(|_| DataplaneError::Records {
            iterator: "explain",
            left_over: frame.len(),
            record_len: size_of::<Explanation>(),
        })?;
        Ok(explanation)
    }

    /// Runs a program on a frame; `out` gets the frame as the program left it.
    fn run(&self, name: &'static str, frame: &[u8], out: &mut [u8]) -> Result<u32, DataplaneError> {
        let failed = |error: ProgramError| DataplaneError::Setup {
            step: format!("running the program `{name}`"),
            remedy: "limiter needs CAP_BPF and CAP_NET_ADMIN",
            source: error.into(),
        };
        let program: &Xdp = self.loaded.program(name)?;
        let data_out = (!out.is_empty()).then_some(out);
        let options = TestRunOptions { data_in: Some(frame), data_out, ..TestRunOptions::new() };
        program.test_run(options).map(|result| result.return_value).map_err(failed)
    }
}

impl Dataplane for Kernel {
    fn apply(&mut self, policy: &Compiled, fallback: Option<Fallback<'_>>) -> Result<(), DataplaneError> {
        // What is detached is told at `attach`.
        self.running.as_mut().map_or(Ok(()), |running| running.apply(policy, fallback))
    }

    fn set_local_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), DataplaneError> {
        self.running.as_mut().map_or(Ok(()), |running| running.tables.set_local_addresses(addresses))
    }

    fn counters(&self, services: u32, classes: u32) -> Result<Vec<CounterRow>, DataplaneError> {
        self.running
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), |running| running.tables.counters(services, classes))
    }

    fn connections(&self) -> Result<Vec<u64>, DataplaneError> {
        self.running.as_ref().map_or_else(|| Ok(Vec::new()), |running| running.tables.connections())
    }

    fn fail_opens(&self) -> Result<Vec<(FailOpen, u64)>, DataplaneError> {
        self.running.as_ref().map_or_else(|| Ok(Vec::new()), |running| running.tables.fail_opens())
    }

    fn recount(&mut self, idle_s: u32) -> Result<Recount, DataplaneError> {
        self.running.as_mut().map_or_else(|| Ok(Recount::default()), |running| running.recount(idle_s))
    }

    fn sources(&self) -> Result<Vec<SourceRecord>, DataplaneError> {
        self.running.as_ref().map_or_else(|| Ok(Vec::new()), Running::sources)
    }

    fn correct(&mut self, key: SourceKey, delta: i32) -> Result<(), DataplaneError> {
        self.running()?.amend(&[Amendment { key, delta }])
    }

    fn explain(&self, source: Addr, destination: Addr, port: u16) -> Result<Explanation, DataplaneError> {
        self.running()?.explain(source, destination, port)
    }

    fn heartbeat(&mut self) -> Result<(), DataplaneError> {
        let now_ns = Now::read().monotonic_ns;
        self.running.as_mut().map_or(Ok(()), |running| running.tables.set_heartbeat(now_ns))
    }

    fn samples(&mut self) -> Vec<Sample> {
        self.running.as_mut().map_or_else(Vec::new, |running| running.tables.take_samples())
    }

    fn attachments(&self) -> Vec<Attachment> {
        self.running.as_ref().map_or_else(Vec::new, |running| running.attachments.clone())
    }

    fn missing_checks(&self) -> &[&'static str] {
        self.running.as_ref().map_or(&[], |running| &running.loaded.missing)
    }

    fn orphans(&self) -> Vec<String> {
        pins::orphans(self.opened.pin_dir())
    }

    fn refresh_interfaces(&mut self, config: &Config) -> Result<Vec<String>, DataplaneError> {
        // Who was told to stay detached has nothing to bring in line.
        let Some(running) = &mut self.running else { return Ok(Vec::new()) };
        let outcome = bring_in_line(&mut running.loaded, &running.pins, config, &running.attachments);
        running.attachments = outcome.attachments;
        Ok(outcome.changes)
    }

    fn is_whole(&self) -> bool {
        self.running
            .as_ref()
            .is_none_or(|running| HOST_LINKS.iter().all(|name| running.pins.link(name).exists()))
    }

    fn detach(&mut self) -> Result<(), DataplaneError> {
        if let Some(running) = &self.running {
            running.pins.remove()?;
        }
        self.running = None;
        Ok(())
    }

    fn attach(&mut self, first: &First<'_>) -> Result<(), DataplaneError> {
        if self.running.is_none() {
            self.running = Some(self.opened.run(first)?);
        }
        Ok(())
    }
}

/// Returns whether an entry holds nothing, owes nothing, and was not used for `idle_s` seconds.
fn is_idle(record: &SourceRecord, idle_s: u32, now: Now) -> bool {
    let source = &record.source;
    let used_at_s = u64::from(source.accepted_at_s.max(source.over_limit_at_s));
    source.word.is_idle()
        && source.tat_ns <= now.monotonic_ns
        && used_at_s + u64::from(idle_s) <= now.monotonic_s()
}
