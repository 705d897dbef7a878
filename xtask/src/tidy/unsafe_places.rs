//! Where `unsafe` may be: the files that a reader checks for it, each with a reason.
//!
//! The list may only get shorter by itself: a file on it that has no `unsafe`
//! is a problem too.

use super::Problem;
use super::source::{code_only, lines_with_word};

/// The file of this list, where its own problems are reported.
pub(crate) const HERE: &str = "xtask/src/tidy/unsafe_places.rs";

/// What nothing safe can do, by file.
const PLACES: &[(&str, &str)] = &[
    ("limiter-common/src/map.rs", "`aya::Pod` is a promise about layout"),
    ("limiter-ebpf/src/account.rs", "counters are values of a per-CPU map"),
    ("limiter-ebpf/src/admission.rs", "a function of its own to the verifier takes a pointer"),
    ("limiter-ebpf/src/atomic.rs", "the only read-modify-write operations of the target"),
    ("limiter-ebpf/src/claims.rs", "the name of a function of its own to the verifier"),
    ("limiter-ebpf/src/clock.rs", "kernel helper"),
    ("limiter-ebpf/src/constant.rs", "values that the loader writes"),
    ("limiter-ebpf/src/context.rs", "fields of program contexts and sockets"),
    ("limiter-ebpf/src/gate.rs", "fields of the listener, kernel helpers"),
    ("limiter-ebpf/src/handshake.rs", "socket look-up and release"),
    ("limiter-ebpf/src/hook/tc.rs", "kernel helpers, names of functions of their own to the verifier"),
    ("limiter-ebpf/src/hook/xdp.rs", "kernel helpers, names of functions of their own to the verifier"),
    ("limiter-ebpf/src/in_place.rs", "a value that all CPUs share"),
    ("limiter-ebpf/src/iterators.rs", "context of an iterator"),
    ("limiter-ebpf/src/main.rs", "sections and contexts of entry points"),
    ("limiter-ebpf/src/maps.rs", "sections of maps that are addressed in place"),
    ("limiter-ebpf/src/netns.rs", "cookie of a socket's namespace"),
    ("limiter-ebpf/src/opaque.rs", "an instruction that hides a value from the compiler"),
    ("limiter-ebpf/src/packet.rs", "the only place where an offset becomes a pointer"),
    ("limiter-ebpf/src/recount.rs", "socket storage, fields of values in place"),
    ("limiter-ebpf/src/rekey.rs", "socket storage, a function of its own to the verifier takes a pointer"),
    ("limiter-ebpf/src/release.rs", "socket storage"),
    ("limiter-ebpf/src/reservation.rs", "a value of a per-CPU map, shared with softirqs"),
    ("limiter-ebpf/src/reset.rs", "a value of a per-CPU map"),
    ("limiter-ebpf/src/seq.rs", "output of an iterator"),
    ("limiter-ebpf/src/sockets.rs", "socket storage"),
    ("limiter-ebpf/src/source.rs", "map values that other CPUs change"),
    ("limiter-ebpf/src/standing.rs", "a value of a per-CPU map"),
    ("limiter-ebpf/src/store.rs", "map values that other CPUs change"),
    ("limiter-ebpf/src/tick.rs", "kernel helper, a value of a per-CPU map"),
    ("limiter-ebpf/src/witness/drops.rs", "a map value that other CPUs change"),
    ("limiter-ebpf/src/witness/first_byte.rs", "fields of program contexts and of map values"),
    ("limiter-ebpf/src/witness/flow.rs", "fields of program contexts"),
    ("limiter-ebpf/src/witness/iterators.rs", "context of an iterator"),
    ("limiter-ebpf/src/witness/main.rs", "the section of the licence"),
    ("limiter-ebpf/src/witness/store.rs", "kernel memory, and map values of the daemon"),
    ("limiter-user/src/control/peer_groups.rs", "a socket option that no crate wraps"),
    ("limiter-user/src/dataplane/syscall.rs", "system calls that no crate wraps"),
    ("limiter-user/src/memory.rs", "a call of the C library that no crate wraps"),
];

/// The helper of the tests that may call the kernel directly.
const TEST_HELPER: &str = "tests/src/bpf.rs";

/// Finds `unsafe` outside its places.
pub(crate) fn check(path: &str, code: &str) -> Option<Problem> {
    if path == TEST_HELPER || PLACES.iter().any(|(place, _)| *place == path) {
        return None;
    }
    let first = lines_with_word(code, "unsafe").next()?;
    let count = lines_with_word(code, "unsafe").count();
    let text = format!("`unsafe` on {count} lines; where it may be is listed, with reasons, in {HERE}");
    Some(Problem::new(first, text))
}

/// Finds places on the list that do not need to be there any more.
pub(crate) fn unused(read: impl Fn(&str) -> Option<String>) -> Vec<Problem> {
    let has_unsafe = |path: &str| {
        read(path).is_some_and(|text| lines_with_word(&code_only(&text), "unsafe").next().is_some())
    };
    PLACES
        .iter()
        .filter(|(path, _)| !has_unsafe(path))
        .map(|(path, reason)| {
            Problem::new(1, format!("{path} has no `unsafe` for `{reason}`; take it off the list"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(path: &str, text: &str) -> Option<Problem> {
        check(path, &code_only(text))
    }

    /// `unsafe` stays in the files that are read for it.
    #[test]
    fn unsafe_has_its_places() {
        assert!(problem("limiter-ebpf/src/store.rs", "unsafe {}").is_none());
        assert!(problem("tests/src/bpf.rs", "unsafe {}").is_none());
        assert!(problem("limiter-ebpf/src/syn.rs", "unsafe {}").is_some());
        assert!(problem("limiter-user/src/ctl.rs", "#![forbid(unsafe_code)] // unsafe").is_none());
    }

    /// One line per file is enough to say that it is the wrong place.
    #[test]
    fn a_file_is_reported_once() {
        let found = problem("limiter-user/src/ctl.rs", "//! Header.\nunsafe {}\nunsafe {}\n").unwrap();
        assert_eq!(found.line, 2);
        assert!(found.text.contains("on 2 lines"), "{}", found.text);
    }

    /// A place is given up when its last `unsafe` is gone.
    #[test]
    fn places_without_unsafe_are_reported() {
        let read = |path: &str| (path != "limiter-ebpf/src/clock.rs").then(|| "unsafe {}".to_owned());
        let found = unused(read);
        assert_eq!(found.len(), 1);
        assert!(found[0].text.starts_with("limiter-ebpf/src/clock.rs"));
    }
}
