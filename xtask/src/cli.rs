//! The command line: what was typed, and the help for it.
//!
//! Arguments that belong to a program which a task starts are passed on
//! untouched; only that program knows them.

use crate::error::{Error, Result};
use crate::test::Request;

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Task {
    Help(String),
    Build,
    Test(Request),
    Lint,
    Tidy,
    Run(Vec<String>),
    Bench(Vec<String>),
    Replay(Vec<String>),
}

/// One line of the overview, and the text of `cargo xtask NAME --help`.
struct Help {
    name: &'static str,
    synopsis: &'static str,
    summary: &'static str,
    details: &'static str,
}

const HELP: [Help; 7] = [
    Help {
        name: "build",
        synopsis: "build",
        summary: "limiterd and limiterctl, with the BPF object inside",
        details: "Installs the BPF compiler first where it is missing (Debian, as root) or says what to\n\
                  install. Leaves target/release/limiterd and target/release/limiterctl.",
    },
    Help {
        name: "test",
        synopsis: "test [SUITE | FILTER] [-- ARGS]",
        summary: "all tests, unit to kernel",
        details: "SUITE is a file name in tests/tests without `.rs`, or a package: only that one runs.\n\
                  FILTER is a part of test names. ARGS go to every test binary, e.g. `-- --nocapture`.\n\
                  The kernel suites need root; without it they are left out, and said to be. They run on\n\
                  one thread, except those whose header has the line `//! Runs in parallel`\n\
                  LIMITER_REQUIRE_KERNEL=1 makes that, and every skipped test, a failure.",
    },
    Help {
        name: "run",
        synopsis: "run [-- --config FILE]",
        summary: "the demonstration, in private network namespaces; or the daemon for real",
        details: "Without arguments: shows the main job without touching this machine's network.\n\
                  With arguments: builds, then becomes `limiterd ARGUMENTS`.",
    },
    Help {
        name: "bench",
        synopsis: "bench [NAME] [--json] [--report FILE]",
        summary: "what the limiter costs on this machine: per packet, per mail, in a flood, at scale",
        details: "NAME picks one measurement: verdict, mail, flood or scale; all take ten minutes. --json prints\n\
                  the numbers for a program to read. --report writes a document such as docs/performance.md.",
    },
    Help {
        name: "replay",
        synopsis: "replay [INCIDENT] [--json]",
        summary: "one recorded outage, played against the limiter",
        details: "Without INCIDENT it lists the ones there are. Exit code 1 if a figure is missed. --json prints\n\
                  the figures for a program to read.",
    },
    Help {
        name: "lint",
        synopsis: "lint",
        summary: "rustfmt, clippy and tidy; warnings are errors",
        details: "Runs all of them to the end and then fails if one did.",
    },
    Help {
        name: "tidy",
        synopsis: "tidy",
        summary: "the house rules that no other tool knows",
        details: "File headers, file sizes, where `unsafe` may be, words, links, tests that sleep.",
    },
];

/// Reads the arguments after `cargo xtask`.
pub(crate) fn parse(args: &[String]) -> Result<Task> {
    let Some((name, rest)) = args.split_first() else {
        return Ok(Task::Help(overview()));
    };
    if ["help", "--help", "-h"].contains(&name.as_str()) {
        return rest
            .first()
            .map_or_else(|| Ok(Task::Help(overview())), |topic| help_on(topic).map(Task::Help));
    }
    let help = help_on(name)?;
    let before_dashes = rest.iter().take_while(|arg| *arg != "--");
    if before_dashes.clone().any(|arg| arg == "--help" || arg == "-h") {
        return Ok(Task::Help(help));
    }
    match name.as_str() {
        "build" => no_arguments(name, rest).map(|()| Task::Build),
        "lint" => no_arguments(name, rest).map(|()| Task::Lint),
        "tidy" => no_arguments(name, rest).map(|()| Task::Tidy),
        "test" => parse_test(rest).map(Task::Test),
        "run" => Ok(Task::Run(without_dashes(rest))),
        "bench" => Ok(Task::Bench(without_dashes(rest))),
        _ => Ok(Task::Replay(without_dashes(rest))),
    }
}

fn parse_test(args: &[String]) -> Result<Request> {
    let split = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    let (ours, theirs) = args.split_at(split);
    if let [filter] = ours
        && filter.starts_with('-')
    {
        return Err(Error::Usage(format!(
            "unknown option `{filter}`; options for test binaries follow `--`"
        )));
    }
    if ours.len() > 1 {
        return Err(Error::Usage(format!("one suite or filter at a time, got `{}`", ours.join(" "))));
    }
    let args = theirs.iter().skip(1).cloned().collect();
    Ok(Request { filter: ours.first().cloned(), args })
}

fn no_arguments(name: &str, args: &[String]) -> Result<()> {
    match args.first() {
        None => Ok(()),
        Some(arg) => Err(Error::Usage(format!("`{name}` takes no arguments, got `{arg}`"))),
    }
}

/// The first `--` only marks where the program's own arguments begin.
fn without_dashes(args: &[String]) -> Vec<String> {
    let split = args.iter().position(|arg| arg == "--");
    args.iter().enumerate().filter(|(index, _)| Some(*index) != split).map(|(_, arg)| arg.clone()).collect()
}

fn overview() -> String {
    let width = HELP.iter().map(|help| help.synopsis.len()).max().unwrap_or_default();
    let tasks: Vec<String> =
        HELP.iter().map(|help| format!("  {:width$}  {}", help.synopsis, help.summary)).collect();
    format!(
        "Usage: cargo xtask TASK\n\n{}\n\n`cargo xtask TASK --help` says more about one of them.",
        tasks.join("\n")
    )
}

fn help_on(name: &str) -> Result<String> {
    let Some(help) = HELP.iter().find(|help| help.name == name) else {
        let names: Vec<&str> = HELP.iter().map(|help| help.name).collect();
        return Err(Error::Usage(format!("no task `{name}`; there are {}", names.join(", "))));
    };
    Ok(format!("Usage: cargo xtask {}\n\n{}.\n{}", help.synopsis, capitalised(help.summary), help.details))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn strings(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// Every task of the overview can be called and has help of its own.
    #[test]
    fn every_task_has_help() {
        for help in HELP {
            assert!(overview().contains(help.synopsis));
            let text = parsed(&format!("{} --help", help.name)).unwrap();
            assert!(matches!(text, Task::Help(text) if text.contains(help.details)));
        }
        assert_eq!(parsed("").unwrap(), Task::Help(overview()));
    }

    /// A filter is for us, what follows the dashes is for the test binaries.
    #[test]
    fn test_splits_its_arguments_at_the_dashes() {
        let request = Request { filter: Some("gate".to_owned()), args: strings("--nocapture") };
        assert_eq!(parsed("test gate -- --nocapture").unwrap(), Task::Test(request));
        assert_eq!(parsed("test").unwrap(), Task::Test(Request { filter: None, args: Vec::new() }));
        assert!(parsed("test --nocapture").is_err());
        assert!(parsed("test one two").is_err());
    }

    /// A program's own `--help` is not answered on its behalf.
    #[test]
    fn arguments_after_the_dashes_are_passed_on() {
        assert_eq!(parsed("run -- --config a.toml").unwrap(), Task::Run(strings("--config a.toml")));
        assert_eq!(parsed("run -- --help").unwrap(), Task::Run(strings("--help")));
        assert_eq!(parsed("bench syn --json").unwrap(), Task::Bench(strings("syn --json")));
    }

    /// A mistyped task lists the ones that exist.
    #[test]
    fn unknown_tasks_and_arguments_are_refused() {
        assert!(parsed("biuld").unwrap_err().to_string().contains("build, test"));
        assert!(parsed("tidy everything").is_err());
    }
}
