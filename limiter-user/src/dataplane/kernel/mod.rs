//! The packet path in the kernel: loads the programs, keeps their links, and
//! speaks to them through maps, iterators and test runs.

mod attach;
mod interface;
mod load;
pub mod offsets;
mod probe;
mod tables;

use std::{io::Read as _, net::IpAddr, os::fd::BorrowedFd};

use aya::programs::{ProgramError, TestRun as _, TestRunOptions, Xdp};
use limiter_common::{
    addr::Addr,
    event::{Amendment, Explanation, Sample, SourceRecord},
    map::{Charge, FailOpen, SourceKey},
};
use zerocopy::{FromBytes, IntoBytes as _};

use self::{attach::Links, load::Loaded, tables::Tables};
use super::{Attachment, CounterRow, Dataplane, DataplaneError, Recount, syscall};
use crate::{clock::Now, config::Config, policy::Compiled};

/// What the programs that are run by hand return when they have done their work.
const XDP_PASS: u32 = 2;
/// Shortest frame that a test run of XDP takes (an Ethernet header).
const FRAME_MIN: usize = 14;

/// The packet path of the running kernel.
pub struct Kernel {
    loaded: Loaded,
    tables: Tables,
    links: Links,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("links", &self.links).finish_non_exhaustive()
    }
}

impl Kernel {
    /// Loads the programs, puts a policy in force and attaches, in the order
    /// that keeps counts right: charge and release, adoption of the connections
    /// there are, the gate, XDP.
    ///
    /// # Errors
    ///
    /// When the kernel lacks something, refuses something, or a foreign program
    /// is in the way; then nothing stays attached.
    pub fn start(config: &Config, first: &Compiled, local: &[IpAddr]) -> Result<Self, DataplaneError> {
        let mut loaded = Loaded::load()?;
        let mut tables = Tables::take_from(&mut loaded.ebpf)?;
        tables.set_heartbeat(Now::read().monotonic_ns)?;
        tables.set_local_addresses(local)?;
        tables.apply(first)?;
        let links = Links::attach(&mut loaded, config)?;
        Ok(Self { loaded, tables, links })
    }

    /// Returns the checks that this kernel's type information leaves out.
    #[must_use]
    pub fn missing_checks(&self) -> &[&'static str] {
        &self.loaded.missing
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
        let mut bytes = Vec::new();
        syscall::iterate_map(program, map)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(failed)?;
        let record_len = size_of::<T>();
        let parse = |chunk: &[u8]| {
            T::read_from_bytes(chunk).map_err(|_| DataplaneError::Records {
                iterator,
                len: bytes.len(),
                record_len,
            })
        };
        bytes.chunks(record_len).map(parse).collect()
    }

    fn amend(&self, amendments: &[Amendment]) -> Result<(), DataplaneError> {
        for batch in amendments.chunks(Amendment::PER_FRAME as usize) {
            let mut frame = batch.as_bytes().to_vec();
            frame.resize(frame.len().max(FRAME_MIN), 0);
            self.run("amend", &frame, &mut [])?;
        }
        Ok(())
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
    fn apply(&mut self, policy: &Compiled) -> Result<(), DataplaneError> {
        self.tables.apply(policy)?;
        // Ports that the new policy guards may have connections already.
        self.loaded.adopt()
    }

    fn set_local_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), DataplaneError> {
        self.tables.set_local_addresses(addresses)
    }

    fn counters(&self, services: u32, classes: u32) -> Result<Vec<CounterRow>, DataplaneError> {
        self.tables.counters(services, classes)
    }

    fn connections(&self) -> Result<Vec<u64>, DataplaneError> {
        self.tables.connections()
    }

    fn fail_opens(&self) -> Result<Vec<(FailOpen, u64)>, DataplaneError> {
        self.tables.fail_opens()
    }

    fn recount(&mut self, idle_s: u32) -> Result<Recount, DataplaneError> {
        let sources = Dataplane::sources(self)?;
        let charges: Vec<Charge> = self.records("recount", self.tables.charges())?;
        let now = Now::read();
        let idle = sources.iter().filter(|record| is_idle(record, idle_s, now));
        let removals: Vec<_> = idle.map(|record| Amendment { key: record.key, delta: 0 }).collect();
        self.amend(&removals)?;
        Ok(Recount { charges, sources, totals: self.tables.totals()? })
    }

    fn sources(&self) -> Result<Vec<SourceRecord>, DataplaneError> {
        self.records("sources", self.tables.sources())
    }

    fn correct(&mut self, key: SourceKey, delta: i32) -> Result<(), DataplaneError> {
        self.amend(&[Amendment { key, delta }])
    }

    fn explain(&self, source: Addr, destination: Addr, port: u16) -> Result<Explanation, DataplaneError> {
        let frame = probe::syn(source, destination, port);
        let mut out = vec![0; frame.len()];
        if self.run("explain", &frame, &mut out)? != XDP_PASS {
            return Err(DataplaneError::NoExplanation);
        }
        let (explanation, _) = Explanation::read_from_prefix(&out).map_err(|_| DataplaneError::Records {
            iterator: "explain",
            len: frame.len(),
            record_len: size_of::<Explanation>(),
        })?;
        Ok(explanation)
    }

    fn heartbeat(&mut self) -> Result<(), DataplaneError> {
        self.tables.set_heartbeat(Now::read().monotonic_ns)
    }

    fn samples(&mut self) -> Vec<Sample> {
        self.tables.take_samples()
    }

    fn attachments(&self) -> Vec<Attachment> {
        self.links.attachments.clone()
    }

    fn detach(&mut self) -> Result<(), DataplaneError> {
        self.links.detach(&mut self.loaded)
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
