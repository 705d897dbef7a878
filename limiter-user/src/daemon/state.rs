//! The state of the daemon, and how a policy comes into force.
//!
//! Every change makes a whole new [`Intent`], compiles it, hands it to the
//! packet path, and only then takes its place: what fails changes nothing.

use std::{collections::BTreeMap, io, net::IpAddr};

use crate::{
    chain::chain,
    clock::Now,
    config::{Config, Mode, Service},
    control::error::{Kind, RequestError},
    dataplane::{Dataplane, DataplaneError, Fallback, First, Inherited},
    host::Host,
    policy::{self, CompileError, Compiled, Ids, Inputs, RuntimeRules, Table},
    recorder::{EventKind, Events},
    state::{KeptRules, Panic},
    witness::Witness,
};

use super::{
    Boot,
    breaker::look::Breakers,
    canary::Canaries,
    changes::HostState,
    conntrack::Conntrack,
    faults::Faults,
    lasting::Lasting,
    observed::Observed,
    panic::Panicked,
    recount::{Recounts, Summary},
    refusals::Refusals,
    tick::IDLE_S,
    trial::Trial,
    usage::Usage,
};

/// Everything an operator and the host want, of which a policy is made.
///
/// What is in here beside the configuration is what has to be stored for it to outlive the daemon.
#[derive(Clone, Debug)]
pub struct Intent {
    /// What the operator wrote.
    pub config: Config,
    /// What the operator added since.
    pub rules: RuntimeRules,
    /// Modes switched at run time, by service.
    pub modes: BTreeMap<String, Mode>,
    /// The host's own addresses.
    pub local: Vec<IpAddr>,
    /// Services whose limits of single sources the circuit breaker has suspended; not stored: a
    /// daemon that starts sees what happened in the window before.
    pub suspended: Vec<String>,
}

impl Intent {
    /// Returns what a policy of it is compiled from.
    pub(super) fn inputs(&self, now: Now, revision: u32) -> Inputs<'_> {
        Inputs {
            config: &self.config,
            runtime: &self.rules,
            local: &self.local,
            modes: &self.modes,
            suspended: &self.suspended,
            now_s: now.unix_s(),
            revision,
        }
    }

    /// Returns the mode in force for a service.
    #[must_use]
    pub fn mode(&self, service: &Service) -> Mode {
        self.modes.get(&service.name).copied().unwrap_or(service.mode)
    }

    /// Returns a service by name.
    ///
    /// # Errors
    ///
    /// When there is none, with the names of those that exist.
    pub fn service(&self, name: &str) -> Result<&Service, RequestError> {
        let names = || self.config.services.iter().map(|service| service.name.as_str());
        let found = self.config.services.iter().find(|service| service.name == name);
        found.ok_or_else(|| RequestError::no_such_service(name, names()))
    }
}

/// A policy compiled for the first time, for the packet path to start with.
#[derive(Debug)]
pub struct Prepared {
    intent: Intent,
    ids: Ids,
    lasting: Lasting,
    host_state: HostState,
    reload_error: Option<String>,
    trial: Option<Trial>,
    /// What returns if the trial fails.
    before: Option<Compiled>,
    panicked: Option<Panicked>,
    /// The policy.
    pub compiled: Compiled,
}

impl Prepared {
    /// Compiles the first policy of a host with these addresses; ids and revisions go on from those of pinned maps.
    ///
    /// # Errors
    ///
    /// When the policy does not fit.
    pub fn new(
        config: Config,
        inherited: Inherited,
        local: Vec<IpAddr>,
        now: Now,
    ) -> Result<Self, CompileError> {
        let intent = Intent {
            config,
            rules: RuntimeRules::default(),
            modes: BTreeMap::new(),
            local,
            suspended: Vec::new(),
        };
        Self::compile(intent, Lasting::default(), None, inherited, now)
    }

    /// Compiles the first policy of a host with these addresses from what was found at the start.
    ///
    /// # Errors
    ///
    /// When the policy does not fit.
    pub fn boot(
        boot: Boot,
        inherited: Inherited,
        local: Vec<IpAddr>,
        now: Now,
    ) -> Result<Self, CompileError> {
        let Boot { config, probation, store, mut kept, notices, file_error } = boot;
        let trial =
            probation.map(|(before, probation)| Trial::new(before, probation.left_s(now.unix_s()), now));
        let panicked = kept.panic.take().map(Panicked::marked);
        let host_state = HostState::kept(std::mem::take(&mut kept.host));
        let KeptRules { rules, modes } = std::mem::take(&mut kept.rules);
        let intent = Intent { config, rules, modes, local, suspended: Vec::new() };
        let prepared = Self::compile(intent, Lasting::new(store, kept, notices), trial, inherited, now)?;
        Ok(Self { reload_error: file_error, panicked, host_state, ..prepared })
    }

    fn compile(
        intent: Intent,
        lasting: Lasting,
        trial: Option<Trial>,
        inherited: Inherited,
        now: Now,
    ) -> Result<Self, CompileError> {
        let Inherited { mut ids, revision } = inherited;
        let revision = revision.wrapping_add(1);
        let before =
            trial.as_ref().map(|trial| trial.policy(&intent, &mut ids, now, revision)).transpose()?;
        let compiled = policy::compile(&intent.inputs(now, revision), &mut ids)?;
        Ok(Self {
            intent,
            ids,
            lasting,
            host_state: HostState::default(),
            reload_error: None,
            trial,
            before,
            panicked: None,
            compiled,
        })
    }

    /// Returns what the packet path starts with.
    #[must_use]
    pub fn first(&self) -> First<'_> {
        let before = self.trial.as_ref().zip(self.before.as_ref());
        let fallback = before.map(|(trial, policy)| Fallback { policy, at_ns: trial.until_ns });
        let (config, local) = (&self.intent.config, self.intent.local.as_slice());
        First { config, policy: &self.compiled, fallback, local }
    }

    /// Returns whether nothing is to be attached.
    #[must_use]
    pub const fn is_panic(&self) -> bool {
        self.panicked.is_some()
    }
}

/// Why a policy did not come into force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// It does not fit.
    #[error("the policy cannot be compiled")]
    Compile(#[from] CompileError),
    /// The packet path does not take it.
    #[error("the packet path does not take the policy")]
    Apply(#[from] DataplaneError),
}

impl From<ChangeError> for RequestError {
    fn from(error: ChangeError) -> Self {
        Self::new(Kind::Rejected, chain(&error), "the policy in force is unchanged")
    }
}

/// The daemon.
pub struct Daemon {
    pub(super) dataplane: Box<dyn Dataplane>,
    pub(super) intent: Intent,
    pub(super) ids: Ids,
    pub(super) compiled: Compiled,
    pub(super) table: Table,
    pub(super) recounts: Recounts,
    pub(super) usage: Usage,
    pub(super) observed: Observed,
    pub(super) summary: Summary,
    pub(super) refusals: Refusals,
    pub(super) faults: Faults,
    pub(super) breakers: Breakers,
    pub(super) canaries: Canaries,
    pub(super) conntrack: Conntrack,
    pub(super) host: Host,
    pub(super) host_state: HostState,
    pub(super) witness: Witness,
    pub(super) lasting: Lasting,
    pub(super) trial: Option<Trial>,
    pub(super) panicked: Option<Panicked>,
    /// A panic that is over and whose mark the disk does not give up.
    pub(super) ended_panic: Option<Panic>,
    pub(super) interface_changes: u64,
    pub(super) reload_error: Option<String>,
    pub(super) reloads: Reloads,
    pub(super) events: Events,
    pub(super) started: Now,
    /// A configuration was read or a policy made, which takes many times what is kept of it.
    pub(super) has_compiled: bool,
    stopped: bool,
}

/// How often the configuration was read anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reloads {
    /// And came into force.
    pub done: u64,
    /// And changed nothing, being wrong.
    pub failed: u64,
}

impl Daemon {
    /// Returns the daemon of a packet path that was started with this policy.
    #[must_use]
    pub fn new(mut dataplane: Box<dyn Dataplane>, prepared: Prepared, now: Now) -> Self {
        let Prepared { intent, ids, lasting, host_state, reload_error, trial, panicked, compiled, .. } =
            prepared;
        let table = Table::merge(&intent.inputs(now, compiled.policy.revision), &ids);
        // If that fails so does the first recount a moment later, which is where it shows.
        let known = dataplane.recount(IDLE_S).unwrap_or_default();
        let mut daemon = Self {
            dataplane,
            intent,
            ids,
            compiled,
            table,
            recounts: Recounts::begun(&known, now),
            usage: Usage::default(),
            observed: Observed::default(),
            summary: Summary::default(),
            refusals: Refusals::default(),
            faults: Faults::default(),
            breakers: Breakers::default(),
            canaries: Canaries::default(),
            conntrack: Conntrack::default(),
            host: Host::read(),
            host_state,
            witness: Witness::default(),
            lasting,
            trial,
            panicked,
            ended_panic: None,
            reload_error,
            interface_changes: 0,
            reloads: Reloads::default(),
            events: Events::default(),
            started: now,
            has_compiled: false,
            stopped: false,
        };
        // What does not last is a standing fault, shown and tried again.
        daemon.keep();
        daemon
    }

    /// Returns the revision in force.
    #[must_use]
    pub fn revision(&self) -> u32 {
        self.compiled.policy.revision
    }

    /// Edits what the policy is made of and puts the outcome in force.
    pub(super) fn change<T>(
        &mut self,
        now: Now,
        edit: impl FnOnce(&mut Intent) -> T,
    ) -> Result<T, ChangeError> {
        let mut intent = self.intent.clone();
        let outcome = edit(&mut intent);
        self.put_in_force(intent, self.trial.clone(), now)?;
        Ok(outcome)
    }

    /// Puts what a policy is made of in force; with a trial until its time is over, and then what
    /// was before: rules, modes and addresses are those of today in both.
    pub(super) fn put_in_force(
        &mut self,
        intent: Intent,
        trial: Option<Trial>,
        now: Now,
    ) -> Result<(), ChangeError> {
        self.has_compiled = true;
        let mut ids = self.ids.clone();
        let revision = self.revision().wrapping_add(1);
        let before =
            trial.as_ref().map(|trial| trial.policy(&intent, &mut ids, now, revision)).transpose()?;
        let inputs = intent.inputs(now, revision);
        let compiled = policy::compile(&inputs, &mut ids)?;
        let table = Table::merge(&inputs, &ids);
        let before = trial.as_ref().zip(before.as_ref());
        let fallback = before.map(|(trial, policy)| Fallback { policy, at_ns: trial.until_ns });
        self.dataplane.apply(&compiled, fallback)?;
        tracing::info!(revision, prefixes = compiled.prefixes.len(), "policy in force");
        let (prefixes, hash) = (compiled.prefixes.len(), &compiled.hash);
        let text = format!("revision {revision} in force: configuration {hash}, {prefixes} prefixes");
        self.events.note(EventKind::Policy, None, text);
        self.intent = intent;
        self.trial = trial;
        self.ids = ids;
        self.compiled = compiled;
        self.table = table;
        Ok(())
    }

    /// Takes note of the host's own addresses, as they were found.
    pub fn look_at_addresses(&mut self, found: io::Result<Vec<IpAddr>>, now: Now) {
        let Some(found) = self.faults.note("list of own addresses", found) else {
            return;
        };
        if found == self.intent.local {
            return;
        }
        tracing::info!(addresses = found.len(), "own addresses changed");
        self.events.note(EventKind::Host, None, format!("own addresses changed: {} by now", found.len()));
        let told = self.dataplane.set_local_addresses(&found).map_err(ChangeError::from);
        let changed = told.and_then(|()| self.change(now, |intent| intent.local = found));
        self.faults.note("own addresses", changed);
    }

    /// Ends the daemon's work: everything is detached, unless the configuration wants it kept.
    pub fn stop(&mut self, now: Now) {
        self.stopped = true;
        // Before anything is detached: it is what was in force.
        self.record_last(now);
        let what = self.let_go();
        self.events.note(EventKind::Stop, None, format!("limiterd stopped: {what}"));
        self.events.finish();
    }

    /// Detaches everything that is not to be kept; says what came of it.
    fn let_go(&mut self) -> String {
        if self.intent.config.runtime.keep_on_exit {
            tracing::warn!("stopping; everything stays attached and goes on limiting");
            return "everything stays attached and goes on limiting".to_owned();
        }
        match self.dataplane.detach() {
            Ok(()) => {
                tracing::info!("stopping; everything is detached");
                "everything is detached".to_owned()
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(error, "stopping; not everything could be detached");
                format!("not everything could be detached: {error}")
            }
        }
    }

    /// Returns whether [`Daemon::stop`] was called.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }
}
