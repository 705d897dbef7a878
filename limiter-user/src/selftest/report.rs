//! What comes out, for people and for scripts.

use serde::Serialize;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All was said.
    Ok,
    /// Something was not.
    Failed,
    /// It made no sense here.
    Skipped,
}

/// One dialogue.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What it is.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took_ms: u64,
    /// What was done; for what failed or was skipped, why, and what to look at.
    pub detail: String,
}

impl Step {
    /// Returns it in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let word = match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
        };
        format!("{word:<8} {:<36} {:>6} ms  {}\n", self.name, self.took_ms, self.detail)
    }
}

/// Packets that the kernel dropped.
#[derive(Clone, Debug, Serialize)]
pub struct Drops {
    /// The service.
    pub service: String,
    /// `in` or `out`.
    pub direction: String,
    /// The kernel's own reason.
    pub reason: String,
    /// How many.
    pub packets: u64,
}

impl Drops {
    pub(super) fn words(&self) -> String {
        format!("{} {} {} ({})", self.packets, self.service, self.direction, self.reason)
    }
}

/// The whole test.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether nothing failed.
    pub well: bool,
    /// How long it took.
    pub took_ms: u64,
    /// Every step, in order.
    pub steps: Vec<Step>,
    /// What `limiter_kernel_drops_total` grew by meanwhile; none where no daemon answered.
    pub kernel_drops: Option<Vec<Drops>>,
    /// What `limiter_established_drops_total` grew by meanwhile; none where no daemon answered.
    pub established_drops: Option<Vec<Drops>>,
    /// What conntrack's `invalid` grew by meanwhile; none without conntrack.
    pub conntrack_invalid: Option<u64>,
}

impl Report {
    /// Returns what follows the lines of the steps.
    #[must_use]
    pub fn summary(&self) -> String {
        let drops = |drops: &Option<Vec<Drops>>| match drops.as_deref() {
            None => "unknown, no daemon runs".to_owned(),
            Some([]) => "0".to_owned(),
            Some(drops) => drops.iter().map(Drops::words).collect::<Vec<_>>().join(", "),
        };
        let invalid = self.conntrack_invalid.map_or_else(|| "no conntrack".to_owned(), |n| n.to_string());
        let verdict = if self.well { "all well" } else { "something failed" };
        format!(
            "kernel drops meanwhile: {}\nof live connections: {}\nconntrack invalid: {invalid}\n{verdict}, in {} ms\n",
            drops(&self.kernel_drops),
            drops(&self.established_drops),
            self.took_ms
        )
    }
}
