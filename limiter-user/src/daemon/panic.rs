//! Panic: everything detached, and so until `resume`, restarts included.
//!
//! The mark in the state directory is what counts, not what this daemon
//! remembers: `limiterctl` makes and removes it by itself where no daemon
//! answers, so it is looked at every second and before anything is attached.

use std::time::Duration;

use crate::{
    chain::chain,
    clock::{Now, utc},
    control::{
        error::{Kind, RequestError},
        protocol::{PANIC_ANSWER_TIME, PanicRequest, PanicState},
    },
    dataplane::{Fallback, First},
    recorder::EventKind,
    state::{Panic, WriteError, marker},
};

use super::{Daemon, recount::Recounts, state::ChangeError, tick::IDLE_S};

/// A panic, as the daemon knows it.
#[derive(Clone, Debug)]
pub struct Panicked {
    /// Since when, by whom and why.
    pub(super) panic: Panic,
    /// Whether it is on disk, so that its going from there means something.
    is_marked: bool,
    /// Whether everything is detached, as far as is known: else it is tried again every second.
    is_detached: bool,
}

impl Panicked {
    /// Returns the panic that a mark on disk tells of.
    #[must_use]
    pub fn marked(panic: Panic) -> Self {
        Self { panic, is_marked: true, is_detached: true }
    }
}

/// Refuses what was sent so long ago that whoever sent it did it without this daemon.
fn in_time(sent_ms: Option<u64>, now: Now) -> Result<(), RequestError> {
    let late = sent_ms
        .is_some_and(|at_ms| Duration::from_millis(now.unix_ms.saturating_sub(at_ms)) >= PANIC_ANSWER_TIME);
    if !late {
        return Ok(());
    }
    let remedy = "`limiterctl status` shows how it is by now";
    Err(RequestError::new(Kind::Rejected, "limiterd did not answer in time and was passed by", remedy))
}

impl Daemon {
    /// Detaches everything, at once and until `resume`.
    ///
    /// # Errors
    ///
    /// When something stays attached; the mark is made all the same.
    pub fn panic(&mut self, request: &PanicRequest, who: &str, now: Now) -> Result<PanicState, RequestError> {
        in_time(request.sent_ms, now)?;
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
        self.ended_panic = None;
        let detached = self.dataplane.detach();
        let is_detached = detached.is_ok();
        self.panicked = Some(Panicked { panic, is_marked: not_saved.is_none(), is_detached });
        detached.map_err(|error| {
            let remedy = "it is tried again every second; `limiterd --config FILE --cleanup` removes the rest once \
                          limiterd is stopped";
            RequestError::new(Kind::Rejected, chain(&error), remedy)
        })?;
        Ok(PanicState { is_panic: true, not_saved, done: vec!["everything is detached".to_owned()] })
    }

    /// Attaches everything again, counting from the connections there are.
    ///
    /// # Errors
    ///
    /// When there is no panic, or attaching fails; then it goes on.
    pub fn resume(&mut self, sent_ms: Option<u64>, who: &str, now: Now) -> Result<PanicState, RequestError> {
        in_time(sent_ms, now)?;
        let panic = self.panicked.as_ref().map(|panicked| panicked.panic.clone());
        if panic.is_none() {
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
        // A mark that the disk does not give up is one of a panic that is over.
        self.ended_panic = panic.filter(|_| not_saved.is_some());
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
            (Some(panic), None) if self.ended_panic.as_ref() == Some(&panic) => {
                let unmarked = store.end_panic();
                self.forget_mark(unmarked);
            }
            // Somebody else removed it.
            (None, None) if self.ended_panic.is_some() => self.forget_mark(Ok(())),
            (Some(panic), None) => {
                tracing::error!(who = panic.who, "panic: detaching everything");
                self.events.note(
                    EventKind::Panic,
                    None,
                    format!("panic by {}: everything is detached", panic.who),
                );
                self.detach_in(Panicked::marked(panic));
            }
            (Some(_), Some(panicked)) if !panicked.is_detached => self.detach_in(panicked.clone()),
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

    /// Takes note of the removal of a mark whose panic is over.
    fn forget_mark(&mut self, unmarked: Result<(), WriteError>) {
        if self.faults.note("removing the mark of a panic that is over", unmarked).is_some() {
            self.ended_panic = None;
        }
    }

    fn detach_in(&mut self, panicked: Panicked) {
        let detached = self.dataplane.detach();
        let is_detached = self.faults.note("detaching in a panic", detached).is_some();
        self.panicked = Some(Panicked { is_detached, ..panicked });
    }

    /// Attaches again what somebody removed although there is no panic: a panic, and its end, that passed
    /// this daemon by while it hung.
    pub(super) fn look_at_links(&mut self, now: Now) {
        if self.panicked.is_some() || self.dataplane.is_whole() {
            return;
        }
        tracing::error!("somebody removed what was attached; attaching it again");
        self.events.note(EventKind::Panic, None, "somebody removed what was attached; it is attached again");
        let attached =
            self.dataplane.detach().map_err(ChangeError::from).and_then(|()| self.attach_again(now));
        self.faults.note("attaching what somebody removed", attached);
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
