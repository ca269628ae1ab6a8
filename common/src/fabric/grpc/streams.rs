//! Keeps one-way messages in order across the streams that bring them.
//!
//! A sender opens a new stream when the old one breaks. A node that was frozen, or slow, then finds frames in both; those of
//! the older stream must not come after those of the newer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The number of the newest stream of one sender; held while one of its frames is being handled.
pub(super) type Newest = tokio::sync::Mutex<u64>;

/// The senders whose streams are open now.
#[derive(Default)]
pub(super) struct Streams(Mutex<BTreeMap<u64, Weak<Newest>>>);

impl Streams {
    /// Shared by all open streams of this sender.
    pub fn of(&self, sender: u64) -> Arc<Newest> {
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        senders.retain(|_, newest| newest.strong_count() > 0);
        let known = senders.get(&sender).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let newest = Arc::default();
            senders.insert(sender, Arc::downgrade(&newest));
            newest
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::super::courier::open;
    use super::*;
    use crate::fabric::{Address, Fabric, GrpcFabric, Router, Status, encode};
    use crate::proto::{DebugLine, Empty, Frame, OneWay, puppetmaster};

    /// Says what it has handled; the first message takes long.
    struct Slow(mpsc::UnboundedSender<String>);

    impl puppetmaster::Service for Slow {
        async fn debug(&self, request: DebugLine) -> Result<Empty, Status> {
            if request.line == "1" {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            self.0.send(request.line).unwrap();
            Ok(Empty {})
        }
    }

    fn frame(stream: u64, line: &str) -> bytes::Bytes {
        let body = encode(&DebugLine {
            line: line.to_owned(),
            ..DebugLine::default()
        });
        let method = puppetmaster::DEBUG.to_owned();
        encode(&Frame {
            messages: vec![OneWay { method, body }],
            sender: 7,
            stream,
        })
    }

    #[tokio::test]
    async fn frames_of_an_older_stream_never_come_after_those_of_a_newer_one() {
        let (heard, mut lines) = mpsc::unbounded_channel();
        let router = Router::default().with(puppetmaster::Server(Arc::new(Slow(heard))));
        let fabric = GrpcFabric::default();
        let at = Address::parse("127.0.0.1:0").unwrap();
        let serving = fabric.serve(&at, router).await.unwrap();
        let (older, queue) = mpsc::channel(4);
        let old_stream = open(&fabric.channels, &serving.address, queue);
        older.send(frame(1, "1")).await.unwrap();
        let (newer, queue) = mpsc::channel(4);
        let new_stream = open(&fabric.channels, &serving.address, queue);
        let script = async {
            // The first message is being handled when the newer stream arrives.
            tokio::time::sleep(Duration::from_millis(100)).await;
            newer.send(frame(2, "2")).await.unwrap();
            assert_eq!(lines.recv().await.unwrap(), "1");
            assert_eq!(lines.recv().await.unwrap(), "2");
            older.send(frame(1, "too late")).await.unwrap();
            older.closed().await;
            newer.send(frame(2, "3")).await.unwrap();
            assert_eq!(lines.recv().await.unwrap(), "3");
            drop(newer);
        };
        let (old, new, ()) = futures::join!(old_stream, new_stream, script);
        assert!(old.is_err() && new.is_ok(), "{old:?} {new:?}");
    }

    #[test]
    fn senders_whose_streams_have_ended_are_forgotten() {
        let streams = Streams::default();
        let kept = streams.of(1);
        drop(streams.of(2));
        assert!(Arc::ptr_eq(&kept, &streams.of(1)));
        assert_eq!(streams.0.lock().unwrap().len(), 1);
    }
}
