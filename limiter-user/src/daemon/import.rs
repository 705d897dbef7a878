//! Lists of prefixes made rules at one stroke: all of a file, or nothing of it.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::{
    clock::Now,
    config::prefix,
    control::{
        error::{Kind, RequestError},
        protocol::{ImportChange, ImportRequest, RuleRequest},
    },
    policy::RuntimeRule,
    recorder::EventKind,
};

use super::Daemon;

/// Mistakes that are shown; of more the number has to do.
const SHOWN: usize = 10;

impl Daemon {
    /// Makes a rule of every prefix of a list on behalf of `who`; all are in force when this returns.
    ///
    /// # Errors
    ///
    /// When a line makes no sense, or the policy with the rules does not come into force: then none is.
    pub fn import(
        &mut self,
        request: &ImportRequest,
        who: &str,
        now: Now,
    ) -> Result<ImportChange, RequestError> {
        let prefixes = prefixes(&request.name, &request.text)?;
        if request.replace && request.note.as_deref().unwrap_or_default().is_empty() {
            return Err(RequestError::new(
                Kind::Invalid,
                "--replace without --note does not say which rules make way",
                "give the list a note of its own, and the same one at every import",
            ));
        }
        // Checked like one rule: all of them are alike but for the prefix.
        let ImportRequest { verb, service, ttl, note, .. } = request.clone();
        let like = RuleRequest { verb, prefix: "::/0".to_owned(), service, ttl, note };
        let like = self.runtime_rule(like, who.to_owned(), now)?;
        let rules: Vec<RuntimeRule> =
            prefixes.iter().map(|prefix| RuntimeRule { prefix: *prefix, ..like.clone() }).collect();
        let of_this_list = |rule: &RuntimeRule| {
            rule.verb == like.verb && rule.service == like.service && rule.note == like.note
        };
        let (replaced, removed) = self.change(now, |intent| {
            let gone = |rule: &RuntimeRule| {
                request.replace && of_this_list(rule) && !prefixes.contains(&rule.prefix)
            };
            let removed = intent.rules.remove_where(gone).len();
            let replaced = rules.into_iter().filter_map(|rule| intent.rules.insert(rule)).count();
            (replaced, removed)
        })?;
        let (file, count) = (&request.name, prefixes.len());
        let text = format!("{} {count} prefixes of {file} by {who}, {removed} rules removed", request.verb);
        self.events.note(EventKind::Rule, request.service.as_deref(), text);
        tracing::info!(file, verb = %request.verb, rules = count, removed, who, "list imported");
        let not_saved = self.keep_rules();
        Ok(ImportChange { added: count - replaced, replaced, removed, revision: self.revision(), not_saved })
    }
}

/// Reads a list: a prefix or an address a line, `#` begins a comment.
fn prefixes(name: &str, text: &str) -> Result<BTreeSet<IpNet>, RequestError> {
    let (mut prefixes, mut mistakes, mut count) = (BTreeSet::new(), Vec::new(), 0_usize);
    for (number, line) in (1..).zip(text.lines()) {
        let written = line.split('#').next().unwrap_or_default().trim();
        if written.is_empty() {
            continue;
        }
        match prefix::parse(written) {
            Ok(prefix) => _ = prefixes.insert(prefix),
            Err(error) => {
                count += 1;
                if count <= SHOWN {
                    mistakes.push(format!("{name}:{number}: {error}"));
                }
            }
        }
    }
    if count == 0 {
        return Ok(prefixes);
    }
    if count > SHOWN {
        mistakes.push(format!("and {} more", count - SHOWN));
    }
    let remedy = "nothing was imported; write a prefix such as 192.0.2.0/24 or an address on each line, comments behind #";
    Err(RequestError::new(Kind::Invalid, mistakes.join("\n"), remedy))
}
