//! Settings below `net.`, by their dotted names.
//!
//! Left out: what moves by itself, what is a secret or made anew at every boot,
//! what can only be written, and settings of interfaces that are not guarded.
//! `all` and `default` are kept.

use std::{collections::BTreeMap, fs, io, path::Path};

/// Where the kernel shows them, for the network namespace of the reader.
const ROOT: &str = "/proc/sys/net";
/// Directories whose entries are one per interface.
const PER_INTERFACE: [&str; 2] = ["conf", "neigh"];
/// Entries of those that stand for every interface.
const EVERY_INTERFACE: [&str; 2] = ["all", "default"];
/// By their last name.
const LEFT_OUT: [&str; 8] = [
    // Counts, and lists that grow as modules are loaded.
    "nf_conntrack_count",
    "tcp_available_congestion_control",
    "tcp_available_ulp",
    // Secrets, some of them made at boot.
    "tcp_fastopen_key",
    "stable_secret",
    "netdev_rss_key",
    "fib_multipath_hash_seed",
    // A command.
    "flush",
];
/// How deep the tree may be; on Linux 6.18 it is five.
const DEPTH_MAX: usize = 8;
/// How much of a value is kept: longer ones are lists of no interest here.
const VALUE_CHARS: usize = 200;

/// Reads them in the network namespace of the caller; what cannot be read is left out.
///
/// # Errors
///
/// When there is nothing to read at all.
pub fn read(guarded: &[String]) -> io::Result<BTreeMap<String, String>> {
    read_below(Path::new(ROOT), guarded)
}

fn read_below(root: &Path, guarded: &[String]) -> io::Result<BTreeMap<String, String>> {
    fs::read_dir(root)?;
    let mut values = BTreeMap::new();
    let mut waiting = vec![(root.to_owned(), "net".to_owned(), 0)];
    while let Some((directory, name, depth)) = waiting.pop() {
        // A directory may go while it is looked at: an interface was removed.
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(own) = entry.file_name().into_string() else { continue };
            if is_left_out(&directory, &own, guarded) {
                continue;
            }
            // As sysctl(8) has it: a dot in the name of an interface is a slash.
            let dotted = format!("{name}.{}", own.replace('.', "/"));
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEPTH_MAX => waiting.push((path, dotted, depth + 1)),
                Ok(kind) if kind.is_file() => values.extend(value(&path).map(|value| (dotted, value))),
                _ => {}
            }
        }
    }
    Ok(values)
}

fn is_left_out(directory: &Path, own: &str, guarded: &[String]) -> bool {
    let parent = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let foreign = PER_INTERFACE.contains(&parent)
        && !EVERY_INTERFACE.contains(&own)
        && !guarded.iter().any(|interface| interface == own);
    foreign || LEFT_OUT.contains(&own)
}

/// Returns the value of one setting, its words one space apart.
fn value(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let words: Vec<&str> = text.split_whitespace().collect();
    Some(words.join(" ").chars().take(VALUE_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, value: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }

    /// Settings of guarded interfaces are kept under their dotted names; what moves or belongs to others is not.
    #[test]
    fn what_moves_and_what_is_not_guarded_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        for (name, value) in [
            ("ipv4/conf/all/rp_filter", "1\n"),
            ("ipv4/conf/eth0.7/rp_filter", "2\n"),
            ("ipv4/conf/docker0/rp_filter", "0\n"),
            ("ipv6/neigh/docker0/mcast_solicit", "3\n"),
            ("ipv4/tcp_rmem", "4096\t131072\t6291456\n"),
            ("netfilter/nf_conntrack_count", "17\n"),
            ("ipv4/tcp_fastopen_key", "secret\n"),
            ("ipv4/route/flush", ""),
        ] {
            write(root.path(), name, value);
        }
        let values = read_below(root.path(), &["eth0.7".to_owned()]).unwrap();
        let values: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            values,
            [
                ("net.ipv4.conf.all.rp_filter", "1"),
                ("net.ipv4.conf.eth0/7.rp_filter", "2"),
                ("net.ipv4.tcp_rmem", "4096 131072 6291456"),
            ]
        );
    }

    /// On the running kernel nothing that is read moves from one look to the next.
    #[test]
    fn a_second_look_sees_the_same() {
        let first = read(&[]).unwrap();
        assert!(first.contains_key("net.ipv4.tcp_syncookies"), "{} values", first.len());
        assert_eq!(first, read(&[]).unwrap());
    }
}
