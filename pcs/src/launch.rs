//! How a node comes into being: as a process of its own, or as a task of this one.

use common::fabric::{FabricHandle, Task};
use tokio::sync::mpsc;

use crate::core::{Input, ProcessId, Signal, Spec};
use crate::process::{Lines, Printer, Processes};
use crate::task::{NewTask, Tasks};

pub enum Launcher {
    Processes(Processes, Printer),
    Tasks(Tasks),
}

/// The end of a launcher that the task of one launch holds.
pub enum Launch {
    Process(Processes, Lines),
    Task(Tasks),
}

/// What was launched, before somebody tends it; dropped, it ends at once.
pub enum Launched {
    Process(tokio::process::Child, Lines),
    Task(NewTask),
}

impl Launcher {
    pub fn launch(&self) -> Launch {
        match self {
            Self::Processes(processes, printer) => {
                Launch::Process(processes.clone(), printer.lines())
            }
            Self::Tasks(tasks) => Launch::Task(tasks.clone()),
        }
    }

    /// Waits until what the nodes have said is printed; they have all ended.
    pub async fn close(self) {
        if let Self::Processes(_, printer) = self {
            printer.close().await;
        }
    }
}

impl Launch {
    /// The error is for people.
    pub async fn start(self, spec: Spec) -> Result<Launched, String> {
        match self {
            Self::Process(processes, lines) => {
                let child = processes.launch(spec).await?;
                Ok(Launched::Process(child, lines))
            }
            Self::Task(tasks) => Ok(Launched::Task(tasks.launch(spec))),
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
