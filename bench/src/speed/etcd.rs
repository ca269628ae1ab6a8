//! etcd as a rival: a cluster of three members, and the same operations through its gRPC API.
//!
//! They go through the same client side (the gRPC fabric) as Marionette's, so that only the servers differ.

mod messages;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::fabric::{Address, FabricHandle, GrpcFabric};
use common::status::Status;
use futures::future::try_join_all;
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};

use self::messages::{
    Compare, Put, PutResponse, Range, RangeResponse, RequestOp, StatusRequest, StatusResponse, Txn,
    TxnResponse,
};
use super::keys::Keys;
use super::measure::{Figures, Servers, Span, Work, measure};
use super::operation::{Operation, System};
use super::{Result, Trouble, value};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rivals/etcd");
const TIMEOUT: Duration = Duration::from_secs(20);

/// Clients at once that fill a cluster.
const FILLING_CLIENTS: u64 = 256;

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";

/// Runs until it is stopped or dropped.
pub struct Etcd {
    script: Child,
    /// The script stops the members when this is closed.
    hold: ChildStdin,
    members: Vec<(u32, Address)>,
}

impl Etcd {
    /// With data below this directory.
    pub async fn start(directory: &Path) -> Result<Self> {
        let mut script = Command::new(SCRIPT)
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let silent = || Trouble("the script of etcd has no standard input and output".to_owned());
        let hold = script.stdin.take().ok_or_else(silent)?;
        let mut lines = BufReader::new(script.stdout.take().ok_or_else(silent)?).lines();
        let mut members = Vec::new();
        while let Some(line) = lines.next_line().await? {
            if line == "ready" {
                return Ok(Self {
                    script,
                    hold,
                    members,
                });
            }
            members.push(member(&line)?);
        }
        Err(Trouble("etcd could not be started".to_owned()).into())
    }

    /// Puts records `0..records`.
    pub async fn fill(&self, records: u64) -> Result<()> {
        let client = self.client().await?;
        let fill = |first: u64| {
            let client = client.clone();
            async move {
                for record in (first..records).step_by(FILLING_CLIENTS as usize) {
                    client.put(&Keys::name(record)).await?;
                }
                Ok::<_, Status>(())
            }
        };
        try_join_all((0..FILLING_CLIENTS).map(fill)).await?;
        Ok(())
    }

    pub async fn stop(mut self) -> Result<()> {
        drop(self.hold);
        self.script.wait().await?;
        Ok(())
    }

    /// A client that asks the leader, which saves it a hop.
    async fn client(&self) -> Result<Client> {
        let fabric: FabricHandle = Arc::new(GrpcFabric::default());
        for (_, address) in &self.members {
            let client = Client {
                fabric: fabric.clone(),
                to: address.clone(),
            };
            let status: StatusResponse = client.call(STATUS, &StatusRequest {}).await?;
            if status
                .header
                .is_some_and(|header| header.member_id == status.leader)
            {
                return Ok(client);
            }
        }
        Err(Trouble("etcd has no leader".to_owned()).into())
    }
}

/// `NAME PID URL`.
fn member(line: &str) -> Result<(u32, Address)> {
    let mut words = line.split(' ').skip(1);
    let unknown = || Trouble(format!("the script of etcd said `{line}`"));
    let pid = words.next().and_then(|pid| pid.parse().ok());
    let url = words.next().ok_or_else(unknown)?;
    Ok((pid.ok_or_else(unknown)?, Address::parse(url)?))
}

impl Servers for Etcd {
    fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|(pid, _)| *pid).collect()
    }

    async fn syncs(&self) -> Result<u64> {
        let mut total = 0;
        for (_, address) in &self.members {
            let metrics = metrics(address).await?;
            let count = |name: &str| {
                let line = metrics.lines().find_map(|line| line.strip_prefix(name))?;
                line.trim().parse::<u64>().ok()
            };
            let unknown = || Trouble("etcd does not tell how often it syncs".to_owned());
            total += count("etcd_disk_wal_fsync_duration_seconds_count").ok_or_else(unknown)?;
            // Of its table: about ten a second.
            total += count("etcd_disk_backend_commit_duration_seconds_count").unwrap_or_default();
        }
        Ok(total)
    }
}

impl System for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    /// Every write of etcd is one of level majority.
    async fn run(
        &mut self,
        operation: Operation,
        records: u64,
        count: u64,
        span: Span,
    ) -> Result<Figures> {
        let client = self.client().await?;
        let all = operation.keys(records, count).into_iter();
        let all = all.map(|keys| (client.clone(), keys));
        match operation {
            Operation::Read => {
                let reads = all.map(|(client, keys)| Reads { client, keys });
                measure(self, reads.collect(), span).await
            }
            Operation::Write(_) => {
                let writes = all.map(|(client, keys)| Writes { client, keys });
                measure(self, writes.collect(), span).await
            }
            Operation::Update | Operation::HotUpdate => {
                let updates = all.map(|(client, keys)| Updates::prepared(client, keys));
                measure(self, try_join_all(updates).await?, span).await
            }
        }
    }
}

async fn metrics(address: &Address) -> Result<String> {
    let mut connection = TcpStream::connect(address.authority()).await?;
    connection
        .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        .await?;
    let mut text = String::new();
    connection.read_to_string(&mut text).await?;
    Ok(text)
}

#[derive(Clone)]
struct Client {
    fabric: FabricHandle,
    to: Address,
}

impl Client {
    async fn call<A: Message + Default>(
        &self,
        method: &'static str,
        request: &impl Message,
    ) -> Result<A, Status> {
        let body = Bytes::from(request.encode_to_vec());
        let answer = self.fabric.call(&self.to, method, body, TIMEOUT).await?;
        A::decode(answer).map_err(|error| Status::internal(error.to_string()))
    }

    async fn put(&self, key: &str) -> Result<(), Status> {
        let _: PutResponse = self.call(PUT, &Put::new(key, &value())).await?;
        Ok(())
    }

    /// Compare-and-swap by revision: the revision that the key has then, and whether it was swapped.
    async fn update(&self, key: &str, known: i64) -> Result<(i64, bool), Status> {
        let swap = Txn {
            compare: vec![Compare::revision_is(key, known)],
            success: vec![RequestOp::put(Put::new(key, &value()))],
            failure: vec![RequestOp::range(Range::key(key))],
        };
        let answer: TxnResponse = self.call(TXN, &swap).await?;
        let revision = if answer.succeeded {
            answer.header.as_ref().map_or(0, |header| header.revision)
        } else {
            answer.found().map_or(0, |found| found.mod_revision)
        };
        Ok((revision, answer.succeeded))
    }
}

/// Linearizable, as is etcd's default.
struct Reads {
    client: Client,
    keys: Keys,
}

impl Work for Reads {
    async fn attempt(&mut self) -> Result<bool, Status> {
        let key = self.keys.next_any();
        let _: RangeResponse = self.client.call(RANGE, &Range::key(&key)).await?;
        Ok(true)
    }
}

struct Writes {
    client: Client,
    keys: Keys,
}

impl Work for Writes {
    async fn attempt(&mut self) -> Result<bool, Status> {
        let key = self.keys.next_any();
        self.client.put(&key).await?;
        Ok(true)
    }
}

/// Compare-and-swap, on until it succeeds.
struct Updates {
    client: Client,
    keys: Keys,
    /// Of each of the keys, as it knows it.
    revisions: Vec<i64>,
}

impl Updates {
    /// Reads all of its keys, so that the first updates know what they update.
    async fn prepared(client: Client, mut keys: Keys) -> Result<Self, Status> {
        let mut revisions = vec![0; keys.own_count()];
        for _ in 0..keys.own_count() {
            let (place, key) = keys.own();
            keys.turn();
            let found: RangeResponse = client.call(RANGE, &Range::key(&key)).await?;
            let revision = found.kvs.first().map_or(0, |found| found.mod_revision);
            if let Some(known) = revisions.get_mut(place) {
                *known = revision;
            }
        }
        Ok(Self {
            client,
            keys,
            revisions,
        })
    }
}

impl Work for Updates {
    async fn attempt(&mut self) -> Result<bool, Status> {
        let (place, key) = self.keys.own();
        let Some(known) = self.revisions.get_mut(place) else {
            return Err(Status::internal("a key that is not its own"));
        };
        let (revision, is_done) = self.client.update(&key, *known).await?;
        *known = revision;
        if is_done {
            self.keys.turn();
        }
        Ok(is_done)
    }
}
