//! How far loads and runs with many tasks are, on the last lines of a terminal.
//!
//! Promises: what else is said comes out in whole lines above the bars; while a person types there are none; nothing is
//! drawn where there is no terminal, and nothing is left behind.

use crate::language::load::Pace;
use common::proto::{RunReport, StageSummary};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A run has a bar when one of its stages has at least so many tasks.
const TASKS_MIN: u32 = 10;
/// And it, or a load, has taken so long.
const ELAPSED_MS_MIN: u64 = 500;
/// Bars at once: a terminal has few lines.
const BARS_MAX: usize = 8;
const LOOK_OF_RUN: &str = "run {prefix} [{bar:32}] {pos}/{len} tasks, {msg}, {eta} left";
const LOOK_OF_LOAD: &str = "load [{bar:32}] {pos}/{len} runs, {msg} outstanding, {eta} left";

/// All bars of one terminal. Cheap to clone.
#[derive(Clone)]
pub struct Bars {
    all: MultiProgress,
    /// How many there are; held by whoever draws.
    shown: Arc<Mutex<usize>>,
    target: Arc<dyn Fn() -> ProgressDrawTarget + Send + Sync>,
}

/// One bar, if it is shown at all; taken away when this is dropped.
pub struct Shown {
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

    /// For a run or a load, which need not get any.
    pub fn bar(&self) -> Shown {
        let (bars, bar) = (self.clone(), None);
        Shown { bars, bar }
    }

    fn draw(&self) -> MutexGuard<'_, usize> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    pub fn is_shown(&self) -> bool {
        self.bar.is_some()
    }

    /// What is known of the run now.
    pub fn show_run(&mut self, report: &RunReport) {
        let is_due = report.elapsed_ms >= ELAPSED_MS_MIN
            && report.stages.iter().any(|stage| stage.tasks >= TASKS_MIN);
        let all = |count: fn(&StageSummary) -> u32| report.stages.iter().map(count).sum::<u32>();
        let at = report.stages.iter().find(|stage| !stage.done);
        self.draw(is_due, LOOK_OF_RUN, |bar| {
            bar.set_prefix(report.run.to_string());
            bar.set_length(all(|stage| stage.tasks).into());
            bar.set_message(at.map_or_else(String::new, |stage| super::printable(&stage.class)));
            bar.set_position(all(|stage| stage.tasks_done).into());
        });
    }

    /// What is known of a load now: how many runs were due, and how many of them are outstanding.
    pub fn show_load(&mut self, pace: Pace, elapsed_ms: u64, due: u64, outstanding: usize) {
        self.draw(elapsed_ms >= ELAPSED_MS_MIN, LOOK_OF_LOAD, |bar| {
            bar.set_length(pace.requests());
            bar.set_message(outstanding.to_string());
            bar.set_position(due);
        });
    }

    /// Adds the bar if it is due and there is room for it.
    fn draw(&mut self, is_due: bool, look: &str, update: impl FnOnce(&ProgressBar)) {
        let mut drawing = self.bars.draw();
        if self.bar.is_none() && is_due && *drawing < BARS_MAX && !self.bars.all.is_hidden() {
            *drawing += 1;
            let bar = ProgressBar::no_length().with_style(style(look));
            self.bar = Some(self.bars.all.add(bar));
        }
        if let Some(bar) = &self.bar {
            update(bar);
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            *self.bars.draw() -= 1;
            bar.finish_and_clear();
        }
    }
}

fn style(look: &str) -> ProgressStyle {
    // The default look instead of none, if the template were wrong.
    ProgressStyle::with_template(look)
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
        let mut bar = bars.bar();
        bar.show_run(&report(4, 600, 40, 10));
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
        let mut bar = bars.bar();
        bar.show_run(&report(4, 499, 40, 10));
        bar.show_run(&report(4, 600, 9, 8));
        assert!(!bar.is_shown());
        assert_eq!(terminal.contents(), "");
        let mut nowhere = Bars::none().bar();
        nowhere.show_run(&report(4, 600, 40, 10));
        assert!(!nowhere.is_shown());
    }

    #[test]
    fn while_somebody_types_there_is_none_and_then_it_comes_back() {
        let (terminal, bars) = terminal();
        let mut bar = bars.bar();
        bar.show_run(&report(4, 600, 40, 10));
        let seen = bars.absent_while(|| {
            bar.show_run(&report(4, 700, 40, 20));
            terminal.contents()
        });
        assert_eq!(seen, "");
        bar.show_run(&report(4, 800, 40, 30));
        assert!(terminal.contents().contains("30/40"));
    }

    #[test]
    fn what_is_printed_comes_above() {
        let (terminal, bars) = terminal();
        let mut bar = bars.bar();
        bar.show_run(&report(4, 600, 40, 10));
        bars.aside(|| {
            use indicatif::TermLike;
            terminal.write_line("run 3 completed: 1").unwrap();
        });
        bar.show_run(&report(4, 700, 40, 20));
        let drawn = terminal.contents();
        let lines: Vec<_> = drawn.lines().collect();
        assert_eq!(lines.len(), 2, "{drawn}");
        assert_eq!(lines[0], "run 3 completed: 1");
        assert!(lines[1].contains("20/40"), "{drawn}");
    }

    #[test]
    fn a_load_has_a_bar_of_the_runs_that_were_due() {
        let (terminal, bars) = terminal();
        let mut bar = bars.bar();
        let pace = Pace {
            rate: 10,
            duration_ms: 4_000,
        };
        bar.show_load(pace, 499, 5, 1);
        assert!(!bar.is_shown());
        bar.show_load(pace, 1_000, 10, 3);
        let drawn = terminal.contents();
        assert!(drawn.starts_with("load [========>"), "{drawn}");
        assert!(drawn.contains("] 10/40 runs, 3 outstanding, "), "{drawn}");
        drop(bar);
        assert_eq!(terminal.contents(), "");
    }

    #[test]
    fn a_terminal_has_few_bars() {
        let (_terminal, bars) = terminal();
        let mut all: Vec<_> = (0..=BARS_MAX).map(|_| bars.bar()).collect();
        for (run, bar) in (1..).zip(&mut all) {
            bar.show_run(&report(run, 600, 40, 10));
        }
        let shown = |all: &[Shown]| all.iter().filter(|bar| bar.is_shown()).count();
        assert_eq!(shown(&all), BARS_MAX);
        drop(all.remove(0));
        all[BARS_MAX - 1].show_run(&report(9, 700, 40, 20));
        assert_eq!(shown(&all), BARS_MAX);
    }
}
