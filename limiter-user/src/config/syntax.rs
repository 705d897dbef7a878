//! What helps somebody whose file is no TOML, by what the parser says of it.

/// What the parser's messages contain, and what helps then; the first that fits is taken.
const REMEDIES: [(&str, &str); 12] = [
    ("duplicate key", "keep one of the two"),
    ("invalid boolean", "write `true` or `false`, in lower case"),
    ("unclosed", "close the bracket: every [ needs its ], every { its }"),
    ("literal string, expected `'`", "close the quotes where the text ends"),
    ("string, expected `\"`", "close the quotes where the text ends"),
    ("escaped value", "a backslash begins an escape: write two of them, or the text in single quotes"),
    ("leading zero", "write the number in decimal, without zeros in front"),
    ("invalid binary number", "write the number in decimal"),
    ("carriage return", "save the file with the line ends of Unix"),
    ("invalid unquoted key", "comments begin with #, and keys are followed by ="),
    ("key with no value", "keys are followed by ="),
    ("unexpected key or value", "give every `key = value` a line of its own"),
];

/// What helps everybody else.
const ANY: &str = "the file is TOML: `key = value` lines below [table] lines, text in quotes";

/// Returns what helps.
pub(super) fn help(message: &str) -> &'static str {
    REMEDIES.iter().find(|(said, _)| message.contains(said)).map_or(ANY, |(_, remedy)| remedy)
}
