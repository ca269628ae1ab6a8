use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Command, String> {
    let words = std::iter::once("marionette").chain(line.split_whitespace());
    match Cli::try_parse_from(words) {
        Ok(cli) => Ok(cli.command.unwrap()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_variable_of_an_argument_is_in_the_table_of_variables() {
    let cli = Cli::command();
    let arguments: Vec<_> = cli
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .collect();
    let variables: Vec<_> = arguments
        .iter()
        .filter_map(|argument| argument.get_env())
        .collect();
    assert!(variables.len() > 10);
    for variable in variables {
        assert!(
            EXAMPLES.contains(variable.to_str().unwrap()),
            "{variable:?} is not listed"
        );
    }
}

#[test]
fn an_empty_variable_is_no_variable() {
    let empty = ["MARIONETTE_PCS", "MARIONETTE_SLOTS"];
    let value = |name: &OsStr| {
        Some(OsString::from(if empty.iter().any(|n| name == *n) {
            ""
        } else {
            "x"
        }))
    };
    let left: Vec<_> = without_empty(Cli::command(), &value)
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter_map(|argument| {
            argument
                .get_env()
                .map(|name| name.to_str().unwrap().to_owned())
        })
        .collect();
    assert!(left.contains(&"MARIONETTE_CONNECT".to_owned()));
    assert!(empty.iter().all(|name| !left.contains(&(*name).to_owned())));
}

#[test]
fn the_examples_of_a_cluster_by_hand_are_valid() {
    let lines = EXAMPLES
        .lines()
        .filter_map(|line| line.trim().strip_prefix("marionette "));
    let lines: Vec<_> = lines.filter(|line| line.contains("127.0.0.1")).collect();
    assert_eq!(lines.len(), 4);
    for line in lines {
        parse(line).unwrap();
    }
}

#[test]
fn the_courses_extra_number_of_a_scheduler_is_ignored() {
    let Command::Scheduler(scheduler) = parse("scheduler sc1 http://localhost:4000 7").unwrap()
    else {
        panic!()
    };
    assert_eq!((scheduler.id.as_str(), scheduler.url.port()), ("sc1", 4000));
    assert!(scheduler.ring.ring().unwrap().is_none());
}

#[test]
fn a_node_obeys_network_faults_when_it_is_told_to() {
    for (line, allows) in [
        ("storage s1 http://h:1 0 --allow-faults", true),
        ("storage s1 http://h:1 0", false),
        ("scheduler sc1 http://h:1 --allow-faults", true),
        (
            "worker w1 http://h:1 0 --scheduler http://h:2 --allow-faults",
            true,
        ),
        ("pcs", false),
    ] {
        assert_eq!(parse(line).unwrap().allows_faults(), allows, "{line}");
    }
}

#[test]
fn a_ring_is_read_with_its_settings() {
    let line = "storage s2 http://h:2 10 --ring s1=http://h:1,s2=http://h:2 --replication 1 --commit fail-stop";
    let Command::Storage(command) = parse(line).unwrap() else {
        panic!()
    };
    let StorageCommand::Node(storage) = *command else {
        panic!()
    };
    let ring = storage.ring.ring().unwrap().unwrap();
    assert_eq!(ring.node_named("s2").unwrap().replica, 2);
    assert_eq!((ring.replication, storage.gossip_delay_ms), (1, 10));
    assert_eq!(ring.commit, common::types::CommitMode::FailStop);
}

#[test]
fn a_storage_node_is_told_from_a_check_of_its_data() {
    let Command::Storage(command) = parse("storage verify data/s1").unwrap() else {
        panic!()
    };
    let StorageCommand::Task(StorageTask::Verify(verify)) = *command else {
        panic!()
    };
    assert_eq!(verify.directory.to_str(), Some("data/s1"));
    let Command::Storage(command) = parse("storage s1 http://h:1 0 --data data/s1").unwrap() else {
        panic!()
    };
    assert!(matches!(*command, StorageCommand::Node(_)));
}

#[test]
fn the_limits_of_a_storage_node_have_defaults() {
    let parsed = |line: &str| {
        let Command::Storage(command) = parse(line).unwrap() else {
            panic!()
        };
        let StorageCommand::Node(node) = *command else {
            panic!()
        };
        node.limits.limits()
    };
    let default = storage::Limits::default();
    assert_eq!(parsed("storage s1 http://h:1 0"), default);
    let value_bytes = 2 << 20;
    let told = parsed("storage s1 http://h:1 0 --value-bytes-max 2097152");
    assert_eq!(
        told,
        storage::Limits {
            value_bytes,
            ..default
        }
    );
}

#[test]
fn wrong_arguments_are_named() {
    for (line, named) in [
        ("storage s1 http://h 0", "http://HOST:PORT"),
        ("storage s1 http://h:1 soon", "GOSSIP_DELAY"),
        (
            "storage s1 http://h:1 0 --commit maybe",
            "majority or fail-stop",
        ),
        ("storage s1 http://h:1 0 --replica 1", "--ring"),
        (
            "storage s1 http://h:1 0 --value-bytes-max 8388609",
            "from 1 to 8388608: a message has 33554432 bytes",
        ),
        (
            "storage s1 http://h:1 0 --node-updates-max 0",
            "from 1 to 1000000",
        ),
        ("worker w1 http://h:1 0", "--scheduler"),
        ("storage", "<ID>"),
        ("storage s1", "<URL>"),
        ("storage verify", "<DIR>"),
        ("run x.pm --data d --connect http://h:1", "--connect"),
        ("worker a=b http://h:1 0 --scheduler http://h:2", "name"),
        ("pcs --listen here", "here"),
        ("teleport", "teleport"),
    ] {
        let error = parse(line).unwrap_err();
        assert!(error.contains(named), "{line}: {error}");
    }
}

#[test]
fn run_reads_a_file_or_standard_input() {
    for (line, file) in [("run a.pm", Some("a.pm")), ("run -", None), ("run", None)] {
        let Command::Run(run) = parse(line).unwrap() else {
            panic!()
        };
        assert_eq!(run.file(), file);
    }
}
