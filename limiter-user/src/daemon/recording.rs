//! What the flight recorder is given, and when.

use std::path::Path;

use crate::{
    clock::Now,
    recorder::{EventKind, Recorder, minute::Minute},
    version::VERSION,
};

use super::{Daemon, faults};

impl Daemon {
    /// Starts the recorder of a daemon that has a state directory.
    pub fn start_recorder(&mut self) {
        let Some(store) = &self.lasting.store else { return };
        let started = Recorder::start(store.directory(), self.intent.config.recorder);
        if let Some(recorder) = self.faults.note(faults::RECORDER, started) {
            self.events.record_with(recorder);
        }
        let revision = self.revision();
        self.events.note(
            EventKind::Start,
            None,
            format!("limiterd {VERSION} started, revision {revision} in force"),
        );
        let notices: Vec<String> = self.lasting.notices.iter().map(|notice| notice.text.clone()).collect();
        for text in notices {
            self.events.note(EventKind::Fault, None, text);
        }
        for attachment in self.dataplane.attachments() {
            let mode = crate::control::protocol::attached(attachment.mode);
            self.events.note(EventKind::Attach, None, format!("{}: {mode}", attachment.interface));
        }
        if let Some(finding) = self.panic_finding() {
            self.events.note(EventKind::Panic, None, finding);
        }
    }

    /// Returns where the recording is, if there is one.
    #[must_use]
    pub fn recording(&self) -> Option<&Path> {
        self.events.path()
    }

    /// Hands the recorder what is due, and notes how it is.
    pub(super) fn record(&mut self, now: Now) {
        for text in self.faults.news() {
            self.events.note(EventKind::Fault, None, text);
        }
        for happening in self.conntrack_happened() {
            self.events.note(EventKind::Conntrack, None, happening.what.sentence());
        }
        let settings = self.intent.config.recorder;
        let Some(recorder) = self.events.recorder() else { return };
        recorder.follow(settings);
        let (record, minute) = (recorder.is_record_due(now), recorder.is_minute_due(now));
        let (outcome, aside) = (recorder.outcome(), recorder.put_aside());
        self.faults.note(faults::RECORDER, outcome);
        self.faults.note(faults::RECORDING, aside);
        if record {
            self.record_counters(now);
        }
        if minute {
            self.record_sources(now);
        }
    }

    /// Hands the recorder what no later beat will: counters since the last record, and sources of the minute begun.
    ///
    /// Whoever asks why a daemon was stopped asks for the moments before.
    pub(super) fn record_last(&mut self, now: Now) {
        if self.intent.config.recorder.enabled && self.events.recorder().is_some() {
            self.recount(now);
            self.record_counters(now);
            self.record_sources(now);
        }
    }

    fn record_counters(&mut self, now: Now) {
        let snapshot = self.snapshot(now);
        if let Some(recorder) = self.events.recorder() {
            recorder.counters(snapshot);
        }
    }

    fn record_sources(&mut self, now: Now) {
        let minute = Minute {
            at_ms: now.unix_ms,
            sources: self.recounts.sources().to_vec(),
            names: self.compiled.names.clone(),
            lengths: self.intent.config.source,
        };
        if let Some(recorder) = self.events.recorder() {
            recorder.minute(minute);
        }
    }
}
