//! Ten kills under load, and what holds without a daemon.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use limiter_tests::client::{read_next, reset_on_close};
use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::netns::Namespace;
use limiter_tests::scene::{SMTP, address, connect, server};
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};

use super::{LIMIT, PATIENCE, assert_one_source_holds, config};

/// How often the daemon is killed, and how long the load lasts at least.
const KILLS: usize = 10;
const LOAD_TIME: Duration = Duration::from_secs(20);
/// Between two connects of a client.
const PACE: Duration = Duration::from_millis(2);
/// A refusal takes far less, and so does a greeting.
const CLIENT_TIME: Duration = Duration::from_secs(5);

/// Ends the load when it goes, in a failed test too.
struct Load<'a>(&'a AtomicBool);

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What became of connects made one after the other.
#[derive(Debug, Default)]
struct Tally {
    accepted: AtomicUsize,
    refused: AtomicUsize,
    otherwise: AtomicUsize,
}

impl Tally {
    /// Connects until told to stop; each connection is reset once its server has closed it, so that no two are open.
    fn keep_connecting(&self, namespace: &Namespace, server: SocketAddr, stop: &AtomicBool) {
        namespace.run(|| {
            while !stop.load(Ordering::Relaxed) {
                let counter = match TcpStream::connect_timeout(&server, CLIENT_TIME) {
                    Ok(stream) if is_closed_by_server(&stream) => &self.accepted,
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => &self.refused,
                    Ok(_) | Err(_) => &self.otherwise,
                };
                counter.fetch_add(1, Ordering::Relaxed);
                // A steady load, below what a CPU may send in resets.
                wait::until_some(PACE, || stop.load(Ordering::Relaxed).then_some(()));
            }
        });
    }

    fn read(&self) -> (usize, usize, usize) {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (read(&self.accepted), read(&self.refused), read(&self.otherwise))
    }
}

/// Waits for the server to close a connection, which then leaves nothing behind.
fn is_closed_by_server(stream: &TcpStream) -> bool {
    reset_on_close(stream);
    matches!(read_next(stream, CLIENT_TIME), Ok(0))
}

/// Accepts and closes at once.
fn close_at_once(listener: &TcpListener, stop: &AtomicBool) {
    listener.set_nonblocking(true).expect("a listener may be non-blocking");
    while !stop.load(Ordering::Relaxed) {
        wait::until_some(PATIENCE, || {
            (listener.accept().is_ok() || stop.load(Ordering::Relaxed)).then_some(())
        });
    }
}

/// I8: through ten kills in twenty seconds of connects the source at its limit gets in not once, the
/// good one always, and no counter goes backwards.
#[test]
fn ten_kills_under_load_leave_no_gap() {
    require!(host::BED, DAEMON);
    let bed = Bed::plan().clients(2).build();
    let [greedy, good] = bed.clients.as_slice() else { panic!("two clients") };
    let server = server(&bed);
    let to_good = SocketAddr::new(good.server_ipv4(), SMTP);
    let listener = bed.server.run(|| TcpListener::bind(to_good)).expect("the address is the server's");
    let mut daemon = Daemon::start(&bed.server, &config().replace("[\"srv0\"]", "[\"srv0\", \"srv1\"]"));
    let held = connect(&bed, LIMIT);
    assert_eq!(held.greeted(), LIMIT, "the source is at its limit");
    let (refusals, passes, stop) = (Tally::default(), Tally::default(), AtomicBool::new(false));
    let began = Instant::now();
    thread::scope(|scope| {
        let _load = Load(&stop);
        scope.spawn(|| close_at_once(&listener, &stop));
        scope.spawn(|| refusals.keep_connecting(&greedy.namespace, address(&bed), &stop));
        scope.spawn(|| passes.keep_connecting(&good.namespace, to_good, &stop));
        let mut counted = 0;
        for kill in 1..=KILLS {
            let before = (refusals.read().1, passes.read().0);
            // Refused and let in while nobody is there, too.
            daemon.kill();
            wait::until("clients go on without a daemon", PATIENCE, || {
                refusals.read().1 > before.0 + 20 && passes.read().0 > before.1 + 20
            });
            daemon.start_again();
            let now = daemon.count("limiter_packets_total", &[]);
            assert!(now >= counted, "kill {kill}: counters went from {counted} to {now}");
            counted = now;
        }
        wait::until("the load lasts", LOAD_TIME, || began.elapsed() >= LOAD_TIME);
    });
    let (over, refused, lost) = refusals.read();
    let (good_in, good_out, good_lost) = passes.read();
    eprintln!(
        "{KILLS} kills in {:.1?}: {refused} refused, {over} too many, {lost} otherwise; good: {good_in} in, {good_out} refused, {good_lost} otherwise",
        began.elapsed()
    );
    assert_eq!((over, lost, good_out, good_lost), (0, 0, 0, 0), "none too many, good ones all in");
    assert_eq!(server.most(), LIMIT, "the server never held more");
    assert_eq!(daemon.metric("limiter_fail_open_total", &[]).to_string(), "0");
    let counted = daemon.count("limiter_packets_total", &[("verdict", "refuse"), ("point", "syn")]);
    assert!(counted >= refused as u64, "every refusal is counted, whoever was there: {counted} of {refused}");
    // The last one of the good source may lie in its queue: that is an open connection, too.
    drop(listener);
    wait::until_eq("open connections", &(LIMIT as u64), PATIENCE, || daemon.open("smtp"));
    assert_one_source_holds(&daemon, LIMIT as u64);
}

/// Without a daemon for the configured time limits of one source only observe, while ceilings and
/// denied classes stay; a new daemon ends that.
#[test]
fn limits_of_one_source_observe_when_nobody_watches() {
    require!(host::BED, DAEMON);
    let bed = Bed::plan().clients(2).build();
    let [greedy, denied] = bed.clients.as_slice() else { panic!("two clients") };
    let server = server(&bed);
    let _other =
        limiter_tests::server::Server::greeting(&bed.server, SocketAddr::new(denied.server_ipv4(), SMTP));
    let config = format!(
        "{}connections_total = 20\n[[class]]\nname = \"abuser\"\nprefixes = [\"{}\"]\ndeny = true\n",
        config().replace("[\"srv0\"]", "[\"srv0\", \"srv1\"]"),
        denied.ipv4()
    );
    let mut daemon = Daemon::start_with(&bed.server, &config, "observe_after_daemon_loss = \"6s\"");
    let held = connect(&bed, LIMIT);
    assert_eq!((held.greeted(), connect(&bed, 1).refused()), (LIMIT, 1));
    daemon.kill();
    let mut first = None;
    wait::until("limits observe", 2 * PATIENCE, || {
        let burst = connect(&bed, 1);
        let is_in = burst.greeted() == 1;
        first = Some(burst);
        is_in
    });
    let more = connect(&bed, 12);
    assert_eq!((more.greeted(), server.held()), (7, 20), "up to the ceiling and not beyond");
    let try_denied = || {
        denied.namespace.run(|| TcpStream::connect_timeout(&(denied.server_ipv4(), SMTP).into(), CLIENT_TIME))
    };
    assert!(try_denied().is_err(), "who is denied stays so");
    server.close(7);
    server.wait_held(13, PATIENCE);
    daemon.start_again();
    assert_eq!(connect(&bed, 1).refused(), 1, "somebody watches again");
    assert!(greedy.ipv4() != denied.ipv4());
    drop((held, first, more));
}
