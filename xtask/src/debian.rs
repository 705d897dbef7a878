//! Installing packages on Debian, as root, without surprises.
//!
//! A package that would remove another one is not installed: whoever keeps
//! another mail server or compiler on this machine wants to be asked. Nothing
//! here knows what the packages are for.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Remedy, Result};
use crate::process::{capture, find_program, is_root, run_with_log, shown};
use crate::terminal::{Step, note};
use crate::workspace::Workspace;

/// Where apt keeps the package lists it has fetched.
const APT_LISTS: &str = "/var/lib/apt/lists";

/// The answer to what Postfix asks while it is installed.
///
/// Without a configuration it does not start as a service: the tests bring
/// their own configuration, and this machine's port 25 is not theirs.
const POSTFIX_ANSWER: &str = "postfix postfix/main_mailer_type select No configuration\n";

/// Returns whether packages come from apt here.
pub(crate) fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists() && find_program("apt-get").is_some()
}

/// Returns whether this process may install packages.
pub(crate) fn can_install() -> bool {
    is_debian() && is_root()
}

/// Returns the command that a user types to install packages.
pub(crate) fn install_command<T: AsRef<str>>(packages: &[T]) -> String {
    packages.iter().fold("sudo apt-get install".to_owned(), |text, name| text + " " + name.as_ref())
}

/// Returns those of the packages that are not installed.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${Package} ${db:Status-Status}\\n"]).args(packages);
    // It exits with 1 when it does not know a package, which is an answer too.
    let output = query.output().map(|output| output.stdout).unwrap_or_default();
    let listing = String::from_utf8_lossy(&output);
    packages.iter().copied().filter(|package| !is_installed(&listing, package)).collect()
}

fn is_installed(listing: &str, package: &str) -> bool {
    listing.lines().any(|line| line.split_once(' ') == Some((package, "installed")))
}

/// Returns whether apt could install the package, as far as its lists say.
pub(crate) fn is_on_offer(workspace: &Workspace, package: &str) -> Result<bool> {
    fetch_lists_if_none(workspace)?;
    let policy = capture(Command::new("apt-cache").args(["policy", package]))?;
    Ok(has_candidate(&policy))
}

/// Returns the first package that a package depends on; the package itself if apt knows of none.
pub(crate) fn first_dependency(workspace: &Workspace, package: &str) -> Result<String> {
    fetch_lists_if_none(workspace)?;
    let listed = capture(Command::new("apt-cache").args(["depends", "--important", package]))?;
    Ok(named_first(&listed).unwrap_or(package).to_owned())
}

fn named_first(listed: &str) -> Option<&str> {
    listed.lines().find_map(|line| line.trim().strip_prefix("Depends:")).map(str::trim)
}

fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate:"))
        .any(|candidate| candidate.trim() != "(none)")
}

/// Installs those of the packages that are missing; returns whether any was.
///
/// # Errors
///
/// Says which packages are missing and how to get them where this process may
/// not install anything, or where apt refuses.
pub(crate) fn ensure(workspace: &Workspace, packages: &[&str]) -> Result<bool> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(false);
    }
    let remedy = Remedy::new(format!("missing packages: {}", missing.join(", ")), install_command(&missing));
    if !can_install() {
        let what = "packages are missing, and only root can install them".to_owned();
        return Err(Error::Missing { what, remedies: vec![remedy] });
    }
    fetch_lists_if_none(workspace)?;
    let step = Step::start(format!("installing {}", missing.join(", ")));
    if missing.contains(&"postfix") {
        leave_postfix_unconfigured()?;
    }
    if let Err(first) = install(workspace, &missing) {
        note(format!(
            "{}; the package lists may be old",
            first.to_string().lines().next().unwrap_or_default()
        ));
        fetch_lists(workspace)?;
        install(workspace, &missing)
            .map_err(|error| error.with_remedy(format!("by hand: {}", remedy.command)))?;
    }
    step.done();
    Ok(true)
}

/// Returns a package and what else it needs to run, as far as that is not installed.
///
/// What would have to be removed for it does not count: it is to be unpacked, not installed.
pub(crate) fn with_dependencies(workspace: &Workspace, package: &str) -> Result<Vec<String>> {
    fetch_lists_if_none(workspace)?;
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--simulate", "--no-install-recommends", package]);
    Ok(to_install(&capture(&mut apt)?))
}

fn to_install(simulated: &str) -> Vec<String> {
    let installs = simulated.lines().filter_map(|line| line.strip_prefix("Inst "));
    installs.filter_map(|rest| rest.split(' ').next()).map(ToOwned::to_owned).collect()
}

/// Fetches packages and puts their files below `into`, without installing them; `what` names them
/// to who waits.
///
/// For programs whose packages bring a service along, or would drive others out: nothing is
/// configured, no user is made, and nothing starts, here or at the next boot. apt checks
/// signatures as for an installation; root is not needed.
///
/// # Errors
///
/// When apt cannot fetch a package, or the directory cannot be written.
pub(crate) fn unpack(workspace: &Workspace, what: &str, packages: &[String], into: &Path) -> Result<()> {
    fetch_lists_if_none(workspace)?;
    fs::create_dir_all(into).map_err(Error::file("create", into))?;
    let step = Step::start(format!("fetching {what}, without installing it"));
    let mut apt = Command::new("apt-get");
    if is_root() {
        // The user that apt fetches as cannot write to a checkout.
        apt.args(["-o", "APT::Sandbox::User=root"]);
    }
    apt.arg("download").args(packages).current_dir(into);
    run_with_log(&mut apt, &log(workspace, "apt-download"))?;
    for entry in fs::read_dir(into).map_err(Error::file("list", into))?.flatten() {
        let archive = entry.path();
        if archive.extension().is_some_and(|extension| extension == "deb") {
            capture(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(into))?;
            fs::remove_file(&archive).map_err(Error::file("remove", &archive))?;
        }
    }
    step.done();
    Ok(())
}

fn install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--yes", "--no-remove", "--no-install-recommends"]).args(packages);
    run_with_log(apt.env("DEBIAN_FRONTEND", "noninteractive"), &log(workspace, "apt-install"))
}

fn fetch_lists_if_none(workspace: &Workspace) -> Result<()> {
    let has_lists = fs::read_dir(APT_LISTS).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    });
    if has_lists || !can_install() {
        return Ok(());
    }
    fetch_lists(workspace)
}

fn fetch_lists(workspace: &Workspace) -> Result<()> {
    let step = Step::start("fetching package lists");
    run_with_log(Command::new("apt-get").arg("update"), &log(workspace, "apt-update"))?;
    step.done();
    Ok(())
}

fn leave_postfix_unconfigured() -> Result<()> {
    let Some(program) = find_program("debconf-set-selections") else {
        return Ok(());
    };
    let mut command = Command::new(program);
    let start = |source| Error::Start { command: "debconf-set-selections".to_owned(), source };
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(POSTFIX_ANSWER.as_bytes()).map_err(start)?;
    }
    let status = child.wait().map_err(start)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed { command: shown(&command), status, remedy: None })
}

fn log(workspace: &Workspace, name: &str) -> std::path::PathBuf {
    workspace.tools().join("log").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A package that was removed but left its configuration is not installed.
    #[test]
    fn only_installed_counts_as_installed() {
        let listing = "postfix config-files\nnftables installed\nnftables-dev not-installed\n";
        assert!(is_installed(listing, "nftables"));
        assert!(!is_installed(listing, "postfix"));
        assert!(!is_installed(listing, "nft"));
    }

    /// The package of a kernel is what the package named after its kind depends on first.
    #[test]
    fn the_first_dependency_is_named() {
        let listed =
            "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-9-cloud-amd64\n  Depends: other\n";
        assert_eq!(named_first(listed), Some("linux-image-6.1.0-9-cloud-amd64"));
        assert_eq!(named_first("linux-image-cloud-amd64\n"), None);
    }

    /// What apt would put on the machine is named, and nothing that it would take away.
    #[test]
    fn what_apt_would_install_is_named() {
        let simulated = "Remv qemu-utils [1:10.0]\nInst libfdt1 (1.6 Debian:12 [amd64])\n\
                         Inst libc6 [2.35] (2.36 Debian:12 [amd64])\nConf libfdt1 (1.6 Debian:12 [amd64])\n";
        assert_eq!(to_install(simulated), ["libfdt1", "libc6"]);
    }

    /// `apt-cache policy` says nothing at all about a name it never heard of.
    #[test]
    fn a_candidate_is_a_version() {
        assert!(has_candidate("rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0\n"));
        assert!(!has_candidate("rustc-web:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_candidate(""));
    }

    /// The command in a message can be pasted.
    #[test]
    fn install_command_lists_all_packages() {
        assert_eq!(install_command(&["postfix", "nftables"]), "sudo apt-get install postfix nftables");
    }
}
