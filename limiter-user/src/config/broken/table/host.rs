//! Mistakes outside of services and classes.

use super::Case;

pub(super) const CASES: &[Case] = &[
    ("mode = \"Enforce\"\nS;", (1, 8), &["unknown mode `Enforce`", "did you mean `enforce`?"]),
    ("attach = \"hw\"\nS;", (1, 10), &["unknown attach mode `hw`", "`native`, `generic`, `tcx`, `none`"]),
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
