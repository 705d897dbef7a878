//! The thread that owns the daemon's state, and the handle to ask it with.

use std::{io, thread};

use tokio::sync::{mpsc, oneshot};

use crate::{clock::Now, memory};

use super::Daemon;

/// Requests that may wait. A choice: beyond it callers wait too, which is what slows them down.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&mut Daemon) + Send>;

/// The daemon has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct Stopped;

/// Asks the daemon's state.
#[derive(Clone, Debug)]
pub struct Handle {
    jobs: mpsc::Sender<Job>,
}

impl Handle {
    /// Runs a question on the state, with the time at which its turn came, and returns the answer.
    ///
    /// # Errors
    ///
    /// When the daemon has ended.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Daemon, Now) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let job = move |daemon: &mut Daemon| {
            // Whoever asked may have gone away; the question was answered all the same.
            drop(reply.send(question(daemon, Now::read())));
        };
        self.jobs.send(Box::new(job)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

/// Gives a daemon its thread; the thread ends when every handle is gone, or after [`Daemon::stop`].
///
/// # Errors
///
/// When the system has no thread left.
pub fn start(mut daemon: Daemon) -> io::Result<(Handle, thread::JoinHandle<()>)> {
    let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
    let thread = thread::Builder::new().name("dataplane".into()).spawn(move || {
        while let Some(job) = queue.blocking_recv() {
            job(&mut daemon);
            if daemon.is_stopped() {
                break;
            }
            // Whoever asked has the answer by now.
            if std::mem::take(&mut daemon.has_compiled) {
                memory::give_back();
            }
        }
    })?;
    Ok((Handle { jobs }, thread))
}
