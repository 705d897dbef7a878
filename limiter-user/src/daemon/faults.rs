//! Steps that fail at the moment: logged once, shown until they succeed.

use std::collections::BTreeMap;

use crate::chain::chain;

/// What fails at the moment, by step.
#[derive(Debug, Default)]
pub struct Faults {
    standing: BTreeMap<&'static str, String>,
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
                }
                Some(value)
            }
            Err(error) => {
                let error = chain(error.into().as_ref());
                if self.standing.insert(step, error.clone()).as_ref() != Some(&error) {
                    tracing::error!(step, error, "a step fails");
                }
                None
            }
        }
    }

    /// Returns every standing fault, a sentence each.
    pub fn sentences(&self) -> impl Iterator<Item = String> {
        self.standing.iter().map(|(step, error)| format!("{step}: {error}"))
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
        assert_eq!(faults.sentences().collect::<Vec<_>>(), ["recount: busy"]);
        assert_eq!(faults.note("recount", Ok::<_, std::io::Error>(7)), Some(7));
        assert_eq!(faults.count(), 0);
    }
}
