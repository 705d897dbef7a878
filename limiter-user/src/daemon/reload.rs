//! The configuration read anew, and modes switched at run time.

use crate::{
    clock::Now,
    config::{Config, Service},
    control::{
        error::{Kind, RequestError},
        protocol::{ModeRequest, PolicyChange},
    },
};

use super::Daemon;

impl Daemon {
    /// Reads the configuration anew and puts it in force, if nothing is wrong with it.
    ///
    /// # Errors
    ///
    /// When something is; then the policy in force stays, and the error is shown until a reload succeeds.
    pub fn reload(&mut self, who: &str, now: Now) -> Result<PolicyChange, RequestError> {
        let path = self.intent.config.file.path.clone();
        let outcome = Config::load(&path)
            .map_err(|errors| {
                RequestError::new(Kind::Rejected, errors.to_string(), "the policy in force is unchanged")
            })
            .and_then(|config| self.adopt_file(config, who, now));
        match outcome {
            Ok(change) => {
                self.reload_error = None;
                self.reloads.done += 1;
                tracing::info!(path = %path.display(), revision = change.revision, "reloaded");
                Ok(change)
            }
            Err(error) => {
                self.reloads.failed += 1;
                tracing::error!(path = %path.display(), error = error.body.error, "reload failed; the policy in force is unchanged");
                self.reload_error = Some(error.body.error.clone());
                Err(error)
            }
        }
    }

    /// Reads the configuration anew because of a signal, which has no name and waits for no answer.
    pub fn reload_by_signal(&mut self, now: Now) {
        let outcome = self.reload("SIGHUP", now);
        let outcome = outcome.as_ref().err().map_or_else(|| "done".to_owned(), ToString::to_string);
        self.audit((None, None), "reload", &"SIGHUP", &outcome, now);
    }

    /// Puts the configuration of the file in force, unless somebody has turned its text down.
    fn adopt_file(&mut self, config: Config, who: &str, now: Now) -> Result<PolicyChange, RequestError> {
        let objection = self.lasting.policy.objection(&config.file.text);
        let Some(why) = objection else {
            return self.adopt(config, who, now);
        };
        let path = config.file.path.display();
        Err(RequestError::new(
            Kind::Rejected,
            format!("{path} {why}"),
            format!(
                "`limiterctl apply {path} --confirm 60s` tries it again; any change of its text ends the objection"
            ),
        ))
    }

    /// Puts a configuration in force.
    fn adopt(&mut self, config: Config, who: &str, now: Now) -> Result<PolicyChange, RequestError> {
        let changes = changes(&self.intent.config, &config);
        let known = |name: &str| config.services.iter().any(|service| service.name == name);
        let stale: Vec<String> = self.intent.modes.keys().filter(|name| !known(name)).cloned().collect();
        self.change(now, |intent| {
            for name in &stale {
                intent.modes.remove(name);
            }
            intent.config = config;
        })?;
        warn_about(&self.intent.config);
        self.look_at_interfaces();
        if !stale.is_empty() {
            self.keep_rules();
        }
        let not_saved = self.keep_config(who, now);
        Ok(PolicyChange { revision: self.revision(), changes, not_saved })
    }

    /// Switches the mode of a service, or of all.
    ///
    /// It holds until it is switched again, whatever is reloaded or restarted in between: who switched to
    /// `observe` in an emergency must not be surprised.
    ///
    /// # Errors
    ///
    /// When there is no such service, or the policy does not come into force.
    pub fn set_mode(
        &mut self,
        request: &ModeRequest,
        who: &str,
        now: Now,
    ) -> Result<PolicyChange, RequestError> {
        let services: Vec<Service> = match &request.service {
            Some(name) => vec![self.intent.service(name)?.clone()],
            None => self.intent.config.services.clone(),
        };
        let mode = request.mode;
        let changes: Vec<String> = services
            .iter()
            .filter(|service| self.intent.mode(service) != mode)
            .map(|service| format!("service `{}`: {} -> {mode}", service.name, self.intent.mode(service)))
            .collect();
        self.change(now, |intent| {
            for service in services {
                if service.mode == mode {
                    intent.modes.remove(&service.name);
                } else {
                    intent.modes.insert(service.name, mode);
                }
            }
        })?;
        tracing::warn!(%mode, service = request.service, who, "mode switched");
        let not_saved = self.keep_rules();
        Ok(PolicyChange { revision: self.revision(), changes, not_saved })
    }

    /// Returns the error of the last reload, if it failed.
    #[must_use]
    pub fn reload_error(&self) -> Option<&str> {
        self.reload_error.as_deref()
    }
}

/// Returns what differs between two configurations, a sentence each.
fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut changes = differences(
        "service",
        old.services.iter().map(|service| (service.name.as_str(), service)),
        new.services.iter().map(|service| (service.name.as_str(), service)),
    );
    changes.extend(differences(
        "class",
        old.classes.iter().map(|class| (class.name.as_str(), class)),
        new.classes.iter().map(|class| (class.name.as_str(), class)),
    ));
    if old.breaker != new.breaker {
        changes.push("the thresholds of the circuit breaker changed".to_owned());
    }
    if old.source != new.source {
        changes.push("the prefix lengths of sources changed".to_owned());
    }
    let at_once = [("interfaces", old.interfaces != new.interfaces), ("attach", old.attach != new.attach)];
    let at_once = at_once.into_iter().filter(|(_, changed)| *changed);
    changes.extend(
        at_once.map(|(key, _)| format!("`{key}` changed: `limiterctl status` shows what is attached")),
    );
    let runtime = (&old.runtime, &new.runtime);
    let at_start_only = [
        ("runtime.state_dir", runtime.0.state_dir != runtime.1.state_dir),
        ("runtime.pin_dir", runtime.0.pin_dir != runtime.1.pin_dir),
        ("runtime.control_socket", runtime.0.control_socket != runtime.1.control_socket),
        ("runtime.control_group", runtime.0.control_group != runtime.1.control_group),
        ("runtime.control_read", runtime.0.control_read != runtime.1.control_read),
        ("runtime.metrics_listen", runtime.0.metrics_listen != runtime.1.metrics_listen),
        ("runtime.cgroup", runtime.0.cgroup != runtime.1.cgroup),
    ];
    let later = at_start_only.into_iter().filter(|(_, changed)| *changed);
    changes.extend(
        later.map(|(key, _)| format!("`{key}` changed: that takes effect when limiterd is started again")),
    );
    changes
}

fn differences<'a, T: PartialEq + 'a>(
    kind: &str,
    old: impl Iterator<Item = (&'a str, &'a T)>,
    new: impl Iterator<Item = (&'a str, &'a T)>,
) -> Vec<String> {
    let (old, new): (Vec<_>, Vec<_>) = (old.collect(), new.collect());
    let find = |list: &[(&'a str, &'a T)], name: &str| {
        list.iter().find(|(other, _)| *other == name).map(|(_, it)| *it)
    };
    let removed = old.iter().filter(|(name, _)| find(&new, name).is_none());
    let removed = removed.map(|(name, _)| format!("{kind} `{name}` removed"));
    let rest = new.iter().filter_map(|(name, it)| match find(&old, name) {
        None => Some(format!("{kind} `{name}` added")),
        Some(before) if before != *it => Some(format!("{kind} `{name}` changed")),
        Some(_) => None,
    });
    removed.chain(rest).collect()
}

/// Logs what is allowed but likely to hurt.
pub(super) fn warn_about(config: &Config) {
    for warning in config.warnings() {
        tracing::warn!(warning, "the configuration is likely to hurt");
    }
}
