//! Mistakes in a `[[class]]`.

use super::Case;

pub(super) const CASES: &[Case] = &[
    ("S;[[class]]\nprefixes = [\"::1\"]\nexempt = true", (4, 1), &["a class without a name"]),
    ("S;[[class]]\nname = \"deny\"\nprefixes = [\"::2\"]\ndeny = true", (5, 8), &["`deny` is reserved"]),
    ("S;[[class]]\nname = \"local\"\nprefixes = [\"::2\"]\ndeny = true", (5, 8), &["`local` is reserved"]),
    ("C;exempt = true", (4, 1), &["class `a` has no prefixes"]),
    ("C;prefixes = []\nexempt = true", (6, 12), &["class `a` has no prefixes"]),
    (
        "C;prefixes = [\"192.0.2.7/24\"]\nexempt = true",
        (6, 13),
        &["has host bits set", "write \"192.0.2.0/24\""],
    ),
    (
        "C;prefixes = [\"2001:db8::1/32\"]\nexempt = true",
        (6, 13),
        &["has host bits set", "write \"2001:db8::/32\""],
    ),
    ("C;prefixes = [\"192.0.2.0/33\"]\nexempt = true", (6, 13), &["length above 32", "0 to 32"]),
    (
        "C;prefixes = [\"mail.example.org\"]\nexempt = true",
        (6, 13),
        &["`mail.example.org` is no prefix", "preset:NAME"],
    ),
    ("C;prefixes = [\"gcp-lb\"]\nexempt = true", (6, 13), &["did you mean \"preset:gcp-lb\"?"]),
    (
        "C;prefixes = [\"preset:gpc-lb\"]\nexempt = true",
        (6, 13),
        &["unknown preset `gpc-lb`", "did you mean `gcp-lb`?"],
    ),
    (
        "C;prefixes = [\"::2\", \"::2/128\"]\nexempt = true",
        (6, 20),
        &["::2/128 is listed twice in class `a`", "6:13: listed first here"],
    ),
    (
        "C;prefixes = [\"192.0.2.7\"]\nexempt = true\n\
         [[class]]\nname = \"b\"\nprefixes = [\"::2\", \"::ffff:192.0.2.7\"]\ndeny = true",
        (10, 20),
        &["192.0.2.7/32 is in both class `a` and class `b`", "6:13: listed first here"],
    ),
    (
        "C;prefixes = [\"preset:gcp-lb\"]\nexempt = true\n\
         [[class]]\nname = \"b\"\nprefixes = [\"35.191.0.0/16\"]\nservices = [\"smtp\"]\ndeny = true",
        (10, 13),
        &["35.191.0.0/16 is in both class `a` and class `b`"],
    ),
    (
        "C;P;exempt = true\n\
         [[class]]\nname = \"a\"\nprefixes = [\"::3\"]\nexempt = true",
        (9, 8),
        &["two class tables are named `a`", "5:8: the first is here"],
    ),
    (
        "C;P;services = [\"smpt\"]\nexempt = true",
        (7, 13),
        &["unknown service `smpt`", "did you mean `smtp`?"],
    ),
    ("C;P;services = []\nexempt = true", (7, 12), &["holds for no service", "remove `services`"]),
    ("C;P;services = [\"smtp\", \"smtp\"]\nexempt = true", (7, 21), &["service `smtp` is listed twice"]),
    ("C;prefixes = [\"::2\"]", (4, 1), &["neither exempt nor denied nor limited"]),
    ("C;P;exempt = false", (4, 1), &["neither exempt nor denied nor limited"]),
    ("C;P;exempt = true\ndeny = true", (8, 1), &["class `a` is exempt and denied"]),
    (
        "C;P;exempt = true\nconnections_per_source = 5",
        (8, 1),
        &["class `a` is exempt and has a limit", "remove the limit"],
    ),
    (
        "C;P;deny = true\n\
         new_connections_per_source = { per_minute = 1, burst = 1 }",
        (8, 1),
        &["class `a` is denied and has a limit"],
    ),
    ("C;P;deny = true\ncritical = true", (8, 1), &["class `a` is denied and critical"]),
    ("C;P;connections_per_source = 0", (7, 26), &["`connections_per_source` is 0"]),
    (
        "C;P;connections_total = 9",
        (7, 1),
        &["unknown key `connections_total` in [[class]]", "belongs in [[service]]"],
    ),
];
