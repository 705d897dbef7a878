//! Who refuses: limiter and its peers, each as its manual has it, and what stands for the least there can be.

use std::time::Duration;

use crate::daemon::Daemon;
use crate::host::Requirement;
use crate::netns::Namespace;
use crate::process::Process;
use crate::scene::SMTP;
use crate::xdp::{Action, Attached, XdpMode};

use super::load::{LIMIT, Load};

/// How long `xdp-filter` may take to load.
const LOAD_TIME: Duration = Duration::from_mins(1);

/// Who, or what, meets the flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    EmptyDrop,
    Limiter,
    XdpFilter,
    Meter,
    Count,
    Connlimit,
    Hashlimit,
    EmptyPass,
    LimiterPasses,
}

impl Guard {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::EmptyDrop => "empty XDP program, drops",
            Self::Limiter => "limiter",
            Self::XdpFilter => "xdp-filter",
            Self::Meter => "nftables meter at ingress",
            Self::Count => "nftables ct count",
            Self::Connlimit => "iptables connlimit",
            Self::Hashlimit => "iptables hashlimit",
            Self::EmptyPass => "empty XDP program, passes",
            Self::LimiterPasses => "limiter, below the ceiling",
        }
    }

    /// What it needs of the machine, beside a bed and the daemon.
    pub(super) const fn needs(self) -> &'static [Requirement] {
        match self {
            Self::EmptyDrop | Self::EmptyPass | Self::Limiter | Self::LimiterPasses => &[],
            Self::XdpFilter => &[Requirement::Command("xdp-filter", "xdp-tools")],
            Self::Meter | Self::Count => &[Requirement::Command("nft", "nftables")],
            Self::Connlimit | Self::Hashlimit => &[Requirement::Command("iptables", "iptables")],
        }
    }

    /// Whether it counts connections: those that the load opens first must be let in by it.
    pub(super) const fn counts_connections(self) -> bool {
        matches!(self, Self::Limiter | Self::Count | Self::Connlimit)
    }

    /// Whether a source that floods nobody is let in.
    pub(super) const fn lets_others_in(self) -> bool {
        !matches!(self, Self::EmptyDrop)
    }

    /// How many links the server has: limiter's has one more, over which a known source talks.
    pub(super) const fn links(self) -> u8 {
        if matches!(self, Self::Limiter | Self::LimiterPasses) { 2 } else { 1 }
    }

    /// Whether SYNs are to reach TCP.
    pub(super) const fn passes(self) -> bool {
        matches!(self, Self::EmptyPass | Self::LimiterPasses)
    }

    /// Whether it has no list of sources that could be full: what it lets through under a load is an error.
    pub(super) fn refuses_all(self, load: Load) -> bool {
        !self.passes() && (load != Load::Random || !matches!(self, Self::Meter | Self::Hashlimit))
    }

    /// Puts it in place.
    pub(super) fn start(self, server: &Namespace, load: Load) -> Protection<'_> {
        let empty = |action| Attached::new(server, "srv0", action, XdpMode::Driver);
        match self {
            Self::EmptyDrop => Protection::Xdp(empty(Action::Drop)),
            Self::EmptyPass => Protection::Xdp(empty(Action::Pass)),
            Self::Limiter => Protection::Limiter(Daemon::start(server, &config(load, true))),
            Self::LimiterPasses => Protection::Limiter(Daemon::start(server, &config(load, false))),
            Self::XdpFilter => Protection::Filter(xdp_filter(server, load)),
            Self::Meter | Self::Count => {
                server.nft(&self.ruleset(load));
                Protection::Xdp(empty(Action::Pass))
            }
            Self::Connlimit | Self::Hashlimit => {
                let arguments = self.iptables(load);
                server.output("iptables", &arguments.split(' ').collect::<Vec<_>>());
                Protection::Xdp(empty(Action::Pass))
            }
        }
    }

    fn ruleset(self, load: Load) -> String {
        let syn = format!("tcp dport {SMTP} tcp flags & (fin|syn|rst|ack) == syn");
        let (table, chain, set, rule) = match (self, load) {
            (Self::Meter, _) => (
                "netdev",
                "type filter hook ingress device srv0 priority 0",
                "set seen { type ipv4_addr; size 65535; flags dynamic, timeout; timeout 1m; }",
                format!(
                    "{syn} update @seen {{ ip saddr limit rate over 10/minute burst 5 packets }} counter drop"
                ),
            ),
            (_, Load::Random) => (
                "inet",
                "type filter hook input priority 0",
                "",
                format!("tcp dport {SMTP} ct state new ct count over {LIMIT} counter drop"),
            ),
            _ => (
                "inet",
                "type filter hook input priority 0",
                "set seen { type ipv4_addr; size 65535; flags dynamic; }",
                format!(
                    "tcp dport {SMTP} ct state new add @seen {{ ip saddr ct count over {LIMIT} }} counter drop"
                ),
            ),
        };
        format!("table {table} flood {{\n{set}\nchain refuse {{\n{chain};\n{rule}\n}}\n}}\n")
    }

    fn iptables(self, load: Load) -> String {
        let mask = if load == Load::Random { 0 } else { 32 };
        let rule = if self == Self::Connlimit {
            format!("-m connlimit --connlimit-above {LIMIT} --connlimit-mask {mask}")
        } else {
            "-m hashlimit --hashlimit-above 10/min --hashlimit-burst 5 --hashlimit-mode srcip \
             --hashlimit-name flood"
                .to_owned()
        };
        format!("-A INPUT -p tcp --dport {SMTP} --syn {rule} -j DROP")
    }
}

/// What a guard consists of; gone when dropped.
#[derive(Debug)]
pub(super) enum Protection<'a> {
    Limiter(Daemon<'a>),
    // A veth takes in what is redirected to it only with an XDP program.
    Xdp(#[expect(dead_code, reason = "held for what it does while it lives")] Attached),
    Filter(#[expect(dead_code, reason = "held for what it does while it lives")] Process),
}

impl Protection<'_> {
    pub(super) fn daemon(&self) -> Option<&Daemon<'_>> {
        match self {
            Self::Limiter(daemon) => Some(daemon),
            Self::Xdp(_) | Self::Filter(_) => None,
        }
    }
}

/// The circuit breaker is off: it would open, as all sources but one are over their limit. So is the witness,
/// which looks at every packet that the kernel drops for anybody: peers would have to pay for it.
fn config(load: Load, refuses: bool) -> String {
    let limits = match (load, refuses) {
        (Load::Random, true) => format!("connections_per_source = 1000\nconnections_total = {LIMIT}"),
        _ => format!("connections_per_source = {LIMIT}"),
    };
    format!(
        "mode = \"enforce\"\ninterfaces = [\"srv0\", \"srv1\"]\n[breaker]\nenabled = false\n[witness]\nenabled = false\n[[service]]\n\
         name = \"smtp\"\nports = [{SMTP}]\n{limits}\n"
    )
}

/// Loads `xdp-filter` with pins of its own, which live as long as the process: nothing of it stays on this machine.
fn xdp_filter(server: &Namespace, load: Load) -> Process {
    let load_it = "mount -t bpf bpf /sys/fs/bpf && xdp-filter load srv0 -m native -f tcp,ipv4 -p allow";
    let rules = if load == Load::Random {
        vec![format!("xdp-filter port {SMTP} -m dst -p tcp")]
    } else {
        (0..load.sources().count).map(|n| format!("xdp-filter ip {} -m src", load.source(n))).collect()
    };
    let script = format!("{load_it} && {} && echo loaded && exec sleep 3600", rules.join(" && "));
    let process = Process::start(
        "xdp-filter",
        server.command("unshare").args(["--mount", "--propagation", "private", "sh", "-c", &script]),
    );
    process.wait_for_log("loaded", LOAD_TIME);
    process
}
