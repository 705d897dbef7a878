//! Why the kernel drops packets, by the names of the running kernel: the
//! numbers differ from release to release.

use std::collections::BTreeMap;

use anyhow::Context as _;

use crate::kernel_types::KernelTypes;

/// The kernel's type of reasons, and what the name of each begins with.
const ENUM: &str = "skb_drop_reason";
const PREFIX: &str = "SKB_DROP_REASON_";
/// Above these bits a number says which subsystem the reason is of.
const SUBSYSTEM_SHIFT: u32 = 16;

/// Reasons that are somebody's policy: a rule, a filter, a hook, a table. What TCP
/// discards by itself is none, nor what lacks memory or a route.
const POLICIES: [&str; 13] = [
    "BPF_CGROUP_EGRESS",
    "IP_RPFILTER",
    "NETFILTER_DROP",
    "SECURITY_HOOK",
    // Our own gate drops segments for listeners alone: on a live connection it is another one.
    "SOCKET_FILTER",
    "TAP_FILTER",
    "TC_CHAIN_NOTFOUND",
    "TC_COOKIE_ERROR",
    "TC_EGRESS",
    "TC_INGRESS",
    "TC_RECLASSIFY_LOOP",
    "XDP",
    "XFRM_POLICY",
];

/// The reasons of a kernel.
#[derive(Clone, Debug, Default)]
pub(super) struct Reasons {
    names: BTreeMap<u32, String>,
}

impl Reasons {
    /// Finds the reasons of a kernel.
    pub(super) fn of(types: &KernelTypes) -> anyhow::Result<Self> {
        let values = types.values_of(ENUM);
        let values =
            values.with_context(|| format!("this kernel does not say why it drops packets (no {ENUM})"))?;
        let named = |(reason, name): (u32, String)| Some((reason, name.strip_prefix(PREFIX)?.to_owned()));
        Ok(Self { names: values.into_iter().filter_map(named).collect() })
    }

    /// Returns the name of a reason.
    pub(super) fn name(&self, reason: u32) -> String {
        if let Some(name) = self.names.get(&reason) {
            return name.clone();
        }
        match reason >> SUBSYSTEM_SHIFT {
            0 => format!("REASON_{reason}"),
            // Reasons of one subsystem are one series: their names are in its module.
            subsystem => format!("SUBSYSTEM_{subsystem}"),
        }
    }

    /// Returns the numbers of those that are a policy's.
    pub(super) fn policies(&self) -> impl Iterator<Item = u32> + '_ {
        self.names.iter().filter(|(_, name)| POLICIES.contains(&name.as_str())).map(|(reason, _)| *reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kernel that limiter runs on knows netfilter's drops, and what it does not know has a name too.
    #[test]
    fn reasons_have_names() {
        let reasons = Reasons::of(&KernelTypes::read().unwrap()).unwrap();
        let netfilter = reasons.policies().find(|reason| reasons.name(*reason) == "NETFILTER_DROP").unwrap();
        assert!(netfilter > 1);
        assert_eq!(reasons.name(60_000), "REASON_60000");
        assert_eq!(reasons.name(1 << 16 | 4), "SUBSYSTEM_1");
    }

    /// What TCP discards by itself is no policy.
    #[test]
    fn normal_tcp_is_no_policy() {
        let reasons = Reasons::of(&KernelTypes::read().unwrap()).unwrap();
        assert!(reasons.policies().all(|reason| !reasons.name(reason).starts_with("TCP_")));
    }
}
