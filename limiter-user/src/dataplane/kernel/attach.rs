//! Attaches and detaches, in the order that keeps counts right, and refuses to
//! push anybody else's program aside.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, ProgramError, SockOps, Xdp, XdpMode,
    cgroup_skb::CgroupSkbLinkId, loaded_programs, sock_ops::SockOpsLinkId, tp_btf::BtfTracePointLinkId,
    xdp::XdpLinkId,
};

use super::{
    interface,
    load::{Loaded, failed},
};
use crate::{
    config::{Attach, Cgroup, Config, Interfaces, RefuseWith},
    dataplane::{AttachMode, Attachment, DataplaneError, syscall},
};

/// What an operator should know about resets on a veth.
const VETH_REMARK: &str = "a reset to a refused SYN reaches the peer of a veth only if the peer has an XDP program of \
                           its own, which may pass everything; without one refused clients time out: attach = \"generic\" \
                           has no such limit";

/// What is attached.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Interfaces and modes, for people.
    pub(super) attachments: Vec<Attachment>,
    xdp: Vec<XdpLinkId>,
    gate: Option<CgroupSkbLinkId>,
    charge: Option<SockOpsLinkId>,
    tracepoints: Vec<(&'static str, BtfTracePointLinkId)>,
}

impl Links {
    /// Attaches everything; on an error nothing stays attached, since links go with the programs.
    pub(super) fn attach(loaded: &mut Loaded, config: &Config) -> Result<Self, DataplaneError> {
        let mut links = Self::default();
        let path = cgroup_path(&config.runtime.cgroup)?;
        let cgroup =
            File::open(&path).map_err(|source| DataplaneError::Host { path: path.clone(), source })?;
        for name in ["release", "give_back"] {
            let program: &mut BtfTracePoint = loaded.program_mut(name)?;
            let id = program.attach().map_err(failed(format!("attaching the program `{name}`")))?;
            links.tracepoints.push((name, id));
        }
        let program: &mut SockOps = loaded.program_mut("charge")?;
        let charge = program.attach(&cgroup, CgroupAttachMode::Single);
        links.charge = Some(charge.map_err(|error| explain_sock_ops(error, &path, &cgroup))?);
        loaded.adopt()?;
        let program: &mut CgroupSkb = loaded.program_mut("gate")?;
        let gate = program.attach(&cgroup, CgroupSkbAttachType::Ingress, CgroupAttachMode::Single);
        links.gate = Some(gate.map_err(failed("attaching the gate"))?);
        if config.attach == Attach::None {
            links.attachments = without_xdp(config);
        } else {
            for name in interfaces(config)? {
                links.attach_xdp(loaded, config, &name)?;
            }
        }
        Ok(links)
    }

    fn attach_xdp(&mut self, loaded: &mut Loaded, config: &Config, name: &str) -> Result<(), DataplaneError> {
        let missing = |error: io::Error| DataplaneError::Setup {
            step: format!("finding the interface {name}"),
            remedy: "name an interface that `ip link` lists in `interfaces`, or use \"auto\"",
            source: error.into(),
        };
        let facts = interface::look_up(name).map_err(missing)?;
        if let Some(id) = facts.xdp_program {
            return Err(foreign_xdp(name, id));
        }
        let (link, mode) = attach_in_turn(loaded.program_mut("ingress")?, facts.index, config.attach)
            .map_err(failed(format!("attaching XDP to {name}")))?;
        self.xdp.push(link);
        let resets = config.services.iter().any(|service| service.refuse_with == RefuseWith::Reset);
        let remark = if facts.is_veth && resets && mode == AttachMode::Native { VETH_REMARK } else { "" };
        self.attachments.push(Attachment { interface: name.to_owned(), mode, remark: remark.to_owned() });
        Ok(())
    }

    /// Detaches: XDP first and the release last, so that no charge goes unreleased meanwhile.
    pub(super) fn detach(&mut self, loaded: &mut Loaded) -> Result<(), DataplaneError> {
        let mut outcome = Ok(());
        let mut keep = |result: Result<(), DataplaneError>| {
            if result.is_err() {
                outcome = result;
            }
        };
        for link in self.xdp.drain(..) {
            let detach = |program: &mut Xdp| program.detach(link).map_err(failed("detaching XDP"));
            keep(loaded.program_mut::<Xdp>("ingress").and_then(detach));
        }
        if let Some(link) = self.gate.take() {
            let detach = |program: &mut CgroupSkb| program.detach(link).map_err(failed("detaching the gate"));
            keep(loaded.program_mut::<CgroupSkb>("gate").and_then(detach));
        }
        if let Some(link) = self.charge.take() {
            let detach = |program: &mut SockOps| program.detach(link).map_err(failed("detaching the charge"));
            keep(loaded.program_mut::<SockOps>("charge").and_then(detach));
        }
        for (name, link) in self.tracepoints.drain(..).rev() {
            let detach = |program: &mut BtfTracePoint| {
                program.detach(link).map_err(failed(format!("detaching {name}")))
            };
            keep(loaded.program_mut::<BtfTracePoint>(name).and_then(detach));
        }
        self.attachments.clear();
        outcome
    }
}

/// Attaches in the mode asked for; `auto` tries the driver, then the network stack.
fn attach_in_turn(
    program: &mut Xdp,
    index: u32,
    wanted: Attach,
) -> Result<(XdpLinkId, AttachMode), ProgramError> {
    let mut in_mode = |mode| match mode {
        AttachMode::Generic => program.attach_to_if_index(index, XdpMode::Skb).map(|link| (link, mode)),
        AttachMode::Native | AttachMode::None => {
            program.attach_to_if_index(index, XdpMode::Driver).map(|link| (link, AttachMode::Native))
        }
    };
    match wanted {
        Attach::Native => in_mode(AttachMode::Native),
        Attach::Generic => in_mode(AttachMode::Generic),
        Attach::Auto | Attach::None => in_mode(AttachMode::Native).or_else(|error| {
            tracing::info!(%error, "the driver does not take XDP; attaching in the network stack");
            in_mode(AttachMode::Generic)
        }),
    }
}

fn interfaces(config: &Config) -> Result<Vec<String>, DataplaneError> {
    let missing = |error: io::Error| DataplaneError::Setup {
        step: "finding the interface of the default route".to_owned(),
        remedy: "name the interfaces in `interfaces`",
        source: error.into(),
    };
    match &config.interfaces {
        Interfaces::Named(names) => Ok(names.clone()),
        Interfaces::Auto => Ok(vec![interface::of_default_route().map_err(missing)?]),
    }
}

fn without_xdp(config: &Config) -> Vec<Attachment> {
    let names = match &config.interfaces {
        Interfaces::Named(names) => names.clone(),
        Interfaces::Auto => vec!["auto".to_owned()],
    };
    let remark = "the gate alone limits, on every interface; refused clients see no reset";
    let attachment = |interface| Attachment { interface, mode: AttachMode::None, remark: remark.to_owned() };
    names.into_iter().map(attachment).collect()
}

/// Finds the cgroup to attach to: the root of the version 2 hierarchy unless one is configured.
fn cgroup_path(configured: &Cgroup) -> Result<PathBuf, DataplaneError> {
    const MOUNTS: &str = "/proc/mounts";
    if let Cgroup::Path(path) = configured {
        return Ok(path.clone());
    }
    let mounts =
        fs::read_to_string(MOUNTS).map_err(|source| DataplaneError::Host { path: MOUNTS.into(), source })?;
    mounts.lines().find_map(cgroup2_mount).ok_or_else(|| DataplaneError::Setup {
        step: "finding a cgroup v2 mount".to_owned(),
        remedy: "mount one (`mount -t cgroup2 none /sys/fs/cgroup`) or name it in `[runtime] cgroup`",
        source: anyhow::anyhow!("{MOUNTS} lists none"),
    })
}

fn cgroup2_mount(line: &str) -> Option<PathBuf> {
    let mut columns = line.split(' ');
    let (_, path, kind) = (columns.next()?, columns.next()?, columns.next()?);
    (kind == "cgroup2").then(|| path.into())
}

fn foreign_xdp(name: &str, id: u32) -> DataplaneError {
    DataplaneError::ForeignXdp {
        interface: name.to_owned(),
        program: program_name(id),
        id,
        remedy: format!(
            "limiter replaces nothing: take it off (`ip link set dev {name} xdp off`, or stop its owner), or \
             guard with `attach = \"none\"`"
        ),
    }
}

/// Names the program that holds the hook exclusively, if that is what happened.
fn explain_sock_ops(error: ProgramError, path: &Path, cgroup: &File) -> DataplaneError {
    let found = syscall::sock_ops_programs(cgroup.as_fd()).ok().filter(|found| !found.allow_others);
    match found.and_then(|found| found.ids.first().copied()) {
        Some(id) => DataplaneError::ForeignSockOps { cgroup: path.to_owned(), program: program_name(id), id },
        None => failed("attaching the charge")(error),
    }
}

fn program_name(id: u32) -> String {
    loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(ToOwned::to_owned))
        .unwrap_or_else(|| "unnamed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The version 2 hierarchy is found beside version 1 controllers.
    #[test]
    fn the_cgroup2_mount_is_found() {
        let mounts =
            "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mounts.lines().find_map(cgroup2_mount), Some(PathBuf::from("/sys/fs/cgroup/unified")));
    }
}
