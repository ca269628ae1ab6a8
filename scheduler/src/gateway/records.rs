//! Records: read, written, compared and swapped, deleted, listed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use common::client::scan::PAGE_MAX;
use common::client::{Condition, Route, StorageClient, UpdateError};
use common::proto::Level;
use common::status::{Kind, Status};
use common::types::{RESERVED_PREFIX, RecordId, RecordVersion, UpdateId, Version, Wanted};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Gateway;
use super::extract::{Body, Path, Query, Text, Whole};
use super::problem::{Always, OfBody, OfOne, Problem};
use super::shapes::{Content, VersionText};

/// How long the storage may take.
const STORAGE_MS: u64 = 10_000;
/// How long a version that was named is waited for: it may not exist at all.
const VERSION_WAIT_MS: u64 = 500;
/// Storage nodes count bytes, and may be told to take shorter ones.
type Id = Text<1, 1_024>;
/// What an id begins with, or comes after.
type IdPart = Text<0, 1_024>;
/// Records on one page: as many as on one of the client's.
type Limit = Whole<1, { PAGE_MAX as u64 }>;
const LIMIT_DEFAULT: u32 = 100;

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(scan_records))
        .routes(routes!(read_record, write_record, delete_record))
}

/// How operations reach the storage.
pub struct Records {
    /// Of the ring that was known last.
    client: Mutex<Option<StorageClient>>,
    /// Names the updates of this gateway.
    origin: String,
    updates: AtomicU64,
}

impl Records {
    pub fn new(origin: String) -> Self {
        Self {
            client: Mutex::default(),
            origin,
            updates: AtomicU64::new(0),
        }
    }

    fn update_id(&self) -> UpdateId {
        UpdateId {
            origin: self.origin.clone(),
            sequence: self.updates.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Gateway {
    async fn storage(&self) -> Result<StorageClient, Status> {
        let ring = self
            .0
            .server
            .inspect(|core, _| core.ring().cloned())
            .await?;
        let ring = ring.ok_or_else(|| Status::unavailable("no storage nodes are known"))?;
        let mut known = self
            .0
            .records
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.as_ref().filter(|client| *client.ring() == *ring) {
            return Ok(client.clone());
        }
        let client = StorageClient::new(self.0.fabric.clone(), ring, 0);
        Ok(known.insert(client).clone())
    }

    fn route(&self, patience_ms: u64) -> Route {
        Route {
            only: None,
            deadline_ms: self.0.fabric.now_ms() + patience_ms,
        }
    }
}

/// Marionette's own records are nobody's business.
fn checked(id: Id) -> Result<RecordId, Problem> {
    if is_own(&id.0) {
        let why = format!("ids that begin with `{RESERVED_PREFIX}` are reserved");
        return Err(Problem::forbidden(why));
    }
    Ok(id.0)
}

fn is_own(id: &str) -> bool {
    id.starts_with(RESERVED_PREFIX)
}

/// A record that exists.
#[derive(Debug, Serialize, ToSchema)]
struct Record {
    id: String,
    version: VersionText,
    value: Content,
}

/// What was made of a record.
#[derive(Debug, Serialize, ToSchema)]
struct Written {
    id: String,
    version: VersionText,
}

/// Records in the order of their ids.
#[derive(Debug, Serialize, ToSchema)]
struct Page {
    records: Vec<Record>,
    /// What the next page is `after`; absent: this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Scan {
    /// Only records whose ids begin so.
    #[param(inline, nullable = false)]
    prefix: Option<IdPart>,
    /// Only records whose ids come after this one.
    #[param(inline, nullable = false)]
    after: Option<IdPart>,
    /// Records at most; there may be fewer though more follow. By default 100.
    #[param(inline, nullable = false)]
    limit: Option<Limit>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Read {
    /// Exactly this version, instead of the newest at a replica; `linearizable` is of no importance then.
    #[param(inline, nullable = false)]
    version: Option<VersionText>,
    /// The newest version that was decided, or written to a majority, before the request; costs a round of messages.
    #[serde(default)]
    #[param(nullable = false)]
    linearizable: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Delete {
    /// Only if this is its newest version.
    #[param(inline, nullable = false)]
    if_version: Option<VersionText>,
}

/// What a record shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"value": "red"}))]
struct Write {
    value: Content,
    /// Only if the record is so: compare-and-swap.
    #[serde(rename = "if")]
    condition: Option<If>,
    /// How many replicas hold a write without `if` before it is answered; by default all.
    durability: Option<Durability>,
}

/// What a record must be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected {\"value\": …}, {\"version\": …} or \"absent\""
)]
enum If {
    Value(IfValue),
    Version(IfVersion),
    Absent(Absent),
}

/// It has this value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IfValue {
    value: Content,
}

/// This is its newest version.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IfVersion {
    version: VersionText,
}

/// It does not exist.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Absent {
    Absent,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Durability {
    One,
    Majority,
    All,
}

impl From<If> for Condition {
    fn from(condition: If) -> Self {
        match condition {
            If::Value(is) => Self::ValueIs(Some(is.value.into())),
            If::Version(is) => Self::VersionIs(is.version.0),
            If::Absent(Absent::Absent) => Self::ValueIs(None),
        }
    }
}

impl From<Durability> for Level {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::One => Self::One,
            Durability::Majority => Self::Majority,
            Durability::All => Self::All,
        }
    }
}

/// The records whose ids begin alike, a page at a time.
///
/// Each is as one of its replicas has it; a page is no snapshot.
#[utoipa::path(get, path = "/v1/records", tag = "records", params(Scan), responses(
    (status = 200, description = "The records", body = Page), Always
))]
async fn scan_records(
    State(gateway): State<Gateway>,
    Query(scan): Query<Scan>,
) -> Result<Json<Page>, Problem> {
    let limit = scan.limit.map_or(LIMIT_DEFAULT, Whole::as_u32);
    let prefix = scan.prefix.map(|prefix| prefix.0).unwrap_or_default();
    if is_own(&prefix) {
        return Ok(Json(Page {
            records: Vec::new(),
            next: None,
        }));
    }
    let after = behind_own(scan.after.map(|after| after.0).unwrap_or_default());
    let client = gateway.storage().await?;
    let route = gateway.route(STORAGE_MS);
    let found = client.scan(&prefix, &after, limit, route).await?;
    let of_users = found.records.into_iter().filter(|(id, _)| !is_own(id));
    let records = of_users.filter_map(|(id, found)| existing(id, found));
    Ok(Json(Page {
        records: records.collect(),
        next: found.next.map(behind_own),
    }))
}

/// Skips Marionette's own records, of which there may be many.
fn behind_own(after: RecordId) -> RecordId {
    if is_own(&after) {
        format!("{RESERVED_PREFIX}{}", char::MAX)
    } else {
        after
    }
}

fn existing(id: RecordId, found: RecordVersion) -> Option<Record> {
    let record = found.existing()?;
    Some(Record {
        id,
        version: VersionText(record.version),
        value: record.value.into(),
    })
}

/// The newest version of a record at a replica, or the one that is named.
#[utoipa::path(get, path = "/v1/records/{id}", tag = "records", params(("id" = inline(Id), Path), Read), responses(
    (status = 200, description = "The record", body = Record),
    (status = 410, description = "That version was discarded", body = Problem, content_type = "application/problem+json"),
    Always, OfOne
))]
async fn read_record(
    State(gateway): State<Gateway>,
    Path(id): Path<Id>,
    Query(read): Query<Read>,
) -> Result<Json<Record>, Problem> {
    let id = checked(id)?;
    let client = gateway.storage().await?;
    let route = gateway.route(STORAGE_MS);
    let found = match read.version {
        Some(version) => read_version(&gateway, &client, &id, version.0).await?,
        None if read.linearizable => {
            let update = gateway.0.records.update_id();
            client.read_linearizable(update, &id, route).await?
        }
        None => client.read(&id, Wanted::NEWEST, route).await?,
    };
    let missing = format!("there is no record `{id}`");
    existing(id, found)
        .map(Json)
        .ok_or_else(|| Problem::not_found(missing))
}

/// A version that is nowhere cannot be told from one that is late: it is waited for a little.
async fn read_version(
    gateway: &Gateway,
    client: &StorageClient,
    id: &str,
    version: Version,
) -> Result<RecordVersion, Problem> {
    let route = gateway.route(VERSION_WAIT_MS);
    match client.read(id, Wanted::Exactly(version), route).await {
        Err(status) if status.is_retryable() || status.kind == Kind::Timeout => {
            // If there is nobody to ask, this says so.
            let route = gateway.route(STORAGE_MS);
            client.read(id, Wanted::NEWEST, route).await?;
            let why = format!("no replica has version {version} of record `{id}`");
            Err(Problem::not_found(why))
        }
        found => Ok(found?),
    }
}

/// Writes a record; with `if`, compares and swaps.
#[utoipa::path(put, path = "/v1/records/{id}", tag = "records", params(("id" = inline(Id), Path)), request_body = Write, responses(
    (status = 200, description = "It is written", body = Written),
    (status = 412, description = "The record is not as expected; `found` says what it is", body = Problem, content_type = "application/problem+json"),
    Always, OfBody
))]
async fn write_record(
    State(gateway): State<Gateway>,
    Path(id): Path<Id>,
    Body(write): Body<Write>,
) -> Result<Json<Written>, Problem> {
    let value = Some(write.value.into());
    let level = write.durability.map_or(Level::All, Level::from);
    let condition = write.condition.map(Condition::from);
    put(&gateway, id, value, condition, level).await
}

/// Deletes a record, also one that does not exist.
#[utoipa::path(delete, path = "/v1/records/{id}", tag = "records", params(("id" = inline(Id), Path), Delete), responses(
    (status = 200, description = "It is deleted", body = Written),
    (status = 412, description = "The record is not as expected; `found` says what it is", body = Problem, content_type = "application/problem+json"),
    Always
))]
async fn delete_record(
    State(gateway): State<Gateway>,
    Path(id): Path<Id>,
    Query(delete): Query<Delete>,
) -> Result<Json<Written>, Problem> {
    let condition = delete
        .if_version
        .map(|version| Condition::VersionIs(version.0));
    put(&gateway, id, None, condition, Level::All).await
}

async fn put(
    gateway: &Gateway,
    id: Id,
    value: Option<Bytes>,
    condition: Option<Condition>,
    level: Level,
) -> Result<Json<Written>, Problem> {
    let id = checked(id)?;
    let client = gateway.storage().await?;
    let (update, route) = (gateway.0.records.update_id(), gateway.route(STORAGE_MS));
    let made = match condition {
        None => {
            client
                .write(update, &id, value, level, Version::NULL, route)
                .await?
        }
        Some(condition) => match client.update_if(update, &id, condition, value, route).await {
            Ok(made) => made,
            Err(UpdateError::Mismatch(found)) => return Err(Problem::mismatch(found.into())),
            Err(UpdateError::Failed(status)) => return Err(status.into()),
        },
    };
    Ok(Json(Written {
        id,
        version: VersionText(made),
    }))
}
