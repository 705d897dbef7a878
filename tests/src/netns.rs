//! Private network namespaces on the real kernel.
//!
//! A [`Namespace`] has a name of its own under `/run/netns`, so that tests may
//! run in parallel, and is deleted when dropped, also by a test that panics.
//! What a killed test run left behind is removed by the next one. Commands
//! enter by `nsenter`: `ip netns exec` remounts `/sys` and hides cgroup v2.

use std::fs::{self, File};
use std::io;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::host;

/// Where `ip netns` keeps the names.
const DIRECTORY: &str = "/run/netns";
/// Begins the name of every namespace of ours; the process id follows.
const PREFIX: &str = "limiter-test-";

/// A network namespace of our own.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// Creates a namespace with loopback up; `label` ends its name.
    #[must_use]
    pub fn create(label: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(remove_orphans);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{n}-{label}", process::id());
        host::run(Command::new("ip").args(["netns", "add", &name]));
        let handle = File::open(Path::new(DIRECTORY).join(&name))
            .unwrap_or_else(|e| panic!("opening the namespace {name}: {e}"));
        let namespace = Self { name, handle };
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name, as `ip -n` takes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path, as `nsenter --net=` takes it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Runs `work` in the namespace, on a thread of its own.
    ///
    /// Sockets made there stay in the namespace wherever they are used later.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            setns(&self.handle, CloneFlags::CLONE_NEWNET)
                .unwrap_or_else(|e| panic!("entering {}: {e}", self.name));
            work()
        };
        let done = thread::scope(|scope| scope.spawn(entered).join());
        done.unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    /// A command that runs in the namespace, under the process id it is started with.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs a command to its end in the namespace and returns what it printed.
    #[expect(clippy::must_use_candidate, reason = "many commands run for their effect")]
    #[track_caller]
    pub fn output(&self, program: &str, arguments: &[&str]) -> String {
        host::run(self.command(program).args(arguments))
    }

    /// Runs lines of `ip` in one go.
    #[track_caller]
    pub fn ip(&self, lines: &str) {
        host::run_with_input(Command::new("ip").args(["-n", &self.name, "-batch", "-"]), lines);
    }

    /// Loads an nftables ruleset.
    #[track_caller]
    pub fn nft(&self, ruleset: &str) {
        host::run_with_input(self.command("nft").args(["-f", "-"]), ruleset);
    }

    /// Sets a sysctl below `net.`, by its dotted name.
    #[track_caller]
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        self.run(|| fs::write(&path, value)).unwrap_or_else(|e| panic!("{name} = {value}: {e}"));
    }

    /// Reads a sysctl, without its line end.
    #[track_caller]
    #[must_use]
    pub fn read_sysctl(&self, name: &str) -> String {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        let text = self.run(|| fs::read_to_string(&path)).unwrap_or_else(|e| panic!("{name}: {e}"));
        text.trim_end().to_owned()
    }

    /// Whether a TCP socket listens on `port`, on any address of either family.
    #[must_use]
    pub fn listens(&self, port: u16) -> bool {
        // Columns: slot, local address:port, remote address:port, state 0A for LISTEN.
        let wanted = format!(":{port:04X}");
        let listens = |line: &str| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().is_some_and(|local| local.ends_with(&wanted));
            local && fields.nth(1) == Some("0A")
        };
        let tables = ["tcp", "tcp6"].map(|table| format!("/proc/thread-self/net/{table}"));
        self.run(|| {
            tables.iter().filter_map(|table| fs::read_to_string(table).ok()).any(|t| t.lines().any(listens))
        })
    }

    /// Writes a device's attribute, by its path below `/sys/class/net`.
    ///
    /// The namespace's devices show only in a sysfs mounted from within.
    #[track_caller]
    pub fn write_device(&self, attribute: &str, value: &str) {
        let script = "mount -t sysfs sysfs /sys && printf %s \"$1\" > \"/sys/class/net/$0\"";
        self.output("unshare", &["--mount", "sh", "-c", script, attribute, value]);
    }

    /// Reads a device's attribute, by its path below `/sys/class/net`.
    #[track_caller]
    #[must_use]
    pub fn read_device(&self, attribute: &str) -> String {
        let script = "mount -t sysfs sysfs /sys && cat \"/sys/class/net/$0\"";
        self.output("unshare", &["--mount", "sh", "-c", script, attribute]).trim_end().to_owned()
    }

    /// Polls a device by a kernel thread: frames sent in a row meet the receiver in one batch.
    ///
    /// A veth has a NAPI only with an XDP program or GRO, so GRO is turned on.
    #[track_caller]
    pub fn threaded_napi(&self, device: &str, on: bool) {
        self.output("ethtool", &["-K", device, "gro", "on"]);
        self.write_device(&format!("{device}/threaded"), if on { "1" } else { "0" });
    }

    /// Spreads what a device's first queue receives over the CPUs of a hexadecimal mask.
    #[track_caller]
    pub fn receive_packet_steering(&self, device: &str, cpu_mask: &str) {
        self.write_device(&format!("{device}/queues/rx-0/rps_cpus"), cpu_mask);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(e) = delete(&self.name) {
            eprintln!("deleting the namespace {}: {e}", self.name);
        }
    }
}

fn delete(name: &str) -> io::Result<()> {
    let status = Command::new("ip").args(["netns", "delete", name]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

/// Deletes the namespaces of test processes that ended without doing so.
fn remove_orphans() {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return;
    };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let Some(pid) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists()
            && let Err(e) = delete(&name)
        {
            // Another test process may have been quicker.
            eprintln!("removing the orphaned namespace {name}: {e}");
        }
    }
}
