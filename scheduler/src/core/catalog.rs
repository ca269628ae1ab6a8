//! Deployed operators: which component a run pins, and which workers had better have it ready.

use std::collections::{BTreeMap, BTreeSet};

use common::types::ComponentHash;

use super::Core;
use super::event::Output;
use super::run::RunNumber;

impl Core {
    /// Runs submitted from now on pin these. Workers get ready for what is new among them.
    pub(super) fn set_catalog(
        &mut self,
        catalog: BTreeMap<String, ComponentHash>,
        outputs: &mut Vec<Output>,
    ) {
        self.catalog = catalog;
        let wanted = self.components();
        self.workers.forget_prepared(&wanted);
        let names: Vec<String> = self.workers.active().map(|at| at.at.name.clone()).collect();
        for name in names {
            self.prepare_all(&name, outputs);
        }
    }

    /// The worker gets ready for everything that is deployed.
    pub(super) fn prepare_all(&mut self, worker: &str, outputs: &mut Vec<Output>) {
        let deployed: BTreeSet<ComponentHash> = self.catalog.values().copied().collect();
        for component in deployed {
            self.prepare(worker, component, outputs);
        }
    }

    /// The workers of the stages after `stage` get ready while that runs.
    pub(super) fn prepare_behind(
        &mut self,
        number: RunNumber,
        stage: usize,
        outputs: &mut Vec<Output>,
    ) {
        let Some(run) = self.runs.get(number) else {
            return;
        };
        let later = run.stages.iter().skip(stage + 1);
        let needed: BTreeSet<(String, ComponentHash)> = later
            .filter_map(|stage| Some((stage.worker.clone()?, stage.spec.component?)))
            .collect();
        for (worker, component) in needed {
            self.prepare(&worker, component, outputs);
        }
    }

    /// What runs in flight have pinned, with their numbers.
    pub fn pinned(&self) -> BTreeMap<ComponentHash, BTreeSet<RunNumber>> {
        let mut pinned: BTreeMap<ComponentHash, BTreeSet<RunNumber>> = BTreeMap::new();
        let in_flight = self.runs.in_flight().iter();
        for run in in_flight.filter_map(|number| self.runs.get(*number)) {
            for component in run.stages.iter().filter_map(|stage| stage.spec.component) {
                pinned.entry(component).or_default().insert(run.number);
            }
        }
        pinned
    }

    fn prepare(&mut self, worker: &str, component: ComponentHash, outputs: &mut Vec<Output>) {
        if !self.warms_up || !self.workers.shall_prepare(worker, component) {
            return;
        }
        if let Some(worker) = self.workers.address(worker) {
            outputs.push(Output::Prepare { worker, component });
        }
    }

    /// Everything that may still be needed.
    fn components(&self) -> BTreeSet<ComponentHash> {
        let deployed = self.catalog.values().copied();
        deployed.chain(self.pinned().into_keys()).collect()
    }
}
