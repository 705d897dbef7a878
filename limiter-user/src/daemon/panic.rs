//! Panic: everything detached, and so until `resume`, restarts included.
//!
//! The mark in the state directory is what counts, not what this daemon
//! remembers: `limiterctl` makes and removes it by itself where no daemon
//! answers, so it is looked at every second and before anything is attached.

use crate::{
    chain::chain,
    clock::{Now, utc},
    control::{
        error::{Kind, RequestError},
        protocol::{PanicRequest, PanicState},
    },
    dataplane::{Fallback, First},
    recorder::EventKind,
    state::{Panic, marker},
};

use super::{Daemon, recount::Recounts, state::ChangeError, tick::IDLE_S};

/// A panic, as the daemon knows it.
#[derive(Clone, Debug)]
pub struct Panicked {
    /// Since when, by whom and why.
    pub(super) panic: Panic,
    /// Whether it is on disk, so that its going from there means something.
    is_marked: bool,
}

impl Panicked {
    /// Returns the panic that a mark on disk tells of.
    #[must_use]
    pub fn marked(panic: Panic) -> Self {
        Self { panic, is_marked: true }
    }
}

impl Daemon {
    /// Detaches everything, at once and until `resume`.
    ///
    /// # Errors
    ///
    /// When something stays attached; the mark is made all the same.
    pub fn panic(&mut self, request: &PanicRequest, who: &str, now: Now) -> Result<PanicState, RequestError> {
        let panic = Panic { since_s: now.unix_s(), who: who.to_owned(), note: request.note.clone() };
        // First the mark: a daemon that dies right here must not be followed by one that attaches.
        let marked = self.lasting.store.as_ref().map_or(Ok(()), |store| store.keep_panic(&panic));
        let not_saved = marked.err().map(|error| chain(&error));
        tracing::error!(who, note = request.note, "panic: detaching everything");
        self.events.note(
            EventKind::Panic,
            None,
            format!("panic by {who}: everything is detached ({})", request.note),
        );
        self.panicked = Some(Panicked { panic, is_marked: not_saved.is_none() });
        let detached = self.dataplane.detach();
        detached.map_err(|error| {
            let remedy = "`limiterd --config FILE --cleanup` removes the rest once limiterd is stopped";
            RequestError::new(Kind::Rejected, chain(&error), remedy)
        })?;
        Ok(PanicState { is_panic: true, not_saved, done: vec!["everything is detached".to_owned()] })
    }

    /// Attaches everything again, counting from the connections there are.
    ///
    /// # Errors
    ///
    /// When there is no panic, or attaching fails; then it goes on.
    pub fn resume(&mut self, who: &str, now: Now) -> Result<PanicState, RequestError> {
        if self.panicked.is_none() {
            return Err(RequestError::new(
                Kind::NotFound,
                "there is no panic",
                "`limiterctl status` shows what is attached",
            ));
        }
        self.attach_again(now).map_err(|error| {
            let remedy = "everything stays detached; `limiterctl status` shows what is in the way";
            RequestError::new(Kind::Rejected, chain(&error), remedy)
        })?;
        tracing::warn!(who, "the panic is over: everything is attached again");
        self.events.note(EventKind::Panic, None, format!("resumed by {who}: everything is attached again"));
        let unmarked = self.lasting.store.as_ref().map_or(Ok(()), crate::state::Store::end_panic);
        let not_saved = unmarked.err().map(|error| chain(&error));
        Ok(PanicState { is_panic: false, not_saved, done: vec!["everything is attached again".to_owned()] })
    }

    fn attach_again(&mut self, now: Now) -> Result<(), ChangeError> {
        let trial = self.trial.clone();
        let mut ids = self.ids.clone();
        let before = trial.as_ref().map(|trial| trial.policy(&self.intent, &mut ids, now, self.revision()));
        let before = trial.as_ref().zip(before.transpose()?);
        let fallback = before.as_ref().map(|(trial, policy)| Fallback { policy, at_ns: trial.until_ns });
        let (config, local) = (&self.intent.config, self.intent.local.as_slice());
        self.dataplane.attach(&First { config, policy: &self.compiled, fallback, local })?;
        self.panicked = None;
        let known = self.dataplane.recount(IDLE_S).unwrap_or_default();
        self.recounts = Recounts::begun(&known, now);
        Ok(())
    }

    /// Looks whether somebody made or removed the mark without asking this daemon.
    pub(super) fn look_at_panic(&mut self, now: Now) {
        let Some(store) = &self.lasting.store else { return };
        match (marker::read(store.directory()), &self.panicked) {
            (Some(panic), None) => {
                tracing::error!(who = panic.who, "panic: detaching everything");
                self.events.note(
                    EventKind::Panic,
                    None,
                    format!("panic by {}: everything is detached", panic.who),
                );
                self.panicked = Some(Panicked::marked(panic));
                let detached = self.dataplane.detach();
                self.faults.note("detaching in a panic", detached);
            }
            (None, Some(Panicked { is_marked: true, .. })) => {
                let attached = self.attach_again(now);
                if self.faults.note("end of a panic", attached).is_some() {
                    tracing::warn!("the panic is over: everything is attached again");
                    self.events.note(
                        EventKind::Panic,
                        None,
                        "resumed without limiterd: everything is attached again",
                    );
                }
            }
            _ => {}
        }
    }

    /// Returns what an operator has to know of a panic.
    pub(super) fn panic_finding(&self) -> Option<String> {
        let Panic { since_s, who, note } = &self.panicked.as_ref()?.panic;
        let since = if *since_s == 0 { "some time ago".to_owned() } else { utc(*since_s) };
        let note = if note.is_empty() { String::new() } else { format!(" (\"{note}\")") };
        Some(format!(
            "panic since {since} by {who}{note}: everything is detached and nobody is limited; \
             `limiterctl resume` attaches it again"
        ))
    }
}
