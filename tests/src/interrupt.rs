//! Signals that ask a program of ours to end, for those that clean up first.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

/// Tells whether somebody wants the program to end.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes the signals that would end this process with everything left behind.
    ///
    /// By handlers: programs that are started would inherit a blocked signal.
    ///
    /// # Errors
    ///
    /// When the system does not hand them over.
    pub fn listen() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        drop(entered);
        let wanted = Self(Arc::default());
        let heard = wanted.clone();
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            });
            heard.0.store(true, Ordering::Relaxed);
        });
        Ok(wanted)
    }

    /// Fails once somebody has asked for the end.
    ///
    /// # Errors
    ///
    /// Then, with a sentence for people.
    pub fn check(&self) -> Result<(), String> {
        let wanted = self.0.load(Ordering::Relaxed);
        if wanted { Err("interrupted; nothing stays behind".to_owned()) } else { Ok(()) }
    }
}
