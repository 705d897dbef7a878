//! Costs for people, and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Cost, Hook};

/// Whether the kernel reads its clock around every run of a program.
const TIMED: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Returns the costs as a table.
#[must_use]
pub fn table(costs: &[Cost]) -> String {
    let mut out = format!("{:32} {:>10} {:>7} {:>8}\n", "path", "ns/packet", "ratio", "wanted");
    for cost in costs {
        let wanted = cost.wanted.map_or_else(String::new, |wanted| format!("<= {wanted:.1}"));
        let mark = if cost.is_as_wanted() { "" } else { "  missed" };
        writeln!(out, "{:32} {:>10.1} {:>7.2} {wanted:>8}{mark}", cost.path, cost.ns, cost.ratio)
            .expect("a string takes everything");
    }
    if std::fs::read_to_string(TIMED).is_ok_and(|value| value.trim() != "0") {
        out += "kernel.bpf_stats_enabled is on: the kernel times every run, which flatters the ratios.\n";
    }
    out
}

/// Returns the costs as JSON.
#[must_use]
pub fn json(costs: &[Cost]) -> Value {
    let row = |cost: &Cost| {
        json!({
            "path": cost.path,
            "hook": if cost.hook == Hook::Xdp { "xdp" } else { "cgroup_skb" },
            "ns": cost.ns,
            "ratio": cost.ratio,
            "wanted_ratio_max": cost.wanted,
        })
    };
    json!({ "verdict": costs.iter().map(row).collect::<Vec<_>>() })
}
