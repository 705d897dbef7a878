//! Child processes of a test, by process id only.
//!
//! What a child prints goes to a file of its own, which is shown when the test
//! panics. A child is stopped when dropped, politely and then for certain.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::NamedTempFile;

use crate::wait;

/// How long a dropped process may take to stop by itself.
const DROP_TIME: Duration = Duration::from_secs(5);

/// A running child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    // Behind a lock so that a shared process can be asked whether it lives.
    child: Mutex<Child>,
    log: NamedTempFile,
}

impl Process {
    /// Starts `command`; both its outputs go to the log.
    #[must_use]
    #[track_caller]
    pub fn start(name: &str, command: &mut Command) -> Self {
        let log = NamedTempFile::new().expect("creating a log file");
        let output = || File::options().append(true).open(log.path()).expect("opening the log file");
        command.stdin(Stdio::null()).stdout(output()).stderr(output());
        let child = command.spawn().unwrap_or_else(|e| panic!("starting {name} ({command:?}): {e}"));
        Self { name: name.to_owned(), pid: child.id(), child: Mutex::new(child), log }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it printed so far, on both outputs.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log.path()).unwrap_or_default()).into_owned()
    }

    /// Waits until the log contains `text`; panics with the log if it never does.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str, deadline: Duration) {
        let found = wait::until_some(deadline, || {
            let dead = self.exit_status();
            let found = self.log().contains(text);
            (found || dead.is_some()).then_some(found)
        });
        assert_eq!(found, Some(true), "{} never said {text:?} in {deadline:?}:\n{}", self.name, self.log());
    }

    /// How it ended, or `None` while it runs.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().expect("nothing panics with the lock held");
        child.try_wait().unwrap_or_else(|e| panic!("asking for {}: {e}", self.name))
    }

    /// Waits until it ends; panics with its log if it does not.
    #[track_caller]
    pub fn wait_exit(&self, deadline: Duration) -> ExitStatus {
        let status = wait::until_some(deadline, || self.exit_status());
        status.unwrap_or_else(|| panic!("{} runs on after {deadline:?}:\n{}", self.name, self.log()))
    }

    /// Sends it a signal; nothing happens if it has ended.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        // The id is free for others only after the status was taken.
        if self.exit_status().is_none() {
            let pid = i32::try_from(self.pid).expect("process ids are positive");
            kill(Pid::from_raw(pid), signal).unwrap_or_else(|e| panic!("{signal} to {}: {e}", self.name));
        }
    }

    /// Stops it by SIGTERM and returns how it ended.
    #[track_caller]
    pub fn stop(&self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_exit(deadline)
    }

    /// Kills it by SIGKILL and waits until it is gone.
    #[track_caller]
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
        self.wait_exit(DROP_TIME);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- {} said:\n{}---", self.name, self.log());
        }
        self.signal(Signal::SIGTERM);
        if wait::until_some(DROP_TIME, || self.exit_status()).is_none() {
            self.signal(Signal::SIGKILL);
            let gone = wait::until_some(DROP_TIME, || self.exit_status());
            eprintln!("{} had to be killed: {:?}", self.name, gone.and_then(|status| status.signal()));
        }
    }
}
