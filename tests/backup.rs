//! Backups of whole clusters, and what becomes of them in others.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::client::{Route, StorageClient};
use common::fabric::{Address, FabricHandle, GrpcFabric};
use common::placement::Placement;
use common::proto::Level;
use common::types::{CommitMode, Ring, UpdateId, Version};
use support::cluster::{Folder, nodes};
use support::{Finished, Marionette};

#[track_caller]
fn run(folder: &Folder, script: &str) -> Finished {
    let finished = folder.run(script).finish();
    assert!(finished.status.success(), "{finished:?}");
    finished
}

#[test]
fn a_backup_is_restored_in_a_cluster_of_another_size() {
    let folder = Folder::new();
    folder.write("records", "13,1\n14,2\n15,3\n");
    let settings = "set replication 2\n";
    let made = "populate records\nupdateIf 13 1 one\nupdateIf 13 one two\nwrite 14 new\nrun 15 count.app\nexpect-fail updateIf 13 1 2\nhistory 13\n";
    let copied = run(
        &folder,
        &format!("{settings}{}{made}backup copy\n", nodes(3, 1)),
    );
    assert!(
        copied
            .output
            .contains("3 records with 7 versions copied to copy"),
        "{copied:?}"
    );
    for (settings, storages) in [("", 1), ("", 4), ("set commit majority\n", 2)] {
        let finds = "await converged\nhistory 13\nexpect 13 two\nexpect 14 new\nexpect 15 4\n";
        let goes_on = "updateIf 13 two three\nwrite 14 newer\nrun 15 count.app\nexpect 15 5\nawait converged\nexpect-fail restore copy\n";
        let cluster = format!("{settings}{}", nodes(storages, 1));
        let restored = run(
            &folder,
            &format!("{cluster}restore copy\nrestore copy\n{finds}{goes_on}"),
        );
        assert!(
            restored
                .output
                .contains("3 records with 7 versions restored from copy"),
            "{restored:?}"
        );
        // The same versions with the same values.
        let history = |finished: &Finished| -> Vec<String> {
            let rows = finished.output.lines();
            rows.filter(|line| line.starts_with("│ 13 "))
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(history(&restored), history(&copied));
        assert!(
            restored
                .error
                .contains("failed as expected: node `s1`: record `1"),
            "{restored:?}"
        );
    }
}

#[test]
fn what_was_restored_is_kept_with_the_data() {
    let folder = Folder::new();
    run(
        &folder,
        &format!("{}write a 1\nupdateIf a 1 2\nbackup copy\n", nodes(1, 0)),
    );
    let data = folder.path().join("data");
    let cluster = nodes(2, 0);
    let options = ["--data", data.to_str().unwrap()];
    for script in [
        "restore copy\ncrash s1\ncrash s2\n",
        "restore copy\nexpect a 2 at s1\nexpect a 2 at s2\n",
    ] {
        let finished = folder
            .run_with(&format!("{cluster}{script}"), &options)
            .finish();
        assert!(finished.status.success(), "{finished:?}");
    }
}

#[test]
fn a_damaged_copy_changes_nothing() {
    let folder = Folder::new();
    run(
        &folder,
        &format!("{}write a 1\nwrite b 2\nbackup copy\n", nodes(1, 0)),
    );
    let path = folder.path().join("copy");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let finished = run(
        &folder,
        &format!(
            "{}expect-fail restore copy\nexpect a -\nexpect b -\n",
            nodes(1, 0)
        ),
    );
    assert!(
        finished.error.contains("is damaged at offset "),
        "{finished:?}"
    );
    let wrong = folder
        .run(&format!("{}restore nothing\n", nodes(1, 0)))
        .finish();
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

#[test]
fn the_dead_are_named_and_a_partition_without_replicas_is_an_error() {
    let folder = Folder::new();
    let script = format!(
        "{}write a 1\ncrash s2\nbackup copy\nexpect a 1\n",
        nodes(3, 0)
    );
    let finished = run(&folder, &script);
    assert!(
        finished
            .error
            .contains("node `s2` is not asked, since it does not answer (was crashed)"),
        "{finished:?}"
    );
    // Without data it would copy everything on its return; with data it lacks what went past gossip.
    let restoring = format!(
        "{}await ready\nread x\ncrash s2\nrestore copy\n",
        nodes(2, 0)
    );
    let restoring = restoring.replace("read x", "expect x -");
    run(&folder, &restoring);
    let data = folder.path().join("data");
    let options = ["--data", data.to_str().unwrap()];
    let refused = folder.run_with(&restoring, &options).finish();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let why = "`restore` needs all replicas; these do not answer: `s2` (was crashed)";
    assert!(refused.error.contains(why), "{refused:?}");

    let script = format!(
        "set replication 1\n{}write a 1\ncrash s2\nexpect-fail backup other\n",
        nodes(2, 0)
    );
    let finished = run(&folder, &script);
    assert!(
        finished
            .error
            .contains("none of its replicas answers (`s2`)"),
        "{finished:?}"
    );
    assert!(!folder.path().join("other").exists());
    let left = std::fs::read_dir(folder.path()).unwrap();
    let left: Vec<PathBuf> = left.map(|entry| entry.unwrap().path()).collect();
    assert!(
        left.iter()
            .all(|path| path.extension().is_none_or(|is| is != "part")),
        "{left:?}"
    );
}

/// Records of one partition, and the counter that is written to the one and then to the other.
struct Pair {
    first: String,
    second: String,
    at: u32,
    acknowledged: AtomicU64,
}

/// Writes the next number to the first record, then to the second one, until it is told to stop.
async fn count(pair: Arc<Pair>, client: StorageClient, stop: Arc<AtomicBool>) {
    let mut sequence = 0;
    for number in 1_u64.. {
        for record in [&pair.first, &pair.second] {
            sequence += 1;
            let id = UpdateId {
                origin: format!("writer {}", pair.first),
                sequence,
            };
            let route = Route {
                only: Some(pair.at),
                deadline_ms: u64::MAX,
            };
            let value = Some(number.to_string().into());
            let written = client.write(id, record, value, Level::One, Version::NULL, route);
            written.await.unwrap();
        }
        pair.acknowledged.store(number, Ordering::SeqCst);
        if stop.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// The number that a script's `read` has printed.
fn number(finished: &Finished, record: &str) -> u64 {
    let start = format!("{record} = ");
    let line = finished
        .output
        .lines()
        .find_map(|line| line.strip_prefix(&start));
    let value = line.unwrap_or_else(|| panic!("{record}: {finished:?}"));
    value.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_while_others_write_is_causally_closed_and_has_what_was_acknowledged_before() {
    let folder = Folder::new();
    let cluster = nodes(3, 0);
    let address = |name: &str| {
        let line = cluster
            .lines()
            .find(|line| line.contains(&format!(" {name} ")))
            .unwrap();
        line.split(' ').nth(2).unwrap().to_owned()
    };
    let members =
        ["s1", "s2", "s3"].map(|name| (name.to_owned(), Address::parse(&address(name)).unwrap()));
    let ring = Arc::new(Ring::new(members.to_vec(), None, CommitMode::FailStop, 10).unwrap());
    let placement = Placement::new(&ring);
    let running = folder.run_with(&format!("{cluster}write x 1\n"), &["--keep"]);
    tokio::task::block_in_place(|| running.wait_for_line("x = 1"));

    let fabric: FabricHandle = Arc::new(GrpcFabric::default());
    let stop = Arc::new(AtomicBool::new(false));
    let pairs: Vec<Arc<Pair>> = (1..=3)
        .map(|at| {
            let first = format!("first{at}");
            let home = placement.partition(&first);
            let mut names = (0..).map(|number| format!("second{at}-{number}"));
            let second = names
                .find(|name| placement.partition(name) == home)
                .unwrap();
            let acknowledged = AtomicU64::new(0);
            Arc::new(Pair {
                first,
                second,
                at,
                acknowledged,
            })
        })
        .collect();
    let writers: Vec<_> = pairs
        .iter()
        .map(|pair| {
            let client = StorageClient::new(fabric.clone(), ring.clone(), 0);
            tokio::spawn(count(pair.clone(), client, stop.clone()))
        })
        .collect();

    let script = folder.write("backup.pm", "backup copy\n");
    let scheduler = address("sc1");
    for _ in 0..3 {
        let all_write = || {
            pairs
                .iter()
                .all(|pair| pair.acknowledged.load(Ordering::SeqCst) > 0)
        };
        while !all_write() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let before: Vec<u64> = pairs
            .iter()
            .map(|pair| pair.acknowledged.load(Ordering::SeqCst))
            .collect();
        let (after, copied) = tokio::task::block_in_place(|| {
            let copied = Marionette::start(&["run", &script, "--connect", &scheduler]).finish();
            let reads: Vec<String> = pairs
                .iter()
                .map(|pair| format!("read {}\nread {}\n", pair.first, pair.second))
                .collect();
            (
                folder
                    .run(&format!("{}restore copy\n{}", nodes(2, 0), reads.concat()))
                    .finish(),
                copied,
            )
        });
        assert!(
            copied.status.success() && after.status.success(),
            "{copied:?} {after:?}"
        );
        for (pair, before) in pairs.iter().zip(before) {
            let (first, second) = (number(&after, &pair.first), number(&after, &pair.second));
            assert!(
                second >= before,
                "{second} was copied, but {before} acknowledged"
            );
            assert!(first >= second, "{second} without {first}");
        }
    }
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
}
