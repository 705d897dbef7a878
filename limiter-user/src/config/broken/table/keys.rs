//! Keys that there are not, and values of the wrong type.

use super::Case;

pub(super) const CASES: &[Case] = &[
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
