//! The daemon on a packet path in memory.

use std::{net::IpAddr, path::Path};

use limiter_common::verdict::{PassReason, RefuseReason, Verdict};

use super::{Daemon, Prepared};
use crate::{
    clock::Now,
    config::Config,
    control::{
        error::{Kind, RequestError},
        protocol::{RuleRequest, Verb},
    },
    dataplane::{Dataplane, Inherited, memory::Memory},
};

mod breaker;
mod canary;
mod check;
mod health;
mod import;
mod lasting;
mod panic;
mod policy;
mod recording;
mod rules;
mod trial;

const CONFIG: &str = r#"
mode = "enforce"

[[service]]
name = "smtp"
ports = [25]
connections_per_source = 2
new_connections_per_source = { per_minute = 600, burst = 100 }

[[service]]
name = "submission"
ports = [465, 587]
connections_per_source = 2
connections_total = 3

[[class]]
name = "probe"
prefixes = ["198.51.100.0/24"]
exempt = true
"#;

const SMTP: u16 = 25;
const NOW: Now = Now { monotonic_ns: 1_000_000_000_000, unix_ms: 1_700_000_000_000 };
const LIMIT: Verdict = Verdict::Refuse(RefuseReason::ConnectionsPerSource);
const WITHIN: Verdict = Verdict::Pass(PassReason::WithinLimits);
const EXEMPT: Verdict = Verdict::Pass(PassReason::Exempt);

/// Starts a daemon with this configuration on a packet path in memory.
pub(crate) fn daemon(config: &str, path: &Path, now: Now) -> (Daemon, Memory) {
    let config = Config::parse(config, path).unwrap();
    let prepared = Prepared::new(config, Inherited::default(), vec![], now).unwrap();
    let mut memory = Memory::new(now);
    memory.apply(&prepared.compiled, None).unwrap();
    (Daemon::new(Box::new(memory.clone()), prepared, now), memory)
}

/// Starts a daemon with the configuration of these tests.
fn started() -> (Daemon, Memory) {
    daemon(CONFIG, Path::new("limiter.toml"), NOW)
}

/// Reads an address.
pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Returns a request for a rule on every service, for ever.
pub(crate) fn rule(verb: Verb, prefix: &str) -> RuleRequest {
    RuleRequest { verb, prefix: prefix.into(), service: None, ttl: None, note: None }
}

/// Returns what kind of a no it was.
fn kind<T: std::fmt::Debug>(result: Result<T, RequestError>) -> Kind {
    result.unwrap_err().kind
}
