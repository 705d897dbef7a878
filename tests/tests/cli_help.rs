//! What `limiterctl` and `limiterd` say for themselves, without a daemon and without root.
//!
//! | case | law |
//! | --- | --- |
//! | `help_texts_are_golden` | every `--help` works and says what `tests/golden/help` says |
//! | `every_subcommand_has_a_golden_file` | no command is left out of that |
//! | `usage_errors_exit_2` | what makes no sense is told apart from what failed |
//! | `an_unreachable_daemon_exits_3_with_a_remedy` | so is a daemon that is not there |
//! | `check_tells_good_files_from_broken_ones` | `limiterd --check`: 0 or 2, with file, line and column |
//!
//! `LIMITER_UPDATE_GOLDEN=1` writes the golden files anew.
//!
//! Runs in parallel.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use limiter_tests::daemon::binary;
use tempfile::TempDir;

/// Width of the help texts: what fits a page of the documentation.
const COLUMNS: &str = "100";
/// The commands of `limiterctl`.
const COMMANDS: [&str; 22] = [
    "status", "allow", "deny", "remove", "list", "import", "export", "selftest", "top", "drops", "check",
    "suggest", "history", "report", "mode", "reload", "diff", "apply", "confirm", "host", "panic", "resume",
];
/// A configuration with nothing wrong, not even a warning.
const GOOD: &str = "\
[[service]]
name = \"smtp\"
ports = [25]
connections_per_source = 20
";

/// Runs a built program, with nothing of the terminal it is started from.
fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary(program));
    command.args(arguments).stdin(Stdio::null()).env("COLUMNS", COLUMNS).env_remove("RUST_LOG");
    command.output().unwrap_or_else(|e| panic!("starting {program}: {e}"))
}

#[track_caller]
fn exit_code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Compares what was printed with a golden file, or writes that file.
#[track_caller]
fn assert_golden(name: &str, printed: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/help").join(format!("{name}.txt"));
    if env::var_os("LIMITER_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::write(&file, printed).unwrap_or_else(|e| panic!("writing {}: {e}", file.display()));
        return;
    }
    let golden = fs::read_to_string(&file).unwrap_or_else(|e| panic!("reading {}: {e}", file.display()));
    let remedy = "LIMITER_UPDATE_GOLDEN=1 writes it anew";
    assert_eq!(printed, golden, "{} differs; if that is meant, {remedy}", file.display());
}

/// Every `--help` exits with 0 and prints what its golden file says, on standard output alone.
#[test]
fn help_texts_are_golden() {
    let mut texts = vec![("limiterd".to_owned(), run("limiterd", &["--help"]))];
    texts.push(("limiterctl".to_owned(), run("limiterctl", &["--help"])));
    for command in COMMANDS {
        texts.push((format!("limiterctl-{command}"), run("limiterctl", &[command, "--help"])));
    }
    for (name, output) in texts {
        assert_eq!((exit_code(&output), errors(&output)), (0, String::new()), "{name}");
        assert_golden(&name, &String::from_utf8_lossy(&output.stdout));
    }
}

/// The overview lists the commands that have a golden file, and no other.
#[test]
fn every_subcommand_has_a_golden_file() {
    let overview = String::from_utf8(run("limiterctl", &["--help"]).stdout).expect("help is text");
    let listed = overview.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<&str> = listed
        .take_while(|line| !line.is_empty())
        // What is indented further goes on with the line before.
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(names, [COMMANDS.as_slice(), &["help"]].concat());
}

/// Usage errors exit with 2 and name what is wrong.
#[test]
fn usage_errors_exit_2() {
    let cases: [(&[&str], &str); 8] = [
        (&[], "Usage:"),
        (&["frobnicate"], "frobnicate"),
        (&["stat"], "status"),
        (&["allow"], "<PREFIX>"),
        (&["check", "example.org"], "example.org"),
        (&["check", "192.0.2.1", "--port", "0"], "--port"),
        (&["mode", "sometimes"], "observe, enforce"),
        (&["top", "--by", "colour"], "open, new, refused"),
    ];
    for (arguments, named) in cases {
        let output = run("limiterctl", arguments);
        assert_eq!(exit_code(&output), 2, "{arguments:?}: {output:?}");
        assert!(errors(&output).contains(named), "{arguments:?}: {}", errors(&output));
    }
    assert_eq!(exit_code(&run("limiterd", &[])), 2);
}

/// Without a daemon every command exits with 3 and says how to start one, as JSON if asked.
#[test]
fn an_unreachable_daemon_exits_3_with_a_remedy() {
    let directory = TempDir::new().expect("creating a directory");
    let socket = directory.path().join("nobody.sock");
    let socket = socket.to_str().expect("a temporary path is text");
    let commands: [&[&str]; 10] = [
        &["status"],
        &["allow", "192.0.2.0/24"],
        &["deny", "192.0.2.1"],
        &["remove", "192.0.2.1"],
        &["list"],
        &["top"],
        &["drops", "--follow"],
        &["check", "192.0.2.1"],
        &["mode", "observe"],
        &["reload"],
    ];
    for command in commands {
        let output = run("limiterctl", &[&["--socket", socket], command].concat());
        assert_eq!(exit_code(&output), 3, "{command:?}: {output:?}");
        let said = errors(&output);
        assert!(said.contains(socket) && said.contains("systemctl start limiterd"), "{command:?}: {said}");
    }
    let said = errors(&run("limiterctl", &["--json", "--socket", socket, "status"]));
    assert!(said.starts_with("{\"error\":") && said.contains("\"remedy\":"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// `--check` exits with 0 for a good file and with 2, naming every place, for a broken one.
#[test]
fn check_tells_good_files_from_broken_ones() {
    let directory = TempDir::new().expect("creating a directory");
    let file = directory.path().join("limiter.toml");
    let path = file.to_str().expect("a temporary path is text");
    let check = |text: &str| {
        fs::write(&file, text).expect("writing a configuration");
        run("limiterd", &["--config", path, "--check"])
    };
    let good = check(GOOD);
    assert_eq!((exit_code(&good), errors(&good)), (0, String::new()));

    let broken = GOOD.replace("[25]", "[0]").replace("connections_per", "conections_per");
    let output = check(&broken);
    assert_eq!(exit_code(&output), 2, "{output:?}");
    let said = errors(&output);
    for part in [
        format!("{path}:3:10: error:"),
        format!("{path}:4:1: error: unknown key `conections_per_source`"),
        "did you mean `connections_per_source`?".to_owned(),
        "2 errors".to_owned(),
    ] {
        assert!(said.contains(&part), "{part} is not in:\n{said}");
    }
    let missing = run("limiterd", &["--config", "/nonexistent/limiter.toml", "--check"]);
    assert_eq!(exit_code(&missing), 2, "{missing:?}");
    assert!(errors(&missing).contains("/nonexistent/limiter.toml"), "{missing:?}");
}
