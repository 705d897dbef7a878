//! What a failure means, and what to look at.

use super::{report::Drops, steps::Way};

/// Returns why a dialogue broke, by what the kernel dropped while it ran.
pub(super) fn explain(way: Way, port: u16, drops: Option<&[Drops]>) -> String {
    let Some(drops) = drops else {
        return "no daemon counts what the kernel drops: look at `nft list ruleset`, start limiterd and try again"
            .to_owned();
    };
    let by_netfilter = |direction: &str| -> u64 {
        let of = |d: &&Drops| d.reason.starts_with("NETFILTER") && d.direction == direction;
        drops.iter().filter(of).map(|d| d.packets).sum()
    };
    let (inward, outward) = (by_netfilter("in"), by_netfilter("out"));
    let where_to_look = "look at `nft list ruleset`";
    match way {
        Way::Out if outward > 0 => format!(
            "netfilter dropped {outward} packets to port {port}: the host's ruleset lets no mail out; \
             {where_to_look}, chains of the hook output"
        ),
        Way::Out if inward > 0 => format!(
            "netfilter dropped {inward} packets of this connection: the host's `ct state established` rule \
             does not match it; {where_to_look}, chains of the hook input"
        ),
        Way::In if inward > 0 => format!(
            "netfilter dropped {inward} packets to port {port}: the host's ruleset does not accept them; \
             {where_to_look}, chains of the hook input"
        ),
        Way::In if outward > 0 => format!(
            "netfilter dropped {outward} answers of port {port}: the host's ruleset lets them not out; \
             {where_to_look}, chains of the hook output"
        ),
        Way::In | Way::Out => {
            let seen: Vec<String> = drops.iter().map(Drops::words).collect();
            let seen = if seen.is_empty() { "nothing".to_owned() } else { seen.join(", ") };
            format!(
                "netfilter dropped nothing of it; the kernel dropped: {seen}; look at `limiterctl drops` and the server's log"
            )
        }
    }
}
