//! What is said of deployed operators.

use serde_json::{Value, json};

/// What `deploy`, `rollback` and `operators` say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deployment {
    /// `component`: the first digits of its hash.
    Deployed {
        file: String,
        classes: Vec<String>,
        component: String,
        bytes: usize,
    },
    /// To this component.
    RolledBack {
        class: String,
        component: String,
    },
    Listed(Vec<OperatorRow>),
}

/// One deployment of one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorRow {
    pub class: String,
    /// All digits of its hash.
    pub component: String,
    /// Runs that are submitted now use it.
    pub is_current: bool,
    pub language: String,
    pub bytes: u64,
    /// Milliseconds since 1970.
    pub deployed_unix_ms: u64,
    /// Runs in flight that have pinned it.
    pub runs: Vec<u64>,
}

impl Deployment {
    pub fn to_json(&self) -> Value {
        match self {
            Self::Deployed {
                file,
                classes,
                component,
                bytes,
            } => {
                json!({"event": "deployed", "file": file, "classes": classes, "component": component, "bytes": bytes})
            }
            Self::RolledBack { class, component } => {
                json!({"event": "rolled_back", "class": class, "component": component})
            }
            Self::Listed(rows) => {
                let rows: Vec<Value> = rows.iter().map(row_json).collect();
                json!({"event": "operators", "operators": rows})
            }
        }
    }
}

fn row_json(row: &OperatorRow) -> Value {
    json!({
        "class": row.class, "component": row.component, "current": row.is_current, "language": row.language,
        "bytes": row.bytes, "deployed_unix_ms": row.deployed_unix_ms, "runs": row.runs,
    })
}
