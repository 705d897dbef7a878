//! Mistakes in a `[[service]]`.

use super::Case;

pub(super) const CASES: &[Case] = &[
    ("[[service]]\nports = [25]", (1, 1), &["a service without a name"]),
    ("[[service]]\nname = \"\"\nports = [25]", (2, 8), &["is empty", "1 to 32"]),
    ("[[service]]\nname = \"SMTP\"\nports = [25]", (2, 8), &["`SMTP` has characters", "a-z, 0-9"]),
    (
        "[[service]]\nname = \"a-name-that-is-thirty-three-long-\"\nports = [25]",
        (2, 8),
        &["longer than 32 characters"],
    ),
    ("[[service]]\nname = \"none\"\nports = [25]", (2, 8), &["`none` is reserved"]),
    (
        "S;[[service]]\nname = \"smtp\"\nports = [26]",
        (5, 8),
        &["two service tables", "2:8: the first is here"],
    ),
    ("[[service]]\nname = \"smtp\"", (1, 1), &["service `smtp` has no ports"]),
    ("[[service]]\nname = \"smtp\"\nports = []", (3, 9), &["service `smtp` has no ports"]),
    ("[[service]]\nname = \"smtp\"\nports = [0]", (3, 10), &["0 is no port", "1 to 65535"]),
    ("[[service]]\nname = \"smtp\"\nports = [25, 65536]", (3, 14), &["65536 is no port"]),
    ("[[service]]\nname = \"smtp\"\nports = [-25]", (3, 10), &["-25 is no port"]),
    (
        "[[service]]\nname = \"smtp\"\nports = [25, 25]",
        (3, 14),
        &["port 25 is listed twice in service `smtp`"],
    ),
    (
        "S;[[service]]\nname = \"mx\"\nports = [2525, 25]",
        (6, 16),
        &["port 25 belongs to both service `smtp` and service `mx`", "3:10: listed first here"],
    ),
    ("S;connections_per_source = 0", (4, 26), &["is 0, which would refuse every", "\"unlimited\""]),
    ("S;connections_total = 0", (4, 21), &["`connections_total` is 0"]),
    ("S;connections_per_source = -1", (4, 26), &["is -1", "expected 1 to 4000000"]),
    ("S;connections_per_source = 4000001", (4, 26), &["is 4000001", "expected 1 to 4000000"]),
    ("S;connections_per_source = \"none\"", (4, 26), &["is `none`", "\"unlimited\""]),
    ("S;new_connections_per_source = { per_minute = 9 }", (4, 30), &["no `burst`", "at once"]),
    ("S;new_connections_per_source = { burst = 9 }", (4, 30), &["no rate", "per_minute = N"]),
    (
        "S;new_connections_per_source = { per_minute = 9, per_second = 9, burst = 9 }",
        (4, 48),
        &["both `per_minute` and `per_second`"],
    ),
    ("S;new_connections_per_source = { per_minute = 0, burst = 9 }", (4, 45), &["`per_minute` is 0"]),
    ("S;new_connections_per_source = { per_second = 9, burst = 0 }", (4, 56), &["`burst` is 0"]),
    ("S;syn_quota_per_source = { per_second = 9 }", (4, 24), &["`syn_quota_per_source` has no `burst`"]),
    ("S;refuse_with = \"rst\"", (4, 15), &["unknown refuse_with `rst`", "`reset`, `drop`"]),
    ("S;mode = \"on\"", (4, 8), &["unknown mode `on`", "`observe`, `enforce`"]),
];
