//! A configuration on probation: in force until somebody confirms it, or its
//! time is over and the one before returns.
//!
//! Three hold the net: the kernel, which has both policies and the time; this
//! daemon; and, for one that was killed or a host that was booted, the state
//! directory (`boot.rs`).

use std::{fs, path::Path, time::Duration};

use crate::{
    clock::{Now, utc},
    config::{Config, diff::diff, duration},
    control::{
        error::{Kind, RequestError},
        protocol::{ApplyRequest, DiffAnswer, DiffRequest, Health, PolicyChange},
    },
    policy::{self, CompileError, Compiled, Ids},
    recorder::EventKind,
    state::{Probation, StoredConfig},
};

use super::{
    Daemon,
    lasting::Notice,
    reload::{summary, warn_about},
    state::Intent,
};

/// The shortest and the longest probation. Shorter ones end before anybody has looked, longer ones
/// are forgotten.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(24);
/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// What returns when the configuration in force is not confirmed in time.
#[derive(Clone, Debug)]
pub struct Trial {
    pub(super) before: Config,
    /// When it returns, on the clock of the packet path.
    pub(super) until_ns: u64,
}

impl Trial {
    /// Returns the trial of what comes after `before`, with so many seconds left.
    #[must_use]
    pub fn new(before: Config, left_s: u64, now: Now) -> Self {
        Self { before, until_ns: now.monotonic_ns.saturating_add(left_s.saturating_mul(SECOND_NS)) }
    }

    /// Returns what is in force when it fails: the configuration of before, and everything else as it is today.
    pub(super) fn intent(&self, today: &Intent) -> Intent {
        Intent { config: self.before.clone(), ..today.clone() }
    }

    /// Returns the policy that is in force when it fails.
    pub(super) fn policy(
        &self,
        today: &Intent,
        ids: &mut Ids,
        now: Now,
        revision: u32,
    ) -> Result<Compiled, CompileError> {
        policy::compile(&self.intent(today).inputs(now, revision), ids)
    }

    fn left_s(&self, now: Now) -> u64 {
        self.until_ns.saturating_sub(now.monotonic_ns).div_ceil(SECOND_NS)
    }
}

impl Daemon {
    /// Says what a configuration would change.
    ///
    /// # Errors
    ///
    /// When something is wrong with it.
    pub fn diff(&mut self, request: &DiffRequest) -> Result<DiffAnswer, RequestError> {
        self.has_compiled = true;
        let config = parsed(&request.text, &request.path)?;
        let found = diff(&self.intent.config, &config);
        Ok(DiffAnswer { changes: found.changes, at_restart: found.at_restart, warnings: config.warnings() })
    }

    /// Puts a configuration in force until it is confirmed or its time is over.
    ///
    /// # Errors
    ///
    /// When something is wrong with it, or another one is on probation; the policy in force stays.
    pub fn apply_file(
        &mut self,
        request: &ApplyRequest,
        who: &str,
        now: Now,
    ) -> Result<PolicyChange, RequestError> {
        self.refuse_on_probation(now)?;
        let given = probation_of(&request.confirm)?;
        self.has_compiled = true;
        let mut config = parsed(&request.text, &request.path)?;
        // A reload reads the configured file, whatever file this came from.
        config.file.path.clone_from(&self.intent.config.file.path);
        let changes = diff(&self.intent.config, &config).sentences();
        let trial = Trial::new(self.intent.config.clone(), given.as_secs(), now);
        let stored = StoredConfig::of(&config, now.unix_s(), who);
        let (hash, seconds) = (stored.hash.clone(), given.as_secs());
        let until_s = now.unix_s().saturating_add(seconds);
        // First the record: a daemon that dies right here must be followed by one that knows.
        self.lasting.policy.probation = Some(Probation { config: stored, until_s, given_s: seconds });
        if let Some(why) = self.keep_policy() {
            self.lasting.policy.probation = None;
            let error = format!("a probation would be forgotten by a restart: {why}");
            return Err(RequestError::new(
                Kind::Rejected,
                error,
                "the policy in force is unchanged; make room",
            ));
        }
        let intent = Intent { config, ..self.intent.clone() };
        if let Err(error) = self.put_in_force(intent, Some(trial), now) {
            self.lasting.policy.probation = None;
            self.keep_policy();
            return Err(error.into());
        }
        tracing::warn!(hash, who, seconds, "a configuration is on probation");
        let text = format!("{who} applied {hash}, on probation for {seconds} s: {}", summary(&changes));
        self.events.note(EventKind::Policy, None, text);
        self.look_at_interfaces();
        warn_about(&self.intent.config);
        let confirm_within_s = Some(seconds);
        Ok(PolicyChange { revision: self.revision(), changes, not_saved: None, confirm_within_s })
    }

    /// Keeps the configuration on probation.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn confirm(&mut self, who: &str, now: Now) -> Result<PolicyChange, RequestError> {
        if self.trial.as_ref().is_none_or(|trial| trial.until_ns <= now.monotonic_ns) {
            return Err(RequestError::new(
                Kind::NotFound,
                "no configuration waits to be confirmed",
                "`limiterctl apply FILE --confirm 60s` puts one on probation",
            ));
        }
        self.put_in_force(self.intent.clone(), None, now)?;
        for name in self.stale_modes(&self.intent.config) {
            self.intent.modes.remove(&name);
        }
        self.keep_rules();
        self.lasting.policy.probation = None;
        self.lasting.confirm(&self.intent.config, who, now);
        let changes = self.turn_the_file_down(who, now);
        // All of it by one write: half of it would let the file bring back what was replaced.
        let not_saved = self.keep_policy();
        tracing::info!(who, hash = self.compiled.hash, "the configuration is confirmed");
        let text = format!("{who} confirmed {}", self.compiled.hash);
        self.events.note(EventKind::Policy, None, text);
        Ok(PolicyChange { revision: self.revision(), changes, not_saved, confirm_within_s: None })
    }

    /// The file must not bring back what the confirmed configuration replaced; says what to do about it.
    fn turn_the_file_down(&mut self, who: &str, now: Now) -> Vec<String> {
        let file = &self.intent.config.file;
        match fs::read_to_string(&file.path) {
            Ok(text) if *text == *file.text => Vec::new(),
            Ok(text) => {
                let path = file.path.display().to_string();
                let why =
                    format!("is not what {who} confirmed at {} by `limiterctl confirm`", utc(now.unix_s()));
                self.lasting.policy.reject(&text, why);
                vec![format!(
                    "{path} still holds another configuration, which neither a reload nor a start will put in \
                     force: copy what you applied to it"
                )]
            }
            // What cannot be read brings nothing back.
            Err(_) => Vec::new(),
        }
    }

    /// Brings back the configuration of before when the time of the one on probation is over.
    pub(super) fn end_trial(&mut self, now: Now) {
        let Some(trial) = self.trial.clone().filter(|trial| trial.until_ns <= now.monotonic_ns) else {
            return;
        };
        let tried = self.intent.config.clone();
        let back = self.put_in_force(trial.intent(&self.intent), None, now);
        if self.faults.note("return from a probation", back).is_none() {
            return;
        }
        self.look_at_interfaces();
        let who = self.lasting.policy.probation.take().map_or_else(String::new, |kept| kept.config.who);
        let why = format!("was applied by {who} and not confirmed in time");
        tracing::error!(hash = tried.hash(), "a configuration {why}; the one before it is in force again");
        let text =
            format!("the configuration {} {why}: the policy before it is in force again", tried.hash());
        self.events.note(EventKind::Policy, None, text.clone());
        self.lasting.notices.push(Notice { health: Health::Degraded, text, until_policy: true });
        self.lasting.policy.reject(&tried.file.text, why);
        self.keep_policy();
        self.audit((None, None), "return", &tried.hash(), "done", now);
    }

    /// Returns what an operator should know of a probation, and how long it has.
    pub(super) fn on_probation(&self, now: Now) -> Option<String> {
        let trial = self.trial.as_ref()?;
        let who = self.lasting.policy.probation.as_ref().map_or("somebody", |kept| &kept.config.who);
        Some(format!(
            "a configuration that {who} applied is on probation for another {}: `limiterctl confirm` keeps it",
            humantime::format_duration(Duration::from_secs(trial.left_s(now)))
        ))
    }

    /// Refuses to change the configuration while one is on probation.
    pub(super) fn refuse_on_probation(&self, now: Now) -> Result<(), RequestError> {
        self.on_probation(now).map_or(Ok(()), |text| {
            let remedy = "confirm it, or wait until the one before it has returned";
            Err(RequestError::new(Kind::Rejected, text, remedy))
        })
    }
}

fn parsed(text: &str, path: &str) -> Result<Config, RequestError> {
    Config::parse(text, Path::new(path)).map_err(|errors| {
        RequestError::new(Kind::Rejected, errors.to_string(), "the policy in force is unchanged")
    })
}

fn probation_of(text: &str) -> Result<Duration, RequestError> {
    let invalid =
        |error: String| RequestError::new(Kind::Invalid, error, "write a time such as 60s or 5m, up to 24h");
    match duration(text) {
        Ok(given) if (SHORTEST..=LONGEST).contains(&given) => Ok(given),
        Ok(_) => Err(invalid(format!("`{text}` is no time for a probation"))),
        Err(error) => Err(invalid(format!("`{text}` is no duration: {error}"))),
    }
}
