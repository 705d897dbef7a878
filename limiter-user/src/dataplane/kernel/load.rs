//! Loads the object into the kernel: maps pinned or taken from their pins,
//! constants set, every program verified, nothing attached.

use std::{
    io::Read as _,
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    programs::{BtfTracePoint, CgroupSkb, Iter, Program, ProgramError, SchedClassifier, SockOps, Xdp},
};

use super::{
    in_place::InPlace,
    offsets::Offsets,
    pins::{Pins, wanted_maps},
};
use crate::{dataplane::DataplaneError, kernel_types::KernelTypes};

/// The programs, made by `cargo xtask build` and embedded by `build.rs`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("LIMITER_BPF_OBJECT"));

/// XDP programs.
const XDP: [&str; 3] = ["ingress", "explain", "amend"];
/// The program of tc.
pub(super) const TC: &str = "ingress_tc";
/// Programs on BTF tracepoints, with the tracepoint.
const TRACEPOINTS: [(&str, &str); 2] = [("release", "tcp_destroy_sock"), ("give_back", "kfree_skb")];
/// Iterators, with what they iterate over.
const ITERATORS: [(&str, &str); 4] = [
    ("adopt", "tcp"),
    ("rekey", "bpf_sk_storage_map"),
    ("recount", "bpf_sk_storage_map"),
    ("sources", "bpf_map_elem"),
];

/// The step of both readers: aya has its own, which knows nothing of members.
const TYPES_STEP: &str = "reading the kernel's type information";

/// What an operator can do when the kernel refuses a program.
const KERNEL_REMEDY: &str =
    "limiter needs Linux 6.1 or newer with CONFIG_DEBUG_INFO_BTF, and CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";

/// The object in the kernel.
pub(super) struct Loaded {
    /// Programs and maps.
    pub(super) ebpf: Ebpf,
    /// Checks that the kernel's type information leaves out.
    pub(super) missing: Vec<&'static str>,
}

/// Returns a mapper of errors to the step they happened in.
pub(super) fn failed<E: Into<anyhow::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> DataplaneError {
    move |error| DataplaneError::Setup { step: step.into(), remedy: KERNEL_REMEDY, source: error.into() }
}

impl Loaded {
    /// Loads the object; maps that are pinned are taken, the others are made and pinned.
    pub(super) fn load(pins: &Pins, netns_cookie: u64, seed: u64) -> Result<Self, DataplaneError> {
        let types = KernelTypes::read().map_err(failed(TYPES_STEP))?;
        let offsets = Offsets::of(&types)?;
        drop(types);
        let maps = wanted_maps()?;
        let in_place = InPlace::read(pins)?;
        let mut loader = EbpfLoader::new();
        for (constant, value) in &offsets.values {
            loader.override_global(constant, value, true);
        }
        loader.override_global("NETNS_COOKIE", &netns_cookie, true);
        loader.override_global("HASH_SEED", &seed, true);
        in_place.keep(&mut loader);
        for (name, _) in &maps {
            loader.map_pin_path(name, pins.map(name));
        }
        let ebpf = loader.load(OBJECT).map_err(failed("loading the maps"))?;
        let mut object = Self { ebpf, missing: offsets.missing };
        object.load_programs()?;
        Ok(object)
    }

    fn load_programs(&mut self) -> Result<(), DataplaneError> {
        let btf = Btf::from_sys_fs().map_err(failed(TYPES_STEP))?;
        let step = |name: &str| format!("loading the program `{name}`");
        for name in XDP {
            self.program_mut::<Xdp>(name)?.load().map_err(failed(step(name)))?;
        }
        self.program_mut::<SchedClassifier>(TC)?.load().map_err(failed(step(TC)))?;
        self.program_mut::<CgroupSkb>("gate")?.load().map_err(failed(step("gate")))?;
        self.program_mut::<SockOps>("charge")?.load().map_err(failed(step("charge")))?;
        for (name, tracepoint) in TRACEPOINTS {
            self.program_mut::<BtfTracePoint>(name)?.load(tracepoint, &btf).map_err(failed(step(name)))?;
        }
        for (name, target) in ITERATORS {
            self.program_mut::<Iter>(name)?.load(target, &btf).map_err(failed(step(name)))?;
        }
        Ok(())
    }

    /// Returns a program of the object.
    pub(super) fn program<'a, T>(&'a self, name: &str) -> Result<&'a T, DataplaneError>
    where
        &'a T: TryFrom<&'a Program, Error = ProgramError>,
    {
        let program = self.ebpf.program(name).ok_or_else(|| missing_program(name))?;
        program.try_into().map_err(failed(format!("finding the program `{name}`")))
    }

    /// Returns a program of the object, to load, attach or detach.
    pub(super) fn program_mut<'a, T>(&'a mut self, name: &str) -> Result<&'a mut T, DataplaneError>
    where
        &'a mut T: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        let program = self.ebpf.program_mut(name).ok_or_else(|| missing_program(name))?;
        program.try_into().map_err(failed(format!("finding the program `{name}`")))
    }

    /// Returns the descriptor of an iterator program.
    pub(super) fn iterator(&self, name: &str) -> Result<BorrowedFd<'_>, DataplaneError> {
        let program: &Iter = self.program(name)?;
        Ok(program.fd().map_err(failed(format!("opening the program `{name}`")))?.as_fd())
    }

    /// Charges every connection of a guarded port that is not charged yet.
    pub(super) fn adopt(&mut self) -> Result<(), DataplaneError> {
        let step = "adopting open connections";
        let program: &mut Iter = self.program_mut("adopt")?;
        let link = program.attach().and_then(|id| program.take_link(id)).map_err(failed(step))?;
        let mut file = link.into_file().map_err(failed(step))?;
        // Reading runs the iterator; it writes nothing.
        file.read_to_end(&mut Vec::new()).map_err(failed(step))?;
        Ok(())
    }
}

fn missing_program(name: &str) -> DataplaneError {
    failed(format!("finding the program `{name}`"))(anyhow::anyhow!("the object does not have it"))
}

/// Returns a random number for the hashes.
///
/// # Errors
///
/// When the system has none.
pub(super) fn random_seed() -> Result<u64, DataplaneError> {
    const RANDOM: &str = "/dev/urandom";
    let mut bytes = [0; 8];
    let read = std::fs::File::open(RANDOM).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|source| DataplaneError::Host { path: RANDOM.into(), source })?;
    Ok(u64::from_ne_bytes(bytes))
}
