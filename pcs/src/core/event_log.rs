//! The events of one session, numbered from 1; only the last [`EVENTS_MAX`] are kept.

use std::collections::VecDeque;

use super::messages::{Event, What};

/// Most events kept for a watcher that is slow, per session.
pub const EVENTS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub struct EventLog {
    events: VecDeque<Event>,
    last: u64,
}

impl EventLog {
    pub fn push(&mut self, name: String, pid: u32, what: What) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.last += 1;
        self.events.push_back(Event {
            number: self.last,
            name,
            pid,
            what,
        });
    }

    /// Events with a number above `cursor`. Error: the oldest number kept, when some were discarded unseen.
    pub fn after(&self, cursor: u64) -> Result<Vec<Event>, u64> {
        match self.events.front() {
            Some(oldest) if oldest.number > cursor.saturating_add(1) => Err(oldest.number),
            _ => Ok(self
                .events
                .iter()
                .filter(|event| event.number > cursor)
                .cloned()
                .collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_sees_what_follows_it() {
        let mut log = EventLog::default();
        for name in ["a", "b", "c"] {
            log.push(name.to_owned(), 1, What::Ready);
        }
        let names = |cursor| -> Vec<String> {
            log.after(cursor)
                .unwrap()
                .into_iter()
                .map(|event| event.name)
                .collect()
        };
        assert_eq!(names(0), ["a", "b", "c"]);
        assert_eq!(names(2), ["c"]);
        assert!(names(3).is_empty());
        assert!(names(9).is_empty());
    }

    #[test]
    fn a_cursor_behind_the_oldest_kept_event_is_told_so() {
        let mut log = EventLog::default();
        for _ in 0..EVENTS_MAX + 2 {
            log.push("a".to_owned(), 1, What::Ready);
        }
        assert_eq!(log.after(1), Err(3));
        assert_eq!(log.after(2).unwrap().len(), EVENTS_MAX);
    }
}
