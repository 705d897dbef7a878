//! Starting other programs: with their output shown, captured or kept in a log.
//!
//! Also the one place that knows which environment variables `cargo xtask`
//! passes down and which of them must not reach another compiler.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::terminal::{Ticker, note};
use crate::workspace::Workspace;

/// How often a program that works in silence is asked whether it is done.
const POLL: Duration = Duration::from_millis(200);

/// Lines of a log shown when the program that wrote it fails.
const LOG_TAIL_LINES: usize = 25;

/// Where administrators' programs live; not always in the `PATH` of a root shell.
const SYSTEM_DIRS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Returns the cargo that runs this task, set up for the checkout.
pub(crate) fn cargo(workspace: &Workspace, subcommand: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(subcommand).current_dir(workspace.root());
    // What cargo says about the xtask package is not true of what runs next.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Takes away every variable that would steer cargo or rustc.
///
/// For builds whose compiler and flags the task itself decides. `LD_LIBRARY_PATH`
/// is among them: cargo points it at the libraries of its own rustc.
pub(crate) fn forget_build_settings(command: &mut Command) {
    const EXACT: [&str; 9] = [
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "LD_LIBRARY_PATH",
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
    ];
    for name in EXACT {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}

/// Returns the command as a reader would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    command.get_args().fold(name.into_owned(), |text, arg| text + " " + &arg.to_string_lossy())
}

/// Runs a command whose output is shown as it comes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|source| Error::Start { command: shown(command), source })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed { command: shown(command), status, remedy: None })
}

/// Runs a command and returns what it wrote to standard output.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|source| Error::Start { command: shown(command), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let remedy = (!said.is_empty()).then_some(said);
    Err(Error::Failed { command: shown(command), status: output.status, remedy })
}

/// Runs a command with its output in a file; shows the time as it passes, and
/// the end of the log when it fails.
pub(crate) fn run_with_log(command: &mut Command, log: &Path) -> Result<()> {
    if let Some(parent) = log.parent() {
        fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
    }
    let file = File::create(log).map_err(Error::file("write", log))?;
    let second = file.try_clone().map_err(Error::file("write", log))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(second)
        .spawn()
        .map_err(|source| Error::Start { command: shown(command), source })?;
    let mut ticker = Ticker::start(shown(command));
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => std::thread::sleep(POLL),
            Err(source) => {
                return Err(Error::Start { command: shown(command), source });
            }
        }
        ticker.tick();
    };
    drop(ticker);
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(log).map_err(Error::file("read", log))?;
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..] {
        note(line);
    }
    let remedy = format!("its full output is in {}", log.display());
    Err(Error::Failed { command: shown(command), status, remedy: Some(remedy) })
}

/// Becomes another program; returns only when that fails.
pub(crate) fn become_program(command: &mut Command) -> Error {
    let source = command.exec();
    Error::Start { command: shown(command), source }
}

/// Returns `PATH` with the administrators' directories behind it.
pub(crate) fn system_path() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(SYSTEM_DIRS.map(PathBuf::from));
    std::env::join_paths(dirs).unwrap_or(path)
}

/// Finds a program as a shell would, and in the administrators' directories.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&system_path()).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Returns whether this process may do what root may.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|proc| proc.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Error messages show a command without the path of its program.
    #[test]
    fn shown_is_what_one_would_type() {
        let mut command = Command::new("/usr/bin/apt-get");
        command.args(["install", "--yes", "postfix"]);
        assert_eq!(shown(&command), "apt-get install --yes postfix");
    }

    /// A failed program's own words reach the error.
    #[test]
    fn capture_keeps_what_the_program_said() {
        let error = capture(Command::new("sh").args(["-c", "echo because >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("because"), "{error}");
        assert_eq!(capture(Command::new("echo").arg("yes")).unwrap(), "yes\n");
    }

    /// Compiler settings of the caller do not reach a build that has its own.
    #[test]
    fn build_settings_are_forgotten() {
        let mut command = Command::new("env");
        command.env("RUSTFLAGS", "-Cfoo").env("LD_LIBRARY_PATH", "/lib");
        forget_build_settings(&mut command);
        let removed = |name: &str| command.get_envs().any(|(key, value)| key == name && value.is_none());
        assert!(removed("RUSTFLAGS") && removed("LD_LIBRARY_PATH") && removed("RUSTC"));
    }
}
