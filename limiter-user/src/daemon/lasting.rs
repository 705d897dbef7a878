//! What the daemon keeps on disk, and what it says when the disk does not take it.
//!
//! A change comes into force first and is kept then, before the command is
//! answered. When the disk does not take it, it is in force all the same: who
//! denies a flood while the disk is full must not be told to tidy up first. The
//! answer says that it does not last, `status` says so until it does, and the
//! daemon tries again at every recount.

use serde::Serialize;

use crate::{
    chain::chain,
    clock::{Now, utc},
    config::{Config, Mode},
    control::protocol::Health,
    policy::RuntimeRules,
    state::{Kept, KeptPolicy, Store, StoredConfig, WriteError, audit::Entry},
};

use super::Daemon;

/// The step that fails when the disk does not take something.
const STEP: &str = "state directory";

/// The same for lines of the audit log.
const AUDIT: &str = "audit log";

/// Something an operator should know, that no step will repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How bad it is.
    pub health: Health,
    /// What it is, in a sentence.
    pub text: String,
    /// Whether it is settled when a configuration comes into force as it should.
    pub until_policy: bool,
}

/// What is kept, and what of it is not yet on disk.
#[derive(Debug, Default)]
pub struct Lasting {
    /// Where; none for a daemon that keeps nothing.
    pub(super) store: Option<Store>,
    /// The policy of the configuration, as it is to be on disk.
    pub(super) policy: KeptPolicy,
    rules_unsaved: bool,
    policy_unsaved: bool,
    pub(super) host_unsaved: bool,
    /// What was found at the start.
    pub(super) notices: Vec<Notice>,
}

/// Rules and modes, as [`KeptRules`](crate::state::KeptRules) reads them.
#[derive(Serialize)]
struct Rules<'a> {
    rules: &'a RuntimeRules,
    modes: &'a std::collections::BTreeMap<String, Mode>,
}

impl Lasting {
    /// Returns what was found in a state directory; what was damaged is to be written anew.
    #[must_use]
    pub fn new(store: Store, kept: Kept, notices: Vec<Notice>) -> Self {
        Self {
            store: Some(store),
            policy: kept.policy,
            rules_unsaved: kept.rules_damaged,
            policy_unsaved: true,
            host_unsaved: kept.host_damaged,
            notices,
        }
    }

    /// Takes a configuration for the one to return to, and forgets what that settles.
    pub(super) fn confirm(&mut self, config: &Config, who: &str, now: Now) {
        self.policy.confirmed = Some(StoredConfig::of(config, now.unix_s(), who));
        self.policy.unwanted.clear();
        self.notices.retain(|notice| !notice.until_policy);
    }
}

impl Daemon {
    /// Keeps rules and modes as they are; returns why they do not last, if so.
    pub(super) fn keep_rules(&mut self) -> Option<String> {
        self.lasting.rules_unsaved = true;
        self.keep()
    }

    /// Keeps the policy as [`Lasting`] has it; returns why it does not last, if so.
    pub(super) fn keep_policy(&mut self) -> Option<String> {
        self.lasting.policy_unsaved = true;
        self.keep()
    }

    /// Takes the configuration in force for confirmed, and keeps it.
    pub(super) fn keep_config(&mut self, who: &str, now: Now) -> Option<String> {
        self.lasting.confirm(&self.intent.config, who, now);
        self.keep_policy()
    }

    /// Writes what is not on disk yet; returns why that fails, if so.
    pub fn keep(&mut self) -> Option<String> {
        let Lasting { store: Some(store), policy, rules_unsaved, policy_unsaved, host_unsaved, .. } =
            &mut self.lasting
        else {
            return None;
        };
        let (rules, modes) = (&self.intent.rules, &self.intent.modes);
        let is_due = *rules_unsaved || *policy_unsaved || *host_unsaved;
        let mut outcome = Ok(());
        if *rules_unsaved {
            let kept = store.keep_rules(&Rules { rules, modes });
            *rules_unsaved = kept.is_err();
            outcome = kept;
        }
        if *policy_unsaved {
            let kept = store.keep_policy(policy);
            *policy_unsaved = kept.is_err();
            outcome = outcome.and(kept);
        }
        if *host_unsaved {
            let kept = store.keep_host(&self.host_state.acknowledged);
            *host_unsaved = kept.is_err();
            outcome = outcome.and(kept);
        }
        let why = outcome.as_ref().err().map(|error| chain(error));
        if is_due && why.is_none() {
            // A disk that takes these takes lines of the log, too.
            self.faults.note(AUDIT, Ok::<_, WriteError>(()));
        }
        self.faults.note(STEP, outcome);
        why
    }

    /// Adds a line to the audit log; `outcome` is `done`, or why not.
    pub fn audit(
        &mut self,
        (uid, pid): (Option<u32>, Option<i32>),
        what: &str,
        request: &impl Serialize,
        outcome: &str,
        now: Now,
    ) {
        let Some(store) = &self.lasting.store else {
            return;
        };
        let at_s = now.unix_s();
        let at = utc(at_s);
        let request = serde_json::to_value(request).unwrap_or_default();
        let written = store.audit(&Entry { at_s, at, uid, pid, what, request, outcome });
        self.faults.note(AUDIT, written);
    }
}
