//! Messages between storage nodes, from and to `proto`. What comes in is checked for its required parts and bounds.

pub mod disk;
mod record;
pub mod tasks;
pub mod watch;

use std::collections::BTreeMap;

use common::proto;
use common::proto::Empty;
use common::status::Status;
use common::types::{
    PartitionId, RecordId, RecordVersion, UpdateId, record_id, required, update_id, value_bounds,
};
use proto::peer_message::Body;

use self::record::{
    decode_accepted, decode_entry, decode_join, decode_log, decode_state, decode_timestamp,
    encode_entry,
};
pub use self::record::{decode_copy, encode_copy};
use self::tasks::{decode_fenced, encode_fenced};
use crate::core::message::{
    Accepted, Ask, Ballot, Digest, LogRecord, Message, PartitionDigest, PartitionGossip,
    RecordState, Scope, StatePage, StateRequest, Term, Update,
};
use crate::core::timestamp::Timestamp;

pub(crate) type Decoded<T> = Result<T, Status>;

pub fn encode(message: Message) -> Body {
    match message {
        Message::Heartbeat {
            gossip_delay_ms,
            joining,
            replaces,
            hash,
        } => Body::Heartbeat(proto::Heartbeat {
            gossip_delay_ms,
            joining,
            replaces,
            hash,
        }),
        Message::WrongDisk => Body::WrongDisk(Empty {}),
        Message::Digests(partitions) => {
            let partitions = partitions.into_iter().map(encode_digest).collect();
            Body::Digests(proto::Digests { partitions })
        }
        Message::Gossip(partitions) => {
            let partitions = partitions.into_iter().map(encode_gossip).collect();
            Body::Gossip(proto::Gossip { partitions })
        }
        Message::StateRequest(request) => Body::StateRequest(encode_state_request(request)),
        Message::State(page) => Body::State(encode_page(page)),
        Message::Submit { update, decided } => Body::Submit(proto::Submit {
            read: update.ask == Ask::Read,
            request: Some(encode_request(update)),
            decided,
        }),
        Message::ReadDone { record, id, found } => encode_read_done(record, id, found),
        Message::Prepare {
            record,
            term,
            digest,
            tasks,
        } => encode_prepare(record, term, digest, tasks),
        Message::Vote {
            record,
            term,
            accepted,
            digest,
            lacking,
            fenced,
        } => encode_vote(record, term, accepted, digest, lacking, fenced),
        Message::Commit {
            record,
            ballot,
            proposal,
            lacking,
        } => encode_commit(record, ballot, proposal, lacking),
        Message::Committed {
            record,
            ballot,
            slot,
        } => encode_committed(record, ballot, slot),
        Message::Decided { record, state } => Body::Decided(proto::Decided {
            record,
            state: Some(state.into()),
        }),
        Message::Nack { record, promised } => Body::Nack(proto::Nack {
            record,
            promised: Some(promised.into()),
        }),
        Message::Fetch { record, digest } => Body::Fetch(proto::FetchRecord {
            record,
            digest: Some(digest.into()),
        }),
    }
}

fn encode_state_request(request: StateRequest) -> proto::StateRequest {
    use proto::state_request::Scope as Encoded;
    let buckets = |(partition, hashes)| proto::Buckets { partition, hashes };
    let scope = match request.scope {
        Scope::All => Encoded::All(Empty {}),
        Scope::Undecided => Encoded::Undecided(Empty {}),
        Scope::Fences => Encoded::Fences(Empty {}),
        Scope::Differing(partitions) => Encoded::Differing(proto::Differing {
            partitions: partitions.into_iter().map(buckets).collect(),
        }),
    };
    proto::StateRequest {
        scope: Some(scope),
        after: request.after,
        copy: request.copy,
    }
}

fn decode_state_request(request: proto::StateRequest) -> Decoded<StateRequest> {
    use proto::state_request::Scope as Encoded;
    let scope = match required(request.scope, "scope")? {
        Encoded::All(Empty {}) => Scope::All,
        Encoded::Undecided(Empty {}) => Scope::Undecided,
        Encoded::Fences(Empty {}) => Scope::Fences,
        Encoded::Differing(differing) => Scope::Differing(
            differing
                .partitions
                .into_iter()
                .map(|of| (of.partition, of.hashes))
                .collect(),
        ),
    };
    Ok(StateRequest {
        copy: request.copy,
        scope,
        after: request.after,
    })
}

fn encode_prepare(
    record: RecordId,
    term: Term,
    digest: Digest,
    tasks: BTreeMap<String, u32>,
) -> Body {
    Body::Prepare(proto::Prepare {
        record,
        ballot: Some(term.ballot.into()),
        round: term.round,
        digest: Some(digest.into()),
        tasks: tasks.into_iter().map(encode_fenced).collect(),
    })
}

fn encode_vote(
    record: RecordId,
    term: Term,
    accepted: Option<Accepted>,
    digest: Digest,
    lacking: RecordState,
    fenced: BTreeMap<String, u32>,
) -> Body {
    Body::Vote(proto::Vote {
        record,
        ballot: Some(term.ballot.into()),
        round: term.round,
        accepted: accepted.map(Into::into),
        digest: Some(digest.into()),
        lacking: Some(lacking.into()),
        fenced: fenced.into_iter().map(encode_fenced).collect(),
    })
}

fn decode_attempts(attempts: Vec<proto::Fenced>) -> Decoded<BTreeMap<String, u32>> {
    attempts.into_iter().map(decode_fenced).collect()
}

fn encode_read_done(record: RecordId, id: UpdateId, found: RecordVersion) -> Body {
    Body::ReadDone(proto::ReadDone {
        record,
        id: Some(id.into()),
        found: Some(found.into()),
    })
}

fn encode_committed(record: RecordId, ballot: Ballot, slot: u64) -> Body {
    Body::Committed(proto::Committed {
        record,
        ballot: Some(ballot.into()),
        slot,
    })
}

fn encode_commit(
    record: RecordId,
    ballot: Ballot,
    proposal: LogRecord,
    lacking: RecordState,
) -> Body {
    Body::Commit(proto::Commit {
        record,
        ballot: Some(ballot.into()),
        proposal: Some(proposal.into()),
        lacking: Some(lacking.into()),
    })
}

fn encode_request(update: Update) -> proto::UpdateIfRequest {
    let (old, old_version, new) = match update.ask {
        Ask::IfValueIs { old, new } => (old, None, new),
        Ask::IfVersionIs { old, new } => (None, Some(old.into()), new),
        Ask::Read => (None, None, None),
    };
    let task = update.task;
    proto::UpdateIfRequest {
        attempt: task.as_ref().map_or(0, |task| task.attempt),
        note: task.map(|task| task.note).unwrap_or_default(),
        id: Some(update.id.into()),
        record: update.record,
        old,
        new,
        old_version,
    }
}

pub fn decode(body: Body) -> Decoded<Message> {
    Ok(match body {
        Body::Heartbeat(proto::Heartbeat {
            gossip_delay_ms,
            joining,
            replaces,
            hash,
        }) => Message::Heartbeat {
            gossip_delay_ms,
            joining,
            replaces,
            hash,
        },
        Body::WrongDisk(Empty {}) => Message::WrongDisk,
        Body::Digests(digests) => {
            Message::Digests(digests.partitions.into_iter().map(decode_digest).collect())
        }
        Body::Gossip(gossip) => Message::Gossip(all(gossip.partitions, decode_gossip)?),
        Body::Submit(submit) => Message::Submit {
            update: decode_submit(submit.request, submit.read)?,
            decided: submit.decided,
        },
        Body::ReadDone(done) => Message::ReadDone {
            record: record_id(done.record)?,
            id: update_id(done.id)?,
            found: done.found.unwrap_or_default().into(),
        },
        Body::Prepare(prepare) => Message::Prepare {
            record: record_id(prepare.record)?,
            term: decode_term(prepare.ballot, prepare.round)?,
            digest: prepare.digest.unwrap_or_default().into(),
            tasks: decode_attempts(prepare.tasks)?,
        },
        Body::Vote(vote) => Message::Vote {
            record: record_id(vote.record)?,
            term: decode_term(vote.ballot, vote.round)?,
            accepted: vote.accepted.map(decode_accepted).transpose()?,
            digest: vote.digest.unwrap_or_default().into(),
            lacking: decode_state(vote.lacking)?,
            fenced: decode_attempts(vote.fenced)?,
        },
        Body::Commit(commit) => Message::Commit {
            record: record_id(commit.record)?,
            ballot: required(commit.ballot, "ballot")?.into(),
            proposal: decode_log(required(commit.proposal, "proposal")?)?,
            lacking: decode_state(commit.lacking)?,
        },
        Body::Committed(committed) => Message::Committed {
            record: record_id(committed.record)?,
            ballot: required(committed.ballot, "ballot")?.into(),
            slot: committed.slot,
        },
        Body::Decided(decided) => Message::Decided {
            record: record_id(decided.record)?,
            state: decode_state(decided.state)?,
        },
        Body::Nack(nack) => Message::Nack {
            record: record_id(nack.record)?,
            promised: required(nack.promised, "promised")?.into(),
        },
        Body::Fetch(fetch) => Message::Fetch {
            record: record_id(fetch.record)?,
            digest: fetch.digest.unwrap_or_default().into(),
        },
        Body::StateRequest(request) => Message::StateRequest(decode_state_request(request)?),
        Body::State(page) => Message::State(decode_page(page)?),
    })
}

pub fn decode_update(request: proto::UpdateIfRequest) -> Decoded<Update> {
    value_bounds(request.old.as_ref())?;
    value_bounds(request.new.as_ref())?;
    let new = request.new;
    Ok(Update {
        id: update_id(request.id)?,
        record: record_id(request.record)?,
        ask: match (request.old_version, request.old) {
            (Some(_), Some(_)) => {
                return Err(Status::invalid(
                    "an update tests the value or the version, not both",
                ));
            }
            (Some(version), None) => Ask::IfVersionIs {
                old: version.into(),
                new,
            },
            (None, old) => Ask::IfValueIs { old, new },
        },
        task: tasks::task_mark(request.attempt, request.note)?,
    })
}

fn decode_submit(request: Option<proto::UpdateIfRequest>, read: bool) -> Decoded<Update> {
    let update = decode_update(required(request, "request")?)?;
    Ok(if read {
        Update {
            ask: Ask::Read,
            ..update
        }
    } else {
        update
    })
}

fn decode_term(ballot: Option<proto::Ballot>, round: u64) -> Decoded<Term> {
    let ballot = required(ballot, "ballot")?.into();
    Ok(Term { ballot, round })
}

pub(crate) fn all<P, T>(items: Vec<P>, decode: impl Fn(P) -> Decoded<T>) -> Decoded<Vec<T>> {
    items.into_iter().map(decode).collect()
}

fn encode_digest(digest: PartitionDigest) -> proto::PartitionDigest {
    proto::PartitionDigest {
        partition: digest.partition,
        timestamp: Some(digest.timestamp.into()),
        hash: digest.hash,
    }
}

fn decode_digest(digest: proto::PartitionDigest) -> PartitionDigest {
    PartitionDigest {
        partition: digest.partition,
        timestamp: decode_timestamp(digest.timestamp),
        hash: digest.hash,
    }
}

fn encode_gossip(gossip: PartitionGossip) -> proto::PartitionGossip {
    proto::PartitionGossip {
        partition: gossip.partition,
        timestamp: Some(gossip.timestamp.into()),
        dropped: Some(gossip.dropped.into()),
        entries: gossip.entries.into_iter().map(encode_entry).collect(),
    }
}

fn decode_gossip(gossip: proto::PartitionGossip) -> Decoded<PartitionGossip> {
    Ok(PartitionGossip {
        partition: gossip.partition,
        timestamp: decode_timestamp(gossip.timestamp),
        dropped: decode_timestamp(gossip.dropped),
        entries: all(gossip.entries, decode_entry)?,
    })
}

pub fn encode_partition_timestamp(
    (partition, timestamp): (PartitionId, Timestamp),
) -> proto::PartitionTimestamp {
    proto::PartitionTimestamp {
        partition,
        timestamp: Some(timestamp.into()),
    }
}

pub fn decode_partition_timestamp(of: proto::PartitionTimestamp) -> (PartitionId, Timestamp) {
    (of.partition, decode_timestamp(of.timestamp))
}

fn encode_page(page: StatePage) -> proto::StatePage {
    let timestamps = page.timestamps.into_iter();
    proto::StatePage {
        copy: page.copy,
        after: page.after,
        records: page.records.into_iter().map(Into::into).collect(),
        timestamps: timestamps.map(encode_partition_timestamp).collect(),
        next: page.next,
        is_member: page.is_member,
        dead: page.dead,
        fences: Some(tasks::encode_fences(&page.fences)),
        lives: page
            .lives
            .into_iter()
            .map(|(replica, incarnation)| proto::Life {
                replica,
                incarnation,
            })
            .collect(),
    }
}

fn decode_page(page: proto::StatePage) -> Decoded<StatePage> {
    Ok(StatePage {
        copy: page.copy,
        after: page.after,
        records: all(page.records, decode_join)?,
        timestamps: page
            .timestamps
            .into_iter()
            .map(decode_partition_timestamp)
            .collect(),
        next: page.next,
        is_member: page.is_member,
        dead: page.dead,
        fences: tasks::decode_fences(page.fences)?,
        lives: page
            .lives
            .into_iter()
            .map(|life| (life.replica, life.incarnation))
            .collect(),
    })
}
