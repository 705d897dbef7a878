//! What the next SYN from somewhere would get, and why.
//!
//! The verdict and the counts are the packet path's own; which rule put the
//! address in its class is told by the table that the policy was compiled from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use limiter_common::{map::SourceKey, policy::UNGUARDED, verdict::Verdict};

use crate::{
    chain::chain,
    clock::Now,
    control::{
        error::{Kind, RequestError},
        protocol::{Check, CheckAnswer, CheckQuery, Mode},
    },
};

use super::{Daemon, explain::Facts};

/// The reason to pass what is not guarded.
const UNGUARDED_REASON: &str = "unguarded";

impl Daemon {
    /// Asks the packet path what the next SYN from an address would get.
    ///
    /// # Errors
    ///
    /// When the packet path cannot be asked.
    pub fn check(&self, query: &CheckQuery, now: Now) -> Result<Check, RequestError> {
        let address = query.address.to_canonical();
        let ports = match query.port {
            Some(port) => vec![port],
            None => self
                .intent
                .config
                .services
                .iter()
                .filter_map(|service| service.ports.first().copied())
                .collect(),
        };
        let answers =
            ports.into_iter().map(|port| self.answer(address, port, now)).collect::<Result<_, _>>()?;
        Ok(Check { address, answers })
    }

    fn answer(&self, address: IpAddr, port: u16, now: Now) -> Result<CheckAnswer, RequestError> {
        let destination = self.destination(address);
        let explanation =
            self.dataplane.explain(address.into(), destination.into(), port).map_err(|error| {
                RequestError::new(
                    Kind::Rejected,
                    chain(&error),
                    "`limiterctl status` shows how the packet path is",
                )
            })?;
        if explanation.service == UNGUARDED {
            return Ok(unguarded(address, port, explanation.revision));
        }
        let (_, verdict) = Verdict::of_cell(explanation.cell as usize).ok_or_else(|| {
            RequestError::new(
                Kind::Rejected,
                "the packet path gave a verdict that is unknown here",
                "restart limiterd",
            )
        })?;
        let policy = &self.compiled.policy;
        let names = &self.compiled.names;
        let service = names.service(explanation.service);
        let mode = self.intent.service(service).map_or(Mode::Observe, |service| self.intent.mode(service));
        let key = SourceKey { addr: policy.source_of(address.into()), service: explanation.service };
        let facts = Facts {
            address,
            port,
            service,
            mode,
            class: names.class(explanation.class),
            rule: self.table.winner(address, explanation.service).map(|rule| self.view(rule, now)),
            source: self.source_name(key),
            limits: *policy.limits_of(explanation.service, explanation.class),
            ceiling: policy.service(explanation.service).ceiling,
            explanation,
            verdict,
            config: self.intent.config.file.path.display().to_string(),
        };
        Ok(facts.answer())
    }

    /// Returns an address of this host that `source` could have sent to.
    pub(super) fn destination(&self, source: IpAddr) -> IpAddr {
        let family = |address: &&IpAddr| address.is_ipv4() == source.is_ipv4();
        let own = || self.intent.local.iter().filter(family);
        let link_local = |address: &IpAddr| match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let reachable = own().find(|address| !address.is_loopback() && !link_local(address));
        let loopback =
            if source.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
        reachable.or_else(|| own().next()).copied().unwrap_or(loopback)
    }
}

/// Returns the answer for a port that no service has.
fn unguarded(address: IpAddr, port: u16, revision: u32) -> CheckAnswer {
    CheckAnswer {
        port,
        service: None,
        mode: None,
        verdict: "pass".to_owned(),
        reason: UNGUARDED_REASON.to_owned(),
        class: "default".to_owned(),
        rule: None,
        source: address.to_string(),
        held: 0,
        connections_per_source: None,
        total: 0,
        connections_total: None,
        quota_wait_ms: None,
        revision,
        explanation: vec![format!("Port {port} belongs to no service: limiter does not look at it.")],
        remedies: Vec::new(),
    }
}
