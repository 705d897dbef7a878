//! What the kernel counted meanwhile: the witness by the daemon's metrics, conntrack by itself.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::report::Drops;

/// How long the daemon may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// The drops by the kernel's own reason.
const KERNEL: &str = "limiter_kernel_drops_total";
/// Those of live connections.
const ESTABLISHED: &str = "limiter_established_drops_total";

/// All counters at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    /// Drops by sample; none where no daemon answers.
    kernel: Option<BTreeMap<String, u64>>,
    established: Option<BTreeMap<String, u64>>,
    /// Packets that conntrack calls invalid; none without conntrack.
    invalid: Option<u64>,
}

impl Counters {
    /// Reads them from the daemon and from the kernel.
    pub(super) fn read(metrics: Option<SocketAddr>) -> Self {
        let text = metrics.and_then(scrape);
        Self {
            kernel: text.as_deref().map(|text| samples(text, KERNEL)),
            established: text.as_deref().map(|text| samples(text, ESTABLISHED)),
            invalid: fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack")
                .ok()
                .and_then(|text| invalid(&text)),
        }
    }

    /// What the kernel dropped since `before`.
    pub(super) fn kernel_since(&self, before: &Self) -> Option<Vec<Drops>> {
        Some(since(before.kernel.as_ref()?, self.kernel.as_ref()?))
    }

    /// What it dropped of live connections since `before`.
    pub(super) fn established_since(&self, before: &Self) -> Option<Vec<Drops>> {
        Some(since(before.established.as_ref()?, self.established.as_ref()?))
    }

    /// What conntrack called invalid since `before`.
    pub(super) fn invalid_since(&self, before: &Self) -> Option<u64> {
        Some(self.invalid?.saturating_sub(before.invalid?))
    }
}

fn scrape(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIME).ok()?;
    stream.set_read_timeout(Some(ANSWER_TIME)).ok()?;
    // Version 1.0: the body ends with the connection.
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let is_served = answer.split(' ').nth(1) == Some("200");
    is_served.then_some(answer)
}

fn samples(text: &str, name: &str) -> BTreeMap<String, u64> {
    let sample = |line: &str| {
        let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} ")?;
        Some((labels.to_owned(), value.parse().ok()?))
    };
    text.lines().filter_map(sample).collect()
}

fn since(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<Drops> {
    let grown = |(labels, count): (&String, &u64)| {
        let packets = count.saturating_sub(before.get(labels).copied().unwrap_or(0));
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        (packets > 0).then_some(())?;
        Some(Drops {
            service: label("service")?,
            direction: label("direction")?,
            reason: label("reason")?,
            packets,
        })
    };
    after.iter().filter_map(grown).collect()
}

/// Sums the column `invalid` over all CPUs; its numbers are hexadecimal.
fn invalid(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let column = lines.next()?.split_whitespace().position(|name| name == "invalid")?;
    lines
        .map(|line| u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok())
        .try_fold(0, |sum, value| Some(sum + value?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only what grew is a delta, with its labels.
    #[test]
    fn deltas_are_of_samples_that_grew() {
        let at = |n: u64| {
            samples(
                &format!(
                    "x_total{{service=\"smtp\",direction=\"in\",reason=\"NETFILTER_DROP\"}} {n}\n\
                     x_total{{service=\"smtp\",direction=\"out\",reason=\"NETFILTER_DROP\"}} 4\n"
                ),
                "x_total",
            )
        };
        let drops = since(&at(1), &at(3));
        assert_eq!(drops.len(), 1);
        assert_eq!((drops[0].packets, drops[0].direction.as_str()), (2, "in"));
    }

    /// Numbers of conntrack are hexadecimal, one line per CPU.
    #[test]
    fn invalid_packets_are_summed_over_cpus() {
        let text = "entries  clashres found new invalid ignore\n00000003 0 0 0 0000000a 0\n00000003 0 0 0 00000001 0\n";
        assert_eq!(invalid(text), Some(11));
    }
}
