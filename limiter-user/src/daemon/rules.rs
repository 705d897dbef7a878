//! The table of rules as people see it: list, add, remove.

use limiter_common::limits::Treatment;

use crate::{
    clock::Now,
    config::{duration, prefix},
    control::{
        error::{Kind, RequestError},
        protocol::{RuleChange, RuleList, RuleQuery, RuleRemoval, RuleRequest, RuleView},
    },
    policy::{Origin, Rule, RuntimeRule, ServiceSet, Verb},
    recorder::EventKind,
};

use super::Daemon;

/// The longest note that is kept. A choice: a line of text and a ticket number.
const NOTE_LEN_MAX: usize = 200;

impl Daemon {
    /// Returns every rule in force, by prefix.
    #[must_use]
    pub fn list_rules(&self, now: Now) -> RuleList {
        let mut rules: Vec<&Rule> = self.table.rules().iter().collect();
        rules.sort_by_key(|rule| (rule.prefix, rule.origin, rule.class));
        // Some of the host's own addresses are built-in prefixes themselves.
        rules.dedup();
        RuleList { rules: rules.into_iter().map(|rule| self.view(rule, now)).collect() }
    }

    /// Adds a rule on behalf of `who`; it is in force when this returns.
    ///
    /// # Errors
    ///
    /// When the request makes no sense, or the policy with the rule does not come into force.
    pub fn add_rule(
        &mut self,
        request: RuleRequest,
        who: String,
        now: Now,
    ) -> Result<RuleChange, RequestError> {
        let rule = self.runtime_rule(request, who, now)?;
        let added = rule.clone();
        let replaced = self.change(now, |intent| intent.rules.insert(rule))?.is_some();
        let RuntimeRule { prefix, verb, service, note, who, .. } = &added;
        tracing::info!(%prefix, %verb, service, note, who, "rule added");
        self.events.note(EventKind::Rule, service.as_deref(), format!("{verb} {prefix} by {who}"));
        let not_saved = self.keep_rules();
        let rule = self.view_of_runtime(&added, now);
        Ok(RuleChange { rule, replaced, revision: self.revision(), not_saved })
    }

    /// Removes the rules of a prefix that were added at run time.
    ///
    /// # Errors
    ///
    /// When there is none, or the policy without them does not come into force.
    pub fn remove_rules(
        &mut self,
        query: &RuleQuery,
        who: &str,
        now: Now,
    ) -> Result<RuleRemoval, RequestError> {
        let prefix = parsed_prefix(&query.prefix)?;
        let service = query.service.as_deref();
        let matches = |rule: &RuntimeRule| {
            rule.prefix == prefix && service.is_none_or(|name| rule.service.as_deref() == Some(name))
        };
        if !self.intent.rules.iter().any(matches) {
            return Err(self.nothing_to_remove(query, prefix));
        }
        let removed = self.change(now, |intent| intent.rules.remove(prefix, service))?;
        tracing::info!(%prefix, service, who, rules = removed.len(), "rules removed");
        self.events.note(EventKind::Rule, service, format!("{prefix} removed by {who}"));
        let not_saved = self.keep_rules();
        let removed = removed.iter().map(|rule| self.view_of_runtime(rule, now)).collect();
        Ok(RuleRemoval { removed, revision: self.revision(), not_saved })
    }

    /// Checks a request and fills in what it leaves open.
    pub(super) fn runtime_rule(
        &self,
        request: RuleRequest,
        who: String,
        now: Now,
    ) -> Result<RuntimeRule, RequestError> {
        let prefix = parsed_prefix(&request.prefix)?;
        if let Some(name) = &request.service {
            self.intent.service(name)?;
        }
        let ttl = request.ttl.as_deref().map(parsed_ttl).transpose()?;
        let note = request.note.unwrap_or_default();
        if note.chars().count() > NOTE_LEN_MAX || note.chars().any(char::is_control) {
            let error = format!("a note has at most {NOTE_LEN_MAX} characters, on one line");
            return Err(RequestError::new(Kind::Invalid, error, "shorten it"));
        }
        Ok(RuntimeRule {
            prefix,
            verb: request.verb,
            service: request.service,
            created_at_s: now.unix_s(),
            expires_at_s: ttl.map(|ttl| now.unix_s().saturating_add(ttl)),
            note,
            who,
        })
    }

    /// Returns the error of a removal that finds nothing; rules from elsewhere are named.
    fn nothing_to_remove(&self, query: &RuleQuery, prefix: ipnet::IpNet) -> RequestError {
        let elsewhere = self.table.rules().iter().find(|rule| rule.prefix == prefix);
        let remedy = match elsewhere.map(|rule| (rule.origin, rule.class)) {
            Some((Origin::Config, class)) => format!(
                "class `{}` of {} has it: take it out there and run `limiterctl reload`",
                self.compiled.names.class(class),
                self.intent.config.file.path.display()
            ),
            Some((Origin::BuiltIn, _)) => {
                "loopback, link-local and the host's own addresses are always exempt".into()
            }
            Some((Origin::Runtime, _)) => "the rule is for another service; leave out --service".into(),
            None => "`limiterctl list` shows every rule".into(),
        };
        RequestError::new(
            Kind::NotFound,
            format!("no rule for {} was added at run time", query.prefix),
            remedy,
        )
    }

    /// Returns a rule as people see it.
    pub(super) fn view(&self, rule: &Rule, now: Now) -> RuleView {
        let services = self.services_of(rule.services);
        if rule.origin == Origin::Runtime
            && let Some(added) = self.intent.rules.get(rule.prefix, services.first().map(String::as_str))
        {
            return self.view_of_runtime(added, now);
        }
        let treatment = match rule.treatment {
            Treatment::Exempt => "exempt",
            Treatment::Denied => "denied",
            Treatment::Limited => "limited",
        };
        RuleView {
            prefix: rule.prefix.to_string(),
            treatment: treatment.to_owned(),
            class: self.compiled.names.class(rule.class).to_owned(),
            services,
            origin: rule.origin,
            note: String::new(),
            who: String::new(),
            created_at_s: None,
            expires_in_s: None,
            used: None,
        }
    }

    /// Returns whether it is known what used a rule: who is denied proves nothing and leaves no trace of
    /// its own, and of a source no more is known than the source.
    fn is_accounted(&self, rule: &RuntimeRule) -> bool {
        let lengths = self.intent.config.source;
        let source_len = if rule.prefix.addr().is_ipv4() { lengths.ipv4 } else { lengths.ipv6 };
        rule.verb == Verb::Allow && rule.prefix.prefix_len() <= source_len
    }

    fn view_of_runtime(&self, rule: &RuntimeRule, now: Now) -> RuleView {
        let services =
            rule.service.as_ref().map_or(ServiceSet::ALL, |name| ServiceSet::of(self.ids.service(name)));
        let (treatment, class) = match rule.verb {
            Verb::Allow => ("exempt", limiter_common::policy::CLASS_ALLOW),
            Verb::Deny => ("denied", limiter_common::policy::CLASS_DENY),
        };
        RuleView {
            prefix: rule.prefix.to_string(),
            treatment: treatment.to_owned(),
            class: self.compiled.names.class(class).to_owned(),
            services: rule.service.iter().cloned().collect(),
            origin: Origin::Runtime,
            note: rule.note.clone(),
            who: rule.who.clone(),
            created_at_s: Some(rule.created_at_s),
            expires_in_s: rule.expires_at_s.map(|at_s| at_s.saturating_sub(now.unix_s())),
            used: self.is_accounted(rule).then(|| self.usage.of(rule.prefix, services)),
        }
    }

    /// Returns the names of a set of services; empty for all of them.
    fn services_of(&self, set: ServiceSet) -> Vec<String> {
        if set == ServiceSet::ALL {
            return Vec::new();
        }
        let named = (0_u32..).zip(&self.compiled.names.services);
        named.filter(|(id, _)| set.contains(*id)).map(|(_, name)| name.clone()).collect()
    }
}

/// Reads a prefix.
fn parsed_prefix(text: &str) -> Result<ipnet::IpNet, RequestError> {
    prefix::parse(text).map_err(|error| {
        let remedy = match &error {
            prefix::PrefixError::HostBits { meant, .. } => format!("write {meant}, or the address alone"),
            _ => "write an address, or a prefix such as 192.0.2.0/24 or 2001:db8::/32".to_owned(),
        };
        RequestError::new(Kind::Invalid, error.to_string(), remedy)
    })
}

/// Reads a time to live, in seconds.
fn parsed_ttl(text: &str) -> Result<u64, RequestError> {
    let invalid =
        |error: String| RequestError::new(Kind::Invalid, error, "write a time such as 90s, 15m, 2h or 7d");
    match duration(text) {
        Ok(ttl) if ttl.as_secs() > 0 => Ok(ttl.as_secs()),
        Ok(_) => Err(invalid(format!("a rule that holds for `{text}` ends at once"))),
        Err(error) => Err(invalid(format!("`{text}` is no duration: {error}"))),
    }
}
