//! `scripts/hostile.pm` costs the workers no memory that they keep, and nobody else anything.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod support;

use std::collections::BTreeMap;
use std::io::{PipeWriter, Write};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::cluster::pid_of;
use support::ports::{free_ports_for, replace_ports};
use support::{Marionette, examples, send, wait_until, wait_within};

/// All hostile runs together, on a busy machine; by themselves they take 7 s.
const HOSTILE_MAX: Duration = Duration::from_mins(3);
const WORKERS: [&str; 2] = ["w1", "w2"];
/// The last command before the first hostile run.
const BEFORE: &str = ": run before ";
/// What is said when all commands were executed.
const END: &str = "the nodes stay until Ctrl-C";

/// The script with ports that are free.
fn script() -> String {
    let text = std::fs::read_to_string("scripts/hostile.pm").unwrap();
    replace_ports(&text, &free_ports_for(&text))
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    kilobytes.unwrap().parse::<u64>().unwrap() << 10
}

/// Executes commands, one by one, up to the one with this text.
fn step_through(text: &str, puppetmaster: &Marionette, enter: &mut PipeWriter) {
    let mut executed = 0;
    wait_until(text, || {
        let error = puppetmaster.error();
        let shown = error.lines().filter(|line| line.contains("hostile.pm:"));
        for command in shown.skip(executed) {
            executed += 1;
            enter.write_all(b"\n").unwrap();
            if command.contains(text) {
                return Some(());
            }
        }
        None
    });
}

#[test]
fn what_hostile_operators_took_is_given_back() {
    if !examples::built() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hostile.pm");
    std::fs::write(&file, script()).unwrap();
    let applications = Path::new("scripts/hostile").canonicalize().unwrap();
    std::os::unix::fs::symlink(applications, folder.path().join("hostile")).unwrap();
    let (keys, mut enter) = std::io::pipe().unwrap();
    let arguments = ["run", "--step", "--keep", file.to_str().unwrap()];
    let puppetmaster = Marionette::start_with(&arguments, "", |command| {
        command.stdin(keys);
    });

    step_through(BEFORE, &puppetmaster, &mut enter);
    puppetmaster.wait_for_line("run 1 completed: ");
    let pids = WORKERS.map(|worker| pid_of(puppetmaster.pid(), worker));
    let before: BTreeMap<u32, u64> = BTreeMap::from(pids.map(|pid| (pid, resident_bytes(pid))));
    // Without keys the rest is executed without pauses.
    drop(enter);
    wait_within(HOSTILE_MAX, END, || {
        puppetmaster.error().contains(END).then_some(())
    });

    for (pid, before) in before {
        let bound = before + before / 5;
        let after = wait_until(("at most", bound, "bytes in a worker"), || {
            Some(resident_bytes(pid)).filter(|after| *after <= bound)
        });
        println!("{before} bytes before, {after} after");
    }
    let told = "failed as expected: unknown operator class `Undefined`";
    assert!(puppetmaster.error().contains(told));
    send(puppetmaster.pid(), Signal::SIGINT);
    let finished = puppetmaster.finish();
    assert!(finished.status.success(), "{finished:?}");
}
