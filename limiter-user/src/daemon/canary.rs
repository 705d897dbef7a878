//! Canaries: addresses of exempt classes for which the packet path is asked,
//! every ten seconds, whether their next SYN would pass.
//!
//! Nothing but the kernel is believed: what the policy says is what it is asked
//! about. Every exempt prefix is asked for in every service, and inside it every
//! prefix that some other rule takes out of it again.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use limiter_common::{
    limits::Treatment,
    verdict::{RefuseReason, Verdict},
};

use crate::{
    clock::Now,
    dataplane::DataplaneError,
    policy::{Origin, Rule},
    recorder::EventKind,
};

use super::Daemon;

/// Seconds between two rounds.
const ROUND_S: u64 = 10;
/// Canaries asked for in a round: some 20 ms of the thread. More take several rounds.
const PER_ROUND: usize = 512;
/// Failures that are kept; where there are more, one of them is as good as all.
const FAILURES_MAX: usize = 256;

/// One address to ask for in one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Canary {
    service: u32,
    port: u16,
    address: IpAddr,
    /// The exempt prefix it stands for.
    prefix: IpNet,
    class: u32,
}

/// A canary that would be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What and why, in a sentence, with what helps.
    pub text: String,
    /// Whether it is refused at this moment; else it would be, were the service to enforce.
    pub is_refused: bool,
}

/// The canaries of the policy in force.
#[derive(Debug, Default)]
pub struct Canaries {
    all: Vec<Canary>,
    /// Where the next round begins.
    next: usize,
    failing: BTreeMap<Canary, Failure>,
    revision: u32,
    next_round_s: u64,
}

impl Canaries {
    /// Returns what fails in a service.
    pub fn failures(&self, service: u32) -> impl Iterator<Item = &Failure> {
        self.failing.iter().filter(move |(canary, _)| canary.service == service).map(|(_, failure)| failure)
    }

    /// Returns those whose turn it is: those that fail, and as many others as a round takes.
    fn turn(&mut self) -> Vec<Canary> {
        let mut turn: Vec<Canary> = self.failing.keys().copied().collect();
        let others = self.all.len().min(PER_ROUND);
        turn.extend(self.all.iter().cycle().skip(self.next).take(others));
        self.next = (self.next + others).checked_rem(self.all.len()).unwrap_or_default();
        turn
    }
}

impl Daemon {
    /// Asks for the canaries whose turn it is.
    pub(super) fn canaries(&mut self, now: Now) {
        let is_new = self.canaries.revision != self.revision();
        if !is_new && now.monotonic_s() < self.canaries.next_round_s {
            return;
        }
        if is_new {
            let all = self.all_canaries();
            self.canaries = Canaries { all, revision: self.revision(), ..Canaries::default() };
        }
        self.canaries.next_round_s = now.monotonic_s() + ROUND_S;
        let turn = self.canaries.turn();
        let asked = self.ask(turn);
        let Some(asked) = self.faults.note("canaries", asked) else {
            return;
        };
        for (canary, reason) in asked {
            let Some((reason, is_refused)) = reason else {
                if self.canaries.failing.remove(&canary).is_some() {
                    tracing::info!(address = %canary.address, port = canary.port, "an exempt address passes again");
                    let text = format!("exempt {} passes again to port {}", canary.address, canary.port);
                    self.events.note(
                        EventKind::Canary,
                        Some(self.compiled.names.service(canary.service)),
                        text,
                    );
                }
                continue;
            };
            let text = self.complaint(&canary, reason);
            let failure = Failure { text, is_refused };
            if self.canaries.failing.len() < FAILURES_MAX
                && self.canaries.failing.insert(canary, failure.clone()).as_ref() != Some(&failure)
            {
                tracing::error!(is_refused, failure = failure.text, "an exempt address would not pass");
                let service = self.compiled.names.service(canary.service);
                self.events.note(EventKind::Canary, Some(service), failure.text);
            }
        }
    }

    /// Asks the packet path for each; a reason, and whether it is enforced, for those that would be refused.
    #[expect(clippy::type_complexity, reason = "a name for it would be longer than the type")]
    fn ask(&self, turn: Vec<Canary>) -> Result<Vec<(Canary, Option<(RefuseReason, bool)>)>, DataplaneError> {
        let ask = |canary: Canary| {
            let destination = self.destination(canary.address);
            let explained = self.dataplane.explain(canary.address.into(), destination.into(), canary.port)?;
            let reason = match Verdict::of_cell(explained.cell as usize) {
                Some((_, Verdict::Refuse(reason))) => Some((reason, true)),
                Some((_, Verdict::WouldRefuse(reason))) => Some((reason, false)),
                Some((_, Verdict::Pass(_))) | None => None,
            };
            Ok((canary, reason))
        };
        turn.into_iter().map(ask).collect()
    }

    fn complaint(&self, canary: &Canary, reason: RefuseReason) -> String {
        let Canary { address, port, prefix, class, service } = canary;
        let class = self.compiled.names.class(*class);
        let helps = match self.table.winner(*address, *service) {
            Some(rule) if rule.origin == Origin::Runtime => {
                format!("`limiterctl remove {}` takes that rule away", rule.prefix)
            }
            Some(rule) => format!(
                "take {} out of class `{}`, or {prefix} out of class `{class}`",
                rule.prefix,
                self.compiled.names.class(rule.class)
            ),
            None => format!("`limiterctl check {address} --port {port}` says why"),
        };
        format!(
            "{address} is within {prefix} of the exempt class `{class}`, and its next SYN to port {port} would be \
             refused: {}; {helps}",
            reason.label()
        )
    }

    /// Returns every canary of the policy in force.
    fn all_canaries(&self) -> Vec<Canary> {
        let services: Vec<(u32, u16)> = self
            .intent
            .config
            .services
            .iter()
            .filter_map(|service| Some((self.ids.service(&service.name)?, *service.ports.first()?)))
            .collect();
        let mut rules: Vec<&Rule> =
            self.table.rules().iter().filter(|rule| rule.origin != Origin::BuiltIn).collect();
        // A prefix comes right after those that cover it.
        rules.sort_unstable_by_key(|rule| (rule.prefix, rule.rank()));
        let mut covering: Vec<&Rule> = Vec::new();
        let mut canaries = Vec::new();
        for rule in rules {
            while covering.pop_if(|wider| !wider.prefix.contains(&rule.prefix)).is_some() {}
            for &(service, port) in services.iter().filter(|(service, _)| rule.services.contains(*service)) {
                let nearest = covering.iter().rev().find(|wider| wider.services.contains(service));
                let exempt = if rule.treatment == Treatment::Exempt { Some(&rule) } else { nearest };
                if let Some(exempt) = exempt.filter(|exempt| {
                    // At equal length exempt stands above the rest: that is the law, no accident.
                    exempt.prefix != rule.prefix || exempt.treatment == rule.treatment
                }) {
                    let (prefix, class) = (exempt.prefix, exempt.class);
                    canaries.push(Canary { service, port, address: rule.prefix.network(), prefix, class });
                }
            }
            if rule.treatment == Treatment::Exempt {
                covering.push(rule);
            }
        }
        canaries
    }
}
