//! Cases: one broken configuration per kind of mistake, with the place and a
//! phrase of the message that an operator gets.

mod class;
mod service;

use super::Config;

/// A text, the line and column of its mistake, and phrases of what is said.
///
/// `S;` stands for three lines: a service `smtp` with port 25; `C;` for those
/// and the two of a class `a`; `P;` for one line of prefixes.
type Case = (&'static str, (usize, usize), &'static [&'static str]);

fn spelled_out(text: &str) -> String {
    text.replace("C;", "S;[[class]]\nname = \"a\"\n")
        .replace("P;", "prefixes = [\"::2\"]\n")
        .replace("S;", "[[service]]\nname = \"smtp\"\nports = [25]\n")
}

const SYNTAX: &[Case] = &[
    ("", (1, 1), &["no service is configured", "[[service]]"]),
    ("mode = observe\nS;", (1, 8), &["TOML"]),
    ("mode = \"observe\nS;", (1, 16), &["TOML"]),
    ("S;connections_per_source 50", (4, 24), &["TOML"]),
    ("S;mode = \"observe\"\nmode = \"enforce\"", (5, 1), &["duplicate key", "keep one of the two"]),
    ("[source]\nS;[source]", (5, 2), &["duplicate key"]),
    ("S;[[class]\nname = \"x\"", (4, 9), &["TOML"]),
];

const KEYS: &[Case] = &[
    (
        "S;conections_per_source = 5",
        (4, 1),
        &["unknown key `conections_per_source`", "`connections_per_source`?"],
    ),
    ("inteface = \"auto\"\nS;", (1, 1), &["unknown key `inteface`", "did you mean `interfaces`?"]),
    ("S;[[services]]\nname = \"x\"", (4, 3), &["unknown key `services`", "did you mean `service`?"]),
    ("[runtme]\nS;", (1, 2), &["unknown key `runtme`", "did you mean `runtime`?"]),
    ("S;colour = 1", (4, 1), &["unknown key `colour` in [[service]]", "keys here are `name`, `ports`"]),
    ("[runtime]\nattach = \"auto\"\nS;", (2, 1), &["unknown key `attach`", "belongs in the top of the file"]),
    ("ipv4_prefix_len = 24\nS;", (1, 1), &["unknown key", "`ipv4_prefix_len` belongs in [source]"]),
    (
        "S;new_connections_per_source = { per_hour = 9, burst = 2 }",
        (4, 32),
        &["unknown key `per_hour` in a quota"],
    ),
];

const TYPES: &[Case] = &[
    ("mode = 1\nS;", (1, 8), &["`mode` is an integer", "takes \"observe\" or \"enforce\""]),
    ("S;connections_per_source = \"50\"", (4, 26), &["`connections_per_source` is `50`", "without quotes"]),
    ("S;connections_per_source = 5.5", (4, 26), &["`connections_per_source` is a float", "takes a number"]),
    ("S;connections_per_source = 99999999999999999999", (4, 26), &["99999999999999999999 is too large"]),
    ("S;count_local = \"yes\"", (4, 15), &["`count_local` is a string", "takes true or false"]),
    (
        "[service]\nname = \"smtp\"\nports = [25]",
        (1, 1),
        &["`service` is a table", "[[service]] with two brackets"],
    ),
    ("source = 24\nS;", (1, 10), &["`source` is an integer", "written as [source]"]),
    ("[[service]]\nname = \"smtp\"\nports = 25", (3, 9), &["`ports` is an integer", "such as [25]"]),
    ("[[service]]\nname = \"smtp\"\nports = [\"25\"]", (3, 10), &["`ports` lists a string", "port numbers"]),
    ("[runtime]\nobserve_after_daemon_loss = 300\nS;", (2, 29), &["is an integer", "\"300s\""]),
    ("S;new_connections_per_source = 300", (4, 30), &["is an integer", "{ per_minute = N, burst = N }"]),
];

const HOST: &[Case] = &[
    ("mode = \"Enforce\"\nS;", (1, 8), &["unknown mode `Enforce`", "did you mean `enforce`?"]),
    ("attach = \"tcx\"\nS;", (1, 10), &["`tcx` is not supported by this version", "\"none\""]),
    ("attach = \"hw\"\nS;", (1, 10), &["unknown attach mode `hw`", "`native`, `generic`, `none`"]),
    ("interfaces = \"eth0\"\nS;", (1, 14), &["`interfaces` is `eth0`", "write [\"eth0\"]"]),
    ("interfaces = []\nS;", (1, 14), &["`interfaces` is empty", "attach = \"none\""]),
    ("interfaces = [\"eth 0\"]\nS;", (1, 15), &["`eth 0` is no interface name"]),
    ("interfaces = [\"a-name-of-sixteen\"]\nS;", (1, 15), &["is no interface name", "1 to 15"]),
    (
        "interfaces = [\"a\", \"b\", \"a\"]\nS;",
        (1, 25),
        &["interface `a` is listed twice", "1:15: listed first"],
    ),
    ("[source]\nipv4_prefix_len = 33\nS;", (2, 19), &["`ipv4_prefix_len` is 33", "expected 8 to 32"]),
    ("[source]\nipv4_prefix_len = 0\nS;", (2, 19), &["`ipv4_prefix_len` is 0"]),
    ("[source]\nipv6_prefix_len = 129\nS;", (2, 19), &["`ipv6_prefix_len` is 129", "expected 32 to 128"]),
    ("[runtime]\nmetrics_listen = \"9590\"\nS;", (2, 18), &["no address and port", "127.0.0.1:9590"]),
    (
        "[runtime]\nmetrics_listen = \"0.0.0.0:9590\"\nS;",
        (2, 18),
        &["not loopback", "no authentication", "127.0.0.1:9590"],
    ),
    ("[runtime]\nmetrics_listen = \"[::]:1\"\nS;", (2, 18), &["is ::, which is not loopback"]),
    ("[runtime]\nmetrics_listen = \"[::1]:0\"\nS;", (2, 18), &["port 0"]),
    ("[runtime]\nstate_dir = \"var\"\nS;", (2, 13), &["`state_dir` is `var`", "beginning with /"]),
    ("[runtime]\npin_dir = \"\"\nS;", (2, 11), &["no absolute path"]),
    ("[runtime]\ncontrol_socket = \"x.sock\"\nS;", (2, 18), &["no absolute path"]),
    ("[runtime]\ncontrol_group = \"a b\"\nS;", (2, 17), &["`a b`, which is no group", "\"limiter\""]),
    ("[runtime]\ncontrol_group = -1\nS;", (2, 17), &["`control_group` is -1", "its number"]),
    ("[runtime]\ncontrol_read = \"none\"\nS;", (2, 16), &["unknown control_read `none`", "`group`, `all`"]),
    ("[runtime]\ncgroup = \"root\"\nS;", (2, 10), &["`cgroup` is `root`"]),
    ("[runtime]\nobserve_after_daemon_loss = \"300\"\nS;", (2, 29), &["`300` is no duration", "\"5m\""]),
    ("[runtime]\nobserve_after_daemon_loss = \"5x\"\nS;", (2, 29), &["`5x` is no duration"]),
    ("[runtime]\nobserve_after_daemon_loss = \"0s\"\nS;", (2, 29), &["is 0s", "\"never\""]),
    ("[runtime]\nrecount_interval = \"6m\"\nS;", (2, 20), &["is 6m", "1s to 5m"]),
    ("[runtime]\nobserve_after_daemon_loss = \"8d\"\nS;", (2, 29), &["is 8d", "1s to 7d"]),
];

const BREAKER: &[Case] = &[
    ("[breaker]\nwindow = \"1s\"\nS;", (2, 10), &["`window` is 1s", "5s to 10m"]),
    ("[breaker]\nretry_after = \"2h\"\nS;", (2, 15), &["`retry_after` is 2h", "5s to 1h"]),
    ("[breaker]\nretry_after = \"soon\"\nS;", (2, 15), &["`soon` is no duration"]),
    ("[breaker]\nshare_percent = 100\nS;", (2, 17), &["`share_percent` is 100", "expected 1 to 99"]),
    ("[breaker]\nmin_sources = 1\nS;", (2, 15), &["one loud source", "`critical = true`"]),
    ("[breaker]\nmin_sources = 0\nS;", (2, 15), &["`min_sources` is 0", "expected 2 to"]),
    ("[breaker]\nenabled = \"no\"\nS;", (2, 11), &["`enabled` is a string", "true or false"]),
    ("[breaker]\nsources = 3\nS;", (2, 1), &["unknown key `sources` in [breaker]"]),
];

/// Every broken configuration is refused with the place, the mistake and the remedy.
#[test]
fn every_mistake_has_a_place_and_a_remedy() {
    let mut wrong = Vec::new();
    for (text, (line, column), says) in
        [SYNTAX, KEYS, TYPES, HOST, BREAKER, service::CASES, class::CASES].concat()
    {
        let text = spelled_out(text);
        let Err(errors) = Config::parse(&text, "test.toml") else {
            wrong.push(format!("passes:\n{text}"));
            continue;
        };
        let shown = errors.to_string();
        let is_placed = shown.starts_with(&format!("test.toml:{line}:{column}: error: "));
        let has_help = errors.iter().all(|error| !error.help.is_empty());
        let missing: Vec<_> = says.iter().filter(|phrase| !shown.contains(**phrase)).collect();
        if !is_placed || !has_help || !missing.is_empty() || errors.count() != 1 {
            wrong.push(format!("expected {line}:{column} and {missing:?} in\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
