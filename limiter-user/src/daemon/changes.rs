//! Changes of the host as the daemon keeps them: looked at when it starts and
//! every minute, compared with what was acknowledged, shown by status.

use std::{collections::BTreeSet, future::Future, time::Duration};

use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::{Daemon, Handle, Stopped, status::Finding};
use crate::{
    clock::Now,
    config::Interfaces,
    control::{
        error::RequestError,
        protocol::{HostAck, HostAckRequest, HostView, attached},
    },
    host::{Acknowledged, Change, Look, What},
    recorder::EventKind,
};

/// How often the host is looked at.
const LOOK: Duration = Duration::from_mins(1);
/// How many changes a finding names.
const NAMED: usize = 3;

/// What the daemon knows of changes of the host.
#[derive(Debug, Default)]
pub struct HostState {
    /// What was acknowledged, and what is different.
    pub(super) acknowledged: Acknowledged,
    blind: Vec<String>,
}

impl HostState {
    /// Returns the state that was kept.
    pub(super) fn kept(acknowledged: Acknowledged) -> Self {
        Self { acknowledged, blind: Vec::new() }
    }

    /// Returns what is different, by kind.
    pub(super) fn kinds(&self) -> BTreeSet<What> {
        self.acknowledged.changes.iter().map(|change| change.what).collect()
    }

    /// Returns what there is to say of the host.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let changes = &self.acknowledged.changes;
        let named: Vec<String> = changes.iter().take(NAMED).map(Change::sentence).collect();
        let rest = changes.len().saturating_sub(NAMED);
        let rest = if rest > 0 { format!("; and {rest} more") } else { String::new() };
        let finding = (!changes.is_empty()).then(|| {
            Finding::degraded(format!(
                "the host is not as it was acknowledged: {}{rest}; see `limiterctl host`, and if it is meant to be so, \
                 `limiterctl host ack`",
                named.join("; ")
            ))
        });
        let blind = self.blind.iter().map(|sentence| Finding::degraded(sentence.clone()));
        finding.into_iter().chain(blind).collect()
    }
}

impl Daemon {
    /// Returns the interfaces whose own settings matter.
    #[must_use]
    pub fn guarded_interfaces(&self) -> Vec<String> {
        let attached = self.dataplane.attachments().into_iter().map(|attachment| attachment.interface);
        let mut names: Vec<String> = attached.collect();
        if let Interfaces::Named(named) = &self.intent.config.interfaces {
            names.extend_from_slice(named);
        }
        names
    }

    /// Compares what was seen of the host with what was acknowledged.
    pub fn look_at_host(&mut self, mut look: Look, now: Now) {
        // In a panic nothing is attached, which is said by itself.
        if self.panicked.is_none() {
            for attachment in self.dataplane.attachments() {
                look.facts.note(What::Attach, &attachment.interface, attached(attachment.mode).to_owned());
            }
        }
        let before = self.host_state.acknowledged.changes.clone();
        let is_to_be_kept = self.host_state.acknowledged.compare(&look.facts, now);
        self.note_changes(&before);
        if look.blind != self.host_state.blind {
            look.blind.iter().for_each(|blind| tracing::warn!(blind, "not all of the host is watched"));
            self.host_state.blind = look.blind;
        }
        if is_to_be_kept {
            self.lasting.host_unsaved = true;
            self.keep();
        }
    }

    /// Notes what changed since the look before, and what is again as it was acknowledged.
    fn note_changes(&mut self, before: &[Change]) {
        let changes = &self.host_state.acknowledged.changes;
        for change in changes.iter().filter(|change| !before.contains(change)) {
            let (what, name) = (change.what.label(), &change.name);
            tracing::warn!(what, name, was = change.was, is = change.is, "the host changed");
            self.events.note(EventKind::Host, None, change.sentence());
        }
        let is_back = |change: &&Change| {
            !changes.iter().any(|other| other.what == change.what && other.name == change.name)
        };
        for change in before.iter().filter(is_back) {
            let (what, name, is) = (change.what.label(), &change.name, &change.was);
            tracing::info!(what, name, is, "the host is as it was acknowledged again");
            self.events.note(EventKind::Host, None, format!("{what} {name} is {is} again"));
        }
    }

    /// Returns what of the host changed.
    #[must_use]
    pub fn host_view(&self) -> HostView {
        let HostState { acknowledged, blind } = &self.host_state;
        HostView {
            acknowledged_at_s: acknowledged.at_s,
            acknowledged_by: acknowledged.who.clone(),
            note: acknowledged.note.clone(),
            changes: acknowledged.changes.clone(),
            blind: blind.clone(),
        }
    }

    /// Takes what is different, as it was seen last, for what is meant.
    ///
    /// # Errors
    ///
    /// None: what the disk does not take is said in the answer.
    pub fn acknowledge_host(
        &mut self,
        request: &HostAckRequest,
        who: &str,
        now: Now,
    ) -> Result<HostAck, RequestError> {
        let acknowledged = self.host_state.acknowledged.acknowledge(who, &request.note, now);
        tracing::info!(who, note = request.note, changes = acknowledged.len(), "the host is acknowledged");
        let note = if request.note.is_empty() { String::new() } else { format!(": {}", request.note) };
        let changes = acknowledged.len();
        let text =
            format!("{changes} change{} acknowledged by {who}{note}", if changes == 1 { "" } else { "s" });
        self.events.note(EventKind::Host, None, text);
        self.lasting.host_unsaved = true;
        let not_saved = self.keep();
        Ok(HostAck { acknowledged, not_saved })
    }
}

/// Looks at the host now, off the daemon's thread, and returns what changed.
///
/// # Errors
///
/// When the daemon has ended.
pub async fn look(handle: &Handle) -> Result<HostView, Stopped> {
    let guarded = handle.ask(|daemon, _| daemon.guarded_interfaces()).await?;
    let seen = spawn_blocking(move || Look::at_host(&guarded)).await.map_err(|_| Stopped)?;
    handle
        .ask(move |daemon, now| {
            daemon.look_at_host(seen, now);
            daemon.host_view()
        })
        .await
}

/// Looks at the host at once and every minute, until `stopped`.
pub async fn watch(handle: Handle, stopped: impl Future<Output = ()> + Send) {
    let watching = async {
        let mut beats = interval(LOOK);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            if look(&handle).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = stopped => {}
        () = watching => {}
    }
}
