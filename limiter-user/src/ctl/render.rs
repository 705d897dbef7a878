//! Answers for people: tables, and sentences where a table says too little.

use std::time::{Duration, SystemTime};

use super::table::{Cell, Style, Table};
use crate::{
    clock::Now,
    control::protocol::{
        Check, CheckAnswer, DiffAnswer, ImportChange, Origin, PanicState, PolicyChange, Refusal, RuleChange,
        RuleList, RuleRemoval, RuleUse, RuleView, Top,
    },
};

/// Puts answers into text.
#[derive(Clone, Copy, Debug)]
pub struct Render {
    /// Whether colours are wanted.
    pub colour: bool,
}

impl Render {
    /// Returns every rule.
    #[must_use]
    pub fn rules(self, list: &RuleList) -> String {
        let mut table = Table::new([
            "PREFIX",
            "TREATMENT",
            "CLASS",
            "SERVICES",
            "ORIGIN",
            "ENDS IN",
            "USED",
            "BY",
            "NOTE",
        ]);
        for rule in &list.rules {
            let style = match rule.treatment.as_str() {
                "exempt" => Style::Good,
                "denied" => Style::Bad,
                _ => Style::Plain,
            };
            table.row([
                Cell::text(&rule.prefix),
                Cell::styled(&rule.treatment, style),
                Cell::text(&rule.class),
                Cell::text(services(rule)),
                Cell::text(origin(rule.origin)),
                Cell::text(rule.expires_in_s.map_or_else(String::new, time)),
                Cell::text(rule.used.map_or_else(String::new, used)),
                Cell::text(&rule.who),
                Cell::text(&rule.note),
            ]);
        }
        table.lines(self.colour)
    }

    /// Returns what an import did.
    #[must_use]
    pub fn import(self, change: &ImportChange) -> String {
        let ImportChange { added, replaced, removed, .. } = change;
        let counts = format!("{added} rules added, {replaced} replaced, {removed} removed");
        format!("{counts}; {}", self.in_force(change.revision, change.not_saved.as_ref()))
    }

    /// Returns the prefixes of rules, as an import reads them.
    #[must_use]
    pub fn export(list: &RuleList) -> String {
        let comment = |rule: &RuleView| {
            let ends = rule.expires_in_s.map(|left_s| format!("ends in {}", time(left_s)));
            let parts: Vec<String> =
                [rule.note.clone()].into_iter().filter(|note| !note.is_empty()).chain(ends).collect();
            if parts.is_empty() { String::new() } else { format!("  # {}", parts.join("; ")) }
        };
        let lines: Vec<String> =
            list.rules.iter().map(|rule| format!("{}{}\n", rule.prefix, comment(rule))).collect();
        lines.concat()
    }

    /// Returns what a new rule does.
    #[must_use]
    pub fn rule_change(self, change: &RuleChange) -> String {
        let replaced = if change.replaced { ", in place of the rule before it" } else { "" };
        format!(
            "{}{replaced}; {}",
            sentence(&change.rule),
            self.in_force(change.revision, change.not_saved.as_ref())
        )
    }

    /// Returns what a removal did.
    #[must_use]
    pub fn removal(self, removal: &RuleRemoval) -> String {
        let removed = removal.removed.iter().map(|rule| format!("no longer: {}\n", sentence(rule)));
        removed.chain([self.in_force(removal.revision, removal.not_saved.as_ref())]).collect()
    }

    /// Returns what a change of the policy did.
    #[must_use]
    pub fn policy_change(self, change: &PolicyChange) -> String {
        let nothing = if change.changes.is_empty() { "nothing changed\n" } else { "" };
        let changes = change.changes.iter().map(|change| format!("{change}\n"));
        let end = self.in_force(change.revision, change.not_saved.as_ref());
        let probation = change.confirm_within_s.map(|left_s| {
            let left = humantime::format_duration(std::time::Duration::from_secs(left_s));
            let text = format!(
                "on probation: without `limiterctl confirm` within {left} the policy before returns by itself"
            );
            format!("{}\n", Style::Warning.paint(&text, self.colour))
        });
        changes.chain([nothing.to_owned(), end]).chain(probation).collect()
    }

    /// Returns what a panic, or its end, led to.
    #[must_use]
    pub fn panic_state(self, state: &PanicState) -> String {
        let forgotten = state.not_saved.as_ref().map(|why| {
            let text = format!("IT DOES NOT LAST: the next limiterd that starts does not know of it ({why})");
            Style::Warning.paint(&text, self.colour).into_owned()
        });
        let next = if state.is_panic { "`limiterctl resume` ends it" } else { "the panic is over" };
        let lines: Vec<String> =
            state.done.iter().cloned().chain(forgotten).chain([next.to_owned()]).collect();
        lines.join("\n") + "\n"
    }

    /// Returns what a configuration would change.
    #[must_use]
    pub fn diff(self, answer: &DiffAnswer) -> String {
        let lines = answer.changes.iter().cloned();
        let later =
            answer.at_restart.iter().map(|change| format!("{change} (when limiterd is started again)"));
        let warnings = answer
            .warnings
            .iter()
            .map(|warning| Style::Warning.paint(&format!("warning: {warning}"), self.colour).into_owned());
        let nothing = answer.changes.is_empty() && answer.at_restart.is_empty();
        let nothing = nothing.then(|| "nothing would change".to_owned());
        let said: Vec<String> = lines.chain(later).chain(warnings).chain(nothing).collect();
        said.join("\n") + "\n"
    }

    /// Returns which revision has a change, and whether that lasts.
    fn in_force(self, revision: u32, not_saved: Option<&String>) -> String {
        let warning = not_saved.map(|why| {
            let text = format!(
                "IT DOES NOT LAST: it is gone when limiterd is started again, unless the disk takes it before ({why})"
            );
            format!("{}\n", Style::Warning.paint(&text, self.colour))
        });
        format!("in force with revision {revision}\n{}", warning.unwrap_or_default())
    }

    /// Returns the sources with most of something.
    #[must_use]
    pub fn top(self, top: &Top) -> String {
        let mut table = Table::new([
            "SOURCE",
            "SERVICE",
            "CLASS",
            "OPEN",
            "LIMIT",
            "NEW",
            "REFUSED",
            "SILENT",
            "ACCEPTED EVER",
            "REFUSED EVER",
        ]);
        for source in &top.sources {
            let full = source.limit.is_some_and(|limit| source.open >= limit);
            table.row([
                Cell::styled(&source.source, if full { Style::Bad } else { Style::Plain }),
                Cell::text(&source.service),
                Cell::text(&source.class),
                Cell::number(source.open),
                Cell::optional(source.limit),
                Cell::number(source.new),
                Cell::number(source.refused),
                Cell::number(source.silent),
                Cell::number(source.accepted_total),
                Cell::number(source.refused_total),
            ]);
        }
        let lines = table.lines(self.colour);
        let shown = top.sources.len();
        format!("{lines}{shown} of {} sources; NEW and REFUSED within {} s\n", top.total, top.window_s)
    }

    /// Returns a refusal, or a packet that the kernel dropped, as one line.
    #[must_use]
    pub fn refusal(self, refusal: &Refusal) -> String {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(refusal.at_ms);
        let is_bad = refusal.verdict == "refuse" || refusal.established;
        let style = if is_bad { Style::Bad } else { Style::Warning };
        format!(
            "{}  {}  {:<22}  {:<6}  {:<12}  {:<12}  {}\n",
            humantime::format_rfc3339_millis(at),
            style.paint(&format!("{:<12}", refusal.verdict), self.colour),
            refusal.reason,
            refusal.point,
            refusal.service,
            refusal.class,
            whom(refusal)
        )
    }

    /// Returns what the next SYN would get, and why.
    #[must_use]
    pub fn check(self, check: &Check) -> String {
        check.answers.iter().map(|answer| self.check_answer(answer)).collect::<Vec<_>>().join("\n")
    }

    fn check_answer(self, answer: &CheckAnswer) -> String {
        let style = match answer.verdict.as_str() {
            "pass" => Style::Good,
            "refuse" => Style::Bad,
            _ => Style::Warning,
        };
        let service = answer.service.as_deref().unwrap_or("no service");
        let head = format!("{} ({})  port {} ({service})", answer.verdict, answer.reason, answer.port);
        let mut text = format!("{}\n", style.paint(&head, self.colour));
        for sentence in &answer.explanation {
            text.extend(["  ", sentence, "\n"]);
        }
        if !answer.remedies.is_empty() {
            text.push_str("  What would change it:\n");
        }
        for remedy in &answer.remedies {
            text.extend(["  - ", remedy, "\n"]);
        }
        text
    }
}

/// Returns what used a rule, in the fewest words.
fn used(used: RuleUse) -> String {
    used.last_at_s.map_or_else(
        || "never".to_owned(),
        |at_s| format!("{} times, {} ago", used.accepted, time(Now::read().unix_s().saturating_sub(at_s))),
    )
}

/// Returns what a rule does, without a full stop.
fn sentence(rule: &RuleView) -> String {
    let on = if rule.services.is_empty() { "every service".to_owned() } else { rule.services.join(", ") };
    let until = rule.expires_in_s.map_or_else(String::new, |left_s| format!(" for {}", time(left_s)));
    format!("{} is {} on {on}{until}", rule.prefix, rule.treatment)
}

fn services(rule: &RuleView) -> String {
    if rule.services.is_empty() { "all".to_owned() } else { rule.services.join(", ") }
}

const fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::BuiltIn => "built in",
        Origin::Config => "configuration",
        Origin::Runtime => "run time",
    }
}

/// Returns a time as people say it.
pub(super) fn time(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// Returns who a refusal or a drop was about.
fn whom(refusal: &Refusal) -> String {
    let Refusal { address, port, .. } = refusal;
    let live = if refusal.established { ", a live connection" } else { "" };
    match (refusal.direction.as_deref(), refusal.remote_port) {
        (Some("out"), Some(remote_port)) => format!("to {address} port {remote_port} from port {port}{live}"),
        (Some(_), Some(remote_port)) => format!("from {address} port {remote_port} to port {port}{live}"),
        _ => format!("{address} port {port}"),
    }
}
