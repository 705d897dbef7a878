//! Cases: defaults; every key; the hash; warnings; several mistakes at once.
//!
//! Single mistakes are rows of the table in `broken`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::*;

const SERVICE: &str = "[[service]]\nname = \"smtp\"\nports = [25]\n";

fn parse(text: &str) -> Config {
    Config::parse(text, "test.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(text: &str) -> ConfigErrors {
    Config::parse(text, "test.toml").unwrap_err()
}

/// A service with a name and ports is a whole configuration; everything else has a default.
#[test]
fn everything_else_has_a_default() {
    let config = parse(SERVICE);
    assert_eq!(config.interfaces, Interfaces::Auto);
    assert_eq!(config.attach, Attach::Auto);
    assert_eq!(config.source, SourceLengths { ipv4: 32, ipv6: 64 });
    assert_eq!(
        config.runtime,
        Runtime {
            state_dir: "/var/lib/limiter".into(),
            pin_dir: "/sys/fs/bpf/limiter".into(),
            control_socket: "/run/limiter/limiterd.sock".into(),
            control_group: None,
            control_read: ControlRead::Group,
            metrics_listen: SocketAddr::from(([127, 0, 0, 1], 9590)),
            cgroup: Cgroup::Auto,
            keep_on_exit: false,
            observe_after_daemon_loss: Some(Duration::from_mins(5)),
            recount_interval: Duration::from_secs(10),
        }
    );
    let expected = Service {
        name: "smtp".to_owned(),
        ports: vec![25],
        mode: Mode::Observe,
        connections_per_source: 0,
        new_connections_per_source: QuotaSetting::NONE,
        connections_total: 0,
        syn_quota_per_source: QuotaSetting::NONE,
        count_local: false,
        refuse_with: RefuseWith::Reset,
    };
    assert_eq!(config.services, [expected]);
}

/// Every key reaches the value it stands for.
#[test]
fn every_key_arrives() {
    let config = parse(
        r#"
        mode = "enforce"
        interfaces = ["eth0", "eth1.25"]
        attach = "none"
        [source]
        ipv4_prefix_len = 24
        ipv6_prefix_len = 48
        [runtime]
        state_dir = "/a"
        pin_dir = "/b"
        control_socket = "/c"
        control_group = "staff"
        control_read = "all"
        metrics_listen = "[::1]:1"
        cgroup = "/d"
        keep_on_exit = true
        observe_after_daemon_loss = "1h 30m"
        recount_interval = "30s"
        [[service]]
        name = "a-1"
        ports = [1, 65535]
        mode = "observe"
        connections_per_source = 0x10
        new_connections_per_source = { per_second = 3, burst = 4 }
        connections_total = 5
        syn_quota_per_source = { per_minute = 6, burst = 7 }
        count_local = true
        refuse_with = "drop"
        [[service]]
        name = "b"
        ports = [2]
        connections_per_source = "unlimited"
        new_connections_per_source = "unlimited"
        [[class]]
        name = "c"
        prefixes = ["::ffff:192.0.2.7", "preset:azure-lb"]
        services = ["b"]
        connections_per_source = "unlimited"
        critical = true
    "#,
    );
    assert_eq!(config.interfaces, Interfaces::Named(vec!["eth0".to_owned(), "eth1.25".to_owned()]));
    assert_eq!((config.attach, config.source), (Attach::None, SourceLengths { ipv4: 24, ipv6: 48 }));
    let runtime = config.runtime;
    assert_eq!(
        [runtime.state_dir, runtime.pin_dir, runtime.control_socket],
        ["/a", "/b", "/c"].map(PathBuf::from)
    );
    assert_eq!(runtime.control_group, Some(ControlGroup::Name("staff".to_owned())));
    assert_eq!(runtime.control_read, ControlRead::All);
    assert_eq!(runtime.metrics_listen.to_string(), "[::1]:1");
    assert_eq!((runtime.cgroup, runtime.keep_on_exit), (Cgroup::Path("/d".into()), true));
    assert_eq!(runtime.observe_after_daemon_loss, Some(Duration::from_mins(90)));
    assert_eq!(runtime.recount_interval, Duration::from_secs(30));
    let quota = |count, period, burst| QuotaSetting { count, period, burst };
    let [first, second] = config.services.try_into().unwrap();
    let expected = Service {
        name: "a-1".to_owned(),
        ports: vec![1, 65535],
        mode: Mode::Observe,
        connections_per_source: 16,
        new_connections_per_source: quota(3, Period::Second, 4),
        connections_total: 5,
        syn_quota_per_source: quota(6, Period::Minute, 7),
        count_local: true,
        refuse_with: RefuseWith::Drop,
    };
    assert_eq!(first, expected);
    assert_eq!((second.mode, second.connections_per_source), (Mode::Enforce, 0));
    let [class] = config.classes.try_into().unwrap();
    let prefix = |text: &str, preset| ClassPrefix { prefix: text.parse().unwrap(), preset };
    let expected = Class {
        name: "c".to_owned(),
        prefixes: vec![prefix("192.0.2.7/32", None), prefix("168.63.129.16/32", Some("azure-lb"))],
        services: Some(vec!["b".to_owned()]),
        treatment: ClassTreatment::Limited {
            connections_per_source: Some(0),
            new_connections_per_source: None,
        },
        critical: true,
    };
    assert_eq!(class, expected);
}

/// Two classes may share a prefix if no service is in both: limits per service need that.
#[test]
fn classes_of_different_services_may_share_a_prefix() {
    let config = parse(
        r#"
        [[service]]
        name = "smtp"
        ports = [25]
        [[service]]
        name = "imap"
        ports = [143]
        [[class]]
        name = "site-smtp"
        prefixes = ["192.0.2.0/24"]
        services = ["smtp"]
        connections_per_source = 10
        [[class]]
        name = "site-imap"
        prefixes = ["192.0.2.0/24"]
        services = ["imap"]
        connections_per_source = 1000
    "#,
    );
    assert_eq!(config.classes.len(), 2);
}

/// The hash changes with the meaning and with nothing else.
#[test]
fn the_hash_is_that_of_the_meaning() {
    let two = "[[service]]\nname = \"imap\"\nports = [143, 993]\n";
    let hash = parse(&format!("{SERVICE}{two}")).hash();
    assert_eq!(hash.len(), 12);
    let reordered = two.replace("143, 993", "993, 143");
    assert_eq!(parse(&format!("# hello\nmode = \"observe\"\n{reordered}{SERVICE}")).hash(), hash);
    assert_ne!(parse(&format!("mode = \"enforce\"\n{SERVICE}{two}")).hash(), hash);
    assert_ne!(parse(&format!("{SERVICE}connections_per_source = 5\n{two}")).hash(), hash);
}

/// An enforcing service that no exempt class holds for is worth a warning.
#[test]
fn enforcing_without_exemption_is_warned_of() {
    let exempt = "[[class]]\nname = \"probe\"\nprefixes = [\"192.0.2.1\"]\nexempt = true\n";
    let imap = "[[service]]\nname = \"imap\"\nports = [143]\n";
    assert!(parse(SERVICE).warnings().is_empty(), "observing needs no exemption");
    let warnings =
        parse(&format!("mode = \"enforce\"\n{SERVICE}{imap}{exempt}services = [\"imap\"]\n")).warnings();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("service `smtp` enforces"), "{warnings:?}");
    assert!(parse(&format!("mode = \"enforce\"\n{SERVICE}{imap}{exempt}")).warnings().is_empty());
}

/// All mistakes are shown together, in the order of the file, with their count.
#[test]
fn all_mistakes_are_shown_in_order() {
    let errors = errors(
        "mode = \"on\"\n[[class]]\nname = \"a b\"\nprefixes = [\"192.0.2.1/24\", \"x\"]\nexempt = true\n\
         [[service]]\nname = \"smtp\"\nports = [0]\nconections_per_source = 1\n",
    );
    let places: Vec<_> =
        errors.iter().filter_map(|error| error.place).map(|place| (place.line, place.column)).collect();
    assert_eq!(places, [(1, 8), (3, 8), (4, 13), (4, 29), (8, 10), (9, 1)]);
    assert_eq!(errors.count(), 6);
    assert!(errors.to_string().ends_with("6 errors in the configuration"));
}

/// A mistake is shown the way a compiler does, tabs and wide letters included.
#[test]
fn a_mistake_is_shown_like_a_compiler_does() {
    let text = format!("{SERVICE}# \u{e4}\n\tmode = \"\u{e4}\"\n");
    let expected = "\
test.toml:5:9: error: unknown mode `\u{e4}`
  |
5 | \tmode = \"\u{e4}\"
  | \t       ^^^
  = help: expected one of `observe`, `enforce`

1 error in the configuration";
    assert_eq!(errors(&text).to_string(), expected);
}

/// A flood of mistakes is counted, and its first hundred shown.
#[test]
fn a_flood_of_mistakes_is_cut_short() {
    let prefixes = "\"x\", ".repeat(100_000);
    let errors =
        errors(&format!("{SERVICE}[[class]]\nname = \"a\"\nexempt = true\nprefixes = [{prefixes}]\n"));
    assert_eq!((errors.count(), errors.iter().count()), (100_000, 100));
    assert!(errors.to_string().contains("... and 99900 more"));
}

/// Every way to attach has its word.
#[test]
fn ways_to_attach_have_words() {
    for (word, attach) in [
        ("auto", Attach::Auto),
        ("native", Attach::Native),
        ("generic", Attach::Generic),
        ("tcx", Attach::Tcx),
        ("none", Attach::None),
    ] {
        let text = format!(
            "attach = \"{word}\"\n[[service]]\nname = \"a\"\nports = [25]\nconnections_per_source = 1\n"
        );
        let config = Config::parse(&text, std::path::Path::new("limiter.toml")).unwrap();
        assert_eq!(config.attach, attach);
    }
}
