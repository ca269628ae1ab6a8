//! The services of a storage node: protobuf requests to inputs of the core, and its replies back.

use common::proto::{self, Empty, NodeStatus, node, storage, update_if_response};
use common::status::{Kind, Status};
use common::types::{RecordId, RecordVersion, Ring, Wanted, record_id, required, update_id};
use tokio::sync::oneshot;

use crate::codec::{self, tasks, watch};
use crate::core::message::{Ask, Outcome, Update};
use crate::core::{Envelope, Input, Level, Refusal, Reply, Storage, Token};
use crate::limits::Limits;
use crate::refusal::refusal_status;
use crate::server::{Event, ServerHandle, View};
use crate::snapshot::Snapshots;
use common::node::Identity;

/// Records in one page of a listing.
const LIST_RECORDS_MAX: usize = 1_000;
/// Highest number that a write may have to exceed: with higher ones a record would run out of versions.
const ABOVE_NUMBER_MAX: u64 = u64::MAX / 2;
/// Longest wait of a read for a version.
const READ_WAIT_MS_MAX: u32 = 10_000;
/// Longest wait of a watcher for a change.
const WATCH_WAIT_MS_MAX: u32 = 10_000;

pub struct StorageService {
    pub server: ServerHandle,
    pub identity: Identity,
    pub snapshots: Snapshots,
    pub limits: Limits,
    pub gossip_delay_ms: u64,
}

fn no_ring() -> Status {
    Status::unavailable("this storage node is not a member of a ring yet")
}

impl StorageService {
    async fn request(
        &self,
        input: impl FnOnce(Token) -> Input + Send + 'static,
    ) -> Result<Reply, Status> {
        let reply = self.ask(input).await?;
        reply.ok_or_else(no_ring)?.map_err(refusal_status)
    }

    /// Absent: the node has no ring yet.
    async fn ask(
        &self,
        input: impl FnOnce(Token) -> Input + Send + 'static,
    ) -> Result<Option<Result<Reply, Refusal>>, Status> {
        let (answer, reply) = oneshot::channel();
        self.server
            .tell(Event::Request(Box::new(input), answer))
            .await?;
        Ok(reply.await.ok())
    }

    async fn read_linearizable(&self, read: Update) -> Result<proto::ReadResponse, Status> {
        let input = move |token| Input::UpdateIf {
            token,
            update: read,
        };
        match self.request(input).await? {
            Reply::Read(found) | Reply::Update(Outcome::Mismatch { found }) => {
                Ok(proto::ReadResponse {
                    found: Some(found.into()),
                })
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Storage, View) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let (answer, reply) = oneshot::channel();
        let query = Box::new(move |core: &Storage, view| drop(answer.send(query(core, view))));
        self.server.tell(Event::Query(query)).await?;
        reply.await.map_err(|_| no_ring())
    }
}

fn unexpected(reply: &Reply) -> Status {
    Status::internal(format!("the core answered another question: {reply:?}"))
}

impl storage::Service for StorageService {
    async fn read(&self, request: proto::ReadRequest) -> Result<proto::ReadResponse, Status> {
        let record = record_id(request.record)?;
        if let Some(id) = request.linearizable {
            let update = Update {
                id: update_id(Some(id))?,
                record,
                ask: Ask::Read,
                task: None,
            };
            return self.read_linearizable(update).await;
        }
        let wanted = match request.version {
            Some(version) => Wanted::Exactly(version.into()),
            None => Wanted::Newest {
                not_older: request.not_older.unwrap_or_default().into(),
            },
        };
        let wait_ms = request.wait_ms.min(READ_WAIT_MS_MAX).into();
        match self
            .request(move |token| Input::Read {
                token,
                record,
                wanted,
                wait_ms,
            })
            .await?
        {
            Reply::Read(found) => Ok(proto::ReadResponse {
                found: Some(found.into()),
            }),
            other => Err(unexpected(&other)),
        }
    }

    async fn write(&self, request: proto::WriteRequest) -> Result<proto::WriteResponse, Status> {
        self.limits.value(request.value.as_ref())?;
        let level = match request.level() {
            proto::Level::One | proto::Level::Unspecified => Level::One,
            proto::Level::Majority => Level::Majority,
            proto::Level::All => Level::All,
        };
        let (id, record) = (update_id(request.id)?, self.limits.record(request.record)?);
        let (value, above) = (request.value, request.above.unwrap_or_default());
        if above.number > ABOVE_NUMBER_MAX {
            return Err(Status::invalid(format!(
                "a version's number is at most {ABOVE_NUMBER_MAX}, not {}",
                above.number
            )));
        }
        let above = above.into();
        let task = tasks::task_mark(request.attempt, request.note)?;
        match self
            .request(move |token| Input::Write {
                token,
                id,
                record,
                value,
                level,
                above,
                task,
            })
            .await?
        {
            Reply::Written(version) => Ok(proto::WriteResponse {
                version: Some(version.into()),
            }),
            other => Err(unexpected(&other)),
        }
    }

    async fn update_if(
        &self,
        request: proto::UpdateIfRequest,
    ) -> Result<proto::UpdateIfResponse, Status> {
        let update = self.limits.update(codec::decode_update(request)?)?;
        let outcome = match self
            .request(move |token| Input::UpdateIf { token, update })
            .await?
        {
            Reply::Update(Outcome::Updated { made, .. }) => {
                update_if_response::Outcome::Updated(made.version.into())
            }
            Reply::Update(Outcome::Mismatch { found }) => {
                update_if_response::Outcome::Mismatch(found.into())
            }
            other => return Err(unexpected(&other)),
        };
        Ok(proto::UpdateIfResponse {
            outcome: Some(outcome),
        })
    }

    async fn history(
        &self,
        request: proto::HistoryRequest,
    ) -> Result<proto::HistoryResponse, Status> {
        let record = record_id(request.record)?;
        let input = move |token| Input::History { token, record };
        match self.request(input).await? {
            Reply::History {
                versions,
                truncated,
            } => Ok(proto::HistoryResponse {
                versions: versions.into_iter().map(Into::into).collect(),
                truncated,
            }),
            other => Err(unexpected(&other)),
        }
    }

    async fn list(&self, request: proto::ListRequest) -> Result<proto::ListResponse, Status> {
        let limit = match request.limit as usize {
            0 => LIST_RECORDS_MAX,
            limit => limit.min(LIST_RECORDS_MAX),
        };
        let after = request.after;
        let input = move |token| Input::List {
            token,
            after,
            limit,
        };
        match self.request(input).await? {
            Reply::List(page) => Ok(proto::ListResponse {
                records: page.records.into_iter().map(listed).collect(),
                more: page.more,
            }),
            other => Err(unexpected(&other)),
        }
    }

    async fn scan(&self, request: proto::ScanRequest) -> Result<proto::ScanResponse, Status> {
        let scan = watch::decode_scan(request)?;
        match self.request(|token| Input::Scan { token, scan }).await? {
            Reply::Scan(page) => Ok(watch::encode_scanned(page)),
            other => Err(unexpected(&other)),
        }
    }

    async fn watch(
        &self,
        request: proto::WatchRecordsRequest,
    ) -> Result<proto::WatchRecordsResponse, Status> {
        let wait_ms = request.wait_ms.min(WATCH_WAIT_MS_MAX).into();
        let watch = watch::decode_watch(request)?;
        match self
            .request(move |token| Input::Watch {
                token,
                watch,
                wait_ms,
            })
            .await?
        {
            Reply::Watch(news) => Ok(watch::encode_news(news)),
            other => Err(unexpected(&other)),
        }
    }

    async fn set_ring(
        &self,
        request: proto::SetRingRequest,
    ) -> Result<proto::SetRingResponse, Status> {
        let ring = required(request.ring, "ring")?;
        let ring = Ring::try_from(ring).map_err(|error| Status::invalid(error.to_string()))?;
        let (done, answer) = oneshot::channel();
        self.server
            .tell(Event::SetRing {
                ring,
                fresh: request.fresh,
                done,
            })
            .await?;
        answer
            .await
            .map_err(|_| Status::unavailable("the storage node is stopping"))??;
        Ok(proto::SetRingResponse {
            incarnation: self.identity.incarnation,
        })
    }

    async fn applied(&self, _: Empty) -> Result<proto::AppliedResponse, Status> {
        match self.query(|core, _| applied(core)).await {
            // A node without a ring drops the question.
            Err(status) if status == no_ring() => Ok(proto::AppliedResponse::default()),
            answer => answer,
        }
    }

    async fn take_snapshot(
        &self,
        request: proto::TakeSnapshotRequest,
    ) -> Result<proto::TakeSnapshotResponse, Status> {
        let at_least: Vec<_> = request
            .partitions
            .into_iter()
            .map(codec::decode_partition_timestamp)
            .collect();
        match self
            .request(move |token| Input::Snapshot { token, at_least })
            .await?
        {
            Reply::Snapshot(taken) => self.snapshots.hold(taken),
            other => Err(unexpected(&other)),
        }
    }

    async fn read_snapshot(
        &self,
        request: proto::ReadSnapshotRequest,
    ) -> Result<proto::ReadSnapshotResponse, Status> {
        self.snapshots.read(&request)
    }

    async fn restore(&self, request: proto::RestoreRequest) -> Result<Empty, Status> {
        let records = request.records.into_iter().map(codec::decode_copy);
        let records = records.collect::<Result<Vec<_>, Status>>()?;
        let only_check = request.only_check;
        match self
            .request(move |token| Input::Restore {
                token,
                records,
                only_check,
            })
            .await?
        {
            Reply::Restored => Ok(Empty {}),
            other => Err(unexpected(&other)),
        }
    }

    async fn certify_death(
        &self,
        request: proto::CertifyReplicaDeathRequest,
    ) -> Result<Empty, Status> {
        let certificate = move |token| Input::CertifyDeath {
            token: Some(token),
            replica: request.replica,
            incarnation: request.incarnation,
        };
        match self.ask(certificate).await? {
            // Who has no ring waits for nobody.
            None | Some(Ok(Reply::DeathNoted)) => Ok(Empty {}),
            Some(Ok(other)) => Err(unexpected(&other)),
            Some(Err(refusal)) => Err(refusal_status(refusal)),
        }
    }

    async fn fence(&self, request: proto::FenceRequest) -> Result<proto::FenceResponse, Status> {
        let fence = tasks::decode_fence(request)?;
        match self.request(|token| Input::Fence { token, fence }).await {
            Ok(Reply::Collected(collected)) => {
                Ok(tasks::encode_collected(collected, self.gossip_delay_ms))
            }
            Ok(other) => Err(unexpected(&other)),
            // Somebody is there who may know something.
            Err(status) if status.kind == Kind::Unavailable => {
                Err(Status::overloaded(status.message))
            }
            Err(status) => Err(status),
        }
    }

    async fn forget(&self, request: proto::ForgetRequest) -> Result<Empty, Status> {
        let range = tasks::decode_forgotten(request)?;
        match self.request(|token| Input::Forget { token, range }).await? {
            Reply::Forgotten => Ok(Empty {}),
            other => Err(unexpected(&other)),
        }
    }

    async fn peer(&self, message: proto::PeerMessage) -> Result<Empty, Status> {
        let envelope = Envelope {
            from: message.from,
            incarnation: message.incarnation,
            disk: message.disk,
            ring: message.ring,
            message: codec::decode(required(message.body, "body")?)?,
        };
        self.server.tell(Event::Peer(Box::new(envelope))).await?;
        Ok(Empty {})
    }
}

fn applied(core: &Storage) -> proto::AppliedResponse {
    let spreads = core.durable().spreads().iter();
    proto::AppliedResponse {
        ring: Some(core.ring().into()),
        timestamps: spreads
            .map(|(id, spread)| codec::encode_partition_timestamp((*id, spread.timestamp.clone())))
            .collect(),
        is_member: core.is_joined(),
    }
}

fn listed((record, versions): (RecordId, Vec<RecordVersion>)) -> proto::ListedRecord {
    proto::ListedRecord {
        record,
        versions: versions.into_iter().map(Into::into).collect(),
    }
}

impl node::Service for StorageService {
    async fn status(&self, _: Empty) -> Result<NodeStatus, Status> {
        match self.query(describe).await {
            Ok((details, peers)) => Ok(self.identity.status(details, peers)),
            Err(_) => Ok(self
                .identity
                .status(vec![("state", "waits for its ring".to_owned())], Vec::new())),
        }
    }

    async fn set_debug(&self, request: proto::SetDebugRequest) -> Result<Empty, Status> {
        self.identity.set_debug(&request)?;
        Ok(Empty {})
    }
}

fn state_of(core: &Storage) -> String {
    match core.read_only() {
        Some(reason) => format!("read-only: {reason}"),
        None if core.is_joined() => "member".to_owned(),
        None => "joining".to_owned(),
    }
}

fn describe(core: &Storage, view: View) -> (Vec<(&'static str, String)>, Vec<proto::PeerStatus>) {
    let details = vec![
        ("state", state_of(core)),
        ("records", core.record_count().to_string()),
        ("unspread", core.unspread_count().to_string()),
        ("undecided", core.undecided_count().to_string()),
        ("syncs", view.stats.syncs.to_string()),
        ("changes", view.stats.changes.to_string()),
        ("log_bytes", view.stats.log_bytes.to_string()),
    ];
    let ring = core.ring();
    let peers = core.members().iter().map(|(replica, member)| {
        let state = match () {
            () if member.certified_dead => "dead",
            () if member.is_suspected(view.now_ms) => "suspected",
            () if member.joining => "joining",
            () => "present",
        };
        let name = ring
            .node(replica)
            .map_or_else(|| replica.to_string(), |node| node.name.clone());
        proto::PeerStatus {
            name,
            state: state.to_owned(),
            silent_ms: member.silent_ms(view.now_ms),
        }
    });
    (details, peers.collect())
}
