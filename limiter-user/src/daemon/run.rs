//! Sockets, signals, start and stop.
//!
//! Start: sockets first, so that a second daemon is refused before it touches
//! the packet path; then the policy; then the packet path; then whoever waits is
//! answered. Stop: the other way round.

use std::{io, net::SocketAddr, path::Path, time::Duration};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    clock::Now,
    config::Config,
    control::{
        access::{Access, AccessError},
        protocol::attached,
        server,
        socket::{ControlSocket, SocketError},
    },
    dataplane::{Attachment, Dataplane as _, DataplaneError, Opening},
    host::local_addresses,
    memory, metrics,
    policy::CompileError,
};

use super::{
    Boot, Daemon, Handle, Prepared, Stopped, changes, engine,
    monitor::{self, Monitor},
    notify::{self, State},
    privileges::give_up,
    reload::warn_about,
};

/// How often heartbeats go out and samples come in.
const BEAT: Duration = Duration::from_secs(1);
/// Beats between two looks at what may change without an event: a program taken off an interface.
const LOOK_BEATS: u64 = 5;
/// How long answers under way may take when the daemon stops.
const DRAIN: Duration = Duration::from_secs(2);

/// What the daemon is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Read the configuration anew.
    Reload,
    /// Stop in order.
    Stop,
}

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The control socket cannot be had.
    #[error("no control socket")]
    Socket(#[from] SocketError),
    /// The control socket has no rule of who may use it.
    #[error("cannot tell who may use the control socket")]
    Access(#[from] AccessError),
    /// Metrics cannot be served.
    #[error("cannot listen on {address} for metrics; choose another [runtime] metrics_listen")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The policy does not fit.
    #[error("the policy cannot be compiled")]
    Compile(#[from] CompileError),
    /// The packet path did not start.
    #[error("the packet path did not start")]
    Dataplane(#[from] DataplaneError),
    /// The thread that owns the packet path ended unasked.
    #[error("the thread of the packet path is gone; please report the panic above")]
    Lost,
    /// The system lacks something.
    #[error("cannot {step}")]
    System {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Returns SIGHUP, SIGTERM and SIGINT as they come.
///
/// # Errors
///
/// When the system does not hand them over.
pub fn signals() -> io::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(1);
    let kinds = [
        (SignalKind::hangup(), Signal::Reload),
        (SignalKind::terminate(), Signal::Stop),
        (SignalKind::interrupt(), Signal::Stop),
    ];
    for (kind, meaning) in kinds {
        let mut signal = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(
            async move { while signal.recv().await.is_some() && sender.send(meaning).await.is_ok() {} },
        );
    }
    Ok(receiver)
}

/// Runs the daemon until it is told to stop; `open` looks at the packet path that it starts
/// with a first policy and the host's own addresses, or goes on with.
///
/// # Errors
///
/// When it cannot start.
pub async fn run<O: Opening>(
    boot: Boot,
    open: impl FnOnce(&Config) -> Result<O, DataplaneError>,
    mut signals: mpsc::Receiver<Signal>,
) -> Result<(), RunError> {
    memory::keep_large_apart();
    let system = |step| move |source| RunError::System { step, source };
    let runtime = boot.config.runtime.clone();
    let access = Access::resolve(&runtime)?;
    let (socket, control) = ControlSocket::bind(&runtime.control_socket, &access)?;
    let address = runtime.metrics_listen;
    let scrapes = TcpListener::bind(address).await.map_err(|source| RunError::Metrics { address, source })?;
    warn_about(&boot.config);
    let local = local_addresses().map_err(system("list the addresses of this host"))?;
    let opening = open(&boot.config)?;
    let prepared = Prepared::boot(boot, opening.inherited(), local, Now::read())?;
    let dataplane = if prepared.is_panic() {
        tracing::error!("panic: nothing is attached until `limiterctl resume`");
        opening.detached()?
    } else {
        opening.start(&prepared.first())?
    };
    log_start(&dataplane.attachments(), &runtime.control_socket, address, prepared.compiled.policy.revision);
    let mut daemon = Daemon::new(Box::new(dataplane), prepared, Now::read());
    daemon.begin_watching(Now::read());
    // Before the first other thread, and after the last step that needs more.
    daemon.note_privileges(give_up());
    daemon.watch_conntrack();
    daemon.start_recorder();
    memory::give_back();
    let (handle, thread) = engine::start(daemon).map_err(system("start a thread"))?;

    let (stopping, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    servers.spawn(server::serve(control, access, handle.clone(), until(stopped.clone())));
    servers.spawn(metrics::serve(scrapes, handle.clone(), until(stopped.clone())));
    servers.spawn(changes::watch(handle.clone(), until(stopped.clone())));
    match Monitor::open() {
        Ok(monitor) => drop(servers.spawn(monitor::watch(monitor, handle.clone(), until(stopped)))),
        Err(error) => tracing::warn!(%error, "changes of the network are noticed only every few seconds"),
    }
    notify::tell(State::Ready);
    let ended = beat(&handle, &mut signals, runtime.recount_interval.as_secs()).await;
    notify::tell(State::Stopping);
    drop(socket);
    stopping.send_replace(true);
    let ended = match ended {
        Ok(()) => handle.ask(Daemon::stop).await,
        Err(stopped) => Err(stopped),
    };
    let drained = async { while servers.join_next().await.is_some() {} };
    if timeout(DRAIN, drained).await.is_err() {
        tracing::info!("some clients were still being answered");
    }
    if ended.is_err() || thread.join().is_err() {
        return Err(RunError::Lost);
    }
    Ok(())
}

/// Does what is due every second, until told to stop.
async fn beat(
    handle: &Handle,
    signals: &mut mpsc::Receiver<Signal>,
    recount_beats: u64,
) -> Result<(), Stopped> {
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count: u64 = 0;
    loop {
        tokio::select! {
            biased;
            signal = signals.recv() => match signal {
                Some(Signal::Reload) => {
                    notify::tell(State::Reloading);
                    // The outcome is logged where it is known, and shown by status.
                    let reload = |daemon: &mut Daemon, now| {
                        daemon.look_at_addresses(local_addresses(), now);
                        daemon.reload_by_signal(now);
                    };
                    handle.ask(reload).await?;
                    notify::tell(State::Ready);
                }
                Some(Signal::Stop) | None => return Ok(()),
            },
            _ = beats.tick() => {
                let (recount, look) =
                    (count.is_multiple_of(recount_beats), count.is_multiple_of(LOOK_BEATS));
                handle.ask(move |daemon, now| due(daemon, now, recount, look)).await?;
                // Only an engine that answers may keep the watchdog quiet.
                notify::tell(State::Alive);
                count += 1;
            }
        }
    }
}

fn due(daemon: &mut Daemon, now: Now, recount: bool, look: bool) {
    daemon.second(now);
    if look {
        daemon.look_at_network(local_addresses(), now);
        daemon.look_around(now);
    }
    if recount {
        daemon.recount(now);
        daemon.observe(now);
        daemon.compare_connections();
    }
}

/// Waits until `stopped` says so.
async fn until(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone has stopped too.
    drop(stopped.wait_for(|stopped| *stopped).await.map(|_| ()));
}

fn log_start(attachments: &[Attachment], socket: &Path, metrics: SocketAddr, revision: u32) {
    for Attachment { interface, mode, remark } in attachments {
        let remark = (!remark.is_empty()).then_some(remark);
        tracing::info!(interface, mode = attached(*mode), remark, "attached");
    }
    tracing::info!(version = crate::version::VERSION, revision, socket = %socket.display(), %metrics, "limiterd is up");
}
