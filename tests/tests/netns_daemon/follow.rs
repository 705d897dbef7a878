//! `limiterctl top --follow`: in a pipe, as JSON and on a terminal, over the end of the daemon and back.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use limiter_tests::daemon::{DAEMON, Daemon, binary};
use limiter_tests::process::Process;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{SMTP, address, config, fill, greeter};

/// How soon what happens is on the screen, at an interval of a second.
const SHOW_TIME: Duration = Duration::from_secs(10);
/// How long `limiterctl` may take to end.
const END_TIME: Duration = Duration::from_secs(5);
/// A terminal with room for three sources.
const SIZE: Winsize = Winsize { ws_row: 8, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };

/// `limiterctl top --follow`, every second.
fn top(daemon: &Daemon<'_>, more: &[&str]) -> Command {
    let mut command = Command::new(binary("limiterctl"));
    command.arg("--socket").arg(daemon.socket()).args(["top", "--follow", "--interval", "1s"]).args(more);
    command
}

/// In a pipe one table follows the other, and errors are beside them; a daemon that is killed is waited for.
#[test]
fn top_goes_on_over_a_restart() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = greeter(&bed, SMTP);
    let mut daemon = Daemon::start(&bed.server, &config());
    let following = Process::start("limiterctl top", &mut top(&daemon, &[]));
    following.wait_for_log("0 of 0 sources", SHOW_TIME);
    let held = fill(bed.client());
    following.wait_for_log(&address(bed.client()), SHOW_TIME);
    daemon.kill();
    following.wait_for_log("; waiting for limiterd", SHOW_TIME);
    assert_eq!(following.exit_status(), None, "it waits");
    daemon.start_again();
    following.wait_for_log("limiterd answers again", SHOW_TIME);
    let tables = |log: &str| log.matches("sources by open\nSOURCE").count();
    let before = tables(&following.log());
    wait::until("tables come again", SHOW_TIME, || tables(&following.log()) > before);
    let log = following.log();
    assert_eq!(log.matches("waiting for limiterd").count(), 1, "it is said once: {log}");
    assert!(!log.contains('\x1b'), "nothing but text: {log}");
    following.signal(Signal::SIGINT);
    assert!(following.wait_exit(END_TIME).success(), "Ctrl-C is its end");
    drop(held);
}

/// As JSON each look is a line, with its time; whoever has read enough ends it.
#[test]
fn top_is_a_line_of_json_a_look() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = greeter(&bed, SMTP);
    let daemon = Daemon::start(&bed.server, &config());
    let held = fill(bed.client());
    let mut following =
        top(&daemon, &["--json", "--by", "open"]).stdout(Stdio::piped()).spawn().expect("limiterctl");
    let mut output = following.stdout.take().expect("a pipe");
    let mut text = String::new();
    while text.lines().count() < 3 {
        let mut bytes = [0; 4_096];
        let read = output.read(&mut bytes).expect("reading from a pipe");
        assert_ne!(read, 0, "it goes on: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    drop(output);
    let looks: Vec<Value> =
        text.lines().take(2).map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    for look in &looks {
        let source = &look["sources"][0];
        assert_eq!(json!([source["source"], source["open"]]), json!([address(bed.client()), 2]), "{look}");
    }
    assert!(looks[0]["at_ms"].as_u64() < looks[1]["at_ms"].as_u64(), "{looks:?}");
    let ended = wait::until_some(END_TIME, || following.try_wait().expect("waiting for a child"));
    assert!(ended.is_some_and(|status| status.success()), "nobody reads any more: {ended:?}");
    drop(held);
}

/// A program on a terminal, and what it has written there.
struct OnTerminal {
    child: Child,
    written: Arc<Mutex<String>>,
}

impl OnTerminal {
    fn start(mut command: Command) -> Self {
        let pty = openpty(&SIZE, None).expect("a terminal");
        let mut end = File::from(pty.master);
        let child = command.stdin(Stdio::null()).stdout(pty.slave).spawn().expect("starting a program");
        // The command holds the other end: without it reading ends with the program.
        drop(command);
        let written = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&written);
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(read @ 1..) = end.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..read]);
                into.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        Self { child, written }
    }

    fn written(&self) -> String {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        wait::until(&format!("the terminal shows {text:?}"), SHOW_TIME, || self.written().contains(text));
    }

    /// Sends a signal and waits for the end.
    #[track_caller]
    fn end(&mut self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are positive"));
        kill(pid, signal).expect("it runs");
        let ended = wait::until_some(END_TIME, || self.child.try_wait().expect("waiting for a child"));
        let ended = ended.expect("it ends");
        assert!(ended.success(), "{signal}: {ended}, by {:?}", ended.signal());
    }
}

/// On a terminal tables are drawn over each other, within its height, and the cursor is there again at the end;
/// that the daemon is gone is on the screen, above what was last seen.
#[test]
fn top_draws_on_a_terminal() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = greeter(&bed, SMTP);
    let mut daemon = Daemon::start(&bed.server, &config());
    let held = fill(bed.client());
    let mut command = top(&daemon, &[]);
    command.env_remove("NO_COLOR");
    let mut shown = OnTerminal::start(command);
    shown.wait_for(&address(bed.client()));
    let first = shown.written();
    assert!(first.starts_with("\x1b[?25l"), "the cursor is hidden: {first:?}");
    assert!(first.contains("\x1b[H") && first.contains("\x1b[1m") && first.contains("every 1s"), "{first:?}");
    daemon.kill();
    let last_seen = address(bed.client());
    // A terminal hands a screen on line by line.
    wait::until("what was last seen is below the word that it waits", SHOW_TIME, || {
        let written = shown.written();
        let last = written.rsplit("\x1b[H").next().expect("the last screen");
        last.split_once("; waiting for limiterd").is_some_and(|(_, below)| below.contains(&last_seen))
    });
    shown.end(Signal::SIGINT);
    wait::until("the cursor is back", SHOW_TIME, || shown.written().ends_with("\x1b[?7h\x1b[?25h"));
    daemon.start_again();

    let mut command = top(&daemon, &[]);
    command.env("NO_COLOR", "1");
    let mut plain = OnTerminal::start(command);
    plain.wait_for(&address(bed.client()));
    plain.end(Signal::SIGTERM);
    wait::until("the cursor is back", SHOW_TIME, || plain.written().ends_with("\x1b[?25h"));
    assert!(!plain.written().contains("\x1b[1m"), "no colours: {:?}", plain.written());
    drop(held);
}
