//! Cases: damage at every byte is recognised and costs one generation at most.

use std::{fs, path::Path};

use super::{KeptPolicy, KeptRules, Panic, Store, StoredConfig};
use crate::policy::{RuntimeRule, Verb};

fn rules(count: u8) -> KeptRules {
    let mut kept = KeptRules::default();
    for n in 0..count {
        kept.rules.insert(RuntimeRule {
            prefix: format!("192.0.2.{n}").parse::<std::net::IpAddr>().unwrap().into(),
            verb: Verb::Deny,
            service: None,
            created_at_s: 1,
            expires_at_s: None,
            note: "ticket 4711".into(),
            who: "uid 0 pid 1".into(),
        });
    }
    kept
}

fn policy(text: &str) -> KeptPolicy {
    let confirmed = StoredConfig {
        path: "limiter.toml".into(),
        text: text.into(),
        hash: String::new(),
        at_s: 1,
        who: String::new(),
    };
    KeptPolicy { confirmed: Some(confirmed), ..KeptPolicy::default() }
}

fn files(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// What was kept is read back, and nothing else lies around.
#[test]
fn what_is_kept_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("not/yet/there");
    let (mut store, kept) = Store::open(&state);
    assert!(kept.losses.is_empty() && kept.rules.rules.is_empty() && kept.policy.confirmed.is_none());
    for count in 1..4 {
        store.keep_rules(&rules(count)).unwrap();
    }
    store.keep_policy(&policy("mode")).unwrap();
    let (_, kept) = Store::open(&state);
    assert_eq!((kept.rules, kept.policy, kept.losses.len()), (rules(3), policy("mode"), 0));
    assert_eq!(files(&state), ["policy", "rules", "rules.previous"]);
}

/// However the last write of rules was cut, what is read is that write or the one before, the latter said aloud.
#[test]
fn a_cut_at_every_byte_costs_one_generation() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(directory.path());
    store.keep_rules(&rules(1)).unwrap();
    store.keep_rules(&rules(2)).unwrap();
    let path = directory.path().join("rules");
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let (_, kept) = Store::open(directory.path());
        assert_eq!(kept.rules, rules(1), "cut at byte {cut}");
        assert_eq!(kept.losses.len(), 1, "cut at byte {cut}");
        assert!(kept.losses[0].contains("generation before"), "{:?}", kept.losses);
    }
}

/// A changed byte is recognised wherever it is; blocks of zeros, as some file systems leave them, too.
#[test]
fn a_change_at_every_byte_is_recognised() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(directory.path());
    store.keep_policy(&policy("old")).unwrap();
    store.keep_policy(&policy("new")).unwrap();
    let path = directory.path().join("policy");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for byte in [whole[at] ^ 1, 0] {
            let mut damaged = whole.clone();
            damaged[at] = byte;
            fs::write(&path, damaged).unwrap();
            let (_, kept) = Store::open(directory.path());
            assert_eq!(kept.policy, policy("old"), "byte {at} is {byte}");
            assert_eq!(kept.losses.len(), 1, "byte {at} is {byte}");
        }
    }
}

/// A write over a damaged file keeps it for whoever wants to look, and the good generation where it is.
#[test]
fn damage_does_not_become_the_generation_before() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(directory.path());
    store.keep_rules(&rules(1)).unwrap();
    store.keep_rules(&rules(2)).unwrap();
    fs::write(directory.path().join("rules"), "limiter-state 1 rules\n{").unwrap();
    let (mut store, _) = Store::open(directory.path());
    store.keep_rules(&rules(3)).unwrap();
    assert_eq!(files(directory.path()), ["rules", "rules.damaged", "rules.previous"]);
    fs::write(directory.path().join("rules"), "").unwrap();
    assert_eq!(Store::open(directory.path()).1.rules, rules(1));
}

/// With no generation whole the loss is said; nothing of it is guessed.
#[test]
fn a_total_loss_is_said() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("rules"), "").unwrap();
    fs::write(directory.path().join("policy"), "limiter-state 2 policy\n").unwrap();
    let (_, kept) = Store::open(directory.path());
    assert!(kept.rules.rules.is_empty() && kept.policy.confirmed.is_none());
    assert!(kept.losses[0].contains("are lost"), "{:?}", kept.losses);
    assert!(kept.losses[1].contains("newer limiterd"), "{:?}", kept.losses);
}

/// A directory that takes nothing is an error with the place, and what was kept before is still there.
#[test]
fn a_failed_write_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    fs::write(&state, "a file where the directory should be").unwrap();
    let (mut store, _) = Store::open(&state);
    let error = store.keep_rules(&rules(1)).unwrap_err();
    assert!(error.to_string().contains(state.to_str().unwrap()), "{error}");
}

/// The mark of a panic counts even if nobody can read what it says.
#[test]
fn a_damaged_mark_is_a_mark() {
    let directory = tempfile::tempdir().unwrap();
    let (store, kept) = Store::open(directory.path());
    assert_eq!(kept.panic, None);
    let panic = Panic { since_s: 7, who: "uid 0".into(), note: String::new() };
    store.keep_panic(&panic).unwrap();
    assert_eq!(Store::open(directory.path()).1.panic, Some(panic));
    fs::write(directory.path().join("panic"), "").unwrap();
    assert_eq!(Store::open(directory.path()).1.panic.unwrap().who, "unknown");
    store.end_panic().unwrap();
    assert_eq!(Store::open(directory.path()).1.panic, None);
}
