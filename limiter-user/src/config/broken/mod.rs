//! Cases: every row of the table of broken configurations, read as `limiterd` reads them.

use std::collections::BTreeSet;

use super::Config;

mod table;

/// Kinds of mistakes that the table has at least.
const KINDS_MIN: usize = 50;

/// Every broken configuration is refused with the place, the mistake and the remedy.
#[test]
fn every_mistake_has_a_place_and_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("limiter.toml");
    let rows = table::all();
    let kinds: BTreeSet<_> = rows.iter().map(|row| row.says).collect();
    assert!(kinds.len() >= KINDS_MIN, "{} kinds", kinds.len());
    let complaints: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            row.put(&path).unwrap();
            match Config::load(&path) {
                Ok(_) => row.complaint(&path, "it passes"),
                Err(errors) => row.complaint(&path, &errors.to_string()),
            }
        })
        .collect();
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), rows.len(), complaints.join("\n\n"));
    println!("{} files of {} kinds", rows.len(), kinds.len());
}
