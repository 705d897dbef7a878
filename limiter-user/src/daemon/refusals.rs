//! Samples of refusals: the last ones are kept, those to come can be followed.

use std::{collections::VecDeque, net::IpAddr};

use limiter_common::{event::Sample, verdict::Verdict};
use tokio::sync::broadcast;

use crate::{clock::Now, control::protocol::Refusal, policy::Names};

use super::Daemon;

/// How many refusals are kept. A choice: at one per source in ten seconds, minutes of a bad day.
const KEPT: usize = 1_000;
/// How many a slow follower may lie behind until it loses some.
const BEHIND: usize = 1_024;

/// The refusals that were seen.
#[derive(Debug)]
pub struct Refusals {
    kept: VecDeque<Refusal>,
    followers: broadcast::Sender<Refusal>,
    seen: u64,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { kept: VecDeque::new(), followers: broadcast::Sender::new(BEHIND), seen: 0 }
    }
}

impl Refusals {
    /// Takes in a sample.
    pub fn take(&mut self, sample: &Sample, names: &Names, now: Now) {
        if let Some(refusal) = refusal(sample, names, now) {
            self.seen += 1;
            self.keep(refusal);
        }
    }

    /// Keeps one, our own or the kernel's, and shows it to whoever follows.
    pub fn keep(&mut self, refusal: Refusal) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(refusal.clone());
        // Nobody follows most of the time.
        drop(self.followers.send(refusal));
    }

    /// Returns those kept, oldest first.
    #[must_use]
    pub fn kept(&self) -> Vec<Refusal> {
        self.kept.iter().cloned().collect()
    }

    /// Returns those kept and a receiver of those to come, with none missing in between.
    #[must_use]
    pub fn follow(&self) -> (Vec<Refusal>, broadcast::Receiver<Refusal>) {
        (self.kept(), self.followers.subscribe())
    }

    /// Returns how many samples were taken in.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }
}

impl Daemon {
    /// Returns the refusals kept and a receiver of those to come.
    #[must_use]
    pub fn follow_refusals(&self) -> (Vec<Refusal>, broadcast::Receiver<Refusal>) {
        self.refusals.follow()
    }
}

/// Returns what a sample says, in names; `None` if its counter cell is unknown.
fn refusal(sample: &Sample, names: &Names, now: Now) -> Option<Refusal> {
    let (point, verdict) = Verdict::of_cell(sample.cell as usize)?;
    Some(Refusal {
        at_ms: now.unix_ms_of(sample.at_ns),
        address: IpAddr::from(sample.addr),
        port: u16::try_from(sample.port).ok()?,
        service: names.service(sample.service).to_owned(),
        class: names.class(sample.class).to_owned(),
        verdict: verdict.label().to_owned(),
        reason: verdict.reason_label().to_owned(),
        point: point.label().to_owned(),
        remote_port: None,
        direction: None,
        established: false,
    })
}

#[cfg(test)]
mod tests {
    use limiter_common::verdict::{Point, RefuseReason};

    use super::*;

    const NOW: Now = Now { monotonic_ns: 5_000_000_000, unix_ms: 1_700_000_000_000 };

    fn sample(port: u32) -> Sample {
        let verdict = Verdict::Refuse(RefuseReason::ConnectionsPerSource);
        let addr = IpAddr::from([192, 0, 2, 7]).into();
        let cell = u32::try_from(verdict.cell(Point::Gate)).unwrap();
        Sample { at_ns: 4_000_000_000, addr, service: 1, class: 0, cell, port }
    }

    fn names() -> Names {
        Names { services: vec!["none".into(), "smtp".into()], classes: vec!["default".into()] }
    }

    /// A follower misses nothing between what is kept and what comes.
    #[test]
    fn following_starts_where_keeping_ends() {
        let mut refusals = Refusals::default();
        refusals.take(&sample(25), &names(), NOW);
        let (kept, mut coming) = refusals.follow();
        refusals.take(&sample(465), &names(), NOW);
        assert_eq!(kept.len(), 1);
        assert_eq!((kept[0].at_ms, kept[0].service.as_str()), (1_699_999_999_000, "smtp"));
        assert_eq!((kept[0].reason.as_str(), kept[0].point.as_str()), ("connections_per_source", "gate"));
        assert_eq!(coming.try_recv().unwrap().port, 465);
    }

    /// The oldest make way.
    #[test]
    fn only_the_last_are_kept() {
        let mut refusals = Refusals::default();
        for port in 0..=1_000 {
            refusals.take(&sample(port), &names(), NOW);
        }
        assert_eq!((refusals.kept().len(), refusals.kept()[0].port), (KEPT, 1));
        assert_eq!(refusals.seen(), 1_001);
    }
}
