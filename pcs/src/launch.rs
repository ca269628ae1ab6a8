//! How a node comes into being: as a process of its own, or as a task of this one.

use common::fabric::{FabricHandle, Task};
use tokio::sync::mpsc;

use crate::core::{Input, ProcessId, Signal, Spec};
use crate::process::{Lines, Processes};
use crate::task::{NewTask, Tasks};

/// Cheap to clone.
#[derive(Clone)]
pub enum Launcher {
    Processes(Processes, Lines),
    Tasks(Tasks),
}

/// What was launched, before somebody tends it; dropped, it ends at once.
pub enum Launched {
    Process(tokio::process::Child, Lines),
    Task(NewTask),
}

impl Launcher {
    /// The error is for people.
    pub async fn launch(self, spec: Spec) -> Result<Launched, String> {
        match self {
            Self::Processes(processes, lines) => {
                let child = processes.launch(spec).await?;
                Ok(Launched::Process(child, lines))
            }
            Self::Tasks(tasks) => Ok(Launched::Task(tasks.launch(spec))),
        }
    }
}

impl Launched {
    /// Unique among the living nodes of this PCS; 0 for a process that has ended already.
    pub fn pid(&self) -> u32 {
        match self {
            Self::Process(child, _) => child.id().unwrap_or_default(),
            Self::Task(task) => task.number,
        }
    }

    /// Reports with `Ready` and, last, `Exited` on `inputs`.
    pub fn tend(
        self,
        who: (ProcessId, String),
        fabric: &FabricHandle,
        inputs: mpsc::Sender<Input>,
    ) -> Child {
        match self {
            Self::Process(child, lines) => crate::process::tend(child, who, fabric, lines, inputs),
            Self::Task(task) => task.tend(who.0, fabric, inputs),
        }
    }
}

/// The server's end of whatever tends a node; dropped, it kills the node.
pub struct Child {
    pub signals: mpsc::Sender<Signal>,
    pub _tender: Task,
}

impl Child {
    /// Most signals that wait for a child's task: more than one child can need.
    pub const SIGNALS_MAX: usize = 16;

    pub fn signal(&self, signal: Signal) {
        let _ = self.signals.try_send(signal);
    }
}
