//! Rust source with its comments and literals blanked out.
//!
//! Knows just enough of the language's lexis to tell code from text: line and
//! nested block comments, plain, byte and raw strings, characters, lifetimes.

/// Replaces comments and the content of literals by spaces; lines stay lines.
pub(crate) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let length = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_comment(&chars[at..]),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment(&chars[at..]),
            '"' => string(&chars[at..]),
            'r' | 'b' | 'c' if !follows_a_name(&chars, at) => prefixed_string(&chars[at..]),
            '\'' => character(&chars[at..]),
            _ => 0,
        };
        if length == 0 {
            code.push(chars[at]);
            at += 1;
        } else {
            let end = (at + length).min(chars.len());
            code.extend(chars[at..end].iter().map(|&char| if char == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Returns the number of the line on which each whole word `word` stands.
pub(crate) fn lines_with_word<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    (1..).zip(code.lines()).filter(move |(_, line)| has_word(line, word)).map(|(number, _)| number)
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_name_char) && !after.is_some_and(is_name_char)
    })
}

fn is_name_char(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

fn follows_a_name(chars: &[char], at: usize) -> bool {
    at.checked_sub(1).is_some_and(|before| is_name_char(chars[before]))
}

fn line_comment(chars: &[char]) -> usize {
    chars.iter().position(|&char| char == '\n').unwrap_or(chars.len())
}

fn block_comment(chars: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

/// Returns the length of a string that starts with its quotation mark.
fn string(chars: &[char]) -> usize {
    let mut at = 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// Returns the length of `r"…"`, `br#"…"#`, `b"…"`, `c"…"`, `b'…'`; 0 if it is a name.
fn prefixed_string(chars: &[char]) -> usize {
    let prefix = chars.iter().take_while(|char| matches!(char, 'r' | 'b' | 'c')).count();
    let hashes = chars[prefix..].iter().take_while(|&&char| char == '#').count();
    let raw = chars[..prefix].contains(&'r');
    match chars.get(prefix + hashes) {
        Some('"') if raw => prefix + hashes + raw_string(&chars[prefix + hashes..], hashes),
        Some('"') if hashes == 0 => prefix + string(&chars[prefix..]),
        Some('\'') if hashes == 0 && chars[0] == 'b' => match character(&chars[prefix..]) {
            0 => 0,
            length => prefix + length,
        },
        _ => 0,
    }
}

fn raw_string(chars: &[char], hashes: usize) -> usize {
    let is_end = |at: &usize| {
        chars[*at] == '"' && chars[at + 1..].iter().take_while(|&&char| char == '#').count() >= hashes
    };
    (1..chars.len()).find(is_end).map_or(chars.len(), |at| at + 1 + hashes)
}

/// Returns the length of a character literal; 0 if it is a lifetime.
fn character(chars: &[char]) -> usize {
    match chars {
        ['\'', '\\', _, rest @ ..] => rest.iter().position(|&char| char == '\'').map_or(0, |at| at + 4),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever looks like code in a comment or a literal is no code.
    #[test]
    fn comments_and_literals_are_blanked() {
        for text in [
            "// unsafe",
            "/* a /* nested */ unsafe */",
            "\"unsafe \\\" unsafe\"",
            "r#\"unsafe \" unsafe\"#",
            "b\"unsafe\"",
            "br\"unsafe\\\"",
            "c\"unsafe\"",
        ] {
            let code = code_only(&format!("{text}\n+ here"));
            assert!(!code.contains("unsafe"), "{text}: {code}");
            assert!(code.contains("here"), "{text}: {code}");
        }
    }

    /// A quotation mark in a character must not open a string; a lifetime is no character.
    #[test]
    fn characters_and_lifetimes_are_told_apart() {
        assert!(code_only("let c = '\"'; unsafe {}").contains("unsafe"));
        assert!(code_only("let c = '\\''; unsafe {}").contains("unsafe"));
        assert!(code_only("let c = b'\"'; unsafe {}").contains("unsafe"));
        assert!(code_only("fn f<'a>(x: &'a str) { unsafe {} }").contains("unsafe"));
        assert!(code_only("let c = '\\u{41}'; unsafe {}").contains("unsafe"));
    }

    /// Names that begin like a string prefix are names.
    #[test]
    fn names_are_kept() {
        assert_eq!(code_only("bar(raw, r#type, c)"), "bar(raw, r#type, c)");
    }

    /// A problem is reported on the line where it stands.
    #[test]
    fn lines_survive() {
        let code = code_only("/*\n\n*/ unsafe {}\n\"a\nb\" + unsafe_code\n");
        assert_eq!(lines_with_word(&code, "unsafe").collect::<Vec<_>>(), [3]);
    }
}
