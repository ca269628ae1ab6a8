//! Scripts whose storage nodes keep their records in a directory.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod support;

use std::path::Path;

use support::cluster::{Folder, nodes};
use support::{Finished, Marionette, wait_until};

/// Runs the lines as a script whose nodes keep their records in this directory; it must go well.
#[track_caller]
fn run(folder: &Folder, script: &str) {
    let finished = finish(folder, script);
    assert!(finished.status.success(), "{finished:?}");
}

fn finish(folder: &Folder, script: &str) -> Finished {
    let data = folder.path().join("data");
    folder
        .run_with(script, &["--data", data.to_str().unwrap()])
        .finish()
}

#[test]
fn a_second_script_finds_what_the_first_has_written() {
    for settings in ["", "set commit majority\nset sync interval=20\n"] {
        let folder = Folder::new();
        folder.write("records", "13,1\n14,2\n15,3\n");
        let cluster = format!("{settings}{}", nodes(3, 1));
        run(
            &folder,
            &format!(
                "{cluster}populate records\nupdateIf 13 1 one\nwrite 14 two\nrun 15 count.app\ncrash s2\nwrite 14 three\n"
            ),
        );
        // Each copy of each node is there, also of the one that was dead and of what was written without it.
        let expects = "await converged\nexpect 13 one at s1\nexpect 14 three at s2\nexpect 15 4 at s3\nexpect 13 one at s2\n";
        let goes_on =
            "updateIf 13 one two\nupdateIf 15 4 5\nrun 15 count.app\nexpect 13 two\nexpect 15 6\n";
        run(&folder, &format!("{cluster}{expects}{goes_on}"));
        run(
            &folder,
            &format!("{cluster}await converged\nhistory 13\nexpect 15 6 at s2\n"),
        );
    }
}

#[test]
fn crashed_and_stopped_nodes_go_on_with_the_data_that_they_left() {
    let folder = Folder::new();
    let cluster = nodes(2, 0);
    // With one replica each, nobody else has a record.
    let script = format!(
        "set replication 1\n{cluster}write a 1\nwrite b 1\nwrite c 1\nwrite d 1\nupdateIf a 1 2\ncrash s1\ncrash s2\nstart s1\nstart s2\nexpect a 2\nexpect b 1\nexpect c 1\nexpect d 1\nstop s1\nstop s2\nstart s1\nstart s2\nexpect a 2\nexpect d 1\n"
    );
    run(&folder, &script);
    let without_data = folder.run(&script).finish();
    assert_eq!(without_data.status.code(), Some(1), "{without_data:?}");
}

#[test]
fn a_node_that_has_come_back_can_do_without_the_others() {
    let folder = Folder::new();
    let cluster = nodes(2, 0);
    let first = "write a 1\ncrash s1\nwrite a 2\nstart s1\nawait ready\ncrash s2\nexpect a 2\nupdateIf a 2 3\n";
    run(&folder, &format!("{cluster}{first}"));
    // The same at the start of a script: s2 was not there in the end.
    run(
        &folder,
        &format!("{cluster}expect a 3\ncrash s1\nexpect a 3\nupdateIf a 3 4\n"),
    );
    run(
        &folder,
        &format!("{cluster}expect a 4\ncrash s2\nexpect a 4\n"),
    );
}

#[test]
fn all_nodes_may_crash_in_the_default_mode() {
    let folder = Folder::new();
    let cluster = nodes(3, 0);
    let crashes = "crash s3\nwrite a 2\nupdateIf b 1 2\ncrash s1\nwrite a 3\ncrash s2\n";
    let starts =
        "start s1\nstart s2\nstart s3\nexpect a 3\nexpect b 2\nawait converged\nexpect a 3 at s3\n";
    run(
        &folder,
        &format!("{cluster}write a 1\nwrite b 1\n{crashes}{starts}updateIf a 3 4\n"),
    );
    run(&folder, &format!("{cluster}expect a 4\nexpect b 2\n"));
}

#[test]
fn a_node_that_never_had_data_copies_what_the_others_have_before_it_serves() {
    let folder = Folder::new();
    let cluster = nodes(3, 0);
    // It is a member, and was not there when the ring was set.
    let first = "await ready\ncrash s3\nwrite a 1\nupdateIf b - 2\n";
    run(&folder, &format!("{cluster}{first}"));
    run(
        &folder,
        &format!("{cluster}expect a 1 at s3\nexpect b 2 at s3\nupdateIf b 2 3\nexpect b 3\n"),
    );
}

#[test]
fn a_node_whose_data_was_wiped_is_refused() {
    let folder = Folder::new();
    let cluster = format!("set commit majority\n{}", nodes(3, 0));
    run(&folder, &format!("{cluster}write a 1\nupdateIf a 1 2\n"));
    let data = folder.path().join("data");
    std::fs::remove_dir_all(data.join("s3")).unwrap();
    let options = ["--data", data.to_str().unwrap(), "--keep"];
    let wiped = folder.run_with(&format!("{cluster}expect a 2 at s1\n"), &options);
    // A promise of it may be lost.
    wait_until("the refusal", || {
        wiped.error().contains("node `s3` was lost").then_some(())
    });
    assert!(
        wiped.error().contains("with --replace"),
        "{}",
        wiped.error()
    );
}

#[test]
fn another_ring_than_that_of_the_data_is_refused() {
    let folder = Folder::new();
    let cluster = nodes(2, 0);
    run(&folder, &format!("{cluster}write a 1\n"));
    let [one, ..] = cluster.lines().skip(1).collect::<Vec<_>>()[..] else {
        panic!("{cluster}");
    };
    for (script, why) in [
        (
            format!("{one}\nread a\n"),
            "the script has storage nodes s1=",
        ),
        (
            format!("set max_versions 3\n{cluster}read a\n"),
            "the script has max_versions 3 instead of 10",
        ),
    ] {
        let finished = finish(&folder, &script);
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        assert!(finished.error.contains(why), "{finished:?}");
    }
    run(&folder, &format!("{cluster}expect a 1\n"));
}

#[test]
fn a_node_that_cannot_start_once_is_named_and_the_ring_of_the_data_stays() {
    let folder = Folder::new();
    let cluster = nodes(2, 0);
    let address = cluster.lines().nth(2).unwrap().split(['/', ' ']).nth(4);
    for script in ["write a 1\n", "expect a 1\n"] {
        // A process that another test has just forked may still hold what was bound to see that the port is free.
        let taken = wait_until(("the port", address), || {
            std::net::TcpListener::bind(address.unwrap()).ok()
        });
        let refused = finish(&folder, &format!("{cluster}{script}"));
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
        let why = "all of them have to start first";
        assert!(refused.error.contains(why), "{refused:?}");
        drop(taken);
        run(&folder, &format!("{cluster}{script}"));
    }
}

#[test]
fn a_directory_is_used_by_one_script_at_a_time() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    let options = ["--data", data.to_str().unwrap(), "--keep"];
    let first = folder.run_with(&format!("{}write a 1\n", nodes(1, 0)), &options);
    first.wait_for_line("a = 1");
    let second = finish(&folder, &format!("{}read a\n", nodes(1, 0)));
    assert_eq!(second.status.code(), Some(3), "{second:?}");
    assert!(
        second.error.contains("in use by another process"),
        "{second:?}"
    );
}

/// `storage verify` of the data of one node; its exit status and all that it printed.
fn verify(directory: &Path) -> (Option<i32>, String) {
    let arguments = ["storage", "verify", directory.to_str().unwrap()];
    let finished = Marionette::start(&arguments).finish();
    (finished.status.code(), finished.output + &finished.error)
}

#[test]
fn the_data_that_a_script_left_is_verified() {
    let folder = Folder::new();
    // A scheduler would renew its lease meanwhile.
    let cluster = nodes(2, 0);
    let (_scheduler, cluster) = cluster.split_once('\n').unwrap();
    let data = folder.path().join("data");
    let options = ["--data", data.to_str().unwrap(), "--keep"];
    // A replica may learn later than the client that an update was decided.
    let script = format!(
        "{cluster}write a 1\nupdateIf a 1 2\nwrite b 1\nawait converged\ncrash s2\necho done\n"
    );
    let running = folder.run_with(&script, &options);
    running.wait_for_line("done");
    let (status, said) = verify(&data.join("s1"));
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("in use by another process"), "{said}");
    let (status, said) = verify(&data.join("s2"));
    assert_eq!(status, Some(0), "{said}");
    for line in [
        "node       s2, replica 2",
        "records    2, 3 versions",
        "undecided  none",
        "torn tail  none",
        "sound",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }

    let log = data.join("s2/log/00000000000000000001.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let (status, said) = verify(&data.join("s2"));
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains(&format!("damaged: {} is corrupt at offset ", log.display())),
        "{said}"
    );
    assert_eq!(verify(folder.path()).0, Some(2));
}
