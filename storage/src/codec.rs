//! Messages between storage nodes, from and to `proto`. What comes in is checked for its required parts and bounds.

use common::proto;
use common::status::Status;
use common::types::{
    PartitionId, RecordId, RecordVersion, Version, record_id, required, update_id, value_bounds,
};

use crate::core::message::{
    Accepted, Ballot, Digest, Entry, EntryKind, JoinRecord, LogRecord, Message, Outcome,
    PartitionGossip, RecordState, StatePage, Update,
};
use crate::core::timestamp::Timestamp;
use proto::peer_message::Body;

type Decoded<T> = Result<T, Status>;

pub fn encode(message: Message) -> Body {
    match message {
        Message::Heartbeat {
            gossip_delay_ms,
            joining,
        } => Body::Heartbeat(proto::Heartbeat {
            gossip_delay_ms,
            joining,
        }),
        Message::Gossip(partitions) => {
            let partitions = partitions.into_iter().map(encode_gossip).collect();
            Body::Gossip(proto::Gossip { partitions })
        }
        Message::StateRequest {
            copy,
            partition,
            after,
        } => encode_state_request(copy, partition, after),
        Message::State(page) => Body::State(encode_page(page)),
        Message::Submit { update, decided } => Body::Submit(proto::Submit {
            request: Some(encode_request(update)),
            decided,
        }),
        Message::Prepare {
            record,
            ballot,
            digest,
        } => encode_prepare(record, ballot, digest),
        Message::Vote {
            record,
            ballot,
            accepted,
            digest,
            lacking,
        } => Body::Vote(proto::Vote {
            record,
            ballot: Some(ballot.into()),
            accepted: accepted.map(Into::into),
            digest: Some(digest.into()),
            lacking: Some(lacking.into()),
        }),
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
        } => Body::Committed(proto::Committed {
            record,
            ballot: Some(ballot.into()),
            slot,
        }),
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

fn encode_state_request(copy: u64, partition: Option<PartitionId>, after: RecordId) -> Body {
    Body::StateRequest(proto::StateRequest {
        partition,
        after,
        copy,
    })
}

fn encode_prepare(record: RecordId, ballot: Ballot, digest: Digest) -> Body {
    Body::Prepare(proto::Prepare {
        record,
        ballot: Some(ballot.into()),
        digest: Some(digest.into()),
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
    let Update {
        id,
        record,
        old,
        new,
    } = update;
    proto::UpdateIfRequest {
        id: Some(id.into()),
        record,
        old,
        new,
    }
}

pub fn decode(body: Body) -> Decoded<Message> {
    Ok(match body {
        Body::Heartbeat(proto::Heartbeat {
            gossip_delay_ms,
            joining,
        }) => Message::Heartbeat {
            gossip_delay_ms,
            joining,
        },
        Body::Gossip(gossip) => Message::Gossip(all(gossip.partitions, decode_gossip)?),
        Body::Submit(proto::Submit { request, decided }) => Message::Submit {
            update: decode_update(required(request, "request")?)?,
            decided,
        },
        Body::Prepare(prepare) => Message::Prepare {
            record: record_id(prepare.record)?,
            ballot: required(prepare.ballot, "ballot")?.into(),
            digest: prepare.digest.unwrap_or_default().into(),
        },
        Body::Vote(vote) => Message::Vote {
            record: record_id(vote.record)?,
            ballot: required(vote.ballot, "ballot")?.into(),
            accepted: vote.accepted.map(decode_accepted).transpose()?,
            digest: vote.digest.unwrap_or_default().into(),
            lacking: decode_state(vote.lacking)?,
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
        Body::StateRequest(proto::StateRequest {
            partition,
            after,
            copy,
        }) => Message::StateRequest {
            copy,
            partition,
            after,
        },
        Body::State(page) => Message::State(decode_page(page)?),
    })
}

pub fn decode_update(request: proto::UpdateIfRequest) -> Decoded<Update> {
    value_bounds(request.old.as_ref())?;
    value_bounds(request.new.as_ref())?;
    Ok(Update {
        id: update_id(request.id)?,
        record: record_id(request.record)?,
        old: request.old,
        new: request.new,
    })
}

fn all<P, T>(items: Vec<P>, decode: impl Fn(P) -> Decoded<T>) -> Decoded<Vec<T>> {
    items.into_iter().map(decode).collect()
}

impl From<Ballot> for proto::Ballot {
    fn from(
        Ballot {
            epoch,
            term,
            replica,
        }: Ballot,
    ) -> Self {
        Self {
            epoch,
            term,
            replica,
        }
    }
}

impl From<proto::Ballot> for Ballot {
    fn from(
        proto::Ballot {
            epoch,
            term,
            replica,
        }: proto::Ballot,
    ) -> Self {
        Self {
            epoch,
            term,
            replica,
        }
    }
}

impl From<Digest> for proto::RecordDigest {
    fn from(digest: Digest) -> Self {
        Self {
            decided: digest.decided,
            versions: digest.versions.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<proto::RecordDigest> for Digest {
    fn from(digest: proto::RecordDigest) -> Self {
        Self {
            decided: digest.decided,
            versions: digest.versions.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<LogRecord> for proto::LogRecord {
    fn from(record: LogRecord) -> Self {
        use proto::log_record::Outcome as Encoded;
        let outcome = match record.outcome {
            Outcome::Updated { base, made } => Encoded::Success(proto::Success {
                base: Some(base.into()),
                made: Some(made.into()),
            }),
            Outcome::Mismatch { found } => Encoded::Mismatch(found.into()),
        };
        Self {
            slot: record.slot,
            id: Some(record.id.into()),
            outcome: Some(outcome),
        }
    }
}

fn decode_log(record: proto::LogRecord) -> Decoded<LogRecord> {
    use proto::log_record::Outcome as Encoded;
    let outcome = match required(record.outcome, "outcome")? {
        Encoded::Success(success) => {
            let base: Version = success.base.unwrap_or_default().into();
            let made: RecordVersion = required(success.made, "made")?.into();
            if made.version != base.successor() {
                return Err(Status::invalid(
                    "a successful update makes the successor of the version that it tested",
                ));
            }
            Outcome::Updated { base, made }
        }
        Encoded::Mismatch(found) => Outcome::Mismatch {
            found: found.into(),
        },
    };
    if record.slot == 0 {
        return Err(Status::invalid("slots count from 1"));
    }
    Ok(LogRecord {
        slot: record.slot,
        id: update_id(record.id)?,
        outcome,
    })
}

impl From<Accepted> for proto::Accepted {
    fn from(accepted: Accepted) -> Self {
        Self {
            ballot: Some(accepted.ballot.into()),
            proposal: Some(accepted.proposal.into()),
        }
    }
}

fn decode_accepted(accepted: proto::Accepted) -> Decoded<Accepted> {
    Ok(Accepted {
        ballot: required(accepted.ballot, "ballot")?.into(),
        proposal: decode_log(required(accepted.proposal, "proposal")?)?,
    })
}

impl From<RecordState> for proto::RecordState {
    fn from(state: RecordState) -> Self {
        Self {
            log: state.log.into_iter().map(Into::into).collect(),
            versions: state.versions.into_iter().map(Into::into).collect(),
            floor: Some(state.floor.into()),
            highest_number: state.highest_number,
        }
    }
}

fn decode_state(state: Option<proto::RecordState>) -> Decoded<RecordState> {
    let state = state.unwrap_or_default();
    let log = all(state.log, decode_log)?;
    if log
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if b.slot != a.slot + 1))
    {
        return Err(Status::invalid("the slots of a log are consecutive"));
    }
    Ok(RecordState {
        log,
        versions: state.versions.into_iter().map(Into::into).collect(),
        floor: state.floor.unwrap_or_default().into(),
        highest_number: state.highest_number,
    })
}

impl From<Timestamp> for proto::Timestamp {
    fn from(timestamp: Timestamp) -> Self {
        Self {
            counts: timestamp.iter().collect(),
        }
    }
}

fn decode_timestamp(timestamp: Option<proto::Timestamp>) -> Timestamp {
    timestamp.unwrap_or_default().counts.into_iter().collect()
}

fn encode_entry(entry: Entry) -> proto::GossipEntry {
    use proto::gossip_entry::What;
    proto::GossipEntry {
        origin: entry.origin,
        sequence: entry.sequence,
        previous: Some(entry.previous.into()),
        record: entry.record,
        what: Some(match entry.what {
            EntryKind::Write(made) => What::Write(made.into()),
            EntryKind::Decided(decided) => What::Decided(decided.into()),
        }),
    }
}

fn decode_entry(entry: proto::GossipEntry) -> Decoded<Entry> {
    use proto::gossip_entry::What;
    Ok(Entry {
        origin: entry.origin,
        sequence: entry.sequence,
        previous: decode_timestamp(entry.previous),
        record: record_id(entry.record)?,
        what: match required(entry.what, "what")? {
            What::Write(made) => EntryKind::Write(made.into()),
            What::Decided(decided) => EntryKind::Decided(decode_log(decided)?),
        },
    })
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

fn encode_page(page: StatePage) -> proto::StatePage {
    let record = |join: JoinRecord| proto::JoinRecord {
        record: join.record,
        promised: Some(join.promised.into()),
        accepted: join.accepted.map(Into::into),
        state: Some(join.state.into()),
    };
    let timestamp = |(partition, timestamp): (u32, Timestamp)| proto::PartitionTimestamp {
        partition,
        timestamp: Some(timestamp.into()),
    };
    proto::StatePage {
        copy: page.copy,
        partition: page.partition,
        after: page.after,
        records: page.records.into_iter().map(record).collect(),
        timestamps: page.timestamps.into_iter().map(timestamp).collect(),
        next: page.next,
    }
}

fn decode_page(page: proto::StatePage) -> Decoded<StatePage> {
    let record = |join: proto::JoinRecord| {
        Ok(JoinRecord {
            record: record_id(join.record)?,
            promised: join.promised.unwrap_or_default().into(),
            accepted: join.accepted.map(decode_accepted).transpose()?,
            state: decode_state(join.state)?,
        })
    };
    Ok(StatePage {
        copy: page.copy,
        partition: page.partition,
        after: page.after,
        records: all(page.records, record)?,
        timestamps: page
            .timestamps
            .into_iter()
            .map(|of| (of.partition, decode_timestamp(of.timestamp)))
            .collect(),
        next: page.next,
    })
}
