//! What can be typed after `limiterctl`.

use std::{net::IpAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, builder::PossibleValuesParser, builder::TypedValueParser};

use crate::{
    config::{Mode, duration},
    control::protocol::{TopBy, Verb},
};

/// Where the daemon is reached unless its configuration says otherwise.
pub const SOCKET: &str = "/run/limiter/limiterd.sock";

/// The configuration, for what works without the daemon.
pub const CONFIG: &str = "/etc/limiter/limiter.toml";

/// Exit codes, for `--help`.
const AFTER_HELP: &str = "Exit codes: 0 done, 1 refused or not found, 2 usage, 3 daemon unreachable.";

/// Asks limiterd, the connection limiter of this host.
#[derive(Clone, Debug, Parser)]
#[command(name = "limiterctl", version, after_help = AFTER_HELP, infer_subcommands = false)]
pub struct Args {
    /// The control socket of the daemon.
    #[arg(long, global = true, value_name = "PATH", default_value = SOCKET)]
    pub socket: PathBuf,
    /// Print JSON for scripts; its fields are stable.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One command.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show services, interfaces, policy and health.
    Status,
    /// Exempt a prefix from every limit, at once.
    Allow(Rule),
    /// Refuse every connection of a prefix, at once.
    Deny(Rule),
    /// Take back what `allow` or `deny` did.
    Remove {
        /// The prefix or address, as it was given.
        prefix: String,
        /// Only the rule for this service.
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
    },
    /// List every rule, those of the configuration included, and what used those made at run time.
    List,
    /// Make a rule of every prefix in a file; all of them or none.
    Import {
        /// One prefix or address a line, comments behind #; - for standard input.
        file: PathBuf,
        /// Refuse every connection of them, instead of exempting them.
        #[arg(long)]
        deny: bool,
        /// Only for this service.
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// How long, such as 90s, 15m, 2h or 7d; until removed without.
        #[arg(long, value_name = "TIME")]
        ttl: Option<String>,
        /// Why, for whoever reads `list` later; with --replace the name of the list.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// Remove rules with the same note that the file does not have.
        #[arg(long, requires = "note")]
        replace: bool,
    },
    /// Print the prefixes of rules made at run time, as `import` reads them.
    Export {
        /// Those that are denied, instead of those that are exempt.
        #[arg(long)]
        deny: bool,
        /// Those for this service, instead of those for all.
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
    },
    /// Hold whole dialogues through this host's own ruleset, from and to a namespace of its own; as root.
    Selftest {
        /// A port to talk to from outside, instead of those of the daemon's services.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        port: Vec<u16>,
    },
    /// Show the sources with most connections.
    Top {
        /// Only this service.
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// Most of what.
        #[arg(long, value_enum, default_value_t)]
        by: TopBy,
        /// How many sources.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
        /// Show them anew again and again, until Ctrl-C.
        #[arg(long, short)]
        follow: bool,
        /// How often to, from 1s to 1h.
        #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval, requires = "follow")]
        interval: Duration,
    },
    /// Show the last refusals and packets that the kernel dropped, at most one per source in ten seconds.
    Drops {
        /// Go on with those to come.
        #[arg(long, short)]
        follow: bool,
    },
    /// Ask the live program what the next SYN from an address would get, and why; changes nothing.
    Check {
        /// The address it would come from.
        address: IpAddr,
        /// The port it would go to; the first of every service without.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
    },
    /// Suggest limits and exemptions from observed traffic, as configuration to paste.
    Suggest {
        /// Only for this service.
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// The share of sources that the limits must not touch.
        #[arg(long, value_name = "SHARE", default_value_t = 0.99)]
        quantile: f64,
        /// What to multiply with what was seen.
        #[arg(long, value_name = "FACTOR", default_value_t = 1.5)]
        headroom: f64,
        /// How far to look back, such as 2h; to the hour, a day at most.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// Show what happened: events in order, and rates over time by service.
    History {
        /// From when: 2h ago as 2h, 14:30 of today, or 2026-03-01T14:30:00Z; all in UTC.
        #[arg(long, value_name = "TIME", default_value = "2h")]
        since: String,
        /// Until when, likewise.
        #[arg(long, value_name = "TIME", default_value = "now")]
        until: String,
        /// Only this service.
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// Where the recording is if no daemon answers.
        #[arg(long, value_name = "DIR", default_value = crate::state::DIRECTORY)]
        state_dir: PathBuf,
    },
    /// Print a post-mortem page of a moment, as Markdown.
    Report {
        /// When it was: 2h ago as 2h, 14:30 of today, or 2026-03-01T14:30:00Z; all in UTC.
        #[arg(long, value_name = "TIME")]
        at: String,
        /// How much time around it, half before and half after.
        #[arg(long, value_name = "TIME", default_value = "30m")]
        window: String,
        /// Only this service.
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// Where the recording is if no daemon answers.
        #[arg(long, value_name = "DIR", default_value = crate::state::DIRECTORY)]
        state_dir: PathBuf,
    },
    /// Switch a service, or all, to count what would be refused, or to refuse it.
    Mode {
        /// The mode.
        #[arg(value_parser = PossibleValuesParser::new(["observe", "enforce"]).map(|word| mode(&word)))]
        mode: Mode,
        /// Only this service.
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
    },
    /// Read the configuration anew; if anything is wrong with it, nothing changes.
    Reload,
    /// Say what a configuration would change, in words; changes nothing.
    Diff {
        /// The configuration.
        file: PathBuf,
    },
    /// Put a configuration in force; without `confirm` in time the one before returns by itself.
    Apply {
        /// The configuration.
        file: PathBuf,
        /// How long it may stay unconfirmed, such as 60s or 5m; at most 24h.
        #[arg(long, value_name = "TIME", default_value = "60s")]
        confirm: String,
    },
    /// Keep what `apply` has put in force.
    Confirm,
    /// Show what of the host changed since somebody acknowledged it: kernel, sysctls, ruleset, attach mode.
    #[command(args_conflicts_with_subcommands = true)]
    Host {
        /// What to do about it.
        #[command(subcommand)]
        act: Option<HostAct>,
    },
    /// Detach everything, and stay detached until `resume`, restarts included; without the daemon too.
    Panic {
        /// Why, for whoever reads `status` later.
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
        /// Where to look for the directories if no daemon answers.
        #[arg(long, value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
    },
    /// End a panic: attach everything again.
    Resume {
        /// Where to look for the directories if no daemon answers.
        #[arg(long, value_name = "FILE", default_value = CONFIG)]
        config: PathBuf,
    },
}

/// What to do about changes of the host.
#[derive(Clone, Debug, Subcommand)]
pub enum HostAct {
    /// Take what is different for what is meant.
    Ack {
        /// Why, for whoever reads the audit log later.
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
    },
}

/// A rule to make.
#[derive(Clone, Debug, clap::Args)]
pub struct Rule {
    /// The prefix, such as 192.0.2.0/24, or a single address.
    pub prefix: String,
    /// Only for this service.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// How long, such as 90s, 15m, 2h or 7d; until removed without.
    #[arg(long, value_name = "TIME")]
    pub ttl: Option<String>,
    /// Why, for whoever reads `list` later.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

impl Rule {
    /// Returns the request for it.
    pub(super) fn request(self, verb: Verb) -> crate::control::protocol::RuleRequest {
        let Self { prefix, service, ttl, note } = self;
        crate::control::protocol::RuleRequest { verb, prefix, service, ttl, note }
    }
}

/// How often something may be shown anew: each time is a recount.
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

/// Reads how often something is to be shown.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text).map_err(|error| error.to_string())?;
    if INTERVAL.contains(&interval) { Ok(interval) } else { Err("expected 1s to 1h".to_owned()) }
}

/// Returns the mode of a word that was checked already.
fn mode(word: &str) -> Mode {
    if word == "enforce" { Mode::Enforce } else { Mode::Observe }
}
