//! `marionette dev`: what an author saves is built, deployed and runs, and the records stay.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod support;

use nix::sys::signal::Signal;
use support::cluster::Folder;
use support::{Finished, Marionette, send, wait_until};

/// A host on which no other test listens.
fn listen() -> String {
    let pid = std::process::id();
    format!(
        "127.{}.{}.{}:4000",
        100 + (pid >> 16) % 100,
        (pid >> 8) & 0xff,
        pid & 0xff
    )
}

fn dev(folder: &Folder, listen: &str) -> Marionette {
    let project = folder.path().join("hello");
    let dev = Marionette::start(&["dev", project.to_str().unwrap(), "--listen", listen]);
    assert_eq!(dev.wait_for_line("ready dev "), format!("http://{listen}"));
    dev
}

fn ended_well(finished: &Finished) {
    assert!(finished.status.success(), "{finished:?}");
}

/// Runs `hello.app` from another process.
#[track_caller]
fn greets(folder: &Folder, listen: &str, greeting: &str) {
    let url = format!("http://{listen}");
    let run = folder.run_with("run Ada hello/hello.app\n", &["--connect", &url]);
    let finished = run.finish();
    ended_well(&finished);
    assert!(
        finished
            .output
            .ends_with(&format!("completed: {greeting}\n")),
        "{finished:?}"
    );
}

fn stop(dev: Marionette) {
    send(dev.pid(), Signal::SIGINT);
    ended_well(&dev.finish());
}

#[test]
fn what_is_saved_is_deployed_and_the_records_stay() {
    let folder = Folder::new();
    let made = Marionette::start_with(
        &["operator", "new", "hello", "--lang", "c"],
        "",
        |command| {
            command.current_dir(folder.path());
        },
    );
    ended_well(&made.finish());
    let project = folder.path().join("hello");
    let built = Marionette::start(&["operator", "build", project.to_str().unwrap()]).finish();
    if built.error.contains("no toolchain for ") && std::env::var_os("CI").is_none() {
        eprintln!("not run: {}", built.error);
        return;
    }
    let source = project.join("operators.c");
    let text = std::fs::read_to_string(&source).unwrap();
    let listen = listen();

    let running = dev(&folder, &listen);
    greets(&folder, &listen, "Hello, Ada! (1)");
    std::fs::write(&source, text.replace("Hello, ", "Welcome, ")).unwrap();
    wait_until("the second deployment", || {
        (running.error() + &running.output())
            .matches(" deployed as ")
            .nth(1)
            .map(drop)
    });
    greets(&folder, &listen, "Welcome, Ada! (2)");
    std::fs::write(&source, "this is no C").unwrap();
    wait_until("the failed build", || {
        running.error().contains("error: ").then_some(())
    });
    greets(&folder, &listen, "Welcome, Ada! (3)");
    stop(running);

    std::fs::write(&source, text).unwrap();
    let again = dev(&folder, &listen);
    greets(&folder, &listen, "Hello, Ada! (4)");
    wait_until("the operator's log", || {
        again.error().contains("greeting Ada, time 4").then_some(())
    });
    stop(again);
}

#[test]
fn a_directory_without_a_project_is_refused() {
    let folder = Folder::new();
    let refused = Marionette::start(&["dev", folder.path().to_str().unwrap()]).finish();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(
        refused.error.contains("holds no project of operators"),
        "{refused:?}"
    );
}
