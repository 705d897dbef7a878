//! Cases: who wins among rules of every origin; limits per class; services and
//! their flags; ids over reloads.

use std::{collections::BTreeMap, net::IpAddr};

use limiter_common::{
    gcra::Quota,
    limits::{Limits, Service},
    names,
    policy::{CLASS_ALLOW, CLASS_DEFAULT, CLASS_DENY, CLASS_FIRST, CLASS_LOCAL},
};

use super::{law::class_of, *};
use crate::config::{Config, Mode};

const MINUTE_NS: u64 = 60_000_000_000;

/// Two services with limits, and room for classes.
const SERVICES: &str = r#"
    [[service]]
    name = "smtp"
    ports = [25]
    mode = "enforce"
    connections_per_source = 50
    new_connections_per_source = { per_minute = 600, burst = 100 }
    connections_total = 1000

    [[service]]
    name = "imap"
    ports = [143, 993]
    connections_per_source = 300
    refuse_with = "drop"
    count_local = true
"#;

/// Inputs that own what [`Inputs`] borrows.
#[derive(Default)]
struct Host {
    text: String,
    runtime: RuntimeRules,
    local: Vec<IpAddr>,
    modes: BTreeMap<String, Mode>,
    suspended: Vec<String>,
    ids: Ids,
}

impl Host {
    fn with_classes(classes: &str) -> Self {
        Self { text: format!("{SERVICES}{classes}"), ..Self::default() }
    }

    fn compile(&mut self) -> Compiled {
        self.try_compile().unwrap()
    }

    fn try_compile(&mut self) -> Result<Compiled, CompileError> {
        let config = Config::parse(&self.text, "test.toml").unwrap_or_else(|errors| panic!("{errors}"));
        let inputs = Inputs {
            config: &config,
            runtime: &self.runtime,
            local: &self.local,
            modes: &self.modes,
            suspended: &self.suspended,
            now_s: 1_000,
            revision: 7,
        };
        compile(&inputs, &mut self.ids)
    }

    fn rule(&mut self, verb: Verb, prefix: &str, service: Option<&str>, expires_at_s: Option<u64>) {
        self.runtime.insert(RuntimeRule {
            prefix: prefix.parse().unwrap(),
            verb,
            service: service.map(str::to_owned),
            created_at_s: 0,
            expires_at_s,
            note: String::new(),
            who: String::new(),
        });
    }
}

fn class_name(compiled: &Compiled, address: &str, service: &str) -> String {
    let service = compiled.names.services.iter().position(|name| name == service).unwrap();
    let class = class_of(&compiled.prefixes, address.parse().unwrap(), u32::try_from(service).unwrap());
    compiled.names.class(class).to_owned()
}

/// Loopback, link-local and the host's own addresses are exempt without asking; private ones are not.
#[test]
fn built_in_prefixes_are_local() {
    let mut host = Host::with_classes("");
    host.local = vec![
        "192.0.2.1".parse().unwrap(),
        "::ffff:192.0.2.2".parse().unwrap(),
        "2001:db8::1".parse().unwrap(),
    ];
    let compiled = host.compile();
    for local in
        ["127.0.0.1", "127.9.9.9", "::1", "169.254.1.1", "fe80::1", "192.0.2.1", "192.0.2.2", "2001:db8::1"]
    {
        assert_eq!(class_name(&compiled, local, "smtp"), "local", "{local}");
    }
    for foreign in ["10.0.0.1", "192.168.1.1", "fd00::1", "192.0.2.3", "2001:db8::2", "::2"] {
        assert_eq!(class_name(&compiled, foreign, "smtp"), "default", "{foreign}");
    }
    assert_eq!(compiled.policy.limits[1][CLASS_LOCAL as usize], Limits::EXEMPT);
}

/// A class for one service leaves the wider class in force for the others.
#[test]
fn a_class_for_one_service_shadows_nothing_elsewhere() {
    let compiled = Host::with_classes(
        r#"
        [[class]]
        name = "wide"
        prefixes = ["198.51.100.0/24"]
        exempt = true
        [[class]]
        name = "narrow"
        prefixes = ["198.51.100.128/25"]
        services = ["imap"]
        deny = true
    "#,
    )
    .compile();
    assert_eq!(class_name(&compiled, "198.51.100.200", "imap"), "narrow");
    assert_eq!(class_name(&compiled, "198.51.100.200", "smtp"), "wide");
    assert_eq!(class_name(&compiled, "198.51.100.1", "imap"), "wide");
}

/// `::/0` is all of IPv6 and nothing of IPv4, which lies inside it in the common key space.
#[test]
fn all_of_ipv6_is_not_ipv4() {
    let mut host = Host::with_classes("");
    host.rule(Verb::Deny, "::/0", None, None);
    host.rule(Verb::Allow, "203.0.113.0/24", None, None);
    let compiled = host.compile();
    assert_eq!(class_name(&compiled, "2001:db8::1", "smtp"), "deny");
    assert_eq!(class_name(&compiled, "192.0.2.1", "smtp"), "default");
    assert_eq!(class_name(&compiled, "203.0.113.1", "smtp"), "allow");
    assert_eq!(class_name(&compiled, "::1", "smtp"), "local");
}

/// At equal length an exemption of the file stands above a `deny` at run time, and the other way round.
#[test]
fn exempt_wins_at_equal_length_whatever_the_origin() {
    let mut host = Host::with_classes(
        r#"
        [[class]]
        name = "probe"
        prefixes = ["192.0.2.0/24"]
        exempt = true
        [[class]]
        name = "bad"
        prefixes = ["198.51.100.0/24"]
        deny = true
    "#,
    );
    host.rule(Verb::Deny, "192.0.2.0/24", None, None);
    host.rule(Verb::Allow, "198.51.100.0/24", Some("smtp"), None);
    let compiled = host.compile();
    assert_eq!(class_name(&compiled, "192.0.2.1", "smtp"), "probe");
    assert_eq!(class_name(&compiled, "198.51.100.1", "smtp"), "allow");
    assert_eq!(class_name(&compiled, "198.51.100.1", "imap"), "bad");
}

/// Runtime rules end by the clock, and those of a service that is gone do nothing.
#[test]
fn ended_and_orphaned_runtime_rules_do_nothing() {
    let mut host = Host::with_classes("");
    host.rule(Verb::Deny, "192.0.2.0/24", None, Some(1_000));
    host.rule(Verb::Deny, "192.0.3.0/24", None, Some(1_001));
    host.rule(Verb::Deny, "192.0.4.0/24", Some("pop"), None);
    let compiled = host.compile();
    assert_eq!(class_name(&compiled, "192.0.2.1", "smtp"), "default");
    assert_eq!(class_name(&compiled, "192.0.3.1", "smtp"), "deny");
    assert_eq!(class_name(&compiled, "192.0.4.1", "smtp"), "default");
}

/// A class inherits from the service what it does not set itself.
#[test]
fn classes_inherit_what_they_do_not_set() {
    let compiled = Host::with_classes(
        r#"
        [[class]]
        name = "big"
        prefixes = ["192.0.2.0/24"]
        connections_per_source = 500
        [[class]]
        name = "slow"
        prefixes = ["198.51.100.0/24"]
        services = ["smtp"]
        new_connections_per_source = { per_second = 1, burst = 2 }
        connections_per_source = "unlimited"
    "#,
    )
    .compile();
    let [smtp, imap] = [&compiled.policy.limits[1], &compiled.policy.limits[2]];
    let [big, slow] = [CLASS_FIRST as usize, CLASS_FIRST as usize + 1];
    let smtp_quota = Quota::per(600, MINUTE_NS, 100);
    assert_eq!(smtp[CLASS_DEFAULT as usize], Limits::limited(50, smtp_quota));
    assert_eq!(smtp[big], Limits::limited(500, smtp_quota));
    assert_eq!(imap[big], Limits::limited(500, Quota::NONE));
    assert_eq!(smtp[slow], Limits::limited(0, Quota::per(1, MINUTE_NS / 60, 2)));
    assert_eq!(smtp[CLASS_ALLOW as usize], Limits::EXEMPT);
    assert_eq!(smtp[CLASS_DENY as usize], Limits::DENIED);
    assert!(compiled.prefixes.iter().all(|entry| entry.class_of.class[2] != 5), "`slow` is not for imap");
}

/// Ports, flags, ceilings and masks are those of the configuration.
#[test]
fn services_enforce_as_configured() {
    let mut host = Host::with_classes("[source]\nipv4_prefix_len = 24\nipv6_prefix_len = 56\n");
    host.suspended = vec!["smtp".to_owned()];
    let compiled = host.compile();
    let policy = &compiled.policy;
    assert_eq!((policy.revision, policy.range_slot), (7, 0));
    assert_eq!([25, 143, 993, 26].map(|port| policy.service_of(port)), [1, 2, 2, 0]);
    assert_eq!(policy.service(1).flags, Service::ENFORCE | Service::RESET | Service::SUSPENDED);
    assert_eq!(policy.service(2).flags, Service::COUNT_LOCAL);
    assert_eq!((policy.service(1).ceiling, policy.service(2).ceiling), (1_000, 0));
    assert_eq!(policy.observe_after_ns, 5 * MINUTE_NS);
    let source =
        |text: &str| IpAddr::from(policy.source_of(text.parse::<IpAddr>().unwrap().into())).to_string();
    assert_eq!(source("192.0.2.77"), "192.0.2.0");
    assert_eq!(source("2001:db8:1:2ff::1"), "2001:db8:1:200::");
    assert_eq!(compiled.names.services, ["none", "smtp", "imap"]);
    assert_eq!(compiled.names.classes, ["default", "local", "allow", "deny"]);
}

/// A mode switched at run time stands above the file.
#[test]
fn modes_switched_at_run_time_win() {
    let mut host = Host::with_classes("");
    host.modes = [("smtp".to_owned(), Mode::Observe), ("imap".to_owned(), Mode::Enforce)].into();
    let policy = host.compile().policy;
    assert!(!policy.service(1).has(Service::ENFORCE));
    assert!(policy.service(2).has(Service::ENFORCE));
}

/// Names keep their ids over reloads, even while the file lacks them; storage keeps them too.
#[test]
fn ids_are_stable_over_reloads() {
    let mut host = Host { text: services(&["smtp", "imap"]), ..Host::default() };
    assert_eq!(host.compile().names.services, ["none", "smtp", "imap"]);
    host.text = services(&["pop", "imap"]);
    let compiled = host.compile();
    assert_eq!(compiled.names.services, ["none", "smtp", "imap", "pop"]);
    assert_eq!([host.ids.service("imap"), host.ids.service("pop")], [Some(2), Some(3)]);
    assert_eq!(compiled.policy.service_of(1000), 3, "the first port is that of pop");
    host.ids = serde_json::from_str(&serde_json::to_string(&host.ids).unwrap()).unwrap();
    host.text = services(&["smtp"]);
    assert_eq!(host.compile().policy.service_of(1000), 1);
}

/// Without a free id the error names who holds them, and nothing changes.
#[test]
fn exhausted_ids_are_an_error_that_helps() {
    let old: Vec<String> = (0..ids::SERVICES_MAX).map(|n| format!("old-{n}")).collect();
    let mut host =
        Host { text: services(&old.iter().map(String::as_str).collect::<Vec<_>>()), ..Host::default() };
    host.compile();
    let before = host.ids.clone();
    host.text = services(&["old-3", "fresh"]);
    let error = host.try_compile().unwrap_err().to_string();
    for part in
        ["service `fresh`", "15 are in use", "14 of them", "old-0, old-1, old-2, old-4", "stop limiterd"]
    {
        assert!(error.contains(part), "{part:?} in {error}");
    }
    assert_eq!(host.ids, before);
}

/// Stored ids that cannot be right are refused.
#[test]
fn damaged_ids_are_refused() {
    let many: Vec<String> = (0..names::SERVICES).map(|n| n.to_string()).collect();
    for damaged in [
        serde_json::json!({ "services": many, "classes": [] }),
        serde_json::json!({ "services": ["a", "a"], "classes": [] }),
        serde_json::json!({ "services": [] }),
    ] {
        assert!(serde_json::from_value::<Ids>(damaged.clone()).is_err(), "{damaged}");
    }
}

fn services(names: &[&str]) -> String {
    let table =
        |(n, name): (usize, &&str)| format!("[[service]]\nname = \"{name}\"\nports = [{}]\n", 1000 + n);
    names.iter().enumerate().map(table).collect()
}
