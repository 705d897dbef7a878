//! Files that are made: bytes that no text in Rust can hold, and sizes that none should.

use super::{Broken, Content};

const SERVICE: &[u8] = b"[[service]]\nname = \"smtp\"\nports = [25]\n";

/// Makes a file, given what it is, where its first mistake is and how many there are.
type Made = (fn() -> Vec<u8>, (usize, usize), usize, &'static [&'static str]);

const MADE: &[Made] = &[
    (nul_in_a_string, (1, 12), 1, &["basic string"]),
    (nul_in_a_comment, (4, 4), 1, &["invalid comment character", "printable"]),
    (byte_order_mark_inside, (4, 1), 2, &["unquoted key"]),
    (utf16, (1, 1), 1, &["this byte is not UTF-8", "save the file as UTF-8"]),
    (latin1, (2, 6), 1, &["this byte is not UTF-8", "save the file as UTF-8"]),
    (half_a_letter, (4, 6), 1, &["this byte is not UTF-8"]),
    (lines_of_another_system, (1, 18), 2, &["carriage return", "line ends"]),
    (a_colon, (4, 5), 2, &["invalid unquoted key", "followed by ="]),
    (a_comment_of_another_language, (4, 1), 2, &["invalid unquoted key", "begin with #"]),
    (deep_lists, (1, 85), 2, &["recursion", "TOML"]),
    (deep_tables, (1, 245), 2, &["recursion", "TOML"]),
    (long_dotted_key, (1, 1), 1, &["recursion", "TOML"]),
    (many_mistakes, (6, 13), 100_000, &["`x` is no prefix", "... and 99900 more", "100000 errors"]),
    (many_syntax_errors, (1, 4), 2_999, &["must be quoted", "... and 2899 more"]),
    (sixteen_services, (46, 1), 1, &["16 services are too many", "there can be 15"]),
    (many_classes, (116, 1), 1, &["29 classes are too many", "there can be 28"]),
    (too_many_prefixes, (6, 2_883_597), 1, &["262145 prefixes are too many", "there can be 262144"]),
];

/// Returns the files.
pub(super) fn all() -> impl Iterator<Item = Broken> {
    MADE.iter().map(|(make, place, errors, says)| Broken {
        content: Content::Bytes(make()),
        place: Some(*place),
        errors: *errors,
        says,
    })
}

fn before_service(head: &[u8]) -> Vec<u8> {
    [head, SERVICE].concat()
}

fn after_service(tail: &[u8]) -> Vec<u8> {
    [SERVICE, tail].concat()
}

fn nul_in_a_string() -> Vec<u8> {
    before_service(b"mode = \"obs\0erve\"\n")
}

fn nul_in_a_comment() -> Vec<u8> {
    after_service(b"# a\0b\n")
}

fn byte_order_mark_inside() -> Vec<u8> {
    after_service(b"\xef\xbb\xbf\n")
}

fn utf16() -> Vec<u8> {
    let text = String::from_utf8_lossy(SERVICE);
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

fn latin1() -> Vec<u8> {
    before_service(b"mode = \"observe\"\n# caf\xe9\n")
}

fn half_a_letter() -> Vec<u8> {
    after_service(b"# caf\xc3")
}

fn lines_of_another_system() -> Vec<u8> {
    b"mode = \"observe\"\rattach = \"none\"\r".to_vec()
}

fn a_colon() -> Vec<u8> {
    after_service(b"mode: \"observe\"\n")
}

fn a_comment_of_another_language() -> Vec<u8> {
    after_service(b"// a comment\n")
}

fn deep_lists() -> Vec<u8> {
    format!("a = {}", "[".repeat(100_000)).into_bytes()
}

fn deep_tables() -> Vec<u8> {
    format!("a = {}", "{a=".repeat(100_000)).into_bytes()
}

fn long_dotted_key() -> Vec<u8> {
    format!("{}a = 1\n", "a.".repeat(100_000)).into_bytes()
}

fn class_of(prefixes: &str) -> Vec<u8> {
    after_service(format!("[[class]]\nname = \"a\"\nprefixes = [{prefixes}]\nexempt = true\n").as_bytes())
}

fn many_mistakes() -> Vec<u8> {
    class_of(&"\"x\", ".repeat(100_000))
}

fn many_syntax_errors() -> Vec<u8> {
    (1..3_000).map(|n| format!("k{n}=\n")).collect::<Vec<_>>().concat().into_bytes()
}

fn sixteen_services() -> Vec<u8> {
    let service = |n: u32| format!("[[service]]\nname = \"s{n}\"\nports = [{n}]\n");
    (1..=16).map(service).collect::<Vec<_>>().concat().into_bytes()
}

fn many_classes() -> Vec<u8> {
    let class = |n: u32| format!("[[class]]\nname = \"c{n}\"\nprefixes = [\"::{n}\"]\nexempt = true\n");
    after_service((1..=29).map(class).collect::<Vec<_>>().concat().as_bytes())
}

fn too_many_prefixes() -> Vec<u8> {
    class_of(
        &(0..=262_144)
            .map(|n| format!("\"::{:x}:{:04x}\",", n >> 16, n & 0xffff))
            .collect::<Vec<_>>()
            .concat(),
    )
}
