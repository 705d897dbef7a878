//! What is no TOML.

use super::Case;

pub(super) const CASES: &[Case] = &[
    ("", (1, 1), &["no service is configured", "[[service]]"]),
    ("mode = observe\nS;", (1, 8), &["TOML"]),
    ("mode = \"observe\nS;", (1, 16), &["basic string", "close the quotes"]),
    ("S;connections_per_source 50", (4, 24), &["key with no value", "followed by ="]),
    ("S;mode = \"observe\"\nmode = \"enforce\"", (5, 1), &["duplicate key", "keep one of the two"]),
    ("[source]\nS;[source]", (5, 2), &["duplicate key"]),
    ("S;[[class]\nname = \"x\"", (4, 9), &["unclosed array table", "close the bracket"]),
    ("mode = 'observe\nS;", (1, 16), &["literal string", "close the quotes"]),
    ("S;mode = \"\"\"observe\n", (5, 1), &["multi-line", "close the quotes"]),
    ("= 3\nS;", (1, 1), &["keys cannot be empty", "key = value"]),
    ("mode =\nS;", (1, 7), &["must be quoted", "text in quotes"]),
    ("S;connections_per_source = [1\n", (4, 28), &["unclosed array", "close the bracket"]),
    ("mode = \"a\\qb\"\nS;", (1, 11), &["escape", "two of them"]),
    ("mode = \"observe\" attach = \"none\"\nS;", (1, 18), &["expected newline", "a line of its own"]),
    ("[service]\nS;", (2, 3), &["duplicate key", "keep one of the two"]),
    ("S;connections_per_source = 0b2", (4, 28), &["invalid binary number", "decimal"]),
    ("S;connections_per_source = 050", (4, 26), &["leading zero", "decimal"]),
    ("S;connections_per_source = 5O", (4, 26), &["TOML"]),
    ("S;count_local = True", (4, 15), &["invalid boolean", "`true` or `false`"]),
    (
        "S;new_connections_per_source = { per_minute = 9, burst = 9",
        (4, 57),
        &["unclosed inline table", "close the bracket"],
    ),
    ("S;[source\n", (4, 8), &["unclosed table", "close the bracket"]),
    (
        "S;[[service]]]\nname = \"x\"\nports = [26]",
        (4, 12),
        &["unexpected key or value", "a line of its own"],
    ),
    ("[[service]]\r\nname = \"smtp\"\r\nports = [0]\r\n", (3, 10), &["0 is no port"]),
];
