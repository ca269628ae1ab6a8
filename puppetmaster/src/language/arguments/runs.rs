//! What concerns runs: their input, application and key, their number, and how many of them a load has.

use super::super::command::{Command, Name, OfRun, Submission};
use super::super::load::Pace;
use super::{Arguments, REPEAT_COUNT_MAX, TIME_MS_MAX};
use common::diagnostic::{Diagnostic, Word};

/// Begins the key of a run.
const KEY: &str = "key=";
/// The scheduler takes no longer ones.
const KEY_CHARS_MAX: usize = 128;
/// A load has at most so many runs per second.
const RATE_MAX: u32 = 10_000;

impl Arguments<'_> {
    pub fn submission(&mut self) -> Result<Submission, Diagnostic> {
        let (input, application) = (self.text()?, self.file()?);
        let key = self.behind(KEY);
        let is_key = |key: &Word| {
            let is_visible = key.text.chars().all(|c| c.is_ascii_graphic());
            is_visible && (1..=KEY_CHARS_MAX).contains(&key.text.len())
        };
        if let Some(wrong) = key.as_ref().filter(|key| !is_key(key)) {
            let message = format!("a key has 1 to {KEY_CHARS_MAX} visible ASCII characters");
            return Err(self.wrong(wrong, message));
        }
        Ok(Submission {
            input,
            application,
            key: key.map(|key| key.text),
        })
    }

    /// The number of a run, and the word for its place.
    pub fn run(&mut self) -> Result<(u64, Name), Diagnostic> {
        let word = self.required()?;
        let run = self.number(word, 1, u64::MAX, ": runs are counted")?;
        Ok((run, Name(word.clone())))
    }

    /// What is asked of the run whose number is here.
    pub fn of_run(&mut self, what: OfRun) -> Result<Command, Diagnostic> {
        let (run, run_word) = self.run()?;
        Ok(Command::OfRun {
            run,
            run_word,
            what,
        })
    }

    /// Runs per second, and for how long.
    pub fn pace(&mut self) -> Result<Pace, Diagnostic> {
        let word = self.required()?;
        let rate = self.number(word, 1, RATE_MAX, " of runs per second")?;
        let word = self.required()?;
        let duration_ms = self.number(word, 1, TIME_MS_MAX, " of milliseconds")?;
        let pace = Pace { rate, duration_ms };
        let requests = pace.requests();
        if requests > u64::from(REPEAT_COUNT_MAX) {
            let message = format!("these are {requests} runs, more than {REPEAT_COUNT_MAX}");
            return Err(self.wrong(word, message));
        }
        Ok(pace)
    }
}
