//! The programs of the witness in the kernel: loaded, attached, asked.
//!
//! Nothing is pinned. What is attached ends with the daemon, since nobody would
//! read it; counters begin anew with the next one, which is what counters may do.

use std::{
    fs::File,
    io::Read as _,
    net::IpAddr,
    os::fd::{AsFd as _, BorrowedFd},
};

use anyhow::{Context as _, anyhow};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, HashMap, Map, MapData, MapError, RingBuf},
    programs::{
        BtfTracePoint, CgroupAttachMode, Iter, Program, ProgramError, SockOps, tp_btf::BtfTracePointLinkId,
    },
};
use limiter_common::{
    addr::Addr,
    map::PortHints,
    witness::{DropKey, DropSample, Endpoint, FirstBytes, FlowRecord, Lost, REASONS, RetransmitKey, TAGS},
};
use zerocopy::FromBytes as _;

use super::{offsets, reasons::Reasons, tags::Marks};
use crate::{
    config::Cgroup,
    dataplane::{iterate_map, kernel::cgroup_path, netns_cookie, records},
    kernel_types::KernelTypes,
};

/// The programs, made by `cargo xtask build` and embedded by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("LIMITER_WITNESS_OBJECT"));

/// The program that forgets connections from before the witness.
const SEEDED_ENDS: &str = "seeded_ends";
/// Programs on BTF tracepoints, with the tracepoint.
const TRACEPOINTS: [(&str, &str); 3] =
    [(SEEDED_ENDS, "inet_sock_set_state"), ("drops", "kfree_skb"), ("retransmits", "tcp_retransmit_skb")];
/// Iterators, with what they iterate over.
const ITERATORS: [(&str, &str); 2] = [("seed", "tcp"), ("flows", "bpf_map_elem")];
/// Elements of `PORTS`: of this host, of others.
const LOCAL_PORTS: u32 = 0;
const REMOTE_PORTS: u32 = 1;

/// The programs and maps of the witness.
pub(super) struct Kernel {
    ebpf: Ebpf,
    ports: Array<MapData, PortHints>,
    upstreams: HashMap<MapData, Endpoint, u32>,
    local: HashMap<MapData, Addr, u32>,
    drops: HashMap<MapData, DropKey, u64>,
    samples: RingBuf<MapData>,
    retransmits: HashMap<MapData, RetransmitKey, u64>,
    first_bytes: Array<MapData, FirstBytes>,
    lost: Array<MapData, u64>,
    flows: MapData,
    /// While there are connections from before the witness: what tells of their ends.
    seeded_ends: Option<BtfTracePointLinkId>,
    /// What this kernel's type information lacks.
    pub(super) missing: Vec<&'static str>,
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, map: &'static str) -> anyhow::Result<T> {
    let found = ebpf.take_map(map).ok_or_else(|| anyhow!("the object has no map {map}"))?;
    T::try_from(found).with_context(|| format!("cannot open the map {map}"))
}

impl Kernel {
    /// Loads the programs and attaches them; the connections there are already count as live.
    pub(super) fn start(
        types: &KernelTypes,
        cgroup: &Cgroup,
        reasons: &Reasons,
        marks: &Marks,
        local: &[IpAddr],
    ) -> anyhow::Result<Self> {
        let offsets = offsets::of(types)?;
        let cookie = netns_cookie().context("cannot read the cookie of the network namespace")?;
        let mut loader = EbpfLoader::new();
        for (constant, value) in &offsets.values {
            loader.override_global(constant, value, true);
        }
        loader.override_global("NETNS_COOKIE", &cookie, true);
        let mut ebpf = loader.load(OBJECT).context("cannot load the maps of the witness")?;
        let mut policy_reasons: Array<MapData, u32> = take(&mut ebpf, "POLICY_REASONS")?;
        for reason in reasons.policies().filter(|reason| (*reason as usize) < REASONS) {
            policy_reasons.set(reason, 1, 0).context("cannot tell which reasons are policies")?;
        }
        let Some(Map::HashMap(flows)) = ebpf.take_map("FLOWS_LIVE") else {
            return Err(anyhow!("the object has no map FLOWS_LIVE"));
        };
        let mut kernel = Self {
            ports: take(&mut ebpf, "PORTS")?,
            upstreams: take(&mut ebpf, "UPSTREAMS")?,
            local: take(&mut ebpf, "LOCAL_ADDRESSES")?,
            drops: take(&mut ebpf, "DROPS")?,
            samples: take(&mut ebpf, "DROP_SAMPLES")?,
            retransmits: take(&mut ebpf, "RETRANSMITS")?,
            first_bytes: take(&mut ebpf, "FIRST_BYTES")?,
            lost: take(&mut ebpf, "LOST")?,
            flows,
            seeded_ends: None,
            ebpf,
            missing: offsets.missing,
        };
        kernel.mark(marks)?;
        kernel.set_local_addresses(local)?;
        kernel.load()?;
        kernel.attach(&cgroup_path(cgroup)?)?;
        kernel.seed()?;
        Ok(kernel)
    }

    fn load(&mut self) -> anyhow::Result<()> {
        let btf = Btf::from_sys_fs().context("cannot read the kernel's type information")?;
        for (name, tracepoint) in TRACEPOINTS {
            let program: &mut BtfTracePoint = self.program(name)?;
            program.load(tracepoint, &btf).with_context(|| format!("cannot load the program `{name}`"))?;
        }
        for (name, target) in ITERATORS {
            let program: &mut Iter = self.program(name)?;
            program.load(target, &btf).with_context(|| format!("cannot load the program `{name}`"))?;
        }
        let program: &mut SockOps = self.program("connections")?;
        program.load().context("cannot load the program `connections`")
    }

    fn attach(&mut self, cgroup: &std::path::Path) -> anyhow::Result<()> {
        for (name, _) in TRACEPOINTS {
            let program: &mut BtfTracePoint = self.program(name)?;
            let link = program.attach().with_context(|| format!("cannot attach the program `{name}`"))?;
            if name == SEEDED_ENDS {
                self.seeded_ends = Some(link);
            }
        }
        let open = File::open(cgroup).with_context(|| format!("cannot open {}", cgroup.display()))?;
        let program: &mut SockOps = self.program("connections")?;
        program
            .attach(&open, CgroupAttachMode::Single)
            .with_context(|| format!("cannot attach the program `connections` to {}", cgroup.display()))?;
        Ok(())
    }

    /// Notes the connections that were there before anything was attached.
    fn seed(&mut self) -> anyhow::Result<()> {
        let step = "cannot look at the connections there are";
        let program: &mut Iter = self.program("seed")?;
        let link = program.attach().and_then(|id| program.take_link(id)).context(step)?;
        // Reading runs the iterator; it writes nothing.
        link.into_file().context(step)?.read_to_end(&mut Vec::new()).context(step)?;
        Ok(())
    }

    /// Ends what every socket of the host pays for once no connection from before the witness is
    /// left; `flows` are those that are live.
    pub(super) fn leave_seeded(&mut self, flows: &[FlowRecord]) -> anyhow::Result<()> {
        if flows.iter().any(|record| record.flow.established_ns == 0) {
            return Ok(());
        }
        if let Some(link) = self.seeded_ends.take() {
            let program: &mut BtfTracePoint = self.program(SEEDED_ENDS)?;
            program.detach(link).context("cannot detach the program `seeded_ends`")?;
        }
        Ok(())
    }

    fn program<'a, T>(&'a mut self, name: &str) -> anyhow::Result<&'a mut T>
    where
        &'a mut T: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        let program =
            self.ebpf.program_mut(name).ok_or_else(|| anyhow!("the object has no program {name}"))?;
        program.try_into().with_context(|| format!("the program `{name}` is of another type"))
    }

    /// Tells the programs whose each port and address is.
    pub(super) fn mark(&mut self, marks: &Marks) -> anyhow::Result<()> {
        let step = "cannot tell the witness which ports to look at";
        self.ports.set(LOCAL_PORTS, *marks.local, 0).context(step)?;
        self.ports.set(REMOTE_PORTS, *marks.remote, 0).context(step)?;
        replace(&mut self.upstreams, &marks.upstreams).context(step)
    }

    /// Tells the programs which addresses are the host's own.
    pub(super) fn set_local_addresses(&mut self, addresses: &[IpAddr]) -> anyhow::Result<()> {
        let wanted: Vec<(Addr, u32)> = addresses.iter().map(|address| (Addr::from(*address), 1)).collect();
        replace(&mut self.local, &wanted).context("cannot tell the witness the host's own addresses")
    }

    /// Returns the drops counted so far.
    pub(super) fn drops(&self) -> anyhow::Result<Vec<(DropKey, u64)>> {
        self.drops.iter().collect::<Result<_, _>>().context("cannot read the drops")
    }

    /// Returns the retransmissions counted so far.
    pub(super) fn retransmits(&self) -> anyhow::Result<Vec<(RetransmitKey, u64)>> {
        self.retransmits.iter().collect::<Result<_, _>>().context("cannot read the retransmissions")
    }

    /// Returns the times to the first byte of a tag.
    pub(super) fn first_bytes(&self, tag: u8) -> anyhow::Result<FirstBytes> {
        debug_assert!(usize::from(tag) < TAGS, "tags are numbered below");
        self.first_bytes.get(&u32::from(tag), 0).context("cannot read the times to the first byte")
    }

    /// Returns what the programs lost.
    pub(super) fn lost(&self) -> anyhow::Result<Vec<(Lost, u64)>> {
        let count = |what: Lost| Ok((what, self.lost.get(&(what as u32), 0)?));
        Lost::ALL.into_iter().map(count).collect::<Result<_, MapError>>().context("cannot read what was lost")
    }

    /// Takes the samples of dropped packets that have come since the last call.
    pub(super) fn samples(&mut self) -> Vec<DropSample> {
        let mut samples = Vec::new();
        while let Some(item) = self.samples.next() {
            samples.extend(DropSample::read_from_bytes(&item).ok());
        }
        samples
    }

    /// Returns every live connection.
    pub(super) fn flows(&self) -> anyhow::Result<Vec<FlowRecord>> {
        let step = "cannot list the live connections";
        let program = self.ebpf.program("flows").ok_or_else(|| anyhow!("the object has no program flows"))?;
        let program: &Iter = program.try_into().context(step)?;
        let program: BorrowedFd<'_> = program.fd().context(step)?.as_fd();
        // A record that is cut off cannot be: the programs write whole ones.
        let (flows, _) =
            iterate_map(program, self.flows.fd().as_fd()).and_then(records::read).context(step)?;
        Ok(flows)
    }
}

/// Makes a map hold this and nothing else, without a moment in which what stays is missing.
fn replace<K: aya::Pod + PartialEq>(
    map: &mut HashMap<MapData, K, u32>,
    wanted: &[(K, u32)],
) -> Result<(), MapError> {
    let present: Vec<K> = map.keys().collect::<Result<_, _>>()?;
    for (key, value) in wanted {
        map.insert(key, value, 0)?;
    }
    for gone in present.iter().filter(|key| wanted.iter().all(|(wanted, _)| wanted != *key)) {
        map.remove(gone)?;
    }
    Ok(())
}
