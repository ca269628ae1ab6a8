//! Protobuf requests to the core's and back; checks everything that comes from outside.

use std::sync::{Arc, OnceLock};

use common::fabric::{Kind, Status};
use common::node::Identity;
use common::proto::{self, Empty, process_event};

use crate::core::{Answer, Event, PcsError, ProcessView, Request, Role, Spec, What};
use crate::server::ServerHandle;

/// Longest name of a session or a process, in bytes.
const NAME_BYTES_MAX: usize = 128;
const ARGUMENTS_MAX: usize = 256;
/// All arguments of one process together.
const ARGUMENTS_BYTES_MAX: usize = 64 << 10;

pub struct PcsService {
    pub server: ServerHandle,
}

impl proto::pcs::Service for PcsService {
    async fn start(&self, request: proto::StartRequest) -> Result<proto::StartResponse, Status> {
        match self.server.request(Request::Start(spec(request)?)).await? {
            Answer::Started { pid } => Ok(proto::StartResponse { pid }),
            other => Err(unexpected(&other)),
        }
    }

    async fn kill(&self, request: proto::ProcessRequest) -> Result<Empty, Status> {
        let (session, name) = process(request)?;
        done(&self.server.request(Request::Kill { session, name }).await?)
    }

    async fn stop(&self, request: proto::ProcessRequest) -> Result<Empty, Status> {
        let (session, name) = process(request)?;
        done(&self.server.request(Request::Stop { session, name }).await?)
    }

    async fn freeze(&self, request: proto::ProcessRequest) -> Result<Empty, Status> {
        let (session, name) = process(request)?;
        let freeze = Request::Freeze { session, name };
        done(&self.server.request(freeze).await?)
    }

    async fn unfreeze(&self, request: proto::ProcessRequest) -> Result<Empty, Status> {
        let (session, name) = process(request)?;
        let unfreeze = Request::Unfreeze { session, name };
        done(&self.server.request(unfreeze).await?)
    }

    async fn watch(&self, request: proto::WatchRequest) -> Result<proto::WatchResponse, Status> {
        let request = Request::Watch {
            session: checked_name("session", request.session)?,
            after: request.after,
            wait_ms: request.wait_ms.into(),
            lease_ms: request.lease_ms.into(),
        };
        match self.server.request(request).await? {
            Answer::Events(events) => Ok(proto::WatchResponse {
                events: events.into_iter().map(event).collect(),
            }),
            other => Err(unexpected(&other)),
        }
    }

    async fn list(&self, _: Empty) -> Result<proto::ProcessList, Status> {
        match self.server.request(Request::List).await? {
            Answer::Processes(views) => Ok(proto::ProcessList {
                processes: views.into_iter().map(info).collect(),
            }),
            other => Err(unexpected(&other)),
        }
    }

    async fn close(&self, request: proto::CloseRequest) -> Result<Empty, Status> {
        let session = checked_name("session", request.session)?;
        done(&self.server.request(Request::Close { session }).await?)
    }
}

/// What every role answers.
pub struct NodeService {
    pub server: ServerHandle,
    /// Set as soon as the address is known.
    pub identity: Arc<OnceLock<Identity>>,
}

impl NodeService {
    fn identity(&self) -> Result<&Identity, Status> {
        self.identity
            .get()
            .ok_or_else(|| Status::unavailable("this PCS is still starting"))
    }
}

impl proto::node::Service for NodeService {
    async fn status(&self, _: Empty) -> Result<proto::NodeStatus, Status> {
        let (sessions, processes) = self.server.counts();
        let details = vec![
            ("sessions", sessions.to_string()),
            ("processes", processes.to_string()),
        ];
        Ok(self.identity()?.status(details, Vec::new()))
    }

    async fn set_debug(&self, request: proto::SetDebugRequest) -> Result<Empty, Status> {
        self.identity()?.set_debug(&request)?;
        Ok(Empty {})
    }
}

fn spec(request: proto::StartRequest) -> Result<Spec, Status> {
    let role = Role::parse(&request.role).ok_or_else(|| {
        let known = Role::ALL.map(Role::as_str).join(", ");
        Status::invalid(format!(
            "a PCS starts {known} and nothing else, not `{}`",
            request.role
        ))
    })?;
    let bytes: usize = request.arguments.iter().map(String::len).sum();
    if request.arguments.len() > ARGUMENTS_MAX || bytes > ARGUMENTS_BYTES_MAX {
        return Err(Status::invalid(format!(
            "a process has at most {ARGUMENTS_MAX} arguments of {ARGUMENTS_BYTES_MAX} bytes together"
        )));
    }
    if request
        .arguments
        .iter()
        .any(|argument| argument.contains('\0'))
    {
        return Err(Status::invalid("an argument holds a NUL character"));
    }
    Ok(Spec {
        session: checked_name("session", request.session)?,
        name: checked_name("process", request.name)?,
        role,
        arguments: request.arguments,
    })
}

fn process(request: proto::ProcessRequest) -> Result<(String, String), Status> {
    Ok((
        checked_name("session", request.session)?,
        checked_name("process", request.name)?,
    ))
}

fn checked_name(what: &str, name: String) -> Result<String, Status> {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_plain) {
        return Err(Status::invalid(format!(
            "the name of a {what} has 1 to {NAME_BYTES_MAX} bytes and no spaces, not {name:?}"
        )));
    }
    Ok(name)
}

fn done(answer: &Answer) -> Result<Empty, Status> {
    match answer {
        Answer::Done => Ok(Empty {}),
        other => Err(unexpected(other)),
    }
}

fn unexpected(answer: &Answer) -> Status {
    Status::internal(format!(
        "the core gave an answer to another question: {answer:?}"
    ))
}

fn event(event: Event) -> proto::ProcessEvent {
    let what = match event.what {
        What::Ready => process_event::What::Ready(Empty {}),
        What::Exited {
            asked,
            how,
            last_words,
        } => process_event::What::Exited(proto::Exited {
            asked,
            how,
            last_words,
        }),
    };
    proto::ProcessEvent {
        number: event.number,
        name: event.name,
        pid: event.pid,
        what: Some(what),
    }
}

fn info(view: ProcessView) -> proto::ProcessInfo {
    proto::ProcessInfo {
        session: view.session,
        name: view.name,
        role: view.role.as_str().to_owned(),
        pid: view.pid,
        ready: view.ready,
    }
}

impl From<PcsError> for Status {
    fn from(error: PcsError) -> Self {
        let kind = match &error {
            PcsError::NameTaken { .. } => Kind::AlreadyExists,
            PcsError::NoSuchProcess { .. } | PcsError::NoSuchSession(_) => Kind::NotFound,
            PcsError::NotStarted { .. } => Kind::Internal,
            PcsError::SessionClosing(_) => Kind::Refused,
            PcsError::EventsDiscarded { .. } => Kind::Discarded,
            PcsError::Full { .. } => Kind::Overloaded,
            PcsError::ShuttingDown => Kind::Unavailable,
        };
        Status::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(role: &str, name: &str) -> proto::StartRequest {
        proto::StartRequest {
            session: "a".to_owned(),
            name: name.to_owned(),
            role: role.to_owned(),
            arguments: vec!["x".to_owned()],
        }
    }

    #[test]
    fn nothing_but_a_role_is_started() {
        for role in ["pcs", "run", "sh", "/bin/sh", "--help", ""] {
            let refused = spec(request(role, "s1")).unwrap_err();
            assert_eq!(refused.kind, Kind::InvalidArgument);
            assert!(
                refused
                    .message
                    .contains("scheduler, storage, worker and nothing else")
            );
        }
        assert_eq!(spec(request("worker", "w1")).unwrap().role, Role::Worker);
    }

    #[test]
    fn names_and_arguments_are_bounded() {
        for name in ["", "a b", "a\n", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(spec(request("storage", name)).is_err(), "{name:?}");
        }
        let mut many = request("storage", "s1");
        many.arguments = vec!["y".repeat(ARGUMENTS_BYTES_MAX + 1)];
        assert!(spec(many.clone()).is_err());
        many.arguments = vec![String::new(); ARGUMENTS_MAX + 1];
        assert!(spec(many.clone()).is_err());
        many.arguments = vec!["a\0b".to_owned()];
        assert!(spec(many).is_err());
    }
}
