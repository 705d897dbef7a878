//! Steps that fail at the moment: logged once, shown until they succeed.

use std::collections::BTreeMap;

use crate::{chain::chain, control::protocol::Health};

/// The step that records; the host works without it.
pub const RECORDER: &str = "recorder";
/// What was recorded before, and could not be gone on with.
pub const RECORDING: &str = "recording";
/// News that are kept for whoever asks. A choice: more than there are steps.
const NEWS_MAX: usize = 64;

/// What fails at the moment, by step.
#[derive(Debug, Default)]
pub struct Faults {
    standing: BTreeMap<&'static str, String>,
    news: Vec<String>,
}

impl Faults {
    /// Takes in the outcome of a step; a value if it succeeded.
    pub fn note<T, E: Into<anyhow::Error>>(
        &mut self,
        step: &'static str,
        outcome: Result<T, E>,
    ) -> Option<T> {
        match outcome {
            Ok(value) => {
                if self.standing.remove(step).is_some() {
                    tracing::info!(step, "works again");
                    self.tell(format!("{step} works again"));
                }
                Some(value)
            }
            Err(error) => {
                let error = chain(error.into().as_ref());
                if self.standing.insert(step, error.clone()).as_ref() != Some(&error) {
                    tracing::error!(step, error, "a step fails");
                    self.tell(format!("{step} fails: {error}"));
                }
                None
            }
        }
    }

    fn tell(&mut self, news: String) {
        if self.news.len() < NEWS_MAX {
            self.news.push(news);
        }
    }

    /// Returns what failed, or works again, since this was asked last.
    pub fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    /// Returns every standing fault: how bad it is, and a sentence.
    pub fn standing(&self) -> impl Iterator<Item = (Health, String)> {
        self.standing.iter().map(|(step, error)| {
            let health = match *step {
                RECORDER | RECORDING => Health::Degraded,
                _ => Health::Failing,
            };
            (health, format!("{step}: {error}"))
        })
    }

    /// Returns how many steps fail.
    #[must_use]
    pub fn count(&self) -> usize {
        self.standing.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fault stands until its step succeeds.
    #[test]
    fn faults_stand_until_the_step_succeeds() {
        let mut faults = Faults::default();
        assert_eq!(faults.note("recount", Err::<(), _>(std::io::Error::other("busy"))), None);
        assert_eq!(faults.standing().collect::<Vec<_>>(), [(Health::Failing, "recount: busy".to_owned())]);
        assert_eq!(faults.note("recount", Ok::<_, std::io::Error>(7)), Some(7));
        assert_eq!(faults.count(), 0);
        assert_eq!(faults.news(), ["recount fails: busy", "recount works again"]);
        assert_eq!(faults.news(), [""; 0], "news are told once");
    }
}
