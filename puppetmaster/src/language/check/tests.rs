use super::*;
use common::diagnostic::render_all;
use expect_test::{Expect, expect};
use std::collections::BTreeMap;
use std::path::Path;

/// Files in memory.
struct Memory(BTreeMap<&'static str, &'static str>);

impl Files for Memory {
    fn read(&self, path: &Path) -> Option<Result<String, String>> {
        let text = self.0.get(path.to_str()?)?;
        Some(Ok((*text).to_owned()))
    }

    fn is_file(&self, path: &Path) -> bool {
        path.to_str().is_some_and(|path| self.0.contains_key(path))
    }

    fn is_directory(&self, path: &Path) -> bool {
        let inside = format!("{}/", path.display());
        self.0.keys().any(|known| known.starts_with(&inside))
    }
}

fn check(text: &str, expected: &Expect) {
    check_with(&Known::nothing(), text, expected);
}

fn check_with(known: &Known, text: &str, expected: &Expect) {
    let files = Memory(BTreeMap::from([
        ("dir/app", "operator AddOperator 0\n"),
        ("app_here", "operator AddOperator 0\n"),
        ("dir/bad_app", "operator AddOperator 1\n"),
        ("dir/data", "13,1\n"),
        ("dir/bad_data", "13 1\n14,2\n15;3\n"),
        (
            "dir/cluster.pm",
            "scheduler sc1 http://localhost:4000\nstorage s1 http://localhost:3000 0\n",
        ),
        ("dir/wrong.pm", "crash nobody\n"),
        ("dir/loop.pm", "include loop.pm\n"),
        ("dir/lib/x.wasm", ""),
    ]));
    let parsed = check_script("dir/demo.pm", text, known, &files);
    expected.assert_eq(&render_all(&parsed.errors, false));
}

const CLUSTER: &str = "scheduler sc1 http://localhost:4000\nstorage s1 http://localhost:3000 0\nworker w1 http://localhost:4001 0\n";

#[test]
fn a_copy_is_there_or_made_before_it_is_restored() {
    check(
        &format!("{CLUSTER}restore copy\nbackup copy\nrestore copy\nrestore data\nrestore lib\n"),
        &expect![[r"
            error: there is no file `copy` beside the script or in the working directory
             --> dir/demo.pm:4:9
              |
            4 | restore copy
              |         ^^^^

            error: `lib` is a directory
             --> dir/demo.pm:8:9
              |
            8 | restore lib
              |         ^^^
        "]],
    );
}

#[test]
fn a_storage_node_is_not_called_like_its_subcommand() {
    check(
        "storage verify http://localhost:3000 0\n",
        &expect![[r"
        error: `verify` is no name for a storage node
         --> dir/demo.pm:1:9
          |
        1 | storage verify http://localhost:3000 0
          |         ^^^^^^
          = hint: `marionette storage verify DIR` checks a data directory
    "]],
    );
}

#[test]
fn a_right_script_has_no_errors() {
    check(
        &format!(
            "set operators lib\n{CLUSTER}populate data\nclient 13 app\nrun 13 app_here\nexpect-run 2 x\nread 13 at s1\ncrash s1\nstart s1\nlistServer s1\nawait runs\n"
        ),
        &expect![""],
    );
}

#[test]
fn five_different_mistakes_are_reported_together() {
    check(
        &format!(
            "{CLUSTER}storge s2 http://localhost:3001 0\nworker s1 http://localhost:4002 0\npopulate bad_data\nclient 13 missing\ncrash s9\n"
        ),
        &expect![[r"
            error: unknown command `storge`
             --> dir/demo.pm:4:1
              |
            4 | storge s2 http://localhost:3001 0
              | ^^^^^^
              = hint: did you mean `storage`?

            error: the name `s1` is taken by a storage node
             --> dir/demo.pm:5:8
              |
            5 | worker s1 http://localhost:4002 0
              |        ^^
              = hint: every node has a name of its own

            error: this line has no comma
             --> dir/bad_data:1:1
              |
            1 | 13 1
              | ^^^^
              = hint: a line of a data file is `id,value`, and neither holds a comma or a space

            error: this line has no comma
             --> dir/bad_data:3:1
              |
            3 | 15;3
              | ^^^^
              = hint: a line of a data file is `id,value`, and neither holds a comma or a space

            error: there is no file `missing` beside the script or in the working directory
             --> dir/demo.pm:7:11
              |
            7 | client 13 missing
              |           ^^^^^^^

            error: there is no node `s9`
             --> dir/demo.pm:8:7
              |
            8 | crash s9
              |       ^^
              = hint: did you mean `s1`?
        "]],
    );
}

#[test]
fn scans_and_watches_need_a_storage_node_and_a_limit_is_a_number() {
    check(
        "scan\nwatch user/\n",
        &expect![[r"
        error: this needs a storage node, and none was created yet
         --> dir/demo.pm:1:1
          |
        1 | scan
          | ^^^^
          = hint: add a line `storage ID URL GOSSIP_DELAY` before

        error: this needs a storage node, and none was created yet
         --> dir/demo.pm:2:1
          |
        2 | watch user/
          | ^^^^^
          = hint: add a line `storage ID URL GOSSIP_DELAY` before
    "]],
    );
    check(
        &format!(
            "{CLUSTER}scan user/ limit=ten\nscan limit=0\nscan a b\nwatch a limit=3\nscan limit=3\nscan \"limit=3\" limit=2\nwatch\n"
        ),
        &expect![[r"
            error: `ten` is not a whole number
             --> dir/demo.pm:4:12
              |
            4 | scan user/ limit=ten
              |            ^^^^^^^^^
              = hint: scan [PREFIX] [limit=N]

            error: `0` is not between 1 and 4294967295
             --> dir/demo.pm:5:6
              |
            5 | scan limit=0
              |      ^^^^^^^
              = hint: scan [PREFIX] [limit=N]

            error: `b` is too much for `scan`
             --> dir/demo.pm:6:8
              |
            6 | scan a b
              |        ^
              = hint: scan [PREFIX] [limit=N]

            error: `limit=3` is too much for `watch`
             --> dir/demo.pm:7:9
              |
            7 | watch a limit=3
              |         ^^^^^^^
              = hint: watch [PREFIX]
        "]],
    );
}

#[test]
fn names_and_places_are_taken_once() {
    check(
        &format!(
            "{CLUSTER}storage w1 http://127.0.0.1:3000 0\nscheduler sc2 http://localhost:4005\nworker w2 http://localhost:0 0\nrepeat 2 worker w3 http://localhost:4003 0\n"
        ),
        &expect![[r"
            error: the name `w1` is taken by a worker
             --> dir/demo.pm:4:9
              |
            4 | storage w1 http://127.0.0.1:3000 0
              |         ^^
              = hint: every node has a name of its own

            error: a node needs a port from 1 to 65535
             --> dir/demo.pm:6:11
              |
            6 | worker w2 http://localhost:0 0
              |           ^^^^^^^^^^^^^^^^^^

            error: the name `w3` is taken by a worker
             --> dir/demo.pm:7:17
              |
            7 | repeat 2 worker w3 http://localhost:4003 0
              |                 ^^
              = hint: every node has a name of its own
        "]],
    );
}

#[test]
fn the_order_of_commands_is_checked() {
    check(
        "client 13 app\nread 13\nruns\nworker w1 http://localhost:4001 0\n",
        &expect![[r"
        error: this needs a scheduler, and none was created yet
         --> dir/demo.pm:1:1
          |
        1 | client 13 app
          | ^^^^^^
          = hint: add a line `scheduler ID URL` before

        error: this needs a storage node, and none was created yet
         --> dir/demo.pm:2:1
          |
        2 | read 13
          | ^^^^
          = hint: add a line `storage ID URL GOSSIP_DELAY` before

        error: this needs a scheduler, and none was created yet
         --> dir/demo.pm:3:1
          |
        3 | runs
          | ^^^^
          = hint: add a line `scheduler ID URL` before

        error: worker `w1` needs a scheduler, and none is created
         --> dir/demo.pm:4:8
          |
        4 | worker w1 http://localhost:4001 0
          |        ^^
          = hint: add a line `scheduler ID URL`
    "]],
    );
    check(
        &format!(
            "{CLUSTER}set replication 1\nset durability one\nread 13\nstorage s2 http://localhost:3001 0\nexpect-run 1 x\nlistServer w1\n"
        ),
        &expect![[r"
            error: `set replication` comes after the first node
             --> dir/demo.pm:4:1
              |
            4 | set replication 1
              | ^^^
              = hint: nodes are created with it: move it up

            error: a storage node is created after the storage was used
             --> dir/demo.pm:7:9
              |
            7 | storage s2 http://localhost:3001 0
              |         ^^
              = hint: create all storage nodes before the first command that reads, writes or runs

            error: run 1 was not submitted by then: there are 0 runs
             --> dir/demo.pm:8:12
              |
            8 | expect-run 1 x
              |            ^
              = hint: runs are counted from 1, in the order of `client` and `run`

            error: `w1` is a worker, not a storage node
             --> dir/demo.pm:9:12
              |
            9 | listServer w1
              |            ^^
        "]],
    );
}

#[test]
fn a_worker_may_come_before_the_scheduler_but_not_without_one() {
    check(
        "worker w1 http://localhost:4001 0\nscheduler sc1 http://localhost:4000\n",
        &expect![""],
    );
    check(
        "worker w1 http://localhost:4001 0\n",
        &expect![[r"
        error: worker `w1` needs a scheduler, and none is created
         --> dir/demo.pm:1:8
          |
        1 | worker w1 http://localhost:4001 0
          |        ^^
          = hint: add a line `scheduler ID URL`
    "]],
    );
}

#[test]
fn included_scripts_are_checked_in_their_place() {
    check("include cluster.pm\ncrash s1\nrun 1 app\n", &expect![""]);
    check(
        "include wrong.pm\ninclude nowhere.pm\ninclude loop.pm\nset operators nowhere\n",
        &expect![[r"
        error: there is no node `nobody`
         --> dir/wrong.pm:1:7
          |
        1 | crash nobody
          |       ^^^^^^
          = hint: no node was created yet

        error: there is no file `nowhere.pm` beside the script or in the working directory
         --> dir/demo.pm:2:9
          |
        2 | include nowhere.pm
          |         ^^^^^^^^^^

        error: `dir/loop.pm` includes itself
         --> dir/loop.pm:1:9
          |
        1 | include loop.pm
          |         ^^^^^^^

        error: there is no directory `nowhere` beside the script or in the working directory
         --> dir/demo.pm:4:15
          |
        4 | set operators nowhere
          |               ^^^^^^^
    "]],
    );
}

#[test]
fn what_is_expected_to_fail_is_no_mistake_unless_its_syntax_is() {
    check(
        &format!(
            "{CLUSTER}expect-fail crash nobody\nexpect-fail client 1 missing\nexpect-run 7 x\nexpect-fail crush s1\n"
        ),
        &expect![[r"
        error: unknown command `crush`
         --> dir/demo.pm:7:13
          |
        7 | expect-fail crush s1
          |             ^^^^^
          = hint: did you mean `crash`?
    "]],
    );
}

#[test]
fn an_application_with_mistakes_is_shown_at_its_own_place() {
    check(
        &format!("{CLUSTER}run 1 bad_app\n"),
        &expect![[r"
        error: stage 0 is missing before stage 1
         --> dir/bad_app:1:22
          |
        1 | operator AddOperator 1
          |                      ^
          = hint: stages are numbered from 0 without gaps
    "]],
    );
}

#[test]
fn a_cluster_started_by_hand_is_not_changed() {
    let known = Known {
        connected: true,
        ..Known::default()
    };
    check_with(
        &known,
        "client 1 app\nread 13 at s1\nstatus\nexpect-run 9 x\nstorage s1 http://localhost:3000 0\ncrash s1\nset commit majority\n",
        &expect![[r"
        error: a cluster that was started by hand is not changed from here
         --> dir/demo.pm:5:9
          |
        5 | storage s1 http://localhost:3000 0
          |         ^^
          = hint: without --connect, a script makes a cluster of its own

        error: a cluster that was started by hand is not changed from here
         --> dir/demo.pm:6:7
          |
        6 | crash s1
          |       ^^
          = hint: without --connect, a script makes a cluster of its own

        error: the settings of a cluster that was started by hand are not changed from here
         --> dir/demo.pm:7:1
          |
        7 | set commit majority
          | ^^^
    "]],
    );
}

#[test]
fn replication_beyond_the_storage_nodes_is_reported_where_they_are_sealed() {
    let enough = "set replication 2\nstorage s1 http://localhost:3000 0\nstorage s2 http://localhost:3001 0\n";
    check(&format!("{enough}write k v\n"), &expect![""]);
    check(
        "set replication 3\nstorage s1 http://localhost:3000 0\nexpect-fail read k\n",
        &expect![""],
    );
    check(
        &format!("set replication 3\n{CLUSTER}status\nread k\nread k\n"),
        &expect![[r"
            error: replication is 3, but the cluster has 1 storage node(s)
             --> dir/demo.pm:6:1
              |
            6 | read k
              | ^^^^
              = hint: create them all before the first command that reads, writes or runs
        "]],
    );
}

#[test]
fn a_name_is_taken_also_by_an_earlier_line_that_is_wrong() {
    check(
        "storage s1 localhost 0\nstorage s1 http://localhost:3000 0\n",
        &expect![[r"
            error: `localhost` is not a node's URL: expected http://HOST:PORT
             --> dir/demo.pm:1:12
              |
            1 | storage s1 localhost 0
              |            ^^^^^^^^^
              = hint: a URL is http://HOST:PORT, such as http://localhost:4000

            error: the name `s1` is taken by line 1
             --> dir/demo.pm:2:9
              |
            2 | storage s1 http://localhost:3000 0
              |         ^^
              = hint: every node has a name of its own
        "]],
    );
}

#[test]
fn faults_are_between_different_nodes_that_exist() {
    check(
        &format!(
            "{CLUSTER}partition s1 | sc1,w1\ncut s1 w1\ndelay w1 s1 5\nloss w1 sc1 100\nfreeze s1\nunfreeze s1\nheal\n"
        ),
        &expect![""],
    );
    check(
        &format!(
            "{CLUSTER}partition s1,s2 | w1,s1\ncut s1 s1\ndelay s1 nobody 5\nloss w2 s1 5\nfreeze s9\n"
        ),
        &expect![[r"
            error: there is no node `s2`
             --> dir/demo.pm:4:14
              |
            4 | partition s1,s2 | w1,s1
              |              ^^
              = hint: did you mean `s1`?

            error: `s1` is named twice
             --> dir/demo.pm:4:22
              |
            4 | partition s1,s2 | w1,s1
              |                      ^^

            error: a node has no link to itself
             --> dir/demo.pm:5:8
              |
            5 | cut s1 s1
              |        ^^

            error: there is no node `nobody`
             --> dir/demo.pm:6:10
              |
            6 | delay s1 nobody 5
              |          ^^^^^^
              = hint: known: sc1, s1, w1

            error: there is no node `w2`
             --> dir/demo.pm:7:6
              |
            7 | loss w2 s1 5
              |      ^^
              = hint: did you mean `w1`?

            error: there is no node `s9`
             --> dir/demo.pm:8:8
              |
            8 | freeze s9
              |        ^^
              = hint: did you mean `s1`?
        "]],
    );
}
