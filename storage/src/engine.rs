//! Where a node's durable state rests.

use crate::core::Change;

/// A device failed; the node stops rather than promise what it cannot keep.
#[derive(Debug, thiserror::Error)]
#[error("storage engine: {0}")]
pub struct EngineError(pub String);

/// Makes changes durable before anything that implies them leaves the node.
pub trait Engine: Send + 'static {
    /// When this returns, all of the changes survive whatever the engine promises to survive.
    fn commit(&mut self, changes: &[&Change]) -> Result<(), EngineError>;
}

/// Memory only: the state in the core is all there is, and it dies with the process. A restarted node copies its
/// data from the other replicas before it takes part again.
#[derive(Debug, Default)]
pub struct MemoryEngine;

impl Engine for MemoryEngine {
    fn commit(&mut self, _: &[&Change]) -> Result<(), EngineError> {
        Ok(())
    }
}
