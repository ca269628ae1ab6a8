//! The log lines of one task: bounded, and kept apart from the worker's own by target and fields.

use std::sync::Arc;

use marionette_sdk::Level;

use super::OperatorRequest;
use super::limits::{ERROR_TEXT_BYTES_MAX, LOG_LINE_BYTES_MAX, LOG_LINES_MAX, cut};
use super::rehearsal::Rehearsal;

/// Where the lines of one task go. Must never fail or block the task.
#[derive(Debug)]
pub(super) struct TaskLog {
    class: String,
    run: u64,
    stage: u32,
    lines: u32,
    last_error: Option<String>,
    rehearsal: Option<Arc<Rehearsal>>,
}

impl TaskLog {
    pub(super) fn new(request: &OperatorRequest) -> Self {
        Self {
            class: request.class.clone(),
            run: request.run,
            stage: request.stage,
            lines: 0,
            last_error: None,
            rehearsal: request.rehearsal.clone(),
        }
    }

    /// One line; cut when too long, dropped when there were too many.
    pub(super) fn line(&mut self, level: Level, message: String) {
        if level == Level::Error {
            self.last_error = Some(cut(message.clone(), ERROR_TEXT_BYTES_MAX));
        }
        self.lines = self.lines.saturating_add(1);
        if self.lines <= LOG_LINES_MAX {
            self.emit(level, &cut(message, LOG_LINE_BYTES_MAX));
        } else if self.lines == LOG_LINES_MAX + 1 {
            self.emit(Level::Warn, "too many lines, the rest is dropped");
        }
    }

    /// The last line of level error: after a trap, what the guest had to say about it.
    pub(super) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    fn emit(&self, level: Level, message: &str) {
        if let Some(rehearsal) = &self.rehearsal {
            return rehearsal.line(level, message);
        }
        let (class, run, stage) = (self.class.as_str(), self.run, self.stage);
        match level {
            Level::Debug => tracing::debug!(target: "operator", class, run, stage, "{message}"),
            Level::Info => tracing::info!(target: "operator", class, run, stage, "{message}"),
            Level::Warn => tracing::warn!(target: "operator", class, run, stage, "{message}"),
            Level::Error => tracing::error!(target: "operator", class, run, stage, "{message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_kept_and_cut_between_characters() {
        let mut log = TaskLog::new(&OperatorRequest::default());
        log.line(Level::Error, "ä".repeat(ERROR_TEXT_BYTES_MAX));
        let last = log.last_error().expect("an error was logged");
        assert!(last.len() <= ERROR_TEXT_BYTES_MAX + '…'.len_utf8());
        assert!(last.len() > LOG_LINE_BYTES_MAX, "a traceback is whole");
        assert!(last.ends_with("ä…"));
    }

    #[test]
    fn a_flood_of_lines_still_keeps_the_last_error() {
        let mut log = TaskLog::new(&OperatorRequest::default());
        for line in 0..=LOG_LINES_MAX + 1 {
            log.line(Level::Error, line.to_string());
        }
        assert_eq!(log.last_error(), Some("1001"));
    }
}
