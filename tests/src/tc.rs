//! What is in the tc of a device: programs of TCX, filters, and one of somebody else's.

use aya::EbpfLoader;
use aya::programs::tc::{NlOptions, TcAttachOptions};
use aya::programs::{SchedClassifier, TcAttachType};

use crate::netns::Namespace;
use crate::xdp::{NAME, object};

/// `TC_ACT_UNSPEC`, in a byte that the program's instruction extends by its sign.
const GO_ON: u8 = 0xff;
/// `TC_ACT_SHOT`.
const SHOT: u8 = 2;
/// A priority behind that of limiter.
const PRIORITY: u16 = 7;

/// Ids of the programs that TCX runs at the ingress of a device.
#[must_use]
pub fn tcx_programs(namespace: &Namespace, device: &str) -> Vec<u32> {
    let queried = namespace.run(|| SchedClassifier::query_tcx(device, TcAttachType::Ingress));
    let (_, programs) = queried.unwrap_or_else(|e| panic!("asking for programs on {device}: {e:?}"));
    programs.iter().map(aya::programs::ProgramInfo::id).collect()
}

/// The filters at the ingress of a device, as `tc` shows them.
#[must_use]
pub fn filters(namespace: &Namespace, device: &str) -> String {
    namespace.output("tc", &["filter", "show", "dev", device, "ingress"])
}

/// The queueing disciplines of a device, as `tc` shows them.
#[must_use]
pub fn disciplines(namespace: &Namespace, device: &str) -> String {
    namespace.output("tc", &["qdisc", "show", "dev", device])
}

/// Adds somebody else's filter, named [`NAME`], which lets everything go on; it stays as long as the device.
pub fn add_foreign_filter(namespace: &Namespace, device: &str) {
    add_filter(namespace, device, TcAttachType::Ingress, GO_ON);
}

/// Adds somebody else's filter, one that drops everything on one way; it stays as long as the device or
/// its `clsact`.
pub fn add_dropping_filter(namespace: &Namespace, device: &str, way: TcAttachType) {
    add_filter(namespace, device, way, SHOT);
}

fn add_filter(namespace: &Namespace, device: &str, way: TcAttachType, verdict: u8) {
    let mut program =
        EbpfLoader::new().btf(None).load(&object("classifier", verdict)).expect("the object is well-formed");
    let filter: &mut SchedClassifier = program
        .program_mut(NAME)
        .expect("the object holds the program")
        .try_into()
        .expect("the section says tc");
    filter.load().expect("loading a program of tc needs CAP_BPF");
    let options = NlOptions { priority: PRIORITY, ..NlOptions::default() };
    let link = namespace
        .run(|| filter.attach_with_options(device, way, TcAttachOptions::Netlink(options)))
        .and_then(|id| filter.take_link(id))
        .unwrap_or_else(|e| panic!("adding a filter to {device}: {e:?}"));
    // Dropping it would remove a filter of the caller's namespace.
    std::mem::forget(link);
}
