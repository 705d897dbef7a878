//! Which dialogues there are, one after the other.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    Plan, SelftestError, Target,
    blame::explain,
    counters::Counters,
    dialogue::{self, Broken, Manner},
    place::{Link, Network, Place},
    report::{Outcome, Report, Step},
    sink::{self, SMTP},
    wait_for,
};

/// How long the witness may take to tell of a drop.
const WITNESS_TIME: Duration = Duration::from_secs(3);
/// How long the daemon is given to take in the last packets: it does so every second, and nothing shows that
/// it has where none was dropped.
const SETTLE: Duration = Duration::from_millis(1200);

/// Which side connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The host does.
    Out,
    /// The namespace does.
    In,
}

/// Makes the place, holds every dialogue in it and counts.
pub(super) fn run(
    plan: &Plan,
    link: &Arc<Link>,
    told: &UnboundedSender<Step>,
) -> Result<Report, SelftestError> {
    let (began, before) = (Instant::now(), Counters::read(plan.metrics));
    let place = Place::make(link)?;
    sink::start(&place)?;
    let mut steps = Vec::new();
    let mut tell = |step: Step| {
        // Who was interrupted listens no longer.
        drop(told.send(step.clone()));
        steps.push(step);
    };
    for network in &place.networks {
        let name = format!("mail from here, {}", family(network));
        let address = SocketAddr::new(network.peer, SMTP);
        let hold = || Ok(dialogue::hold(address, Manner::Mail));
        tell(step(plan, (Way::Out, SMTP), name, "a mail, 256 KiB each way", hold)?);
    }
    for target in &plan.targets {
        for network in &place.networks {
            tell(inbound(plan, &place, target, network)?);
        }
    }
    if plan.metrics.is_some() {
        thread::sleep(SETTLE);
    }
    let after = Counters::read(plan.metrics);
    drop(place);
    let established_drops = after.established_since(&before);
    let is_spared = established_drops.as_deref().is_none_or(<[_]>::is_empty);
    Ok(Report {
        well: is_spared && steps.iter().all(|step| step.outcome != Outcome::Failed),
        took_ms: millis(began),
        steps,
        kernel_drops: after.kernel_since(&before),
        established_drops,
        conntrack_invalid: after.invalid_since(&before),
    })
}

/// Talks to a port of the host from the namespace.
fn inbound(plan: &Plan, place: &Place, target: &Target, network: &Network) -> Result<Step, SelftestError> {
    let Target { service, port } = target;
    let name = format!("{service} ({port}) from outside, {}", family(network));
    let Some(address) = listener(*port, network) else {
        let detail = "nothing listens on it in this family".to_owned();
        return Ok(Step { name, outcome: Outcome::Skipped, took_ms: 0, detail });
    };
    let manner = manner(target);
    let done = match manner {
        Manner::Connect => "connected; what is in TLS is not looked at",
        Manner::Banner => "a banner",
        Manner::Smtp | Manner::Mail => "banner, EHLO and QUIT",
    };
    let hold = || place.run(|| dialogue::hold(SocketAddr::new(address, *port), manner));
    step(plan, (Way::In, *port), name, done, hold)
}

/// Holds one dialogue, and says what the kernel did to one that broke.
fn step(
    plan: &Plan,
    (way, port): (Way, u16),
    name: String,
    done: &str,
    hold: impl FnOnce() -> Result<Result<(), Broken>, SelftestError>,
) -> Result<Step, SelftestError> {
    let (began, before) = (Instant::now(), Counters::read(plan.metrics));
    let ended = hold()?;
    let took_ms = millis(began);
    let Err(Broken { at, error }) = ended else {
        return Ok(Step { name, outcome: Outcome::Ok, took_ms, detail: done.to_owned() });
    };
    let mut drops = None;
    wait_for(WITNESS_TIME, || {
        drops = Counters::read(plan.metrics).kernel_since(&before);
        drops.as_deref().is_none_or(|drops| !drops.is_empty()).then_some(())
    });
    let detail = format!("no {at}: {error}; {}", explain(way, port, drops.as_deref()));
    let detail = detail.replacen("no the ", "no ", 1);
    Ok(Step { name, outcome: Outcome::Failed, took_ms, detail })
}

fn manner(target: &Target) -> Manner {
    let speaks_smtp = target.service.contains("smtp") || target.service.contains("submission");
    match target.port {
        465 | 993 | 995 => Manner::Connect,
        25 | 587 => Manner::Smtp,
        _ if speaks_smtp => Manner::Smtp,
        _ => Manner::Banner,
    }
}

/// Returns where the namespace reaches a port of the host; none where nothing listens on it.
fn listener(port: u16, network: &Network) -> Option<IpAddr> {
    let listening = |table: &str| {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        text.lines().filter_map(|line| listening(line, port)).collect::<Vec<_>>()
    };
    let (ipv4, ipv6) = (listening("tcp"), listening("tcp6"));
    let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let (addresses, serves_both) =
        if network.host.is_ipv4() { (ipv4, ipv6.contains(&any)) } else { (ipv6, false) };
    if serves_both || addresses.iter().any(IpAddr::is_unspecified) {
        return Some(network.host);
    }
    let reachable = |address: &&IpAddr| match address {
        IpAddr::V4(address) => !address.is_loopback(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    };
    addresses.iter().find(reachable).copied()
}

/// Reads a line of `/proc/net/tcp` or `tcp6`: the address, if it listens on this port.
fn listening(line: &str, port: u16) -> Option<IpAddr> {
    let mut fields = line.split_whitespace().skip(1);
    let (address, number) = fields.next()?.split_once(':')?;
    if u16::from_str_radix(number, 16).ok()? != port || fields.nth(1)? != "0A" {
        return None;
    }
    // Words of the machine's own byte order, which are those of the network in memory.
    let words: Vec<u8> = (0..address.len() / 8)
        .filter_map(|at| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok())
        .flat_map(u32::to_ne_bytes)
        .collect();
    match <[u8; 4]>::try_from(words.as_slice()) {
        Ok(bytes) => Some(IpAddr::V4(Ipv4Addr::from(bytes))),
        Err(_) => <[u8; 16]>::try_from(words).ok().map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes))),
    }
}

fn family(network: &Network) -> &'static str {
    if network.host.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Listening addresses are read in both families, and connections are none.
    #[test]
    fn listeners_are_read() {
        let line = "  0: 0100007F:0019 00000000:0000 0A 00000000:00000000";
        assert_eq!(listening(line, 25), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(listening(line, 26), None);
        assert_eq!(listening(&line.replace(" 0A ", " 01 "), 25), None);
        let line = "  0: 00000000000000000000000001000000:0019 00000000000000000000000000000000:0000 0A 0";
        assert_eq!(listening(line, 25), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    }

    /// What is wrapped in TLS is only connected to.
    #[test]
    fn manners_follow_the_port() {
        let of = |service: &str, port| manner(&Target { service: service.to_owned(), port });
        assert_eq!(of("smtps", 465), Manner::Connect);
        assert_eq!(of("smtp", 2525), Manner::Smtp);
        assert_eq!(of("imap", 143), Manner::Banner);
    }
}
