//! Costs for people, and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Cost, Hook};

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
