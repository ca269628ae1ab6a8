//! `await`: waits for a condition instead of a fixed time.

use super::Interpreter;
use super::tables::Contents;
use crate::language::Condition;
use crate::outcome::Failure;
use common::fabric::timeout;
use common::types::{LEASE_RECORD, RecordVersion};
use std::time::Duration;

/// The pause between two comparisons of all replicas; doubled up to the maximum, since each reads everything.
const COMPARE_PAUSE: Duration = Duration::from_millis(25);
const COMPARE_PAUSE_MAX: Duration = Duration::from_millis(500);

impl Interpreter {
    pub(super) async fn wait_for(
        &self,
        condition: Condition,
        limit: Option<Duration>,
    ) -> Result<(), Failure> {
        let limit = limit.unwrap_or_else(|| self.cluster.settings().patience());
        let mut missing = String::new();
        let waiting = async {
            match condition {
                Condition::Ready => self.cluster.all_ready().await,
                Condition::Runs => {
                    self.runs.all_ended().await;
                    Ok(())
                }
                Condition::Converged => self.converged(&mut missing).await,
            }
        };
        if let Some(result) = timeout(&*self.cluster.fabric, limit, waiting).await {
            return result;
        }
        let why = match condition {
            Condition::Ready => "not all nodes are ready".to_owned(),
            Condition::Runs => format!("{} runs are outstanding", self.runs.outstanding()),
            Condition::Converged if missing.is_empty() => {
                "the replicas were not compared".to_owned()
            }
            Condition::Converged => missing,
        };
        Err(Failure::new(format!(
            "{why} after {} ms",
            limit.as_millis()
        )))
    }

    /// `difference` says what was not as it should be at the last comparison. Nodes that do not answer and are taken for
    /// dead by the others do not count.
    async fn converged(&self, difference: &mut String) -> Result<(), Failure> {
        let mut pause = COMPARE_PAUSE;
        let client = self.cluster.storage().await?;
        loop {
            let given_up = self.given_up().await?;
            let all = self.all_contents(&given_up).await?;
            let replicas_of = |key: &str| -> Vec<&str> {
                let replicas = client.placement().replicas_of(key).iter();
                replicas
                    .filter_map(|replica| client.ring().node(*replica))
                    .map(|node| node.name.as_str())
                    .collect()
            };
            let differing = first_difference(&all.known, replicas_of);
            *difference = match (all.silent.first(), differing) {
                (Some((name, why)), _) => format!("node `{name}` does not answer ({why})"),
                (None, Some(key)) => format!("the replicas differ in record `{key}`"),
                (None, None) => return Ok(()),
            };
            self.cluster.fabric.sleep(pause).await;
            pause = (pause * 2).min(COMPARE_PAUSE_MAX);
        }
    }
}

/// The first record whose living replicas do not hold the same versions. The lease changes every second.
fn first_difference<'a>(
    all: &[(String, Contents)],
    replicas_of: impl Fn(&str) -> Vec<&'a str>,
) -> Option<String> {
    let keys = all.iter().flat_map(|(_, contents)| contents.keys());
    keys.filter(|key| *key != LEASE_RECORD)
        .find(|key| {
            let replicas = replicas_of(key);
            let mut held = all
                .iter()
                .filter(|(name, _)| replicas.contains(&name.as_str()))
                .map(|(_, contents)| contents.get(*key).map(Vec::as_slice).unwrap_or_default());
            let first: &[RecordVersion] = held.next().unwrap_or_default();
            !held.all(|other| other == first)
        })
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::types::Version;

    fn holding(name: &str, records: &[(&str, u64)]) -> (String, Contents) {
        let version = |number| RecordVersion {
            version: Version::write(number, 1),
            value: None,
        };
        let contents = records
            .iter()
            .map(|(key, number)| ((*key).to_owned(), vec![version(*number)]));
        (name.to_owned(), contents.collect())
    }

    #[test]
    fn only_replicas_of_a_record_are_compared() {
        let all = [
            holding("s1", &[("a", 1)]),
            holding("s2", &[("a", 1)]),
            holding("s3", &[]),
        ];
        assert_eq!(first_difference(&all, |_| vec!["s1", "s2"]), None);
        assert_eq!(
            first_difference(&all, |_| vec!["s1", "s3"]),
            Some("a".to_owned())
        );
    }

    #[test]
    fn a_replica_that_is_not_there_is_not_compared() {
        let all = [holding("s1", &[("a", 1)])];
        assert_eq!(first_difference(&all, |_| vec!["s1", "s2"]), None);
    }

    #[test]
    fn an_older_version_is_a_difference() {
        let all = [holding("s1", &[("a", 1)]), holding("s2", &[("a", 2)])];
        assert_eq!(
            first_difference(&all, |_| vec!["s1", "s2"]),
            Some("a".to_owned())
        );
    }
}
