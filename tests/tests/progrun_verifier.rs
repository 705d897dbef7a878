//! What the verifier walks for each program, against a budget.
//!
//! - no program grows unseen: `programs_stay_within_their_budget`
//! - calls find their functions: `no_code_lies_apart`

use std::collections::BTreeMap;

use limiter_tests::fixture::{KERNEL, objects, verified_instructions};
use limiter_tests::require;

const BUDGET: &str = include_str!("../verifier-budget.toml");

/// Reads lines of `name = number`, the part of TOML that the budget uses.
fn budget() -> BTreeMap<&'static str, u32> {
    let lines = BUDGET.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, count) =
                line.split_once(" = ").unwrap_or_else(|| panic!("not `name = number`: {line}"));
            let count = count.replace('_', "").parse();
            (name, count.unwrap_or_else(|e| panic!("{line}: {e}")))
        })
        .collect()
}

/// The verifier walks no more instructions than the budget grants, of a million it would walk.
#[test]
fn programs_stay_within_their_budget() {
    require!(KERNEL);
    let mut budget = budget();
    let mut over = Vec::new();
    for (name, walked) in verified_instructions() {
        let granted = budget.remove(name.as_str());
        println!("{name:10} {walked:>8} of {granted:?}");
        if granted.is_none_or(|granted| walked > granted) {
            over.push(format!("`{name}` takes {walked}, granted: {granted:?}"));
        }
    }
    assert!(over.is_empty(), "over the budget in tests/verifier-budget.toml: {over:#?}");
    assert!(budget.is_empty(), "the budget names programs that are gone: {budget:?}");
}

/// The compiler puts functions that it takes for cold into a section of their own, `.text.unlikely.`. aya leads
/// calls to `.text` alone: one to another section ends in whatever function begins at the same place of `.text`.
#[test]
fn no_code_lies_apart() {
    const APART: &[u8] = b".text.";
    require!(KERNEL);
    for object in objects() {
        assert!(
            !object.windows(APART.len()).any(|name| name == APART),
            "code in a section that aya does not know"
        );
    }
}
