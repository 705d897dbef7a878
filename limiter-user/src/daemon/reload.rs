//! The configuration read anew, and modes switched at run time.

use crate::{
    clock::Now,
    config::{Config, Service, diff::diff},
    control::{
        error::{Kind, RequestError},
        protocol::{ModeRequest, PolicyChange},
    },
    recorder::EventKind,
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
        self.refuse_on_probation(now)?;
        self.has_compiled = true;
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
                let text = format!("reloaded by {who}: {}", summary(&change.changes));
                self.events.note(EventKind::Policy, None, text);
                Ok(change)
            }
            Err(error) => {
                self.reloads.failed += 1;
                tracing::error!(path = %path.display(), error = error.body.error, "reload failed; the policy in force is unchanged");
                let text = format!("reload by {who} failed: {}", error.body.error.trim_end());
                self.events.note(EventKind::Policy, None, text);
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
        let changes = diff(&self.intent.config, &config).sentences();
        let stale = self.stale_modes(&config);
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
        Ok(PolicyChange { revision: self.revision(), changes, not_saved, confirm_within_s: None })
    }

    /// Returns the services with a switched mode that a configuration does not have.
    pub(super) fn stale_modes(&self, config: &Config) -> Vec<String> {
        let known = |name: &str| config.services.iter().any(|service| service.name == name);
        self.intent.modes.keys().filter(|name| !known(name)).cloned().collect()
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
        // What returns when a probation ends has to agree, too, before a switch is no switch any more.
        let before: Vec<Service> =
            self.trial.iter().flat_map(|trial| &trial.before.services).cloned().collect();
        let differs =
            |name: &str| before.iter().any(|other| other.name == name && other.mode != request.mode);
        let only_before = before.iter().filter(|other| {
            request.service.is_none() && !services.iter().any(|service| service.name == other.name)
        });
        let only_before: Vec<String> = only_before.map(|service| service.name.clone()).collect();
        let mode = request.mode;
        let changes: Vec<String> = services
            .iter()
            .filter(|service| self.intent.mode(service) != mode)
            .map(|service| format!("service `{}`: {} -> {mode}", service.name, self.intent.mode(service)))
            .collect();
        self.change(now, |intent| {
            for service in services {
                if service.mode == mode && !differs(&service.name) {
                    intent.modes.remove(&service.name);
                } else {
                    intent.modes.insert(service.name, mode);
                }
            }
            intent.modes.extend(only_before.into_iter().map(|name| (name, mode)));
        })?;
        tracing::warn!(%mode, service = request.service, who, "mode switched");
        let text = format!("switched to {mode} by {who}: {}", summary(&changes));
        self.events.note(EventKind::Mode, request.service.as_deref(), text);
        let not_saved = self.keep_rules();
        Ok(PolicyChange { revision: self.revision(), changes, not_saved, confirm_within_s: None })
    }

    /// Returns the error of the last reload, if it failed.
    #[must_use]
    pub fn reload_error(&self) -> Option<&str> {
        self.reload_error.as_deref()
    }
}

/// Returns changes in one line.
pub(super) fn summary(changes: &[String]) -> String {
    if changes.is_empty() { "nothing changed".to_owned() } else { changes.join("; ") }
}

/// Logs what is allowed but likely to hurt.
pub(super) fn warn_about(config: &Config) {
    for warning in config.warnings() {
        tracing::warn!(warning, "the configuration is likely to hurt");
    }
}
