//! The sources of a minute: of each service those with most connections open,
//! begun and refused. Addresses live here, and in no metric.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use limiter_common::{event::SourceRecord, map::SourceKey};

use crate::{config::SourceLengths, daemon::top::source_name, policy::Names};

/// Sources that are kept per service and measure. A choice: who is to blame is among the first ten.
const KEPT: usize = 10;

/// What a recount saw at the end of a minute.
#[derive(Clone, Debug)]
pub struct Minute {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Every source.
    pub sources: Vec<SourceRecord>,
    /// Names of the services.
    pub names: Names,
    /// What makes up a source.
    pub lengths: SourceLengths,
}

/// One source in one minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRow {
    /// The service.
    pub service: String,
    /// The source, as people write it.
    pub source: String,
    /// Connections open at the end of it.
    pub open: u32,
    /// Connections accepted in it.
    pub new: u32,
    /// Connections refused in it, or that would have been.
    pub refused: u32,
}

/// What every source had accepted and refused by the minute before.
#[derive(Debug, Default)]
pub struct Minutes {
    before: Option<HashMap<SourceKey, (u32, u32)>>,
}

impl Minutes {
    /// Returns the sources with most of something since the minute before; of the first minute only what is open.
    pub fn take(&mut self, minute: &Minute) -> Vec<SourceRow> {
        let mut by_service: BTreeMap<u32, Vec<(u32, u32, u32, &SourceRecord)>> = BTreeMap::new();
        for record in &minute.sources {
            let (new, refused) = self.since(record);
            let measures = (record.source.word.open(), new, refused, record);
            if measures.0 > 0 || new > 0 || refused > 0 {
                by_service.entry(record.key.service).or_default().push(measures);
            }
        }
        let counts = |record: &SourceRecord| (record.source.accepted, record.source.refused);
        self.before = Some(minute.sources.iter().map(|record| (record.key, counts(record))).collect());
        let mut rows = Vec::new();
        for (service, sources) in by_service {
            let service = minute.names.service(service);
            rows.extend(first(&sources).into_iter().map(|(open, new, refused, record)| SourceRow {
                service: service.to_owned(),
                source: source_name(record.key, minute.lengths),
                open,
                new,
                refused,
            }));
        }
        rows
    }

    fn since(&self, record: &SourceRecord) -> (u32, u32) {
        let (accepted, refused) = (record.source.accepted, record.source.refused);
        let Some(before) = &self.before else { return (0, 0) };
        match before.get(&record.key) {
            // An entry that was removed and made again counts from zero.
            Some(before) if before.0 <= accepted && before.1 <= refused => {
                (accepted - before.0, refused - before.1)
            }
            _ => (accepted, refused),
        }
    }
}

/// Returns the first [`KEPT`] by each measure, each once.
fn first<'a>(sources: &[(u32, u32, u32, &'a SourceRecord)]) -> Vec<(u32, u32, u32, &'a SourceRecord)> {
    let mut chosen = BTreeSet::new();
    for measure in [|s: &(u32, u32, u32, _)| s.0, |s: &(u32, u32, u32, _)| s.1, |s: &(u32, u32, u32, _)| s.2]
    {
        let mut order: Vec<usize> = (0..sources.len()).filter(|at| measure(&sources[*at]) > 0).collect();
        let key = |at: &usize| (Reverse(measure(&sources[*at])), sources[*at].3.key);
        if order.len() > KEPT {
            order.select_nth_unstable_by_key(KEPT, key);
            order.truncate(KEPT);
        }
        chosen.extend(order);
    }
    chosen.into_iter().map(|at| sources[at]).collect()
}
