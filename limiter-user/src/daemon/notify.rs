//! What systemd is told; without systemd, nothing.

use sd_notify::NotifyState;

/// What the daemon is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It limits.
    Ready,
    /// It is reading its configuration anew.
    Reloading,
    /// It is stopping.
    Stopping,
    /// It is alive: feeds the watchdog.
    Alive,
}

/// Tells systemd.
pub fn tell(state: State) {
    let told = match state {
        State::Ready => sd_notify::notify(false, &[NotifyState::Ready]),
        State::Reloading => NotifyState::monotonic_usec_now()
            .and_then(|since| sd_notify::notify(false, &[NotifyState::Reloading, since])),
        State::Stopping => sd_notify::notify(false, &[NotifyState::Stopping]),
        State::Alive => sd_notify::notify(false, &[NotifyState::Watchdog]),
    };
    if let Err(error) = told {
        tracing::warn!(?state, %error, "systemd was not told");
    }
}
