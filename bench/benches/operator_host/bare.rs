//! Wasmtime alone: the least that a host of this contract can do.

use std::collections::BTreeMap;

use bench::speed::Result;
use bindings::marionette::operator::{clock, logging, random, storage, types as wit};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Engine, Store};
use worker::host::{HostConfig, OperatorRequest, engine_config};

/// Generated from the contract, as the host's own are.
mod bindings {
    wasmtime::component::bindgen!({
        path: "../operators/wit",
        world: "operator",
        imports: { default: async },
        exports: { default: async },
    });
}

/// So far away that no task meets it: nobody moves the epoch on.
const NEVER: u64 = 1 << 40;

pub struct Bare {
    instance: bindings::OperatorPre<Records>,
}

/// Fresh instances, or one for all tasks, as the request says.
pub struct Tasks<'a> {
    bare: &'a Bare,
    kept: Option<(Store<Records>, bindings::Operator)>,
    reuses: bool,
    records: Records,
}

/// Value and the number of its version.
type Records = BTreeMap<String, (Vec<u8>, u64)>;

impl Bare {
    pub fn new(config: &HostConfig, bytes: &[u8]) -> Result<Self> {
        let engine = Engine::new(&engine_config(config))?;
        let component = Component::from_binary(&engine, bytes)?;
        let mut linker: Linker<Records> = Linker::new(&engine);
        storage::add_to_linker::<_, HasSelf<Records>>(&mut linker, |records| records)?;
        clock::add_to_linker::<_, HasSelf<Records>>(&mut linker, |records| records)?;
        random::add_to_linker::<_, HasSelf<Records>>(&mut linker, |records| records)?;
        logging::add_to_linker::<_, HasSelf<Records>>(&mut linker, |records| records)?;
        linker.define_unknown_imports_as_traps(&component)?;
        let instance = linker.instantiate_pre(&component)?;
        let instance = bindings::OperatorPre::new(instance)?;
        Ok(Self { instance })
    }

    pub fn reused(&self, request: &OperatorRequest) -> Tasks<'_> {
        Tasks {
            bare: self,
            kept: None,
            reuses: !request.options.is_empty(),
            records: Records::new(),
        }
    }
}

impl Tasks<'_> {
    pub async fn run(&mut self, request: &OperatorRequest) -> Result<Vec<bindings::Item>> {
        let (mut store, operator) = if let Some(kept) = self.kept.take() {
            kept
        } else {
            let records = std::mem::take(&mut self.records);
            let mut store = Store::new(self.bare.instance.engine(), records);
            store.set_epoch_deadline(NEVER);
            let operator = self.bare.instance.instantiate_async(&mut store).await?;
            (store, operator)
        };
        let class = &request.class;
        let request = to_wit(request);
        let result = operator.call_run(&mut store, class, &request).await?;
        if self.reuses {
            self.kept = Some((store, operator));
        } else {
            self.records = store.into_data();
        }
        result.map_err(|error| format!("{class}: {error:?}").into())
    }
}

fn to_wit(request: &OperatorRequest) -> bindings::Request {
    let item = |item: &common::types::Item| wit::Item {
        key: item.key.clone(),
        value: item.value.to_vec(),
    };
    let options = request.options.iter();
    bindings::Request {
        run: request.run,
        stage: request.stage,
        task: request.task,
        attempt: request.attempt,
        input: request.input.clone(),
        options: options
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        items: request.items.iter().map(item).collect(),
    }
}

fn version(number: u64) -> wit::Version {
    wit::Version {
        number,
        replica: 1,
        step: 0,
    }
}

fn put(records: &mut Records, id: String, value: Vec<u8>) -> wit::Version {
    let number = records.get(&id).map_or(0, |(_, number)| *number) + 1;
    records.insert(id, (value, number));
    version(number)
}

fn found(records: &Records, id: &str) -> Option<wit::Record> {
    let (value, number) = records.get(id)?;
    Some(wit::Record {
        version: version(*number),
        value: value.clone(),
    })
}

impl wit::Host for Records {}

impl storage::Host for Records {
    async fn read(&mut self, id: String) -> Result<wit::Record, wit::StorageError> {
        found(self, &id).ok_or(wit::StorageError::NotFound)
    }

    async fn write(
        &mut self,
        id: String,
        value: Vec<u8>,
    ) -> Result<wit::Version, wit::StorageError> {
        Ok(put(self, id, value))
    }

    async fn update_if_value_is(
        &mut self,
        id: String,
        old: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<wit::Version, wit::UpdateError> {
        let found = found(self, &id);
        if found.as_ref().map(|record| &record.value) != old.as_ref() {
            return Err(wit::UpdateError::Mismatch(found));
        }
        Ok(put(self, id, new))
    }

    async fn update_if_version_is(
        &mut self,
        id: String,
        old: Option<wit::Version>,
        new: Vec<u8>,
    ) -> Result<wit::Version, wit::UpdateError> {
        let found = found(self, &id);
        let number = |version: &wit::Version| version.number;
        if found.as_ref().map(|record| record.version.number) != old.as_ref().map(number) {
            return Err(wit::UpdateError::Mismatch(found));
        }
        Ok(put(self, id, new))
    }
}

impl clock::Host for Records {
    async fn now(&mut self) -> u64 {
        0
    }
}

impl random::Host for Records {
    async fn number(&mut self) -> u64 {
        4
    }

    async fn bytes(&mut self, count: u32) -> Vec<u8> {
        vec![4; count as usize]
    }
}

impl logging::Host for Records {
    async fn log(&mut self, _level: wit::Level, _message: String) {}
}
