//! What the kernel suites and the demonstration need from the machine: other
//! programs, and three kernel file systems.
//!
//! A file system that cannot be mounted is reported, not fatal: the suites that
//! need it skip, and say so themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::debian;
use crate::error::{Error, Result};
use crate::process::{capture, find_program, is_root};
use crate::terminal::{Step, caution, note};
use crate::workspace::Workspace;

/// A program that tests call, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 13] = [
    ("bpftool", "bpftool"),
    ("busybox", "busybox-static"),
    ("conntrack", "conntrack"),
    ("depmod", "kmod"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("modprobe", "kmod"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("postfix", "postfix"),
    ("setpriv", "util-linux"),
    ("sysctl", "procps"),
    ("systemd-analyze", "systemd"),
];

/// The package that names the package of Debian's kernel.
const KERNEL: &str = "linux-image-cloud-amd64";

/// The program that boots it, and the Debian package that has it.
const EMULATOR: &str = "qemu-system-x86_64";
const EMULATOR_PACKAGE: &str = "qemu-system-x86";

/// The program that checks and tests alert rules.
const PROMTOOL: &str = "promtool";

/// A kernel file system, and where it is mounted when it is nowhere yet.
struct Mount {
    kind: &'static str,
    path: &'static str,
    needed_for: &'static str,
}

const MOUNTS: [Mount; 3] = [
    Mount { kind: "bpf", path: "/sys/fs/bpf", needed_for: "pinned maps and links" },
    Mount { kind: "cgroup2", path: "/run/limiter-test/cgroup2", needed_for: "the gate" },
    Mount { kind: "tracefs", path: "/sys/kernel/tracing", needed_for: "tracepoints" },
];

/// Installs the programs that tests call, or says which ones are missing.
pub(crate) fn provide_programs(workspace: &Workspace) -> Result<()> {
    provide_promtool(workspace)?;
    provide_kernel(workspace);
    provide_emulator(workspace);
    let mut packages: Vec<&str> = Vec::new();
    for (program, package) in PROGRAMS {
        if find_program(program).is_none() && !packages.contains(&package) {
            packages.push(package);
        }
    }
    if packages.is_empty() {
        return Ok(());
    }
    if debian::can_install() {
        debian::ensure(workspace, &packages)?;
        return Ok(());
    }
    caution(format!("tests that need one of {} will skip", packages.join(", ")));
    if debian::is_debian() {
        note(format!("to have them: {}", debian::install_command(&packages)));
    }
    Ok(())
}

/// Provides `promtool`, which checks and tests the alert rules, among this checkout's tools.
///
/// Debian has it in the package of Prometheus itself, which is a service: the
/// program is taken out of the package, and the package is not installed.
pub(crate) fn provide_promtool(workspace: &Workspace) -> Result<()> {
    let tools = workspace.tools().join("bin");
    if find_program(PROMTOOL).is_some() || tools.join(PROMTOOL).is_file() {
        return Ok(());
    }
    if !debian::is_debian() {
        caution(format!(
            "tests of alert rules will skip: there is no {PROMTOOL}, which comes with Prometheus"
        ));
        return Ok(());
    }
    let unpacked = workspace.tools().join("prometheus");
    debian::unpack(workspace, PROMTOOL, &["prometheus".to_owned()], &unpacked)?;
    fs::create_dir_all(&tools).map_err(Error::file("create", &tools))?;
    let program = unpacked.join("usr/bin").join(PROMTOOL);
    fs::copy(&program, tools.join(PROMTOOL)).map_err(Error::file("copy", &program))?;
    fs::remove_dir_all(&unpacked).map_err(Error::file("remove", &unpacked))?;
    Ok(())
}

/// Provides the kernel that Debian ships, which a suite boots, among this checkout's tools.
///
/// Without it, as without a network, that suite says what it lacks, and the others run.
fn provide_kernel(workspace: &Workspace) {
    let unpacked = workspace.tools().join("kernel");
    if !unpacked.is_dir() {
        provide_for_boot(KERNEL, || fetch_kernel(workspace, &unpacked));
    }
}

fn provide_for_boot(package: &str, fetch: impl FnOnce() -> Result<()>) {
    let without = "the suite that boots another kernel will skip";
    if !debian::is_debian() {
        caution(format!("{without}: it takes Debian's {package}"));
    } else if let Err(error) = fetch() {
        caution(format!("{without}: {error}"));
    }
}

fn fetch_kernel(workspace: &Workspace, unpacked: &Path) -> Result<()> {
    let package = debian::first_dependency(workspace, KERNEL)?;
    // Not in its place before it is whole.
    let half = workspace.tools().join("kernel.part");
    debian::unpack(workspace, &package, std::slice::from_ref(&package), &half)?;
    fs::rename(&half, unpacked).map_err(Error::file("rename", &half))
}

/// Provides what boots that kernel, among this checkout's tools.
///
/// It is unpacked with its libraries and not installed: a machine may have parts of another version
/// of it, which apt would remove.
fn provide_emulator(workspace: &Workspace) {
    if find_program(EMULATOR).is_none() && !workspace.tools().join("bin").join(EMULATOR).is_file() {
        provide_for_boot(EMULATOR_PACKAGE, || fetch_emulator(workspace));
    }
}

fn fetch_emulator(workspace: &Workspace) -> Result<()> {
    let packages = debian::with_dependencies(workspace, EMULATOR_PACKAGE)?;
    let unpacked = workspace.tools().join("qemu");
    debian::unpack(workspace, EMULATOR_PACKAGE, &packages, &unpacked)?;
    let tools = workspace.tools().join("bin");
    fs::create_dir_all(&tools).map_err(Error::file("create", &tools))?;
    let starter = tools.join(EMULATOR);
    let script = format!(
        "#!/bin/sh\n# Starts {EMULATOR} with the libraries that it was unpacked with.\n\
         LD_LIBRARY_PATH='{0}/usr/lib/x86_64-linux-gnu:{0}/lib/x86_64-linux-gnu' \\\n\
         exec '{0}/usr/bin/{EMULATOR}' \"$@\"\n",
        unpacked.display()
    );
    fs::write(&starter, script).map_err(Error::file("write", &starter))?;
    fs::set_permissions(&starter, fs::Permissions::from_mode(0o755)).map_err(Error::file("change", &starter))
}

/// Mounts the kernel file systems that are missing.
pub(crate) fn prepare() {
    if !is_root() {
        return;
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let missing: Vec<&Mount> =
        MOUNTS.iter().filter(|mount| mounted_at(&mounts, mount.kind).is_none()).collect();
    if missing.is_empty() {
        return;
    }
    let step = Step::start("preparing this machine");
    for mount in missing {
        match mount_file_system(mount) {
            Ok(()) => note(format!("mounted {} at {}, for {}", mount.kind, mount.path, mount.needed_for)),
            Err(error) => caution(format!("no {}, which {} needs: {error}", mount.kind, mount.needed_for)),
        }
    }
    step.done();
}

fn mount_file_system(mount: &Mount) -> Result<()> {
    // Directories in sysfs exist or cannot be made; mount reports both better.
    if !Path::new(mount.path).is_dir() {
        fs::create_dir_all(mount.path).ok();
    }
    capture(Command::new("mount").args(["-t", mount.kind, mount.kind, mount.path])).map(|_| ())
}

/// Returns where a file system of this kind is mounted, from `/proc/mounts`.
fn mounted_at<'a>(mounts: &'a str, kind: &str) -> Option<&'a str> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let path = fields.next()?;
        (fields.next()? == kind).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mount counts by its type, not by a name that looks like it.
    #[test]
    fn mounts_are_found_by_type() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                      bpf /mnt/bpf tmpfs rw 0 0\n";
        assert_eq!(mounted_at(mounts, "cgroup2"), Some("/sys/fs/cgroup/unified"));
        assert_eq!(mounted_at(mounts, "bpf"), None);
        assert_eq!(mounted_at("", "bpf"), None);
    }
}
