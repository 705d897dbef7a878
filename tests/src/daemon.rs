//! The real `limiterd`, inside the server's namespace of a bed.
//!
//! State, pins and the control socket are this daemon's own, and its metrics
//! are on the namespace's loopback: tests may run in parallel. What it pinned
//! goes when the fixture is dropped; what a killed test run left behind is
//! removed by the next one. A stopped or killed daemon can be started again
//! over what it left.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitStatus, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use limiter_common::names;
use serde_json::Value;
use tempfile::TempDir;

use crate::host::Requirement;
use crate::map_memory;
use crate::metrics::{self, Sample};
use crate::netns::Namespace;
use crate::process::Process;
use crate::wait;

/// What the daemon needs of the machine, beyond what a bed needs.
pub const DAEMON: &[Requirement] = &[
    Requirement::Root,
    Requirement::Cgroup2,
    Requirement::Path("/sys/kernel/btf/vmlinux"),
    Requirement::Path(BPFFS),
    Requirement::Kernel((5, 11), "storage on sockets in tracing programs"),
];

/// Where pins can be.
const BPFFS: &str = "/sys/fs/bpf";
/// Begins the name of every pin directory of ours; the process id follows.
const PREFIX: &str = "limiter-test-";
/// Where metrics are served, on the namespace's own loopback.
const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9590);
/// How long a daemon may take to load its programs, on a machine that is busy with other tests.
const START_TIME: Duration = Duration::from_secs(30);
/// How long a daemon may take to detach and end.
const STOP_TIME: Duration = Duration::from_secs(15);
/// How often the daemon recounts open connections.
const RECOUNT_TIME: Duration = Duration::from_secs(10);
/// The interval between recounts that the daemons of tests are given, in seconds.
pub const DAEMON_RECOUNT_S: u32 = 2;
/// How often its answer is looked at where it changes rarely.
const LOOK: Duration = Duration::from_millis(200);
/// How long an answer over HTTP may take.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A configuration that guards port 25 of the first client's link, as service `smtp`, in `enforce`.
#[must_use]
pub fn enforcing(attach: &str, connections_per_source: u32) -> String {
    format!(
        "mode = \"enforce\"\ninterfaces = [\"srv0\"]\nattach = \"{attach}\"\n\
         [[service]]\nname = \"smtp\"\nports = [25]\nrefuse_with = \"reset\"\n\
         connections_per_source = {connections_per_source}\n"
    )
}

/// A `limiterd` of our own; stopped, its pins removed, when dropped.
#[derive(Debug)]
pub struct Daemon<'a> {
    namespace: &'a Namespace,
    // Dropped before the directories: it stops while they are there.
    process: Option<Process>,
    pins: Pins,
    directory: TempDir,
    runtime: String,
    environment: Vec<(&'static str, &'static str)>,
}

/// A directory for pins; removed when dropped, with what is in it.
#[derive(Debug)]
struct Pins(PathBuf);

impl<'a> Daemon<'a> {
    /// Starts a daemon with this configuration, which has no `[runtime]`, and waits until it guards.
    #[must_use]
    #[track_caller]
    pub fn start(namespace: &'a Namespace, config: &str) -> Self {
        Self::start_with(namespace, config, "")
    }

    /// Starts a daemon with more lines in its `[runtime]`, such as `keep_on_exit = true`.
    #[must_use]
    #[track_caller]
    pub fn start_with(namespace: &'a Namespace, config: &str, runtime: &str) -> Self {
        let mut daemon = Self::prepare(namespace, config, runtime);
        daemon.start_again();
        daemon
    }

    /// Starts a daemon on which the kernel's TCX is lost: it guards by filters, as on kernels before 6.6.
    #[must_use]
    #[track_caller]
    pub fn start_without_tcx(namespace: &'a Namespace, config: &str) -> Self {
        let mut daemon = Self::prepare(namespace, config, "");
        daemon.environment.push(("LIMITER_TCX", "off"));
        daemon.start_again();
        daemon
    }

    fn prepare(namespace: &'a Namespace, config: &str, runtime: &str) -> Self {
        let directory = tempfile::tempdir().expect("creating a directory");
        let runtime = runtime.to_owned();
        let daemon =
            Self { namespace, process: None, pins: Pins::new(), directory, runtime, environment: Vec::new() };
        daemon.configure(config);
        daemon
    }

    /// Replaces the configuration; the daemon reads it at its next start or reload.
    #[track_caller]
    pub fn configure(&self, config: &str) {
        let state = self.directory.path().join("state");
        let (socket, extra) = (self.socket(), &self.runtime);
        let (state, pins, socket) = (state.display(), self.pins.0.display(), socket.display());
        let text = format!(
            "{config}\n[runtime]\nstate_dir = \"{state}\"\npin_dir = \"{pins}\"\ncontrol_socket = \"{socket}\"\n\
             metrics_listen = \"{METRICS}\"\nrecount_interval = \"{DAEMON_RECOUNT_S}s\"\n{extra}\n"
        );
        let path = self.config();
        fs::write(&path, text).unwrap_or_else(|e| panic!("writing {}: {e}", path.display()));
    }

    /// Starts the daemon anew, over what the one before left.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "one daemon at a time");
        let program = binary("limiterd");
        let mut command = self.namespace.command(&program.to_string_lossy());
        command.envs(self.environment.iter().copied());
        let process = Process::start("limiterd", command.arg("--config").arg(self.config()));
        let ready = wait::until_some(START_TIME, || {
            let dead = process.exit_status().is_some();
            let ready = !dead && self.try_get("/readyz").is_some_and(|(status, _)| status == 200);
            let ready = ready && UnixStream::connect(self.socket()).is_ok();
            (ready || dead).then_some(ready)
        });
        assert_eq!(ready, Some(true), "limiterd is not ready in {START_TIME:?}:\n{}", process.log());
        self.process = Some(process);
    }

    /// Stops the daemon by SIGTERM and returns how it ended.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.process.take().expect("the daemon runs").stop(STOP_TIME)
    }

    /// Kills the daemon by SIGKILL.
    #[track_caller]
    pub fn kill(&mut self) {
        self.process.take().expect("the daemon runs").kill();
    }

    /// Runs `limiterd --cleanup` with this daemon's configuration.
    #[track_caller]
    #[must_use]
    pub fn clean_up(&self) -> Output {
        let mut command = self.namespace.command(&binary("limiterd").to_string_lossy());
        command.arg("--config").arg(self.config()).arg("--cleanup");
        command.output().unwrap_or_else(|e| panic!("starting {command:?}: {e}"))
    }

    /// Runs a second `limiterd` on the same pins, from another namespace, until it ends.
    #[track_caller]
    #[must_use]
    pub fn try_elsewhere(&self, namespace: &Namespace, config: &str) -> Output {
        let directory = tempfile::tempdir().expect("creating a directory");
        let file = directory.path().join("limiter.toml");
        let (state, pins, socket) =
            (directory.path().join("state"), &self.pins.0, directory.path().join("limiterd.sock"));
        let text = format!(
            "{config}\n[runtime]\nstate_dir = \"{}\"\npin_dir = \"{}\"\ncontrol_socket = \"{}\"\n\
             metrics_listen = \"{METRICS}\"\n",
            state.display(),
            pins.display(),
            socket.display()
        );
        fs::write(&file, text).expect("writing a configuration");
        let mut command = namespace.command(&binary("limiterd").to_string_lossy());
        command.arg("--config").arg(&file);
        command.output().unwrap_or_else(|e| panic!("starting {command:?}: {e}"))
    }

    /// The running process: its log, its id, signals to it.
    #[track_caller]
    #[must_use]
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the daemon runs")
    }

    /// The network namespace it runs in.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        self.namespace
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("limiter.toml")
    }

    /// Its control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("limiterd.sock")
    }

    /// Its directory of pins.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins.0
    }

    /// The directory in it of pins of the layout that this version has.
    #[must_use]
    pub fn layout(&self) -> PathBuf {
        self.pins().join(format!("v{}", names::ABI_VERSION))
    }

    /// Runs `limiterctl` and returns how it ended and what it printed.
    #[track_caller]
    #[must_use]
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary("limiterctl"));
        command.arg("--socket").arg(self.socket()).args(arguments);
        command.output().unwrap_or_else(|e| panic!("starting {command:?}: {e}"))
    }

    /// Runs `limiterctl --json`, which must succeed, and returns its answer.
    #[track_caller]
    pub fn ctl_json(&self, arguments: &[&str]) -> Value {
        let output = self.ctl(&[&["--json"], arguments].concat());
        let (said, failed) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "limiterctl {arguments:?}: {}\n{said}{failed}", output.status);
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("limiterctl {arguments:?}: {e}\n{said}"))
    }

    /// Asks the daemon over HTTP, on the metrics port: status and body.
    #[track_caller]
    #[must_use]
    pub fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).unwrap_or_else(|| panic!("no answer to GET {path} at {METRICS}"))
    }

    /// Every sample of the metrics.
    #[track_caller]
    #[must_use]
    pub fn metrics(&self) -> Vec<Sample> {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "metrics are served:\n{text}");
        metrics::parse(&text)
    }

    /// The sum of the samples of a name that carry all of `labels`; 0 if there are none.
    #[track_caller]
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        metrics::sum(&self.metrics(), name, labels)
    }

    /// The sum of the samples of a name as a count.
    #[track_caller]
    #[must_use]
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        metrics::count(name, self.metric(name, labels))
    }

    /// How many open connections are charged to a service.
    #[track_caller]
    #[must_use]
    pub fn open(&self, service: &str) -> u64 {
        self.count("limiter_connections", &[("service", service)])
    }

    /// How many packets were refused for `reason`, at any point.
    #[track_caller]
    #[must_use]
    pub fn refused(&self, service: &str, reason: &str) -> u64 {
        let labels = [("service", service), ("verdict", "refuse"), ("reason", reason)];
        self.count("limiter_packets_total", &labels)
    }

    /// Panics unless the packet path had no doubt, and its counts are right.
    #[track_caller]
    pub fn assert_sound(&self) {
        let samples = self.metrics();
        for name in ["limiter_fail_open_total", "limiter_recount_drift_total"] {
            let wrong: Vec<_> = samples.iter().filter(|s| s.name == name && s.value != 0.0).collect();
            assert!(wrong.is_empty(), "there is neither doubt nor drift: {wrong:?}");
        }
        map_memory::assert_buckets_agree(self);
    }

    /// Waits until the daemon has recounted open connections by itself `times` more.
    #[track_caller]
    pub fn wait_recounts(&self, times: u32) {
        let (mut seen, mut age, mut look) = (0, f64::MAX, Instant::now());
        wait::until("open connections are recounted", RECOUNT_TIME * (times + 1), || {
            if Instant::now() < look {
                return false;
            }
            look += LOOK;
            let last = std::mem::replace(&mut age, self.metric("limiter_recount_age_seconds", &[]));
            seen += u32::from(age < last && last < f64::MAX);
            seen >= times
        });
    }

    /// Has open connections recounted `times` times at once: what `limiterctl top` shows is a recount of that moment.
    ///
    /// Three are enough for drift to show, and to be corrected.
    #[track_caller]
    pub fn recount(&self, times: u32) {
        for _ in 0..times {
            self.ctl_json(&["top"]);
        }
    }

    fn try_get(&self, path: &str) -> Option<(u16, String)> {
        self.namespace.run(|| ask(path))
    }
}

/// Asks the daemon of the calling thread's namespace over HTTP: status and body, if it answers.
pub(crate) fn ask(path: &str) -> Option<(u16, String)> {
    let answer = || {
        let mut stream = TcpStream::connect_timeout(&METRICS, ANSWER_TIME)?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        // Version 1.0: the body ends with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    let answer = answer().ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

impl Pins {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(remove_orphans);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(Path::new(BPFFS).join(format!("{PREFIX}{}-{n}", process::id())))
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if self.0.exists()
            && let Err(e) = fs::remove_dir_all(&self.0)
        {
            eprintln!("removing {}: {e}", self.0.display());
        }
    }
}

/// Removes the pins of test processes that ended without doing so: they go on limiting.
fn remove_orphans() {
    let Ok(entries) = fs::read_dir(BPFFS) else {
        return;
    };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            drop(Pins(Path::new(BPFFS).join(name)));
        }
    }
}

/// Where the release build of a program is: beside the profile that the caller was built in.
#[must_use]
#[track_caller]
pub fn binary(name: &str) -> PathBuf {
    let caller = env::current_exe().expect("a program knows where it is");
    // target/debug/deps/suite, or target/release/demo.
    let mut candidates = caller.ancestors().skip(2).map(|dir| dir.join("release").join(name));
    let found = candidates.find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no {name} beside {}: `cargo xtask build` makes it", caller.display()))
}
