use super::session::FORGET_MS;
use super::*;

/// A core with a call number and a clock.
struct Bench {
    core: Core,
    now_ms: u64,
    last_call: CallId,
}

fn bench() -> Bench {
    Bench {
        core: Core::new(true),
        now_ms: 1_000,
        last_call: 0,
    }
}

fn spec(session: &str, name: &str) -> Spec {
    Spec {
        session: session.to_owned(),
        name: name.to_owned(),
        role: Role::Storage,
        arguments: vec![name.to_owned()],
    }
}

fn exited(process: ProcessId) -> Input {
    Input::Exited {
        process,
        how: "signal 9 (SIGKILL)".to_owned(),
        last_words: "oh".to_owned(),
    }
}

fn signal(process: ProcessId, signal: Signal) -> Output {
    Output::Signal { process, signal }
}

fn done(call: CallId) -> Output {
    Output::Answer {
        call,
        answer: Ok(Answer::Done),
    }
}

impl Bench {
    fn step(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.core.step(self.now_ms, input, &mut out);
        out
    }

    fn request(&mut self, request: Request) -> Vec<Output> {
        self.last_call += 1;
        let call = self.last_call;
        self.step(Input::Request { call, request })
    }

    fn tick_at_deadline(&mut self) -> Vec<Output> {
        self.now_ms = self.core.deadline_ms().unwrap();
        self.step(Input::Tick)
    }

    /// Starts a process which then exists; its id.
    fn started(&mut self, session: &str, name: &str) -> ProcessId {
        let out = self.request(Request::Start(spec(session, name)));
        let [Output::Launch { process, .. }] = out[..] else {
            panic!("{out:?}")
        };
        self.step(Input::Launched { process, pid: 100 });
        process
    }

    fn stop(&mut self, session: &str, name: &str) -> Vec<Output> {
        let (session, name) = (session.to_owned(), name.to_owned());
        self.request(Request::Stop { session, name })
    }

    fn kill(&mut self, session: &str, name: &str) -> Vec<Output> {
        let (session, name) = (session.to_owned(), name.to_owned());
        self.request(Request::Kill { session, name })
    }

    fn freeze(&mut self, session: &str, name: &str) -> Vec<Output> {
        let (session, name) = (session.to_owned(), name.to_owned());
        self.request(Request::Freeze { session, name })
    }

    fn unfreeze(&mut self, session: &str, name: &str) -> Vec<Output> {
        let (session, name) = (session.to_owned(), name.to_owned());
        self.request(Request::Unfreeze { session, name })
    }

    fn watch(&mut self, session: &str, after: u64, wait_ms: u64) -> Vec<Output> {
        let session = session.to_owned();
        self.request(Request::Watch {
            session,
            after,
            wait_ms,
            lease_ms: 0,
        })
    }

    /// All events of a session, as text.
    fn events(&mut self, session: &str) -> Vec<String> {
        let out = self.watch(session, 0, 0);
        let [
            Output::Answer {
                answer: Ok(Answer::Events(events)),
                ..
            },
        ] = &out[..]
        else {
            panic!("{out:?}")
        };
        events
            .iter()
            .map(|event| format!("{} {:?}", event.name, event.what))
            .collect()
    }
}

fn error(out: &[Output]) -> &PcsError {
    let [
        Output::Answer {
            answer: Err(error), ..
        },
    ] = out
    else {
        panic!("{out:?}")
    };
    error
}

#[test]
fn a_start_is_answered_when_the_process_exists() {
    let mut b = bench();
    let out = b.request(Request::Start(spec("a", "s1")));
    assert_eq!(
        out,
        [Output::Launch {
            process: 1,
            spec: spec("a", "s1")
        }]
    );
    let out = b.step(Input::Launched { process: 1, pid: 7 });
    assert_eq!(
        out,
        [Output::Answer {
            call: 1,
            answer: Ok(Answer::Started { pid: 7 })
        }]
    );
}

#[test]
fn a_name_is_taken_until_its_process_was_reaped() {
    let mut b = bench();
    let process = b.started("a", "s1");
    let taken = PcsError::NameTaken {
        session: "a".to_owned(),
        name: "s1".to_owned(),
    };
    assert_eq!(error(&b.request(Request::Start(spec("a", "s1")))), &taken);
    b.started("another", "s1");
    b.kill("a", "s1");
    assert_eq!(error(&b.request(Request::Start(spec("a", "s1")))), &taken);
    b.step(exited(process));
    assert_ne!(b.started("a", "s1"), process);
}

#[test]
fn a_launch_that_fails_frees_the_name_and_says_why() {
    let mut b = bench();
    b.request(Request::Start(spec("a", "s1")));
    let out = b.step(Input::LaunchFailed {
        process: 1,
        why: "no such file".to_owned(),
    });
    assert_eq!(
        error(&out).to_string(),
        "cannot start storage `s1`: no such file"
    );
    b.started("a", "s1");
}

#[test]
fn kill_is_answered_when_the_process_was_reaped() {
    let mut b = bench();
    let process = b.started("a", "s1");
    assert_eq!(b.kill("a", "s1"), [signal(process, Signal::Kill)]);
    assert_eq!(b.step(exited(process)), [done(2)]);
    assert!(matches!(
        error(&b.kill("a", "s1")),
        PcsError::NoSuchProcess { .. }
    ));
    assert!(b.events("a")[0].contains("asked: true"));
}

#[test]
fn stop_turns_into_kill_when_the_grace_is_over() {
    let mut b = bench();
    b.core.leases_count = false;
    let process = b.started("a", "s1");
    assert_eq!(b.stop("a", "s1"), [signal(process, Signal::Terminate)]);
    assert_eq!(b.stop("a", "s1"), []);
    b.now_ms += STOP_GRACE_MS - 1;
    assert_eq!(b.step(Input::Tick), []);
    b.now_ms += 1;
    assert_eq!(b.step(Input::Tick), [signal(process, Signal::Kill)]);
    assert_eq!(b.step(exited(process)), [done(2), done(3)]);
}

#[test]
fn kill_overtakes_stop() {
    let mut b = bench();
    let process = b.started("a", "s1");
    b.stop("a", "s1");
    assert_eq!(b.kill("a", "s1"), [signal(process, Signal::Kill)]);
}

#[test]
fn an_end_ordered_before_the_process_exists_takes_place_when_it_does() {
    for (order, expected) in [(0, Signal::Kill), (1, Signal::Terminate)] {
        let mut b = bench();
        b.request(Request::Start(spec("a", "s1")));
        let out = if order == 0 {
            b.kill("a", "s1")
        } else {
            b.stop("a", "s1")
        };
        assert_eq!(out, []);
        let out = b.step(Input::Launched { process: 1, pid: 7 });
        assert_eq!(out[0], signal(1, expected));
    }
}

#[test]
fn a_watcher_waits_for_the_first_event_after_its_cursor() {
    let mut b = bench();
    let process = b.started("a", "s1");
    assert_eq!(b.watch("a", 0, 500), []);
    let call = b.last_call;
    let event = Event {
        number: 1,
        name: "s1".to_owned(),
        pid: 100,
        what: What::Ready,
    };
    let answer = Output::Answer {
        call,
        answer: Ok(Answer::Events(vec![event])),
    };
    assert_eq!(b.step(Input::Ready { process }), [answer]);
    assert_eq!(b.step(Input::Ready { process }), [], "ready only once");
    assert_eq!(b.watch("a", 1, 500), []);
}

#[test]
fn a_watcher_without_events_is_answered_in_time_and_within_half_the_lease() {
    for (wait_ms, answered_after_ms) in [(300, 300), (60_000, LEASE_MS_DEFAULT / 2)] {
        let mut b = bench();
        b.started("a", "s1");
        b.watch("a", 0, wait_ms);
        let before_ms = b.now_ms;
        let answer = Output::Answer {
            call: 2,
            answer: Ok(Answer::Events(Vec::new())),
        };
        assert_eq!(b.tick_at_deadline(), [answer]);
        assert_eq!(b.now_ms - before_ms, answered_after_ms);
    }
}

#[test]
fn an_end_that_nobody_asked_for_is_told_with_last_words() {
    let mut b = bench();
    let process = b.started("a", "s1");
    b.step(exited(process));
    let process = b.started("a", "s2");
    b.step(Input::Ready { process });
    b.step(exited(process));
    assert_eq!(
        b.events("a"),
        [
            r#"s1 Exited { asked: false, how: "signal 9 (SIGKILL) before it was ready", last_words: "oh" }"#,
            "s2 Ready",
            r#"s2 Exited { asked: false, how: "signal 9 (SIGKILL)", last_words: "oh" }"#,
        ]
    );
}

#[test]
fn a_silent_session_loses_its_processes_and_a_speaking_one_does_not() {
    let mut b = bench();
    let silent = b.started("a", "s1");
    b.started("b", "s1");
    b.now_ms += LEASE_MS_DEFAULT - 1;
    b.watch("b", 0, 0);
    assert_eq!(b.step(Input::Tick), []);
    b.now_ms += 1;
    assert_eq!(b.step(Input::Tick), [signal(silent, Signal::Kill)]);
    b.step(exited(silent));
    assert!(b.events("a")[0].contains("its session was silent for 1500 ms"));
    b.started("a", "s1");
}

#[test]
fn the_watcher_chooses_the_lease_within_bounds() {
    let mut b = bench();
    let process = b.started("a", "s1");
    for (lease_ms, real_ms) in [(700, 700), (1, 200)] {
        let session = "a".to_owned();
        b.request(Request::Watch {
            session,
            after: 0,
            wait_ms: 0,
            lease_ms,
        });
        assert_eq!(b.core.deadline_ms(), Some(b.now_ms + real_ms));
    }
    assert_eq!(b.tick_at_deadline(), [signal(process, Signal::Kill)]);
}

#[test]
fn a_machine_that_is_too_busy_to_look_in_time_reprieves_a_session_once() {
    let mut b = bench();
    let process = b.started("a", "s1");
    b.now_ms += LEASE_MS_DEFAULT + 1_000;
    assert_eq!(b.step(Input::Tick), []);
    b.now_ms += 10_000;
    assert_eq!(b.step(Input::Tick), [signal(process, Signal::Kill)]);
}

#[test]
fn without_leases_a_silent_session_lives_on() {
    let mut b = bench();
    b.core.leases_count = false;
    b.started("a", "s1");
    for _ in 0..10 {
        b.now_ms += LEASE_MS_DEFAULT;
        assert_eq!(b.step(Input::Tick), []);
    }
}

#[test]
fn closing_stops_all_processes_of_one_session() {
    let mut b = bench();
    let (first, second) = (b.started("a", "s1"), b.started("a", "s2"));
    b.started("b", "s1");
    let out = b.request(Request::Close {
        session: "a".to_owned(),
    });
    let close = b.last_call;
    assert_eq!(
        out,
        [
            signal(first, Signal::Terminate),
            signal(second, Signal::Terminate)
        ]
    );
    let refused = b.request(Request::Start(spec("a", "s3")));
    assert_eq!(error(&refused), &PcsError::SessionClosing("a".to_owned()));
    assert_eq!(b.step(exited(first)), []);
    assert_eq!(b.step(exited(second)), [done(close)]);
    assert_eq!(b.core.counts(), (1, 1));
    assert_eq!(
        b.request(Request::Close {
            session: "a".to_owned()
        }),
        [done(b.last_call)]
    );
}

#[test]
fn a_cursor_of_a_session_that_is_not_known_any_more_is_refused() {
    let mut b = bench();
    assert_eq!(
        error(&b.watch("a", 3, 100)),
        &PcsError::NoSuchSession("a".to_owned())
    );
}

#[test]
fn an_idle_session_is_forgotten() {
    let mut b = bench();
    b.watch("a", 0, 0);
    b.now_ms += FORGET_MS - 1;
    b.step(Input::Tick);
    assert_eq!(b.core.counts(), (1, 0));
    assert_eq!(b.tick_at_deadline(), []);
    assert_eq!(b.core.counts(), (0, 0));
    assert_eq!(b.core.deadline_ms(), None);
}

#[test]
fn shutdown_ends_when_the_last_process_was_reaped_and_nothing_starts_meanwhile() {
    let mut b = bench();
    let process = b.started("a", "s1");
    assert_eq!(
        b.step(Input::Shutdown),
        [signal(process, Signal::Terminate)]
    );
    assert!(!b.core.is_shut_down());
    assert_eq!(
        error(&b.request(Request::Start(spec("b", "s1")))),
        &PcsError::ShuttingDown
    );
    b.step(exited(process));
    assert!(b.core.is_shut_down());
}

#[test]
fn sessions_and_watchers_are_bounded() {
    let mut b = bench();
    for number in 0..SESSIONS_MAX {
        b.watch(&format!("session{number}"), 0, 0);
    }
    assert!(matches!(
        error(&b.watch("one more", 0, 0)),
        PcsError::Full {
            max: SESSIONS_MAX,
            ..
        }
    ));
    for _ in 0..session::WATCHERS_MAX {
        assert_eq!(b.watch("session0", 0, 500), []);
    }
    assert_eq!(
        b.watch("session0", 0, 500).len(),
        1,
        "the oldest is answered"
    );
}

#[test]
fn processes_are_bounded_and_listed() {
    let mut b = bench();
    for number in 0..PROCESSES_MAX {
        b.started("a", &format!("s{number}"));
    }
    let full = b.request(Request::Start(spec("a", "more")));
    assert!(matches!(
        error(&full),
        PcsError::Full {
            max: PROCESSES_MAX,
            ..
        }
    ));
    let out = b.request(Request::List);
    let [
        Output::Answer {
            answer: Ok(Answer::Processes(views)),
            ..
        },
    ] = &out[..]
    else {
        panic!()
    };
    assert_eq!(views.len(), PROCESSES_MAX);
    let first = ProcessView {
        session: "a".to_owned(),
        name: "s0".to_owned(),
        role: Role::Storage,
        pid: 100,
        ready: false,
    };
    assert_eq!(views[0], first);
}

#[test]
fn freezing_and_unfreezing_are_answered_in_order_when_they_were_done() {
    let mut b = bench();
    let process = b.started("a", "s1");
    assert_eq!(b.freeze("a", "s1"), [signal(process, Signal::Freeze)]);
    let froze = b.last_call;
    assert_eq!(b.unfreeze("a", "s1"), [signal(process, Signal::Unfreeze)]);
    let unfroze = b.last_call;
    assert_eq!(b.step(Input::Signalled { process }), [done(froze)]);
    assert_eq!(b.step(Input::Signalled { process }), [done(unfroze)]);
    assert_eq!(b.step(Input::Signalled { process }), []);
}

#[test]
fn a_frozen_process_is_stopped_and_killed_like_any_other() {
    let mut b = bench();
    let process = b.started("a", "s1");
    b.freeze("a", "s1");
    assert_eq!(b.stop("a", "s1"), [signal(process, Signal::Terminate)]);
    assert_eq!(b.kill("a", "s1"), [signal(process, Signal::Kill)]);
}

#[test]
fn a_process_that_ends_before_it_was_frozen_is_said_to_be_gone() {
    let mut b = bench();
    let process = b.started("a", "s1");
    b.freeze("a", "s1");
    let out = b.step(exited(process));
    let gone = PcsError::NoSuchProcess {
        session: "a".to_owned(),
        name: "s1".to_owned(),
    };
    assert_eq!(error(&out), &gone);
    assert_eq!(error(&b.freeze("a", "s1")), &gone);
    // One that does not exist yet neither.
    b.request(Request::Start(spec("a", "s1")));
    assert_eq!(error(&b.unfreeze("a", "s1")), &gone);
}

#[test]
fn waiting_signals_are_bounded() {
    let mut b = bench();
    b.started("a", "s1");
    for _ in 0..process::SIGNALLERS_MAX {
        b.freeze("a", "s1");
    }
    let full = b.freeze("a", "s1");
    assert!(matches!(error(&full), PcsError::Full { .. }), "{full:?}");
}
