//! How far runs with many tasks are, on the last lines of a terminal.
//!
//! Promises: what else is said comes out in whole lines above the bars; while a person types there are none; nothing is
//! drawn where there is no terminal, and nothing is left behind.

use common::proto::{RunReport, StageSummary};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A run has a bar when one of its stages has at least so many tasks.
const TASKS_MIN: u32 = 10;
/// And it has taken so long.
const ELAPSED_MS_MIN: u64 = 500;
/// Bars at once: a terminal has few lines.
const BARS_MAX: usize = 8;
const LOOK: &str = "run {prefix} [{bar:32}] {pos}/{len} tasks, {msg}, {eta} left";

/// All bars of one terminal. Cheap to clone.
#[derive(Clone)]
pub struct Bars {
    all: MultiProgress,
    /// How many there are; held by whoever draws.
    shown: Arc<Mutex<usize>>,
    target: Arc<dyn Fn() -> ProgressDrawTarget + Send + Sync>,
}

/// That of one run, if it has any; taken away when this is dropped.
pub struct RunBar {
    bars: Bars,
    bar: Option<ProgressBar>,
}

impl Bars {
    /// Where nobody looks.
    pub fn none() -> Self {
        Self::on(ProgressDrawTarget::hidden)
    }

    /// On standard error, which is a terminal.
    pub fn on_terminal() -> Self {
        Self::on(ProgressDrawTarget::stderr)
    }

    fn on(target: impl Fn() -> ProgressDrawTarget + Send + Sync + 'static) -> Self {
        Self {
            all: MultiProgress::with_draw_target(target()),
            shown: Arc::default(),
            target: Arc::new(target),
        }
    }

    /// Takes them away as long as somebody types.
    pub fn absent_while<T>(&self, typing: impl FnOnce() -> T) -> T {
        let drawing = self.draw();
        // There is nobody to be told that the terminal is gone.
        let _ = self.all.clear();
        self.all.set_draw_target(ProgressDrawTarget::hidden());
        drop(drawing);
        let typed = typing();
        let _drawing = self.draw();
        self.all.set_draw_target((self.target)());
        typed
    }

    /// Takes them away while something is printed.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.all.suspend(print)
    }

    /// For a run, which need not get any.
    pub fn of_run(&self) -> RunBar {
        let (bars, bar) = (self.clone(), None);
        RunBar { bars, bar }
    }

    fn draw(&self) -> MutexGuard<'_, usize> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunBar {
    pub fn is_shown(&self) -> bool {
        self.bar.is_some()
    }

    /// What is known of the run now.
    pub fn show(&mut self, report: &RunReport) {
        let mut drawing = self.bars.draw();
        let is_due = report.elapsed_ms >= ELAPSED_MS_MIN
            && report.stages.iter().any(|stage| stage.tasks >= TASKS_MIN);
        if self.bar.is_none() && is_due && *drawing < BARS_MAX && !self.bars.all.is_hidden() {
            *drawing += 1;
            let bar = ProgressBar::no_length().with_prefix(report.run.to_string());
            self.bar = Some(self.bars.all.add(bar.with_style(style())));
        }
        let Some(bar) = &self.bar else {
            return;
        };
        let all = |count: fn(&StageSummary) -> u32| report.stages.iter().map(count).sum::<u32>();
        let at = report.stages.iter().find(|stage| !stage.done);
        bar.set_length(all(|stage| stage.tasks).into());
        bar.set_message(at.map_or_else(String::new, |stage| super::printable(&stage.class)));
        bar.set_position(all(|stage| stage.tasks_done).into());
    }
}

impl Drop for RunBar {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            *self.bars.draw() -= 1;
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    // The default look instead of none, if the template were wrong.
    ProgressStyle::with_template(LOOK)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use indicatif::InMemoryTerm;

    fn terminal() -> (InMemoryTerm, Bars) {
        let terminal = InMemoryTerm::new(10, 100);
        let drawn_on = terminal.clone();
        let target = move || ProgressDrawTarget::term_like_with_hz(Box::new(drawn_on.clone()), 255);
        (terminal, Bars::on(target))
    }

    fn report(run: u64, elapsed_ms: u64, tasks: u32, tasks_done: u32) -> RunReport {
        let stage = |class: &str, done, tasks, tasks_done| StageSummary {
            class: class.to_owned(),
            done,
            tasks,
            tasks_done,
            ..StageSummary::default()
        };
        let stages = vec![
            stage("SplitRange", true, 0, 0),
            stage("SumOfPrimes", false, tasks, tasks_done),
        ];
        RunReport {
            run,
            elapsed_ms,
            stages,
            ..RunReport::default()
        }
    }

    #[test]
    fn a_run_with_many_tasks_has_a_bar_until_it_ends() {
        let (terminal, bars) = terminal();
        let mut bar = bars.of_run();
        bar.show(&report(4, 600, 40, 10));
        assert!(bar.is_shown());
        let drawn = terminal.contents();
        assert!(drawn.starts_with("run 4 [========>"), "{drawn}");
        assert!(drawn.contains("] 10/40 tasks, SumOfPrimes, "), "{drawn}");
        drop(bar);
        assert_eq!(terminal.contents(), "");
    }

    #[test]
    fn runs_that_are_short_or_have_few_tasks_have_none() {
        let (terminal, bars) = terminal();
        let mut bar = bars.of_run();
        bar.show(&report(4, 499, 40, 10));
        bar.show(&report(4, 600, 9, 8));
        assert!(!bar.is_shown());
        assert_eq!(terminal.contents(), "");
        let mut nowhere = Bars::none().of_run();
        nowhere.show(&report(4, 600, 40, 10));
        assert!(!nowhere.is_shown());
    }

    #[test]
    fn while_somebody_types_there_is_none_and_then_it_comes_back() {
        let (terminal, bars) = terminal();
        let mut bar = bars.of_run();
        bar.show(&report(4, 600, 40, 10));
        let seen = bars.absent_while(|| {
            bar.show(&report(4, 700, 40, 20));
            terminal.contents()
        });
        assert_eq!(seen, "");
        bar.show(&report(4, 800, 40, 30));
        assert!(terminal.contents().contains("30/40"));
    }

    #[test]
    fn what_is_printed_comes_above() {
        let (terminal, bars) = terminal();
        let mut bar = bars.of_run();
        bar.show(&report(4, 600, 40, 10));
        bars.aside(|| {
            use indicatif::TermLike;
            terminal.write_line("run 3 completed: 1").unwrap();
        });
        bar.show(&report(4, 700, 40, 20));
        let drawn = terminal.contents();
        let lines: Vec<_> = drawn.lines().collect();
        assert_eq!(lines.len(), 2, "{drawn}");
        assert_eq!(lines[0], "run 3 completed: 1");
        assert!(lines[1].contains("20/40"), "{drawn}");
    }

    #[test]
    fn a_terminal_has_few_bars() {
        let (_terminal, bars) = terminal();
        let mut all: Vec<_> = (0..=BARS_MAX).map(|_| bars.of_run()).collect();
        for (run, bar) in (1..).zip(&mut all) {
            bar.show(&report(run, 600, 40, 10));
        }
        let shown = |all: &[RunBar]| all.iter().filter(|bar| bar.is_shown()).count();
        assert_eq!(shown(&all), BARS_MAX);
        drop(all.remove(0));
        all[BARS_MAX - 1].show(&report(9, 700, 40, 20));
        assert_eq!(shown(&all), BARS_MAX);
    }
}
