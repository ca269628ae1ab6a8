//! Deployed operators as the storage keeps them: components by their hash, in pieces, and one catalog of classes.
//!
//! Promises: a component is complete when its head exists, since the head is written last; what is returned has the hash
//! asked for. The catalog changes as a whole, and no change is lost to another.

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::{Condition, Named, Route, StorageClient, UpdateError};
use crate::proto::{Catalog, Level};
use crate::status::{Detail, Kind, Status};
use crate::types::{
    ComponentHash, LeaderOrigin, RESERVED_PREFIX, RecordVersion, TaskMark, UpdateId, Version,
    Wanted,
};

/// A component has at most this many bytes.
pub const COMPONENT_BYTES_MAX: usize = 256 << 20;
/// The classes of all components together.
pub const CLASSES_MAX: usize = 1_000;
/// Deployments of one class that are kept, to go back to.
pub const DEPLOYMENTS_MAX: usize = 10;
/// One record's part of a component.
const PIECE_BYTES: usize = 256 << 10;
/// The catalog as a record.
const CATALOG_BYTES_MAX: usize = 1 << 20;

/// Numbers the writes of one deployment, under an origin that nobody else has.
#[derive(Debug)]
pub struct Origin {
    path: String,
    writes: u64,
    /// Absent: whoever leads may be another one when they are made.
    leader: Option<TaskMark>,
}

impl Origin {
    /// `who` is unique among all callers of all times: it holds an incarnation.
    pub fn new(who: String) -> Self {
        Self {
            path: who,
            writes: 0,
            leader: None,
        }
    }

    /// The storage refuses its writes once a later leader has fenced them.
    pub fn of_leader(leader: LeaderOrigin) -> Self {
        let mark = TaskMark {
            attempt: leader.ballot,
            note: Bytes::new(),
        };
        Self {
            leader: Some(mark),
            ..Self::new(leader.to_string())
        }
    }

    fn next(&mut self) -> UpdateId {
        self.writes += 1;
        UpdateId {
            origin: self.path.clone(),
            sequence: self.writes,
        }
    }

    fn next_write(&mut self) -> Named {
        Named {
            id: self.next(),
            task: self.leader.clone(),
        }
    }
}

fn catalog_record() -> String {
    format!("{RESERVED_PREFIX}operators")
}

fn head(hash: ComponentHash) -> String {
    format!("{RESERVED_PREFIX}component/{hash}")
}

fn piece(hash: ComponentHash, index: usize) -> String {
    format!("{RESERVED_PREFIX}component/{hash}/{index}")
}

impl StorageClient {
    /// Stores a component, unless it is there already. `progress` is told the bytes that are stored.
    pub async fn put_component(
        &self,
        component: &Bytes,
        origin: &mut Origin,
        route: Route,
        mut progress: impl FnMut(usize) + Send,
    ) -> Result<ComponentHash, Status> {
        if component.len() > COMPONENT_BYTES_MAX {
            return Err(Status::invalid(format!(
                "a component has at most {COMPONENT_BYTES_MAX} bytes, not {}",
                component.len()
            )));
        }
        let hash = ComponentHash::of(component);
        if self.existing(&head(hash), origin, route).await?.is_some() {
            progress(component.len());
            return Ok(hash);
        }
        for (index, start) in (0..component.len()).step_by(PIECE_BYTES).enumerate() {
            let end = component.len().min(start + PIECE_BYTES);
            let part = component.slice(start..end);
            self.put(&piece(hash, index), Some(part), origin, route)
                .await?;
            progress(end);
        }
        let bytes = Bytes::from(component.len().to_string());
        self.put(&head(hash), Some(bytes), origin, route).await?;
        Ok(hash)
    }

    /// A component that was stored; absent: it was not, or not completely.
    pub async fn get_component(
        &self,
        hash: ComponentHash,
        origin: &mut Origin,
        route: Route,
    ) -> Result<Option<Bytes>, Status> {
        let Some(bytes) = self.component_bytes(hash, origin, route).await? else {
            return Ok(None);
        };
        let mut component = BytesMut::with_capacity(bytes);
        for index in 0..bytes.div_ceil(PIECE_BYTES) {
            let part = self.existing(&piece(hash, index), origin, route).await?;
            let part = part.ok_or_else(|| damaged(hash, "a piece is missing"))?;
            component.extend_from_slice(&part);
        }
        if ComponentHash::of(&component) != hash {
            return Err(damaged(hash, "its bytes have another hash"));
        }
        Ok(Some(component.freeze()))
    }

    /// Takes a component out of the storage. Whoever still asks for it finds none.
    pub async fn remove_component(
        &self,
        hash: ComponentHash,
        origin: &mut Origin,
        route: Route,
    ) -> Result<(), Status> {
        let Some(bytes) = self.component_bytes(hash, origin, route).await? else {
            return Ok(());
        };
        // The head first: what is left of an interrupted removal is no component.
        self.put(&head(hash), None, origin, route).await?;
        for index in 0..bytes.div_ceil(PIECE_BYTES) {
            self.put(&piece(hash, index), None, origin, route).await?;
        }
        Ok(())
    }

    async fn component_bytes(
        &self,
        hash: ComponentHash,
        origin: &mut Origin,
        route: Route,
    ) -> Result<Option<usize>, Status> {
        let Some(bytes) = self.existing(&head(hash), origin, route).await? else {
            return Ok(None);
        };
        let bytes = std::str::from_utf8(&bytes).ok();
        let bytes = bytes.and_then(|digits| digits.parse::<usize>().ok());
        let bytes = bytes.filter(|bytes| *bytes <= COMPONENT_BYTES_MAX);
        let bytes = bytes.ok_or_else(|| damaged(hash, "its head is no number of bytes"))?;
        Ok(Some(bytes))
    }

    /// The catalog as of a moment between question and answer.
    pub async fn catalog(&self, origin: &mut Origin, route: Route) -> Result<Catalog, Status> {
        let record = catalog_record();
        let found = self.read_linearizable(origin.next(), &record, route);
        decode_catalog(&found.await?)
    }

    /// Changes the catalog, again and again until nobody comes between. An error of `change` ends it and changes nothing.
    ///
    /// # Errors
    /// [`Kind::Timeout`]: the catalog may be changed, or not; with [`Detail::Fenced`], another scheduler leads.
    pub async fn change_catalog(
        &self,
        origin: &mut Origin,
        route: Route,
        mut change: impl FnMut(&mut Catalog) -> Result<(), Status> + Send,
    ) -> Result<Catalog, Status> {
        let record = catalog_record();
        let mut found = self
            .read_linearizable(origin.next(), &record, route)
            .await?;
        loop {
            let mut catalog = decode_catalog(&found)?;
            change(&mut catalog)?;
            let new = Bytes::from(catalog.encode_to_vec());
            if new.len() > CATALOG_BYTES_MAX {
                return Err(Status::invalid(format!(
                    "the catalog of deployed operators has at most {CATALOG_BYTES_MAX} bytes"
                )));
            }
            let as_found = Condition::VersionIs(found.version);
            match self
                .update_if(origin.next_write(), &record, as_found, Some(new), route)
                .await
            {
                Ok(_) => return Ok(catalog),
                Err(UpdateError::Mismatch(other)) => found = other,
                Err(UpdateError::Failed(status)) => return Err(unsure(status)),
            }
        }
    }

    async fn put(
        &self,
        record: &str,
        value: Option<Bytes>,
        origin: &mut Origin,
        route: Route,
    ) -> Result<(), Status> {
        let written = self.write(
            origin.next_write(),
            record,
            value,
            Level::Majority,
            Version::NULL,
            route,
        );
        written.await.map(drop)
    }

    /// What never changes once it is there: any replica's answer does, but one without it may only be behind.
    async fn existing(
        &self,
        record: &str,
        origin: &mut Origin,
        route: Route,
    ) -> Result<Option<Bytes>, Status> {
        if let Some(value) = self.read(record, Wanted::NEWEST, route).await?.value {
            return Ok(Some(value));
        }
        let found = self.read_linearizable(origin.next(), record, route).await?;
        Ok(found.value)
    }
}

fn decode_catalog(found: &RecordVersion) -> Result<Catalog, Status> {
    let bytes = found.value.clone().unwrap_or_default();
    Catalog::decode(bytes)
        .map_err(|error| Status::internal(format!("the catalog of operators is damaged: {error}")))
}

/// Of several replicas that were asked to make a change, one that refuses it does not know what became of it at the others.
fn unsure(status: Status) -> Status {
    let is_fenced = matches!(status.detail, Some(Detail::Fenced(_)));
    if !is_fenced && !matches!(status.kind, Kind::Refused | Kind::Timeout) {
        return status;
    }
    let message = format!("the catalog of operators may be changed, or not: {status}");
    Status {
        kind: Kind::Timeout,
        message,
        ..status
    }
}

fn damaged(hash: ComponentHash, how: &str) -> Status {
    Status::internal(format!("the component {} is damaged: {how}", hash.short()))
}
