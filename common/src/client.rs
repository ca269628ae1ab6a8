//! The storage client of workers and the puppetmaster: finds a record's replicas and redirects on failure.
//!
//! Promises: an operation ends by its deadline; it is repeated elsewhere only with the same update id; an error says
//! whether the operation may have taken effect ([`Kind::Timeout`]) or has not.
//!
//! One record is read and written here; [`scan`] and [`watch`] concern many. [`quorum`]: questions to all. [`journal`]: what tasks
//! did.  [`components`]: deployed operators.

pub mod components;
mod failure;
pub mod journal;
mod quorum;
pub mod scan;
pub mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use self::failure::{Failure, is_final};
use crate::fabric::FabricHandle;
use crate::placement::Placement;
use crate::proto::{self, Level, storage};
use crate::status::{Kind, Status};
use crate::types::{RecordVersion, ReplicaId, Ring, TaskMark, UpdateId, Version, Wanted, required};

/// A replica that failed is asked last for this long.
const AVOID_MS: u64 = 2_000;
/// Pause between rounds over all replicas; doubled up to the maximum, with jitter. Longer when a replica asks for it.
const BACKOFF_MS: u64 = 20;
const BACKOFF_MAX_MS: u64 = 500;
/// Longest wait for an answer that needs no other node, before another replica is asked.
const ANSWER_MS: u64 = 2_000;
/// Longest wait for an answer to which the replicas must agree, before another replica is asked with the same id.
const AGREEMENT_MS: u64 = 10_000;
/// How long a replica waits for a pinned version that has not reached it, from the second round on.
const PIN_WAIT_MS: u32 = 250;
/// A version that was seen but is at no replica for so long is lost, with the node that made it.
const FLOOR_WAIT_MS: u64 = 3_000;

/// Why a compare-and-swap did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// The value was another one; this is what was found (the null version: no record).
    #[error("the record is not as expected")]
    Mismatch(RecordVersion),
    #[error(transparent)]
    Failed(#[from] Status),
}

/// What an update compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Absent: the record does not exist.
    ValueIs(Option<Bytes>),
    /// The null version: the record was never written.
    VersionIs(Version),
}

/// The id of an update, and the task that makes it, if one does: then it is retained until it is forgotten explicitly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub id: UpdateId,
    pub task: Option<TaskMark>,
}

impl From<UpdateId> for Named {
    fn from(id: UpdateId) -> Self {
        Self { id, task: None }
    }
}

impl Named {
    /// As requests have them.
    fn parts(self) -> (UpdateId, u32, Bytes) {
        let (attempt, note) = self
            .task
            .map_or_else(Default::default, |task| (task.attempt, task.note));
        (self.id, attempt, note)
    }
}

/// Where an operation goes and how long it may take.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Only this replica is asked.
    pub only: Option<ReplicaId>,
    /// On the fabric's clock.
    pub deadline_ms: u64,
}

/// Cheap to clone; clones share what they know of failed replicas.
#[derive(Clone)]
pub struct StorageClient {
    fabric: FabricHandle,
    ring: Arc<Ring>,
    placement: Arc<Placement>,
    /// Rotates the replica set, so that clients spread over replicas.
    rotation: usize,
    failed_at_ms: Arc<Mutex<BTreeMap<ReplicaId, u64>>>,
}

impl StorageClient {
    pub fn new(fabric: FabricHandle, ring: Arc<Ring>, rotation: usize) -> Self {
        let placement = Arc::new(Placement::new(&ring));
        Self {
            fabric,
            ring,
            placement,
            rotation,
            failed_at_ms: Arc::default(),
        }
    }

    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// To any replica, for so long from now.
    pub fn within(&self, patience_ms: u64) -> Route {
        Route {
            only: None,
            deadline_ms: self.fabric.now_ms().saturating_add(patience_ms),
        }
    }

    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The version wanted, which is waited for. A record that does not exist is the null version.
    ///
    /// A version older than `not_older` is returned only when nothing newer was found for three seconds: the crash of
    /// the only node that held a write takes it along, and everything else goes on.
    pub async fn read(
        &self,
        record: &str,
        wanted: Wanted,
        route: Route,
    ) -> Result<RecordVersion, Status> {
        let floor = match wanted {
            Wanted::Newest { not_older } if !not_older.is_null() => not_older,
            _ => return self.read_wanted(record, wanted, route).await,
        };
        let wait_end_ms = self.fabric.now_ms() + FLOOR_WAIT_MS;
        let deadline_ms = route.deadline_ms.min(wait_end_ms);
        let patient = Route {
            deadline_ms,
            ..route
        };
        match self.read_wanted(record, wanted, patient).await {
            Err(status) if status.is_retryable() || status.kind == Kind::Timeout => {
                tracing::info!(record, %floor, %status, "a version that was seen is lost");
                self.read_wanted(record, Wanted::NEWEST, route).await
            }
            found => found,
        }
    }

    async fn read_wanted(
        &self,
        record: &str,
        wanted: Wanted,
        route: Route,
    ) -> Result<RecordVersion, Status> {
        let mut order = self.order(record, self.rotation, route);
        let origin = wanted.needs().replica;
        if let Some(place) = order.iter().position(|replica| *replica == origin) {
            // Whoever made the version has it for certain: second choice after the usual replica.
            let origin = order.remove(place);
            order.insert(order.len().min(1), origin);
        }
        let (version, not_older) = match wanted {
            Wanted::Exactly(version) => (Some(version.into()), None),
            Wanted::Newest { not_older } => (None, Some(not_older.into())),
        };
        let request = |round| {
            let request = proto::ReadRequest {
                record: record.to_owned(),
                version,
                not_older,
                wait_ms: if round == 0 { 0 } else { PIN_WAIT_MS },
                linearizable: None,
            };
            (request, ANSWER_MS)
        };
        let response = self
            .rounds(&order, route, request, async |client, request| {
                client.read(&request).await
            })
            .await?;
        Ok(required(response.found, "found")?.into())
    }

    /// The newest version as of a moment between question and answer: what was decided, or held by a majority, before
    /// the call is seen. Costs a round over a quorum of the replicas.
    pub async fn read_linearizable(
        &self,
        id: UpdateId,
        record: &str,
        route: Route,
    ) -> Result<RecordVersion, Status> {
        let request = proto::ReadRequest {
            record: record.to_owned(),
            linearizable: Some(id.into()),
            ..proto::ReadRequest::default()
        };
        let order = self.order(record, 0, route);
        let response = self
            .rounds(
                &order,
                route,
                |_| (request.clone(), AGREEMENT_MS),
                async |client, request| client.read(&request).await,
            )
            .await?;
        Ok(required(response.found, "found")?.into())
    }

    /// Writes `value` (absent: deletes the record) above the version `above`.
    pub async fn write(
        &self,
        named: impl Into<Named>,
        record: &str,
        value: Option<Bytes>,
        level: Level,
        above: Version,
        route: Route,
    ) -> Result<Version, Status> {
        let (id, attempt, note) = named.into().parts();
        let request = proto::WriteRequest {
            id: Some(id.into()),
            attempt,
            note,
            record: record.to_owned(),
            value,
            level: level.into(),
            above: Some(above.into()),
        };
        let patience_ms = if level == Level::One {
            ANSWER_MS
        } else {
            u64::MAX
        };
        let order = self.order(record, self.rotation, route);
        let response = self
            .rounds(
                &order,
                route,
                |_| (request.clone(), patience_ms),
                async |client, request| client.write(&request).await,
            )
            .await?;
        Ok(required(response.version, "version")?.into())
    }

    /// `updateIfValueIs` and `updateIfVersionIs`: compare-and-swap, once, however often it is repeated. Absent `new`:
    /// deletes the record.
    pub async fn update_if(
        &self,
        named: impl Into<Named>,
        record: &str,
        condition: Condition,
        new: Option<Bytes>,
        route: Route,
    ) -> Result<Version, UpdateError> {
        let (id, attempt, note) = named.into().parts();
        let (old, old_version) = match condition {
            Condition::ValueIs(old) => (old, None),
            Condition::VersionIs(version) => (None, Some(version.into())),
        };
        let request = proto::UpdateIfRequest {
            id: Some(id.into()),
            attempt,
            note,
            record: record.to_owned(),
            old,
            new,
            old_version,
        };
        // The first replica coordinates: asking it saves a hop.
        let order = self.order(record, 0, route);
        let response = self
            .rounds(
                &order,
                route,
                |_| (request.clone(), AGREEMENT_MS),
                async |client, request| client.update_if(&request).await,
            )
            .await?;
        match required(response.outcome, "outcome")? {
            proto::update_if_response::Outcome::Updated(version) => Ok(version.into()),
            proto::update_if_response::Outcome::Mismatch(found) => {
                Err(UpdateError::Mismatch(found.into()))
            }
        }
    }

    /// Every version of one record at one of its replicas, newest first; true when older ones were discarded.
    pub async fn history(
        &self,
        record: &str,
        route: Route,
    ) -> Result<(Vec<RecordVersion>, bool), Status> {
        let order = self.order(record, self.rotation, route);
        let request = proto::HistoryRequest {
            record: record.to_owned(),
        };
        let response = self
            .rounds(
                &order,
                route,
                |_| (request.clone(), ANSWER_MS),
                async |client, request| client.history(&request).await,
            )
            .await?;
        Ok((
            response.versions.into_iter().map(Into::into).collect(),
            response.truncated,
        ))
    }

    /// The replicas in the order in which to ask them: rotated, those that failed lately last.
    fn order(&self, record: &str, rotation: usize, route: Route) -> Vec<ReplicaId> {
        if let Some(only) = route.only {
            return vec![only];
        }
        let mut order = self.placement.replicas_of(record).to_vec();
        let length = order.len().max(1);
        order.rotate_left(rotation % length);
        self.failed_last(&mut order);
        order
    }

    /// Puts those last that failed lately, the latest at the end.
    fn failed_last(&self, order: &mut [ReplicaId]) {
        let now_ms = self.fabric.now_ms();
        let failed = self
            .failed_at_ms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let lately = |at: &&u64| now_ms < **at + AVOID_MS;
        order.sort_by_key(|replica| failed.get(replica).filter(lately).copied());
    }

    /// Asks one replica after the other, round after round, until one answers or the deadline passes. `request` gives
    /// the request of a round, from 0, and how many milliseconds one replica may take.
    async fn rounds<Q, A>(
        &self,
        order: &[ReplicaId],
        route: Route,
        request: impl Fn(u32) -> (Q, u64),
        ask: impl AsyncFn(storage::Client, Q) -> Result<A, Status>,
    ) -> Result<A, Status> {
        let mut backoff_ms = BACKOFF_MS;
        let mut failure = Failure::default();
        for round in 0.. {
            for replica in order {
                let (request, patience_ms) = request(round);
                let left_ms = route.deadline_ms.saturating_sub(self.fabric.now_ms());
                if left_ms == 0 {
                    return Err(failure.status());
                }
                let timeout = Duration::from_millis(left_ms.min(patience_ms));
                match ask(self.peer(*replica, timeout)?, request).await {
                    Ok(answer) => {
                        self.note(*replica, false);
                        return Ok(answer);
                    }
                    Err(status) if is_final(&status) => return Err(status),
                    Err(status) => {
                        self.note(
                            *replica,
                            matches!(status.kind, Kind::Unavailable | Kind::Timeout),
                        );
                        failure.add(status);
                    }
                }
            }
            if let Some(refusal) = failure.refusal.take() {
                return Err(refusal);
            }
            let left_ms = route.deadline_ms.saturating_sub(self.fabric.now_ms());
            let pause_ms = backoff_ms.max(failure.retry_after_ms.take().unwrap_or(0));
            self.pause(pause_ms, left_ms).await;
            backoff_ms = (backoff_ms * 2).min(BACKOFF_MAX_MS);
        }
        Err(failure.status())
    }

    /// Waits for this long and as much again at most, as chance has it, but not beyond what is left.
    async fn pause(&self, pause_ms: u64, left_ms: u64) {
        let jitter_ms = self.fabric.random() % pause_ms.max(1);
        let pause_ms = pause_ms.saturating_add(jitter_ms).min(left_ms);
        self.fabric.sleep(Duration::from_millis(pause_ms)).await;
    }

    fn peer(&self, replica: ReplicaId, timeout: Duration) -> Result<storage::Client, Status> {
        let node = self.ring.node(replica).ok_or_else(|| {
            Status::not_found(format!(
                "the ring has no storage node with replica id {replica}"
            ))
        })?;
        Ok(storage::Client::new(
            self.fabric.clone(),
            node.address.clone(),
            timeout,
        ))
    }

    fn note(&self, replica: ReplicaId, failed: bool) {
        let mut failures = self
            .failed_at_ms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if failed {
            failures.insert(replica, self.fabric.now_ms());
        } else {
            failures.remove(&replica);
        }
    }
}
