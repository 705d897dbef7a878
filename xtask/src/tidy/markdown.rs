//! Checks of Markdown files: links into this checkout lead somewhere.

use std::path::{Component, Path, PathBuf};

use super::Problem;

/// Checks one file; `exists` answers for paths relative to the checkout.
pub(crate) fn check(path: &Path, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut in_code = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in link_targets(&without_inline_code(line)) {
            let file = resolve(path, target);
            if is_local(target) && !exists(&file) {
                problems.push(Problem::new(
                    number,
                    format!("link to `{target}`, but {} is missing", file.display()),
                ));
            }
        }
    }
    problems
}

/// Returns the targets of `[text](target)` and of `[name]: target`.
fn link_targets(line: &str) -> Vec<&str> {
    let mut targets: Vec<&str> = line
        .match_indices("](")
        .filter_map(|(at, mark)| line[at + mark.len()..].split([')', ' ']).next())
        .collect();
    if line.starts_with('[')
        && let Some((_, target)) = line.split_once("]: ")
    {
        targets.extend(target.split_whitespace().next());
    }
    targets
}

fn is_local(target: &str) -> bool {
    !target.is_empty()
        && !target.starts_with('#')
        && !target.contains("://")
        && !target.starts_with("mailto:")
}

/// Returns the path, from the checkout's root, that a link in `path` means.
fn resolve(path: &Path, target: &str) -> PathBuf {
    let file = target.split('#').next().unwrap_or_default();
    let from = if file.starts_with('/') { Path::new("") } else { path.parent().unwrap_or(Path::new("")) };
    let mut resolved = PathBuf::new();
    for component in from.join(file.trim_start_matches('/')).components() {
        if component == Component::ParentDir {
            resolved.pop();
        } else {
            resolved.push(component);
        }
    }
    resolved
}

fn without_inline_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(text: &str) -> Vec<usize> {
        let exists = |path: &Path| path == Path::new("docs/operations.md") || path == Path::new("README.md");
        check(Path::new("docs/glossary.md"), text, exists).into_iter().map(|problem| problem.line).collect()
    }

    /// Links are relative to the file they stand in, and anchors do not matter.
    #[test]
    fn links_are_resolved_from_their_file() {
        assert!(broken("[a](operations.md) [b](../README.md#limits) [c](/README.md)").is_empty());
        assert_eq!(broken("fine\n[a](README.md)\n"), [2]);
        assert_eq!(broken("[a]: ../LICENSE\n"), [1]);
    }

    /// Other sites and places on the same page are not looked up.
    #[test]
    fn only_local_links_are_checked() {
        assert!(broken("[a](https://example.org/x.md) [b](#top) [c](mailto:a@example.org)").is_empty());
    }

    /// Code shows syntax, it does not link.
    #[test]
    fn code_is_no_link() {
        assert!(broken("`[a](gone.md)`\n```\n[a](gone.md)\n```\n").is_empty());
    }
}
