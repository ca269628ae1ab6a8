//! Runs the commands of a document as a person would who reads it from top to bottom.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::document::{Command, Part, Section};
use crate::support::examples::NO_TOOLCHAIN;
use crate::support::{send, wait_within};

/// Building the standard library for WASM takes minutes on a busy machine.
const COMMAND_MAX: Duration = Duration::from_mins(15);
/// What a node says once it can be asked.
const READY: &str = "ready ";
const STOP_ALL: &str = "kill $(jobs -p)";
/// Stands for anything in what a document shows.
const ANYTHING: char = '…';

/// A working directory, and what runs in it.
pub struct Session {
    directory: PathBuf,
    hosts: Hosts,
    exports: String,
    background: Vec<Running>,
    output: String,
    commands: usize,
    /// Held as long as the directory is in use.
    _lock: File,
}

impl Session {
    /// The directory is the same in every run, since cargo keeps something for each place that it built.
    pub fn start(root: &Path, document: &str) -> Self {
        let name = document.replace(['/', '.'], "-");
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
        std::fs::create_dir_all(&parent).unwrap();
        let lock = File::create(parent.join(format!("{name}.lock"))).unwrap();
        lock.lock().unwrap();
        let directory = parent.join(&name);
        // Left by a run that was killed.
        let _ = std::fs::remove_dir_all(&directory);
        let session = Self {
            hosts: Hosts::of(document),
            exports: String::new(),
            background: Vec::new(),
            output: String::new(),
            commands: 0,
            directory,
            _lock: lock,
        };
        session.copy(&root.join("scripts"), Path::new("scripts"));
        // What is built there is built once for all tests.
        symlink(root.join("operators"), session.directory.join("operators")).unwrap();
        let (binary, cargo) = (env!("CARGO_BIN_EXE_marionette"), env!("CARGO"));
        session.executable("bin/marionette", &format!("exec {binary} \"$@\""));
        session.executable(
            "bin/cargo",
            &format!(
                "case \"$*\" in \"run --release -- \"*) shift 3; exec {binary} \"$@\";; esac\nexec {cargo} \"$@\""
            ),
        );
        session
    }

    fn copy(&self, from: &Path, to: &Path) {
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let to = to.join(path.file_name().unwrap());
            if path.is_dir() {
                self.copy(&path, &to);
            } else {
                self.write(&to, &std::fs::read_to_string(&path).unwrap());
                let permissions = path.metadata().unwrap().permissions();
                std::fs::set_permissions(self.directory.join(to), permissions).unwrap();
            }
        }
    }

    /// Writes a file with the hosts of this session.
    fn write(&self, name: &Path, text: &str) {
        let path = self.directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, self.hosts.hide(text)).unwrap();
    }

    fn executable(&self, name: &str, script: &str) {
        let path = self.directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Runs what stands under one heading.
    pub fn section(&mut self, section: &Section, not_run: &[(&str, &str)]) {
        for part in &section.parts {
            match part {
                Part::File { name, text } => self.write(Path::new(name), text),
                Part::Output(lines) => self.check_output(&section.title, lines),
                Part::Dialogue { typed, output } => {
                    self.write(Path::new("typed.pm"), typed);
                    self.output.clear();
                    self.foreground(&section.title, "marionette run - < typed.pm", 0);
                    self.check_output(&section.title, output);
                }
                Part::Commands(commands) => {
                    for command in commands {
                        if not_run.iter().any(|(text, _)| *text == command.text) {
                            continue;
                        }
                        if !self.command(command) {
                            eprintln!("{}: not run for lack of a toolchain", section.title);
                            return;
                        }
                    }
                }
            }
        }
        assert!(
            self.background.is_empty(),
            "{} leaves processes behind",
            section.title
        );
        self.exports.clear();
    }

    /// False when this machine lacks what README.md does not demand of it.
    fn command(&mut self, command: &Command) -> bool {
        let (text, place) = (command.text.as_str(), command.place.as_str());
        if text.starts_with("export ") {
            self.exports.push_str(&self.hosts.hide(text));
            self.exports.push('\n');
        } else if text == STOP_ALL {
            self.stop_all(place);
        } else if command.in_background {
            let running = self.spawn(text);
            wait_within(COMMAND_MAX, (place, text), || {
                let output = running.output();
                output
                    .lines()
                    .any(|line| line.starts_with(READY))
                    .then_some(())
            });
            self.background.push(running);
        } else {
            return self.foreground(place, text, command.exit_status);
        }
        true
    }

    fn foreground(&mut self, place: &str, text: &str, exit_status: i32) -> bool {
        let mut running = self.spawn(text);
        let status = running.wait(COMMAND_MAX, place);
        self.output = running.output();
        if self.output.contains(NO_TOOLCHAIN) && std::env::var_os("CI").is_none() {
            return false;
        }
        let output = &self.output;
        assert_eq!(
            status.code(),
            Some(exit_status),
            "{place}: `{text}` ended by {status}:\n{output}"
        );
        true
    }

    /// As the shell does with `kill`.
    fn stop_all(&mut self, place: &str) {
        assert!(!self.background.is_empty(), "{place}: nothing runs");
        for running in &self.background {
            send(running.child.id(), Signal::SIGTERM);
        }
        for mut running in self.background.drain(..) {
            let status = running.wait(COMMAND_MAX, place);
            assert!(status.success(), "{place}: {status}: {}", running.output());
        }
    }

    fn spawn(&mut self, text: &str) -> Running {
        self.commands += 1;
        let printed = self.directory.join(format!("printed-{}", self.commands));
        let file = File::create(&printed).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        // A single command takes the place of the shell, so that signals reach it.
        let script = format!("{}exec {}", self.exports, self.hosts.hide(text));
        let mut process = Process::new("sh");
        process
            .args(["-c", &script])
            .current_dir(&self.directory)
            .env("PATH", format!("{}/bin:{path}", self.directory.display()))
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MARIONETTE_") {
                process.env_remove(name);
            }
        }
        Running {
            child: process.spawn().unwrap(),
            printed,
        }
    }

    fn check_output(&self, title: &str, shown: &[String]) {
        let output = self.hosts.show(&self.output);
        let mut lines = output.lines();
        for wanted in shown {
            assert!(
                lines.any(|line| matches(&compact(wanted), &compact(line))),
                "{title}: `{wanted}` is not in its place in\n{output}"
            );
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.background.clear();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A process group of its own; killed when this is dropped.
struct Running {
    child: Child,
    /// The file of all that it prints.
    printed: PathBuf,
}

impl Running {
    fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.printed).unwrap()).into_owned()
    }

    fn wait(&mut self, limit: Duration, place: &str) -> ExitStatus {
        let what = format!("{place}: the end of a command");
        wait_within(limit, what, || self.child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            let group = Pid::from_raw(self.child.id().try_into().unwrap());
            let _ = killpg(group, Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// The loopback addresses that stand for the document's hosts while its commands run.
struct Hosts {
    prefix: String,
}

impl Hosts {
    const SHOWN: &str = "127.0.0.";

    /// Other processes, and other documents in this one, have others.
    fn of(document: &str) -> Self {
        let (process, document) = (std::process::id(), u32::try_from(document.len()).unwrap());
        let (high, low) = (1 + process / 250 % 250, 1 + process % 250);
        Self {
            prefix: format!("127.{high}.{low}.{}", 1 + document % 20),
        }
    }

    fn hide(&self, text: &str) -> String {
        text.replace("localhost", "127.0.0.1")
            .replace(Self::SHOWN, &self.prefix)
    }

    fn show(&self, text: &str) -> String {
        text.replace(&self.prefix, Self::SHOWN)
    }
}

/// Without what depends on the width of columns.
fn compact(line: &str) -> String {
    let line = line.replace("localhost", "127.0.0.1");
    line.chars()
        .filter(|c| !c.is_whitespace() && !"─═".contains(*c))
        .collect()
}

fn matches(pattern: &str, line: &str) -> bool {
    let Some((start, rest)) = pattern.split_once(ANYTHING) else {
        return pattern == line;
    };
    let Some(line) = line.strip_prefix(start) else {
        return false;
    };
    let mut ends = line.char_indices().map(|(at, _)| at).chain([line.len()]);
    ends.any(|at| matches(rest, &line[at..]))
}

#[test]
fn anything_is_matched_by_an_ellipsis_and_nothing_else() {
    for (pattern, line, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a…", "ab", true),
        ("a…", "ba", false),
        ("a…c", "abbc", true),
        ("a…c", "abbd", false),
        ("…b…", "abc", true),
    ] {
        assert_eq!(matches(pattern, line), expected, "{pattern} {line}");
    }
}
