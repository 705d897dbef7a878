//! Cases: one broken configuration per kind of mistake, with the place and a
//! phrase of the message that an operator gets.

use super::Config;

/// A text, the line and column of its mistake, and phrases of what is said.
///
/// `S;` stands for three lines: a service `smtp` with port 25.
type Case = (&'static str, (usize, usize), &'static [&'static str]);

const SERVICE: &str = "[[service]]\nname = \"smtp\"\nports = [25]\n";

const SYNTAX: &[Case] = &[
    ("", (1, 1), &["no service is configured", "[[service]]"]),
    ("mode = observe\nS;", (1, 8), &["TOML"]),
    ("mode = \"observe\nS;", (1, 16), &["TOML"]),
    ("S;connections_per_source 50", (4, 24), &["TOML"]),
    (
        "S;mode = \"observe\"\nmode = \"enforce\"",
        (5, 1),
        &["duplicate key", "keep one of the two"],
    ),
    ("[source]\nS;[source]", (5, 2), &["duplicate key"]),
    ("S;[[class]\nname = \"x\"", (4, 9), &["TOML"]),
];

const KEYS: &[Case] = &[
    (
        "S;conections_per_source = 5",
        (4, 1),
        &["unknown key `conections_per_source`", "`connections_per_source`?"],
    ),
    (
        "inteface = \"auto\"\nS;",
        (1, 1),
        &["unknown key `inteface`", "did you mean `interfaces`?"],
    ),
    (
        "S;[[services]]\nname = \"x\"",
        (4, 3),
        &["unknown key `services`", "did you mean `service`?"],
    ),
    (
        "[runtme]\nS;",
        (1, 2),
        &["unknown key `runtme`", "did you mean `runtime`?"],
    ),
    (
        "S;colour = 1",
        (4, 1),
        &[
            "unknown key `colour` in [[service]]",
            "keys here are `name`, `ports`",
        ],
    ),
    (
        "[runtime]\nattach = \"auto\"\nS;",
        (2, 1),
        &["unknown key `attach`", "belongs in the top of the file"],
    ),
    (
        "ipv4_prefix_len = 24\nS;",
        (1, 1),
        &["unknown key", "`ipv4_prefix_len` belongs in [source]"],
    ),
    (
        "S;new_connections_per_source = { per_hour = 9, burst = 2 }",
        (4, 32),
        &["unknown key `per_hour` in a quota"],
    ),
];

const TYPES: &[Case] = &[
    (
        "mode = 1\nS;",
        (1, 8),
        &["`mode` is an integer", "takes \"observe\" or \"enforce\""],
    ),
    (
        "S;connections_per_source = \"50\"",
        (4, 26),
        &["`connections_per_source` is `50`", "without quotes"],
    ),
    (
        "S;connections_per_source = 5.5",
        (4, 26),
        &["`connections_per_source` is a float", "takes a number"],
    ),
    (
        "S;connections_per_source = 99999999999999999999",
        (4, 26),
        &["99999999999999999999 is too large"],
    ),
    (
        "S;count_local = \"yes\"",
        (4, 15),
        &["`count_local` is a string", "takes true or false"],
    ),
    (
        "[service]\nname = \"smtp\"\nports = [25]",
        (1, 1),
        &["`service` is a table", "[[service]] with two brackets"],
    ),
    (
        "source = 24\nS;",
        (1, 10),
        &["`source` is an integer", "written as [source]"],
    ),
    (
        "[[service]]\nname = \"smtp\"\nports = 25",
        (3, 9),
        &["`ports` is an integer", "such as [25]"],
    ),
    (
        "[[service]]\nname = \"smtp\"\nports = [\"25\"]",
        (3, 10),
        &["`ports` lists a string", "port numbers"],
    ),
    (
        "[runtime]\nobserve_after_daemon_loss = 300\nS;",
        (2, 29),
        &["is an integer", "\"300s\""],
    ),
    (
        "S;new_connections_per_source = 300",
        (4, 30),
        &["is an integer", "{ per_minute = N, burst = N }"],
    ),
];

const HOST: &[Case] = &[
    (
        "mode = \"Enforce\"\nS;",
        (1, 8),
        &["unknown mode `Enforce`", "did you mean `enforce`?"],
    ),
    (
        "attach = \"tcx\"\nS;",
        (1, 10),
        &["`tcx` is not supported by this version", "\"none\""],
    ),
    (
        "attach = \"hw\"\nS;",
        (1, 10),
        &["unknown attach mode `hw`", "`native`, `generic`, `none`"],
    ),
    (
        "interfaces = \"eth0\"\nS;",
        (1, 14),
        &["`interfaces` is `eth0`", "write [\"eth0\"]"],
    ),
    (
        "interfaces = []\nS;",
        (1, 14),
        &["`interfaces` is empty", "attach = \"none\""],
    ),
    (
        "interfaces = [\"eth 0\"]\nS;",
        (1, 15),
        &["`eth 0` is no interface name"],
    ),
    (
        "interfaces = [\"a-name-of-sixteen\"]\nS;",
        (1, 15),
        &["is no interface name", "1 to 15"],
    ),
    (
        "interfaces = [\"a\", \"b\", \"a\"]\nS;",
        (1, 25),
        &["interface `a` is listed twice", "1:15: listed first"],
    ),
    (
        "[source]\nipv4_prefix_len = 33\nS;",
        (2, 19),
        &["`ipv4_prefix_len` is 33", "expected 8 to 32"],
    ),
    (
        "[source]\nipv4_prefix_len = 0\nS;",
        (2, 19),
        &["`ipv4_prefix_len` is 0"],
    ),
    (
        "[source]\nipv6_prefix_len = 129\nS;",
        (2, 19),
        &["`ipv6_prefix_len` is 129", "expected 32 to 128"],
    ),
    (
        "[runtime]\nmetrics_listen = \"9590\"\nS;",
        (2, 18),
        &["no address and port", "127.0.0.1:9590"],
    ),
    (
        "[runtime]\nmetrics_listen = \"0.0.0.0:9590\"\nS;",
        (2, 18),
        &["not loopback", "no authentication", "127.0.0.1:9590"],
    ),
    (
        "[runtime]\nmetrics_listen = \"[::]:1\"\nS;",
        (2, 18),
        &["is ::, which is not loopback"],
    ),
    (
        "[runtime]\nmetrics_listen = \"[::1]:0\"\nS;",
        (2, 18),
        &["port 0"],
    ),
    (
        "[runtime]\nstate_dir = \"var\"\nS;",
        (2, 13),
        &["`state_dir` is `var`", "beginning with /"],
    ),
    ("[runtime]\npin_dir = \"\"\nS;", (2, 11), &["no absolute path"]),
    (
        "[runtime]\ncontrol_socket = \"x.sock\"\nS;",
        (2, 18),
        &["no absolute path"],
    ),
    (
        "[runtime]\ncgroup = \"root\"\nS;",
        (2, 10),
        &["`cgroup` is `root`"],
    ),
    (
        "[runtime]\nobserve_after_daemon_loss = \"300\"\nS;",
        (2, 29),
        &["`300` is no duration", "\"5m\""],
    ),
    (
        "[runtime]\nobserve_after_daemon_loss = \"5x\"\nS;",
        (2, 29),
        &["`5x` is no duration"],
    ),
    (
        "[runtime]\nobserve_after_daemon_loss = \"0s\"\nS;",
        (2, 29),
        &["is 0s", "\"never\""],
    ),
    (
        "[runtime]\nobserve_after_daemon_loss = \"8d\"\nS;",
        (2, 29),
        &["is 8d", "1s to 7d"],
    ),
];

const SERVICES: &[Case] = &[
    ("[[service]]\nports = [25]", (1, 1), &["a service without a name"]),
    (
        "[[service]]\nname = \"\"\nports = [25]",
        (2, 8),
        &["is empty", "1 to 32"],
    ),
    (
        "[[service]]\nname = \"SMTP\"\nports = [25]",
        (2, 8),
        &["`SMTP` has characters", "a-z, 0-9"],
    ),
    (
        "[[service]]\nname = \"a-name-that-is-thirty-three-long-\"\nports = [25]",
        (2, 8),
        &["longer than 32 characters"],
    ),
    (
        "[[service]]\nname = \"none\"\nports = [25]",
        (2, 8),
        &["`none` is reserved"],
    ),
    (
        "S;[[service]]\nname = \"smtp\"\nports = [26]",
        (5, 8),
        &["two service tables", "2:8: the first is here"],
    ),
    (
        "[[service]]\nname = \"smtp\"",
        (1, 1),
        &["service `smtp` has no ports"],
    ),
    (
        "[[service]]\nname = \"smtp\"\nports = []",
        (3, 9),
        &["service `smtp` has no ports"],
    ),
    (
        "[[service]]\nname = \"smtp\"\nports = [0]",
        (3, 10),
        &["0 is no port", "1 to 65535"],
    ),
    (
        "[[service]]\nname = \"smtp\"\nports = [25, 65536]",
        (3, 14),
        &["65536 is no port"],
    ),
    (
        "[[service]]\nname = \"smtp\"\nports = [-25]",
        (3, 10),
        &["-25 is no port"],
    ),
    (
        "[[service]]\nname = \"smtp\"\nports = [25, 25]",
        (3, 14),
        &["port 25 is listed twice in service `smtp`"],
    ),
    (
        "S;[[service]]\nname = \"mx\"\nports = [2525, 25]",
        (6, 16),
        &[
            "port 25 belongs to both service `smtp` and service `mx`",
            "3:10: listed first here",
        ],
    ),
    (
        "S;connections_per_source = 0",
        (4, 26),
        &["is 0, which would refuse every", "\"unlimited\""],
    ),
    ("S;connections_total = 0", (4, 21), &["`connections_total` is 0"]),
    (
        "S;connections_per_source = -1",
        (4, 26),
        &["is -1", "expected 1 to 4000000"],
    ),
    (
        "S;connections_per_source = 4000001",
        (4, 26),
        &["is 4000001", "expected 1 to 4000000"],
    ),
    (
        "S;connections_per_source = \"none\"",
        (4, 26),
        &["is `none`", "\"unlimited\""],
    ),
    (
        "S;new_connections_per_source = { per_minute = 9 }",
        (4, 30),
        &["no `burst`", "at once"],
    ),
    (
        "S;new_connections_per_source = { burst = 9 }",
        (4, 30),
        &["no rate", "per_minute = N"],
    ),
    (
        "S;new_connections_per_source = { per_minute = 9, per_second = 9, burst = 9 }",
        (4, 48),
        &["both `per_minute` and `per_second`"],
    ),
    (
        "S;new_connections_per_source = { per_minute = 0, burst = 9 }",
        (4, 45),
        &["`per_minute` is 0"],
    ),
    (
        "S;new_connections_per_source = { per_second = 9, burst = 0 }",
        (4, 56),
        &["`burst` is 0"],
    ),
    (
        "S;syn_quota_per_source = { per_second = 9 }",
        (4, 24),
        &["`syn_quota_per_source` has no `burst`"],
    ),
    (
        "S;refuse_with = \"rst\"",
        (4, 15),
        &["unknown refuse_with `rst`", "`reset`, `drop`"],
    ),
    (
        "S;mode = \"on\"",
        (4, 8),
        &["unknown mode `on`", "`observe`, `enforce`"],
    ),
];

const CLASSES: &[Case] = &[
    (
        "S;[[class]]\nprefixes = [\"::1\"]\nexempt = true",
        (4, 1),
        &["a class without a name"],
    ),
    (
        "S;[[class]]\nname = \"deny\"\nprefixes = [\"::2\"]\ndeny = true",
        (5, 8),
        &["`deny` is reserved"],
    ),
    (
        "S;[[class]]\nname = \"local\"\nprefixes = [\"::2\"]\ndeny = true",
        (5, 8),
        &["`local` is reserved"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nexempt = true",
        (4, 1),
        &["class `a` has no prefixes"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = []\nexempt = true",
        (6, 12),
        &["class `a` has no prefixes"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"192.0.2.7/24\"]\nexempt = true",
        (6, 13),
        &["has host bits set", "write \"192.0.2.0/24\""],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"2001:db8::1/32\"]\nexempt = true",
        (6, 13),
        &["has host bits set", "write \"2001:db8::/32\""],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"192.0.2.0/33\"]\nexempt = true",
        (6, 13),
        &["length above 32", "0 to 32"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"mail.example.org\"]\nexempt = true",
        (6, 13),
        &["`mail.example.org` is no prefix", "preset:NAME"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"gcp-lb\"]\nexempt = true",
        (6, 13),
        &["did you mean \"preset:gcp-lb\"?"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"preset:gpc-lb\"]\nexempt = true",
        (6, 13),
        &["unknown preset `gpc-lb`", "did you mean `gcp-lb`?"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"::2\", \"::2/128\"]\nexempt = true",
        (6, 20),
        &["::2/128 is listed twice in class `a`", "6:13: listed first here"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"192.0.2.7\"]\nexempt = true\n\
         [[class]]\nname = \"b\"\nprefixes = [\"::2\", \"::ffff:192.0.2.7\"]\ndeny = true",
        (10, 20),
        &[
            "192.0.2.7/32 is in both class `a` and class `b`",
            "6:13: listed first here",
        ],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"preset:gcp-lb\"]\nexempt = true\n\
         [[class]]\nname = \"b\"\nprefixes = [\"35.191.0.0/16\"]\nservices = [\"smtp\"]\ndeny = true",
        (10, 13),
        &["35.191.0.0/16 is in both class `a` and class `b`"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"::2\"]\nexempt = true\n\
         [[class]]\nname = \"a\"\nprefixes = [\"::3\"]\nexempt = true",
        (9, 8),
        &["two class tables are named `a`", "5:8: the first is here"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"::2\"]\nservices = [\"smpt\"]\nexempt = true",
        (7, 13),
        &["unknown service `smpt`", "did you mean `smtp`?"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"::2\"]\nservices = []\nexempt = true",
        (7, 12),
        &["holds for no service", "remove `services`"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"::2\"]\nservices = [\"smtp\", \"smtp\"]\nexempt = true",
        (7, 21),
        &["service `smtp` is listed twice"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"::2\"]",
        (4, 1),
        &["neither exempt nor denied nor limited"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"::2\"]\nexempt = false",
        (4, 1),
        &["neither exempt nor denied nor limited"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"::2\"]\nexempt = true\ndeny = true",
        (8, 1),
        &["class `a` is exempt and denied"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"::2\"]\nexempt = true\nconnections_per_source = 5",
        (8, 1),
        &["class `a` is exempt and has a limit", "remove the limit"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"::2\"]\ndeny = true\n\
         new_connections_per_source = { per_minute = 1, burst = 1 }",
        (8, 1),
        &["class `a` is denied and has a limit"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"::2\"]\ndeny = true\ncritical = true",
        (8, 1),
        &["class `a` is denied and critical"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"::2\"]\nconnections_per_source = 0",
        (7, 26),
        &["`connections_per_source` is 0"],
    ),
    (
        "S;[[class]]\nname = \"a\"\nprefixes = [\"::2\"]\nconnections_total = 9",
        (7, 1),
        &[
            "unknown key `connections_total` in [[class]]",
            "belongs in [[service]]",
        ],
    ),
];

/// Every broken configuration is refused with the place, the mistake and the remedy.
#[test]
fn every_mistake_has_a_place_and_a_remedy() {
    let mut wrong = String::new();
    for (text, (line, column), says) in [SYNTAX, KEYS, TYPES, HOST, SERVICES, CLASSES].concat() {
        let text = text.replace("S;", SERVICE);
        let Err(errors) = Config::parse(&text, "test.toml") else {
            wrong += &format!("passes:\n{text}\n\n");
            continue;
        };
        let shown = errors.to_string();
        let is_placed = shown.starts_with(&format!("test.toml:{line}:{column}: error: "));
        let has_help = errors.iter().all(|error| !error.help.is_empty());
        let missing: Vec<_> = says.iter().filter(|phrase| !shown.contains(**phrase)).collect();
        if !is_placed || !has_help || !missing.is_empty() || errors.count() != 1 {
            wrong += &format!("expected {line}:{column} and {missing:?} in\n{shown}\n\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
