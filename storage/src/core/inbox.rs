//! What members say: who is heard at all, and which part of the node a message is for.

use common::types::ReplicaId;

use super::coordinator::Vote;
use super::members::Heard;
use super::message::{Accepted, Message};
use super::vote::Prepare;
use super::{Change, Envelope, Halt, Output, Outputs, Storage};

impl Storage {
    /// Messages count only from members of the same ring that live and have the data that they had.
    pub(super) fn open(&mut self, now_ms: u64, envelope: Envelope, out: &mut Outputs) {
        let Envelope {
            from,
            incarnation,
            disk,
            ring,
            message,
        } = envelope;
        if ring != self.ring_hash {
            return;
        }
        let known = self.durable.disks.get(&from).copied();
        let replaces = matches!(message, Message::Heartbeat { replaces: true, .. });
        if known.is_some_and(|known| known != disk) && !replaces {
            // It may have lost promises and votes with its data, and is heard only when it says so.
            if matches!(message, Message::Heartbeat { .. }) {
                Self::send(from, Message::WrongDisk, out);
            }
            return;
        }
        let is_kept = known == Some(disk) && !self.durable.dead.contains(&from);
        if self.read_only.is_some() && !is_kept {
            // What it says would count for nothing after a restart: it is heard when that can be kept.
            return;
        }
        self.note_silence(now_ms, from);
        match self.members.hear(now_ms, from, incarnation) {
            Heard::Nobody => return,
            Heard::Known => self.note_death(from, false, out),
            Heard::Reborn => self.reborn(now_ms, from, out),
        }
        if known != Some(disk) {
            let replica = from;
            self.persist(Change::Disk { replica, disk }, out);
        }
        self.peer(now_ms, from, message, out);
    }

    /// A member has begun a new life.
    pub(super) fn reborn(&mut self, now_ms: u64, member: ReplicaId, out: &mut Outputs) {
        self.note_death(member, false, out);
        self.begin_links_to(now_ms, member);
        if !self.joined {
            // What its former life decided may have reached the others after they were asked: ask all again.
            self.start_joining();
        }
    }

    fn peer(&mut self, now_ms: u64, from: ReplicaId, message: Message, out: &mut Outputs) {
        match message {
            Message::Heartbeat {
                gossip_delay_ms,
                joining,
                hash,
                ..
            } => {
                if let Some(member) = self.members.get_mut(from) {
                    member.gossip_delay_ms = gossip_delay_ms;
                    let has_joined = std::mem::replace(&mut member.joining, joining) && !joining;
                    if has_joined {
                        self.hasten(now_ms);
                    }
                }
                self.compare(now_ms, from, hash, out);
            }
            Message::WrongDisk => out.push(Output::Halt(Halt::WrongDisk {
                me: self.me,
                by: from,
            })),
            Message::StateRequest(request) => self.send_state(now_ms, from, request, out),
            // What follows would have to be made durable.
            _ if self.read_only.is_some() => {}
            Message::Digests(digests) => self.take_digests(now_ms, from, digests, out),
            Message::State(page) => self.take_state(now_ms, from, page, out),
            Message::Decided { record, state } => {
                self.take_state_of(&record, state, out);
                self.apply_waiting(now_ms, self.durable.placement.partition(&record), out);
            }
            Message::Gossip(partitions) => self.take_gossip(now_ms, from, partitions, out),
            // The rest is the update protocol, in which only members take part: a joining node's promise would be
            // worth nothing.
            _ if !self.joined => {}
            update => self.peer_update(now_ms, from, update, out),
        }
    }

    fn peer_update(&mut self, now_ms: u64, from: ReplicaId, message: Message, out: &mut Outputs) {
        match message {
            Message::Submit { update, decided } => {
                self.take_submit(now_ms, from, update, decided, out);
            }
            Message::Prepare {
                record,
                term,
                digest,
                tasks,
            } => {
                let asked = Prepare {
                    term,
                    digest,
                    tasks,
                };
                self.take_prepare(now_ms, from, record, asked, out);
            }
            Message::Commit {
                record,
                ballot,
                proposal,
                lacking,
            } => {
                self.take_commit(
                    now_ms,
                    from,
                    &record,
                    Accepted { ballot, proposal },
                    lacking,
                    out,
                );
            }
            Message::Vote {
                record,
                term,
                accepted,
                digest,
                lacking,
                fenced,
            } => {
                let vote = Vote {
                    term,
                    accepted,
                    digest,
                    fenced,
                };
                self.take_vote(now_ms, from, &record, vote, lacking, out);
            }
            Message::Committed {
                record,
                ballot,
                slot,
            } => self.take_committed(now_ms, from, &record, ballot, slot, out),
            Message::ReadDone { record, id, found } => {
                self.take_read_done(&record, &id, &found, out);
            }
            Message::Nack { record, promised } => self.take_nack(now_ms, &record, promised, out),
            Message::Fetch { record, digest } => self.send_decided(from, &record, &digest, out),
            Message::Heartbeat { .. }
            | Message::WrongDisk
            | Message::Digests(_)
            | Message::Gossip(_)
            | Message::Decided { .. }
            | Message::StateRequest(_)
            | Message::State(_) => {}
        }
    }
}
