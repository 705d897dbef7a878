//! Checks of Rust files: header, size, names, stubs, tests that hide or sleep.

use super::Problem;
use super::source::{code_only, lines_with_word};
use super::unsafe_places;

/// Longest file of the kernel half and of the crate it shares.
const KERNEL_WALL_LINES: usize = 250;

/// Longest file anywhere else.
const WALL_LINES: usize = 400;

/// How far above a sleep its reason may stand.
const REASON_REACH_LINES: usize = 3;

/// What the reason of a sleep in a test begins with.
const SLEEP_REASON: &str = "// bounded wait:";

/// Macros that stand for code somebody has yet to write.
const STUBS: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Checks one file; `path` is relative to the checkout.
pub(crate) fn check(path: &str, text: &str) -> Vec<Problem> {
    let code = code_only(text);
    let mut problems = Vec::new();
    problems.extend(header(text));
    problems.extend(wall(path, text));
    problems.extend(unsafe_places::check(path, &code));
    problems.extend(names(&code));
    problems.extend(stubs(&code));
    problems.extend(sleeps(path, text, &code));
    problems
}

fn header(text: &str) -> Option<Problem> {
    let first = text.lines().next().unwrap_or_default();
    (!first.starts_with("//! "))
        .then(|| Problem::new(1, "begin with `//!`: what belongs here, and what does not"))
}

fn wall(path: &str, text: &str) -> Option<Problem> {
    let kernel = path.starts_with("limiter-common/") || path.starts_with("limiter-ebpf/");
    let wall_lines = if kernel { KERNEL_WALL_LINES } else { WALL_LINES };
    let lines = text.lines().count();
    (lines > wall_lines)
        .then(|| Problem::new(wall_lines + 1, format!("{lines} lines; the wall is {wall_lines}")))
}

fn names(code: &str) -> Vec<Problem> {
    (1..)
        .zip(code.lines())
        .filter(|(_, line)| line.to_lowercase().contains("subnet"))
        .map(|(line, _)| Problem::new(line, "the glossary says `prefix` for `subnet` in names"))
        .collect()
}

fn stubs(code: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(code.lines()) {
        for stub in STUBS {
            if lines_with_word(line, stub).next().is_some() && line.contains(&format!("{stub}!")) {
                problems.push(Problem::new(number, format!("`{stub}!` is left over")));
            }
        }
        for attribute in ["ignore", "should_panic"] {
            if line.trim_start().starts_with(&format!("#[{attribute}")) {
                problems.push(Problem::new(number, format!("`#[{attribute}]` hides what a test proves")));
            }
        }
    }
    problems
}

/// A test waits for a condition; a sleep needs a reason that names its bound.
fn sleeps(path: &str, text: &str, code: &str) -> Vec<Problem> {
    let lines: Vec<&str> = text.lines().collect();
    let is_test_file = path.starts_with("tests/") || path.contains("/tests/");
    let tests_begin = if is_test_file {
        Some(0)
    } else {
        lines.iter().position(|line| line.trim_start().starts_with("#[cfg(test)]"))
    };
    let Some(tests_begin) = tests_begin else {
        return Vec::new();
    };
    let has_reason = |index: usize| {
        let reach = &lines[index.saturating_sub(REASON_REACH_LINES)..=index];
        reach.iter().any(|line| line.contains(SLEEP_REASON))
    };
    code.lines()
        .enumerate()
        .skip(tests_begin)
        .filter(|(_, line)| line.contains("thread::sleep") || line.contains("time::sleep"))
        .filter(|(index, _)| !has_reason(*index))
        .map(|(index, _)| {
            Problem::new(index + 1, format!("wait for a condition, or say why not: `{SLEEP_REASON} …`"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, body: &str) -> Vec<String> {
        check(path, &format!("//! Header.\n{body}\n")).into_iter().map(|problem| problem.text).collect()
    }

    /// The first line of a file says what the file is for.
    #[test]
    fn a_file_begins_with_its_header() {
        assert!(header("//! Says it.\n").is_none());
        assert!(header("\n//! Too late.\n").is_some());
        assert!(header("use std::fs;\n").is_some());
        assert!(header("").is_some());
    }

    /// Kernel files are held to a lower wall than the others.
    #[test]
    fn walls_depend_on_the_crate() {
        let text = "//\n".repeat(300);
        assert!(wall("limiter-ebpf/src/gate.rs", &text).is_some());
        assert!(wall("limiter-user/src/ctl.rs", &text).is_none());
        assert!(wall("limiter-user/src/ctl.rs", &"//\n".repeat(401)).is_some());
    }

    /// Tests neither hide nor pretend.
    #[test]
    fn hidden_tests_and_stubs_are_found() {
        for body in
            ["#[ignore]", "  #[ignore = \"slow\"]", "#[should_panic]", "todo!()", "unimplemented!(\"x\")"]
        {
            assert_eq!(problems("limiter-user/src/ctl.rs", body).len(), 1, "{body}");
        }
        assert!(problems("limiter-user/src/ctl.rs", "let s = \"todo!\"; // todo!").is_empty());
    }

    /// A sleep in a test needs its reason within reach; elsewhere it is nobody's business here.
    #[test]
    fn sleeping_tests_say_why() {
        let sleep = "std::thread::sleep(A_MOMENT);";
        assert_eq!(problems("tests/tests/gate.rs", sleep).len(), 1);
        assert_eq!(problems("limiter-user/src/ctl.rs", &format!("#[cfg(test)]\n{sleep}")).len(), 1);
        assert!(problems("limiter-user/src/ctl.rs", sleep).is_empty());
        assert!(problems("tests/tests/gate.rs", &format!("// bounded wait: 50 ms\n{sleep}")).is_empty());
    }

    /// A prefix is not called by another name.
    #[test]
    fn names_follow_the_glossary() {
        assert_eq!(problems("limiter-user/src/ctl.rs", "let subnet = 1;").len(), 1);
        assert!(problems("limiter-user/src/ctl.rs", "// a subnet, as providers say").is_empty());
    }
}
