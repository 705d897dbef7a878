//! `selftest`: what to talk to, asked from the daemon if one runs.

use crate::{
    control::{
        client::{Client, ClientError},
        protocol::{self, Status},
    },
    selftest::{self, Plan, SelftestError, Target, report::Report, report::Step},
};

/// Runs it and hands each line to `tell` as it comes.
pub(super) async fn run(
    client: &Client,
    ports: &[u16],
    mut tell: impl FnMut(&str),
) -> Result<Report, SelftestError> {
    let status: Result<Status, ClientError> = client.get(protocol::STATUS, &()).await;
    let status = status.ok();
    if status.is_none() {
        tell("no daemon answers: drops are not counted, and only ports named by --port are talked to\n");
    }
    let metrics = status.as_ref().and_then(|status| status.daemon.metrics);
    let services = status.map(|status| status.services).unwrap_or_default();
    let named = |port: &u16| {
        let owner = services.iter().find(|service| service.ports.contains(port));
        let service = owner.map_or_else(|| format!("port {port}"), |service| service.name.clone());
        Target { service, port: *port }
    };
    let guarded: Vec<u16> = services.iter().flat_map(|service| service.ports.iter().copied()).collect();
    let ports = if ports.is_empty() { guarded.as_slice() } else { ports };
    let plan = Plan { targets: ports.iter().map(named).collect(), metrics };
    selftest::run(plan, |step: &Step| tell(&step.line())).await
}
