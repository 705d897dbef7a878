//! The sources with most of something.

use std::{cmp::Reverse, collections::BTreeMap, net::IpAddr};

use limiter_common::{
    addr::{Addr, Family},
    event::SourceRecord,
    map::SourceKey,
};

use crate::{
    clock::Now,
    config::SourceLengths,
    control::{
        error::RequestError,
        protocol::{Top, TopBy, TopQuery, TopSource},
    },
};

use super::{Daemon, recount::class_of_living};

/// Sources shown where nobody says how many.
const SHOWN: usize = 20;
/// Sources shown at most. A choice: an answer of a few hundred KiB.
const SHOWN_MAX: usize = 1_000;

impl Daemon {
    /// Returns the sources with most of something, from a recount made for it.
    ///
    /// # Errors
    ///
    /// When there is no such service.
    pub fn top(&mut self, query: &TopQuery, now: Now) -> Result<Top, RequestError> {
        let service = match &query.service {
            Some(name) => self.ids.service(&self.intent.service(name)?.name),
            None => None,
        };
        self.recount(now);
        let silent = self.silent_by_source();
        let silent_of = |key: &SourceKey| silent.get(key).copied().unwrap_or(0);
        let mut found: Vec<(u32, &SourceRecord)> = self
            .recounts
            .sources()
            .iter()
            .filter(|record| service.is_none_or(|id| record.key.service == id))
            .map(|record| (self.measure(record, query.by, silent_of(&record.key)), record))
            .filter(|(most, _)| *most > 0)
            .collect();
        found.sort_by_key(|(most, record)| (Reverse(*most), record.key));
        let total = found.len();
        let shown = found.into_iter().take(query.limit.unwrap_or(SHOWN).min(SHOWN_MAX));
        let sources = shown
            .map(|(_, record)| TopSource { silent: silent_of(&record.key), ..self.top_source(record) })
            .collect();
        Ok(Top { sources, total, window_s: self.recounts.window_s(), at_ms: now.unix_ms })
    }

    /// Returns silent connections by whom they are charged to.
    fn silent_by_source(&self) -> BTreeMap<SourceKey, u32> {
        let mut silent = BTreeMap::new();
        for (service, address) in self.witness.silent_addresses() {
            let addr = self.compiled.policy.source_of(Addr::from(address));
            *silent.entry(SourceKey { addr, service }).or_default() += 1;
        }
        silent
    }

    fn measure(&self, record: &SourceRecord, by: TopBy, silent: u32) -> u32 {
        match by {
            TopBy::Open => record.source.word.open(),
            TopBy::New => self.recounts.since(record).0,
            TopBy::Refused => self.recounts.since(record).1,
            TopBy::Silent => silent,
        }
    }

    /// Returns a source as people see it, in the class that its connections are counted under.
    fn top_source(&self, record: &SourceRecord) -> TopSource {
        let key = record.key;
        let class = class_of_living(record).unwrap_or_else(|| {
            self.table.winner(IpAddr::from(key.addr), key.service).map_or(0, |rule| rule.class)
        });
        let limit = self.compiled.policy.limits_of(key.service, class).connections;
        let (new, refused) = self.recounts.since(record);
        TopSource {
            source: self.source_name(key),
            service: self.compiled.names.service(key.service).to_owned(),
            class: self.compiled.names.class(class).to_owned(),
            open: record.source.word.open(),
            limit: (limit > 0).then_some(limit),
            new,
            refused,
            silent: 0,
            accepted_total: record.source.accepted,
            refused_total: record.source.refused,
        }
    }

    /// Returns a source as people write it: an address where it is one, else a prefix.
    pub(super) fn source_name(&self, key: SourceKey) -> String {
        source_name(key, self.intent.config.source)
    }
}

/// Returns a source as people write it, given what makes one up.
pub(crate) fn source_name(key: SourceKey, lengths: SourceLengths) -> String {
    let address = IpAddr::from(key.addr);
    match key.addr.family() {
        Family::V4 if lengths.ipv4 < 32 => format!("{address}/{}", lengths.ipv4),
        Family::V6 if lengths.ipv6 < 128 => format!("{address}/{}", lengths.ipv6),
        _ => address.to_string(),
    }
}
