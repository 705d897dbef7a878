//! The daemon at one glance, for people.

use super::{
    render::{Render, time},
    table::{Cell, Style, Table},
};
use crate::{
    config::Mode,
    control::protocol::{AttachMode, BreakerState, Health, ServiceStatus, Status, attached},
};

impl Render {
    /// Returns the daemon at one glance.
    #[must_use]
    pub fn status(self, status: &Status) -> String {
        let (daemon, policy) = (&status.daemon, &status.policy);
        let health = health_style(status.health).paint(health_word(status.health), self.colour);
        let mut text = format!(
            "limiterd {} is {health}: revision {} ({}), up {}, pid {}, Linux {}\n",
            daemon.version,
            policy.revision,
            policy.hash,
            time(daemon.uptime_s),
            daemon.pid,
            daemon.kernel
        );
        for finding in &status.findings {
            text.extend(["  ", &Style::Warning.paint(finding, self.colour), "\n"]);
        }
        if let Some(error) = &policy.reload_error {
            text.extend(["\nthe last reload failed:\n", error.trim_end(), "\n"]);
        }
        text.push('\n');
        text.extend(status.services.iter().map(|service| self.health(service, &status.findings)));
        text.extend(["\n", &self.services(&status.services), "\n", &self.attachments(status)]);
        let rules =
            format!("\n{} prefixes, {} rules made at run time", policy.prefixes, policy.runtime_rules);
        text.extend([rules.as_str(), "; configuration ", &daemon.config, "\n"]);
        text.extend([Self::capabilities(&daemon.capabilities).as_str(), "\n", &daemon.conntrack, "\n"]);
        text
    }

    /// Says what limiterd may do beyond what every process may.
    fn capabilities(held: &[String]) -> String {
        match held {
            [] => "no capabilities".to_owned(),
            // More than the work needs: the reason is among the findings.
            [_, _, _, _, ..] => format!("{} capabilities", held.len()),
            few => format!("capabilities {}", few.join(", ")),
        }
    }

    fn services(self, services: &[ServiceStatus]) -> String {
        let mut table = Table::new([
            "SERVICE",
            "MODE",
            "OPEN",
            "CEILING",
            "SOURCES",
            "LIMIT",
            "REFUSED",
            "WOULD REFUSE",
            "PORTS",
        ]);
        for service in services {
            let switched = if service.mode_switched { "*" } else { "" };
            let mode = match service.breaker {
                BreakerState::Closed => format!("{}{switched}", service.mode),
                BreakerState::Open => format!("{}{switched} (suspended)", service.mode),
                BreakerState::Trial => format!("{}{switched} (on trial)", service.mode),
            };
            let ports: Vec<String> = service.ports.iter().map(u16::to_string).collect();
            table.row([
                Cell::text(&service.name),
                Cell::styled(mode, if service.mode == Mode::Enforce { Style::Plain } else { Style::Faint }),
                Cell::number(service.open),
                Cell::optional(service.connections_total),
                Cell::number(service.sources),
                Cell::optional(service.connections_per_source),
                Cell::number(service.refused),
                Cell::number(service.would_refuse),
                Cell::text(ports.join(", ")),
            ]);
        }
        let mut text = table.lines(self.colour);
        if services.iter().any(|service| service.mode_switched) {
            text.push_str("* switched at run time\n");
        }
        text
    }

    fn attachments(self, status: &Status) -> String {
        let mut table = Table::new(["INTERFACE", "ATTACHED", "REMARK"]);
        for attachment in &status.attachments {
            let style = match attachment.mode {
                AttachMode::Native => Style::Good,
                AttachMode::Generic | AttachMode::Tcx | AttachMode::Clsact => Style::Plain,
                AttachMode::None => Style::Warning,
            };
            table.row([
                Cell::text(&attachment.interface),
                Cell::styled(attached(attachment.mode), style),
                Cell::text(&attachment.remark),
            ]);
        }
        table.lines(self.colour)
    }

    /// Says in one line whether a service is well and, if not, why: all that is its own.
    ///
    /// What is to be said of the daemon as a whole, `common`, stands above; here it is counted, unless it is the worst.
    fn health(self, service: &ServiceStatus, common: &[String]) -> String {
        let ServiceStatus { name, health, reasons, .. } = service;
        let own = || reasons.iter().filter(|reason| !common.contains(reason));
        // They come the worst first.
        let is_worst = *health == Health::Failing || own().next().is_none();
        let worst = reasons.first().filter(|reason| is_worst && common.contains(reason));
        let said: Vec<&str> = worst.into_iter().chain(own()).map(String::as_str).collect();
        let why = if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) };
        let more = match reasons.len() - said.len() {
            0 => String::new(),
            more => format!("; and {more} more of limiterd as a whole"),
        };
        let health = health_style(*health).paint(health_word(*health), self.colour);
        format!("{name} is {health}{why}{more}\n")
    }
}

const fn health_word(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Degraded => "degraded",
        Health::Failing => "failing",
    }
}

const fn health_style(health: Health) -> Style {
    match health {
        Health::Ok => Style::Good,
        Health::Degraded => Style::Warning,
        Health::Failing => Style::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Render = Render { colour: false };

    fn service(health: Health, reasons: &[&str]) -> ServiceStatus {
        ServiceStatus {
            name: "smtp".into(),
            ports: vec![25],
            mode: Mode::Enforce,
            mode_switched: false,
            breaker: BreakerState::Closed,
            health,
            reasons: reasons.iter().map(|&reason| reason.to_owned()).collect(),
            open: 1,
            connections_total: None,
            connections_per_source: Some(2),
            sources: 1,
            refused: 0,
            would_refuse: 0,
        }
    }

    /// A line says whether a service is well and why not: what is its own in full, of what is common the worst.
    #[test]
    fn a_service_is_one_line() {
        let common = ["no disk".to_owned(), "old preset".to_owned()];
        let line =
            |health, reasons: &[&str], common: &[String]| PLAIN.health(&service(health, reasons), common);
        assert_eq!(line(Health::Ok, &[], &[]), "smtp is ok\n");
        let failing = line(Health::Failing, &["breaker is open", "no disk", "silent", "old preset"], &common);
        assert_eq!(failing, "smtp is failing: breaker is open; silent; and 2 more of limiterd as a whole\n");
        let failing = line(Health::Failing, &["no disk", "silent", "old preset"], &common);
        assert_eq!(failing, "smtp is failing: no disk; silent; and 1 more of limiterd as a whole\n");
        let degraded = line(Health::Degraded, &["old preset", "silent"], &common);
        assert_eq!(degraded, "smtp is degraded: silent; and 1 more of limiterd as a whole\n");
        let degraded = line(Health::Degraded, &["no disk", "old preset"], &common);
        assert_eq!(degraded, "smtp is degraded: no disk; and 1 more of limiterd as a whole\n");
    }
}
