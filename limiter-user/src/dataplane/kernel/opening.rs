//! From what an earlier daemon left to a packet path that runs: fresh, taken
//! over, or in the place of one that does not fit.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::fcntl::{Flock, FlockArg};

use super::{
    Kernel, Running,
    attach::{self, attach_counting, attach_gate, cgroup_path},
    generation::{Generation, Ledger},
    load::{Loaded, failed, random_seed},
    pins::{self, Found, GENERATION, Pins},
    tables::Tables,
};
use crate::{
    clock::Now,
    config::Config,
    dataplane::{DataplaneError, First, Inherited, Opening, syscall},
    policy::Ids,
};

/// The kernel as an earlier daemon left it, and the right to change that.
#[derive(Clone, Debug)]
pub struct KernelOpening {
    pin_dir: PathBuf,
    cgroup: PathBuf,
    netns_cookie: u64,
    // Held as long as the daemon lives: nobody else touches these pins meanwhile.
    _lock: Arc<Flock<File>>,
    inherited: Inherited,
}

impl KernelOpening {
    /// Looks at the pins of a configuration, and keeps other daemons away from them.
    ///
    /// # Errors
    ///
    /// When there can be no pins, or they are somebody else's.
    pub fn new(config: &Config) -> Result<Self, DataplaneError> {
        let pin_dir = config.runtime.pin_dir.clone();
        let pins = Pins::new(&pin_dir);
        let cgroup = cgroup_path(&config.runtime.cgroup)?;
        let netns_cookie =
            syscall::netns_cookie().map_err(failed("reading the cookie of the network namespace"))?;
        pins.make_root()?;
        let lock = Arc::new(lock(&pin_dir)?);
        let inherited = match pins.find(netns_cookie)? {
            Found::Ours(generation) => generation.inherited(),
            Found::Nothing | Found::Unfit(_) => Inherited::default(),
        };
        Ok(Self { pin_dir, cgroup, netns_cookie, _lock: lock, inherited })
    }

    /// Returns where the pins are.
    pub(super) fn pin_dir(&self) -> &Path {
        &self.pin_dir
    }

    /// Loads, puts a policy in force and attaches, or takes over.
    pub(super) fn run(&self, first: &First<'_>) -> Result<Running, DataplaneError> {
        let pins = Pins::new(&self.pin_dir);
        // Detaching may have taken the directory with it.
        pins.make_root()?;
        let found = pins.find(self.netns_cookie)?;
        if let Found::Unfit(reason) = &found {
            tracing::warn!(
                reason,
                "what an earlier limiterd left does not fit; it is replaced, and open connections are counted anew"
            );
            pins.retire()?;
        }
        pins.make()?;
        let running = match found {
            Found::Ours(generation) => self.take_over(*generation, pins.clone(), first),
            Found::Nothing | Found::Unfit(_) => self.start_afresh(pins.clone(), first).inspect_err(|_| {
                if let Err(error) = pins.remove() {
                    tracing::error!(error = crate::chain::chain(&error), "pins stay behind");
                }
            }),
        }?;
        for path in pins.remove_others() {
            tracing::info!(path, "removed what an earlier limiterd left");
        }
        Ok(running)
    }

    fn start_afresh(&self, pins: Pins, first: &First<'_>) -> Result<Running, DataplaneError> {
        let generation = Generation {
            netns_cookie: self.netns_cookie,
            hash_seed: random_seed()?,
            cgroup: self.cgroup.display().to_string(),
            revision: 0,
            range_slots: Vec::new(),
            ids: Ids::default(),
        };
        let mut running = self.load(generation, pins)?;
        running.tables.set_heartbeat(Now::read().monotonic_ns)?;
        running.tables.set_local_addresses(first.local)?;
        running.switch(first.policy, first.fallback)?;
        attach_counting(&mut running.loaded, &running.pins, &self.cgroup)?;
        // Adopts what there is, before anybody is refused.
        running.charge_anew(first.policy)?;
        attach_gate(&mut running.loaded, &running.pins, &self.cgroup)?;
        running.attach_interfaces(first.config)?;
        Ok(running)
    }

    fn take_over(
        &self,
        mut generation: Generation,
        pins: Pins,
        first: &First<'_>,
    ) -> Result<Running, DataplaneError> {
        let cgroup = self.cgroup.display().to_string();
        if generation.cgroup != cgroup {
            tracing::warn!(from = generation.cgroup, to = cgroup, "the cgroup changed; attaching anew");
            attach::leave_cgroup(&pins);
            generation.cgroup = cgroup;
        }
        let slots = generation.range_slots.clone();
        let mut running = self.load(generation, pins)?;
        running.tables.inherit(&slots)?;
        running.tables.set_heartbeat(Now::read().monotonic_ns)?;
        running.tables.set_local_addresses(first.local)?;
        attach_counting(&mut running.loaded, &running.pins, &self.cgroup)?;
        attach_gate(&mut running.loaded, &running.pins, &self.cgroup)?;
        running.attach_interfaces(first.config)?;
        running.apply(first.policy, first.fallback)?;
        tracing::info!("took over what an earlier limiterd left attached");
        Ok(running)
    }

    fn load(&self, generation: Generation, pins: Pins) -> Result<Running, DataplaneError> {
        let mut loaded = Loaded::load(&pins, self.netns_cookie, generation.hash_seed)?;
        let tables = Tables::take_from(&mut loaded.ebpf)?;
        let ledger = Ledger::open(&pins.map(GENERATION), generation)?;
        Ok(Running { pins, loaded, tables, ledger, attachments: Vec::new(), keyed_by: None })
    }
}

impl Opening for KernelOpening {
    type Dataplane = Kernel;

    fn inherited(&self) -> Inherited {
        self.inherited.clone()
    }

    fn start(self, first: &First<'_>) -> Result<Kernel, DataplaneError> {
        let running = self.run(first)?;
        Ok(Kernel { opened: self, running: Some(running) })
    }

    fn detached(self) -> Result<Kernel, DataplaneError> {
        let pins = Pins::new(&self.pin_dir);
        pins.remove_others();
        pins.remove()?;
        Ok(Kernel { opened: self, running: None })
    }
}

/// Removes everything that is pinned below a directory, unless a daemon is alive that uses it;
/// returns what was removed.
///
/// # Errors
///
/// When a daemon is alive, or something stays behind.
pub fn clean_up_unused(pin_dir: &Path) -> Result<Vec<String>, DataplaneError> {
    if !pin_dir.exists() {
        return Ok(Vec::new());
    }
    let _lock = lock(pin_dir)?;
    pins::cleanup(pin_dir)
}

/// Takes the lock on a directory of pins.
///
/// # Errors
///
/// When another daemon has it.
fn lock(pin_dir: &Path) -> Result<Flock<File>, DataplaneError> {
    let host = |source| DataplaneError::Host { path: pin_dir.to_owned(), source };
    let directory = fs::File::open(pin_dir).map_err(host)?;
    Flock::lock(directory, FlockArg::LockExclusiveNonblock)
        .map_err(|_| DataplaneError::PinsInUse { path: pin_dir.to_owned() })
}
