//! What the machine offers: requirements of a test, commands, the cgroup v2 root.
//!
//! A missing requirement is a loud skip, and a failure under
//! `LIMITER_REQUIRE_KERNEL=1`, so that a green run cannot hide an empty one.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::utsname::uname;
use nix::unistd::{Pid, Uid};

use crate::wait;

/// Something a test cannot do without.
#[derive(Clone, Copy, Debug)]
pub enum Requirement {
    /// The right to change networks and load programs.
    Root,
    /// A command on the search path, and the Debian package it comes from.
    Command(&'static str, &'static str),
    /// A kernel of at least this version, and the reason.
    Kernel((u32, u32), &'static str),
    /// A file or directory of the kernel's, such as `/sys/kernel/btf/vmlinux`.
    Path(&'static str),
    /// A mounted cgroup v2 hierarchy.
    Cgroup2,
    /// What `cargo xtask test` provides at a path on Debian, and what it is.
    Provided(&'static str, &'static str),
}

impl Requirement {
    /// Returns what is missing and what it needs, or `None`.
    #[must_use]
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Root if Uid::effective().is_root() => None,
            Self::Root => Some("not root (needs uid 0)".to_owned()),
            Self::Command(name, _) if find_command(name).is_some() => None,
            Self::Command(name, package) => Some(format!("no command {name} (needs package {package})")),
            Self::Kernel(wanted, why) => {
                let (major, minor) = kernel_version();
                let old = format!("kernel {major}.{minor} (needs {}.{}, {why})", wanted.0, wanted.1);
                ((major, minor) < wanted).then_some(old)
            }
            Self::Path(path) if Path::new(path).exists() => None,
            Self::Path(path) => Some(format!("no {path} (needs a kernel that has it)")),
            Self::Provided(path, _) if Path::new(path).exists() => None,
            Self::Provided(_, what) => {
                Some(format!("not there: {what} (needs `cargo xtask test` on Debian)"))
            }
            Self::Cgroup2 if cgroup2_root().is_some() => None,
            Self::Cgroup2 => Some("no cgroup v2 (needs `mount -t cgroup2`)".to_owned()),
        }
    }
}

/// What every bed of network namespaces needs.
pub const BED: &[Requirement] = &[
    Requirement::Root,
    Requirement::Command("ip", "iproute2"),
    Requirement::Command("nsenter", "util-linux"),
    Requirement::Command("ethtool", "ethtool"),
    Requirement::Kernel((5, 10), "veth with XDP and bpf_link"),
];

/// Returns from the test, loudly, unless the machine offers all of `$needs`.
///
/// Takes slices of [`Requirement`]: `require!(host::BED, &[Requirement::Cgroup2])`.
#[macro_export]
macro_rules! require {
    ($($needs:expr),+ $(,)?) => {{
        fn here() {}
        if !$crate::host::offers(::std::any::type_name_of_val(&here), &[$($needs),+]) {
            return;
        }
    }};
}

/// Whether the machine offers all of `needs`; prints what is missing.
///
/// Panics instead if `LIMITER_REQUIRE_KERNEL=1`.
#[must_use]
pub fn offers(test: &str, needs: &[&[Requirement]]) -> bool {
    let test = test.trim_end_matches("::here");
    let missing: Vec<_> = needs.iter().copied().flatten().filter_map(|need| need.missing()).collect();
    if missing.is_empty() {
        return true;
    }
    let skip = format!("SKIP {test}: {}", missing.join(", "));
    assert!(env::var_os("LIMITER_REQUIRE_KERNEL").is_none_or(|v| v != "1"), "{skip}");
    eprintln!("{skip}");
    false
}

/// Runs a command to its end and returns what it printed; panics with what it
/// said if it fails.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    run_with_input(command, "")
}

/// Runs a command with this standard input, otherwise as [`run`].
#[track_caller]
pub fn run_with_input(command: &mut Command, input: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("starting {command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    // Written beside the reading: neither side waits on a full pipe.
    let (written, output) = thread::scope(|scope| {
        let writer = scope.spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output();
        (writer.join().expect("the writer does not panic"), output)
    });
    let output = output.unwrap_or_else(|e| panic!("waiting for {command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}\n{input}", output.status);
    written.unwrap_or_else(|e| panic!("writing to {command:?}: {e}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Where `cargo xtask` keeps the tools of this checkout.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/bin");

/// Where a command is, by the search path, the system directories and the tools of this checkout.
#[must_use]
pub fn find_command(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin", TOOLS].map(PathBuf::from);
    env::split_paths(&path).chain(more).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Major and minor version of the running kernel; zeros if it does not say.
#[must_use]
pub fn kernel_version() -> (u32, u32) {
    let release = uname().map(|u| u.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The first cgroup v2 mount: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified`.
#[must_use]
pub fn cgroup2_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mut fields = mounts.lines().map(|line| line.split(' '));
    fields.find_map(|mut f| (f.clone().nth(2) == Some("cgroup2")).then(|| f.nth(1).map(PathBuf::from))?)
}

/// How long the last processes of a group may take to end.
const EMPTY_TIME: Duration = Duration::from_secs(5);

/// A control group of our own; removed when dropped, once it is empty.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Creates a group below the cgroup v2 root.
    #[must_use]
    pub fn create(label: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = cgroup2_root().expect("the test requires cgroup v2");
        let path = root.join(format!("limiter-test-{}-{n}-{label}", process::id()));
        fs::create_dir(&path).unwrap_or_else(|e| panic!("creating {}: {e}", path.display()));
        Self { path }
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `start`, and whatever it starts, in it.
    #[track_caller]
    pub fn start<T>(&self, start: impl FnOnce() -> T) -> T {
        self.adopt(process::id());
        let _inside = Inside;
        start()
    }

    /// Moves a process into it.
    #[track_caller]
    pub fn adopt(&self, pid: u32) {
        Self::move_into(&self.path, pid);
    }

    #[track_caller]
    fn move_into(group: &Path, pid: u32) {
        let file = group.join("cgroup.procs");
        fs::write(&file, pid.to_string()).unwrap_or_else(|e| panic!("{pid} into {}: {e}", file.display()));
    }
}

/// Takes this process back to the root when dropped.
struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        let root = cgroup2_root().expect("there is a root that the group was created in");
        Cgroup::move_into(&root, process::id());
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Nothing but a group that is busy gets better by waiting.
        let done = wait::until_some(EMPTY_TIME, || match fs::remove_dir(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy => None,
            done => Some(done),
        });
        match done {
            Some(Ok(())) => {}
            Some(Err(e)) => eprintln!("removing {}: {e}", self.path.display()),
            None => eprintln!("removing {}: it has processes", self.path.display()),
        }
    }
}

/// Keeps the calling thread on one CPU.
pub fn stay_on(cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu).expect("a CPU set holds the first CPUs");
    if let Err(e) = sched_setaffinity(Pid::from_raw(0), &cpus) {
        // A machine with one CPU does everything on it.
        eprintln!("on any CPU, not on {cpu}: {e}");
    }
}

/// Allows as many open descriptors as the hard limit does.
///
/// Thousands of connections with both ends in one process need it.
#[track_caller]
pub fn raise_descriptor_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("reading the descriptor limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raising the soft limit to the hard one");
}
