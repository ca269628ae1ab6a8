//! A cluster of fakes on the local fabric: a PCS whose nodes are toys with shared memory. They check what the
//! puppetmaster tells them; they do not gossip, elect or run operators.

use ::puppetmaster::cluster::{EmbeddedPcs, StartPcs};
use ::puppetmaster::output::{Channel, Format, Output};
use ::puppetmaster::{Config, Source, Surroundings};
use common::fabric::{Address, FabricHandle, LocalFabric, Router, Serving};
use common::proto::process_event::What;
use common::proto::{self, *};
use common::status::{Kind, Status};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};

/// The replica that makes all versions: which one is asked first is the business of placement, tested elsewhere.
const WRITER: u32 = 1;

/// What all toys know, and what they were told.
#[derive(Default)]
pub struct World {
    pub processes: BTreeMap<String, Process>,
    pub records: BTreeMap<String, Vec<RecordVersion>>,
    /// Every version that was made.
    made: Vec<proto::Told>,
    pub runs: Vec<RunReport>,
    /// The runs that they have made.
    keys: BTreeMap<String, u64>,
    pub ring: Option<Ring>,
    /// Whom every toy suspects, by name.
    pub suspected: Vec<String>,
    /// Every toy refuses network faults.
    pub allows_no_faults: bool,
    was_busy: bool,
    /// So many requests to restore are still refused by nodes that are joining.
    pub restores_refused: u32,
    /// "s1: ring fresh", "s2: s1 is dead", "pcs: close", in order.
    pub told: Vec<String>,
    events: Vec<ProcessEvent>,
    /// "s1/2" is the second process of `s1`. A process's pid and incarnation is its place here, from 1.
    lives: Vec<String>,
    /// So answers the scheduler that is first asked for a trace or a cancellation, and leads no more from then on.
    pub will_not_lead: Option<Kind>,
    /// It leads no more.
    led_before: Option<String>,
    /// Storage nodes take no certificate of death before this process was started.
    pub certificates_wait_for: Option<String>,
}

pub struct Process {
    pub role: String,
    pub url: String,
    pub arguments: Vec<String>,
    pid: u32,
    _serving: Serving,
}

#[derive(Clone)]
pub struct Toys {
    pub fabric: FabricHandle,
    pub world: Arc<Mutex<World>>,
    changed: Arc<watch::Sender<()>>,
    said: Arc<Mutex<Vec<(Channel, String)>>>,
}

impl Toys {
    pub fn new() -> Self {
        Self {
            fabric: Arc::new(LocalFabric::default()),
            world: Arc::default(),
            changed: Arc::new(watch::Sender::new(())),
            said: Arc::default(),
        }
    }

    pub fn output(&self, format: Format) -> Output {
        let said = Arc::clone(&self.said);
        Output::new(
            format,
            false,
            Arc::new(move |channel, text: &str| {
                said.lock().unwrap().push((channel, format!("{text}\n")));
            }),
        )
    }

    pub fn said(&self, channel: Channel) -> String {
        let said = self.said.lock().unwrap();
        said.iter()
            .filter(|(at, _)| *at == channel)
            .map(|(_, text)| text.as_str())
            .collect()
    }

    pub fn told(&self) -> String {
        self.world.lock().unwrap().told.join("\n")
    }

    /// A PCS that runs toys, as `main` hands over a real one.
    pub fn start_pcs(&self) -> StartPcs {
        let toys = self.clone();
        Arc::new(move || {
            let toys = toys.clone();
            Box::pin(async move {
                let at = Address::parse("http://127.0.0.1:0").unwrap();
                let serving = toys
                    .fabric
                    .serve(
                        &at,
                        Router::default().with(pcs::Server(Arc::new(Pcs(toys.clone())))),
                    )
                    .await?;
                Ok(EmbeddedPcs {
                    serving,
                    guard: Box::new(()),
                })
            })
        })
    }

    pub fn surroundings(&self, format: Format) -> (Surroundings, mpsc::Sender<()>) {
        let (sender, interrupts) = mpsc::channel(1);
        let surroundings = Surroundings {
            fabric: self.fabric.clone(),
            start_pcs: self.start_pcs(),
            interrupts,
            output: self.output(format),
        };
        (surroundings, sender)
    }

    /// The process ends although nobody asked for it.
    pub fn die(&self, name: &str) {
        let process = self.world.lock().unwrap().processes.remove(name).unwrap();
        self.event(name, process.pid, exited(false, "signal 9 (SIGKILL)", ""));
    }

    fn event(&self, name: &str, pid: u32, what: What) {
        let mut world = self.world.lock().unwrap();
        let number = world.events.len() as u64 + 1;
        world.events.push(ProcessEvent {
            number,
            name: name.to_owned(),
            pid,
            what: Some(what),
        });
        drop(world);
        self.changed.send_replace(());
    }

    fn tell(&self, what: String) {
        self.world.lock().unwrap().told.push(what);
    }
}

pub fn config(script: &Path) -> Config {
    Config {
        source: Source::File(script.to_owned()),
        step: false,
        keep: false,
        pcs: Vec::new(),
        connect: Vec::new(),
        data: None,
        faults: ::puppetmaster::language::Faults::default(),
    }
}

fn suspected(name: &str) -> PeerStatus {
    PeerStatus {
        name: name.to_owned(),
        state: "suspected".to_owned(),
        silent_ms: 2_000,
    }
}

fn exited(asked: bool, how: &str, last_words: &str) -> What {
    What::Exited(Exited {
        asked,
        how: how.to_owned(),
        last_words: last_words.to_owned(),
    })
}

struct Pcs(Toys);

impl pcs::Service for Pcs {
    async fn start(&self, request: StartRequest) -> Result<StartResponse, Status> {
        let toys = &self.0;
        let pid = {
            let mut world = toys.world.lock().unwrap();
            let is_before = |life: &&String| life.starts_with(&format!("{}/", request.name));
            let life = world.lives.iter().filter(is_before).count() + 1;
            world.lives.push(format!("{}/{life}", request.name));
            u32::try_from(world.lives.len()).unwrap()
        };
        let (name, url) = (request.name.clone(), request.arguments[1].clone());
        let toy = Arc::new(Toy {
            toys: toys.clone(),
            name: name.clone(),
            role: request.role.clone(),
            pid,
        });
        let router = Router::default()
            .with(faults::Server(toy.clone()))
            .with(node::Server(toy.clone()))
            .with(storage::Server(toy.clone()));
        let router = router.with(scheduler::Server(toy));
        match toys
            .fabric
            .serve(&Address::parse(&url).unwrap(), router)
            .await
        {
            Ok(serving) => {
                let (role, arguments) = (request.role, request.arguments);
                let process = Process {
                    role,
                    url,
                    arguments,
                    pid,
                    _serving: serving,
                };
                toys.world
                    .lock()
                    .unwrap()
                    .processes
                    .insert(name.clone(), process);
                toys.event(&name, pid, What::Ready(Empty {}));
            }
            Err(taken) => toys.event(&name, pid, exited(false, "exit status 1", &taken.message)),
        }
        Ok(StartResponse { pid })
    }

    async fn kill(&self, request: ProcessRequest) -> Result<Empty, Status> {
        let process = self.0.world.lock().unwrap().processes.remove(&request.name);
        let process = process.ok_or_else(|| Status::not_found("no such process"))?;
        self.0.event(
            &request.name,
            process.pid,
            exited(true, "signal 9 (SIGKILL)", ""),
        );
        Ok(Empty {})
    }

    async fn stop(&self, request: ProcessRequest) -> Result<Empty, Status> {
        self.kill(request).await
    }

    async fn freeze(&self, request: ProcessRequest) -> Result<Empty, Status> {
        self.0.tell(format!("pcs: freeze {}", request.name));
        Ok(Empty {})
    }

    async fn unfreeze(&self, request: ProcessRequest) -> Result<Empty, Status> {
        self.0.tell(format!("pcs: unfreeze {}", request.name));
        Ok(Empty {})
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchResponse, Status> {
        let mut changed = self.0.changed.subscribe();
        let wait = std::time::Duration::from_millis(u64::from(request.wait_ms));
        let events = async {
            loop {
                let events: Vec<_> = self
                    .0
                    .world
                    .lock()
                    .unwrap()
                    .events
                    .iter()
                    .filter(|event| event.number > request.after)
                    .cloned()
                    .collect();
                if !events.is_empty() {
                    return events;
                }
                changed.changed().await.unwrap();
            }
        };
        let events = common::fabric::timeout(&*self.0.fabric, wait, events)
            .await
            .unwrap_or_default();
        Ok(WatchResponse { events })
    }

    async fn list(&self, _: Empty) -> Result<ProcessList, Status> {
        Ok(ProcessList::default())
    }

    async fn close(&self, _: CloseRequest) -> Result<Empty, Status> {
        self.0.tell("pcs: close".to_owned());
        self.0.world.lock().unwrap().processes.clear();
        Ok(Empty {})
    }
}

/// Any node.
struct Toy {
    toys: Toys,
    name: String,
    role: String,
    pid: u32,
}

impl Toy {
    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.toys.world.lock().unwrap()
    }

    fn leads(&self) -> Result<(), Status> {
        let mut world = self.world();
        let Some(kind) = world.will_not_lead.take() else {
            return Ok(());
        };
        world.led_before = Some(self.name.clone());
        Err(Status::new(kind, "another scheduler leads"))
    }

    fn newest(&self, record: &str) -> RecordVersion {
        self.world()
            .records
            .get(record)
            .and_then(|versions| versions.first())
            .cloned()
            .unwrap_or_default()
    }

    fn put(&self, record: String, version: proto::Version, value: Option<bytes::Bytes>) {
        let version = RecordVersion {
            version: Some(version),
            value,
        };
        let mut world = self.world();
        world.made.push(proto::Told {
            record: record.clone(),
            made: Some(version.clone()),
            listed: false,
        });
        world.records.entry(record).or_default().insert(0, version);
        drop(world);
        self.toys.changed.send_replace(());
    }

    /// What was made since the places of the request; partitions are of no matter to toys.
    fn made_since(&self, request: &WatchRecordsRequest) -> (Vec<proto::Told>, usize) {
        let made = &self.world().made;
        let index = |place: &WatchPlace| match &place.place {
            Some(watch_place::Place::Reached(mark)) => usize::try_from(mark.index).unwrap(),
            _ => made.len(),
        };
        let from = request.places.iter().map(index).min().unwrap();
        let begins = |told: &&proto::Told| told.record.starts_with(&request.prefix);
        let told = made[from..].iter().filter(begins).cloned();
        (told.collect(), made.len())
    }
}

impl node::Service for Toy {
    async fn status(&self, _: Empty) -> Result<NodeStatus, Status> {
        let url = self.world().processes[&self.name].url.clone();
        let records = self.world().records.len().to_string();
        let details = vec![Detail {
            name: "records".to_owned(),
            value: records,
        }];
        let (name, role, incarnation) = (self.name.clone(), self.role.clone(), u64::from(self.pid));
        Ok(NodeStatus {
            name,
            role,
            url,
            incarnation,
            details,
            peers: self
                .world()
                .suspected
                .iter()
                .map(|name| suspected(name))
                .collect(),
            ..NodeStatus::default()
        })
    }

    async fn set_debug(&self, request: SetDebugRequest) -> Result<Empty, Status> {
        let line = DebugLine {
            node: self.name.clone(),
            line: "I was told".to_owned(),
        };
        let to = Address::parse(&request.url).unwrap();
        let client = puppetmaster::Client::new(
            self.toys.fabric.clone(),
            to,
            std::time::Duration::from_secs(1),
        );
        client.debug(&line).await
    }
}

impl faults::Service for Toy {
    async fn set_faults(&self, request: SetFaultsRequest) -> Result<Empty, Status> {
        if self.world().allows_no_faults {
            return Err(Status::refused("this node allows no network faults"));
        }
        let link = |link: &Link| {
            let cut = if link.cut { " cut" } else { "" };
            let (peer, delay_ms, loss_percent) = (&link.peer, link.delay_ms, link.loss_percent);
            format!(" {peer}{cut} {delay_ms} ms {loss_percent} %;")
        };
        let links: String = request.links.iter().map(link).collect();
        self.toys.tell(format!("{}: links{links}", self.name));
        Ok(Empty {})
    }
}

mod storage_toy {
    use super::*;

    impl storage::Service for Toy {
        async fn read(&self, request: ReadRequest) -> Result<ReadResponse, Status> {
            Ok(ReadResponse {
                found: Some(self.newest(&request.record)),
            })
        }

        async fn write(&self, request: WriteRequest) -> Result<WriteResponse, Status> {
            let number = self
                .newest(&request.record)
                .version
                .unwrap_or_default()
                .number
                + 1;
            let version = proto::Version {
                number,
                replica: WRITER,
                step: 0,
            };
            self.put(request.record, version, request.value);
            Ok(WriteResponse {
                version: Some(version),
            })
        }

        async fn update_if(&self, request: UpdateIfRequest) -> Result<UpdateIfResponse, Status> {
            let found = self.newest(&request.record);
            let outcome = if found.value == request.old {
                let mut version = found.version.unwrap_or_default();
                version.step += 1;
                self.put(request.record, version, request.new);
                update_if_response::Outcome::Updated(version)
            } else {
                update_if_response::Outcome::Mismatch(found)
            };
            Ok(UpdateIfResponse {
                outcome: Some(outcome),
            })
        }

        async fn history(&self, request: HistoryRequest) -> Result<HistoryResponse, Status> {
            let versions = self
                .world()
                .records
                .get(&request.record)
                .cloned()
                .unwrap_or_default();
            Ok(HistoryResponse {
                versions,
                truncated: false,
            })
        }

        async fn list(&self, _: ListRequest) -> Result<ListResponse, Status> {
            let world = self.world();
            let listed = |(record, versions): (&String, &Vec<RecordVersion>)| ListedRecord {
                record: record.clone(),
                versions: versions.clone(),
            };
            Ok(ListResponse {
                records: world.records.iter().map(listed).collect(),
                more: false,
            })
        }

        async fn scan(&self, request: ScanRequest) -> Result<ScanResponse, Status> {
            let world = self.world();
            let is_wanted = |(record, versions): &(&String, &Vec<RecordVersion>)| {
                record.starts_with(&request.prefix)
                    && **record > request.after
                    && versions[0].value.is_some()
            };
            let records = world.records.iter().filter(is_wanted);
            let scanned = |(record, versions): (&String, &Vec<RecordVersion>)| ScannedRecord {
                record: record.clone(),
                newest: Some(versions[0].clone()),
            };
            Ok(ScanResponse {
                records: records.map(scanned).collect(),
                until: None,
            })
        }

        async fn watch(
            &self,
            request: WatchRecordsRequest,
        ) -> Result<WatchRecordsResponse, Status> {
            let mut changes = self.toys.changed.subscribe();
            let (mut told, mut end) = self.made_since(&request);
            while told.is_empty() && request.wait_ms > 0 {
                changes.changed().await.unwrap();
                (told, end) = self.made_since(&request);
            }
            let reached = |place: WatchPlace| WatchPlace {
                place: Some(watch_place::Place::Reached(WatchMark {
                    replica: WRITER,
                    index: end as u64,
                    ..WatchMark::default()
                })),
                ..place
            };
            Ok(WatchRecordsResponse {
                told,
                places: request.places.into_iter().map(reached).collect(),
            })
        }

        async fn set_ring(&self, request: SetRingRequest) -> Result<SetRingResponse, Status> {
            let how = if request.fresh { "fresh" } else { "joining" };
            self.toys.tell(format!("{}: ring {how}", self.name));
            self.world().ring = request.ring;
            let incarnation = u64::from(self.pid);
            Ok(SetRingResponse { incarnation })
        }

        async fn take_snapshot(
            &self,
            _: TakeSnapshotRequest,
        ) -> Result<TakeSnapshotResponse, Status> {
            Ok(TakeSnapshotResponse::default())
        }

        async fn read_snapshot(
            &self,
            _: ReadSnapshotRequest,
        ) -> Result<ReadSnapshotResponse, Status> {
            Ok(ReadSnapshotResponse::default())
        }

        async fn restore(&self, request: RestoreRequest) -> Result<Empty, Status> {
            let mut world = self.world();
            if world.restores_refused > 0 {
                world.restores_refused -= 1;
                return Err(Status::unavailable("this node is still joining"));
            }
            drop(world);
            let how = if request.only_check {
                "checks"
            } else {
                "restores"
            };
            let records = request.records.len();
            self.toys.tell(format!("{}: {how} {records}", self.name));
            Ok(Empty {})
        }

        async fn applied(&self, _: Empty) -> Result<AppliedResponse, Status> {
            Ok(AppliedResponse::default())
        }

        async fn fence(&self, _: FenceRequest) -> Result<FenceResponse, Status> {
            Err(Status::unknown_method("Fence"))
        }

        async fn forget(&self, _: ForgetRequest) -> Result<Empty, Status> {
            Err(Status::unknown_method("Forget"))
        }

        async fn certify_death(
            &self,
            request: CertifyReplicaDeathRequest,
        ) -> Result<Empty, Status> {
            let (dead, started) = {
                let world = self.world();
                let dead = world.lives[usize::try_from(request.incarnation).unwrap() - 1].clone();
                let awaited = world.certificates_wait_for.clone();
                (dead, awaited.is_none_or(|life| world.lives.contains(&life)))
            };
            if !started {
                return Err(Status::unavailable("not now"));
            }
            let replica = request.replica;
            self.toys
                .tell(format!("{}: {dead} ({replica}) is dead", self.name));
            Ok(Empty {})
        }

        async fn peer(&self, _: PeerMessage) -> Result<Empty, Status> {
            Ok(Empty {})
        }
    }
}

mod scheduler_toy {
    use super::*;

    impl scheduler::Service for Toy {
        /// The input says what becomes of the run: "fail …" fails, "busy" is refused the first time, anything else
        /// comes back as output.
        async fn submit(&self, request: SubmitRequest) -> Result<SubmitResponse, Status> {
            if request.application.contains("Unknown") {
                return Err(Status::invalid("unknown operator class `Unknown`"));
            }
            let mut world = self.world();
            if request.input == "busy" && !std::mem::replace(&mut world.was_busy, true) {
                return Err(Status::overloaded("too many runs"));
            }
            let next = world.runs.len() as u64 + 1;
            let run = *world.keys.entry(request.key).or_insert(next);
            if run < next {
                return Ok(SubmitResponse { run });
            }
            let mut report = RunReport {
                run,
                input: request.input.clone(),
                ..RunReport::default()
            };
            report.application_name = request.application_name;
            if request.input.starts_with("fail") {
                report.set_state(RunState::Failed);
                "stage 0: AddOperator on w1: it trapped".clone_into(&mut report.error);
            } else if ["slow", "endless"].contains(&&*request.input) {
                report.set_state(RunState::Running);
            } else {
                report.set_state(RunState::Completed);
                report.output = vec![Item {
                    key: None,
                    value: request.input.into(),
                }];
            }
            world.runs.push(report);
            Ok(SubmitResponse { run })
        }

        async fn await_run(&self, request: AwaitRunRequest) -> Result<RunReport, Status> {
            let report = || {
                let world = self.world();
                let report = world.runs.iter().find(|report| report.run == request.run);
                report.cloned()
            };
            let mut changed = self.toys.changed.subscribe();
            if report().is_some_and(|report| report.state() == RunState::Running) {
                let wait = std::time::Duration::from_millis(request.wait_ms.into());
                let _ = common::fabric::timeout(&*self.toys.fabric, wait, changed.changed()).await;
                let mut world = self.world();
                let is_slow =
                    |report: &&mut RunReport| report.run == request.run && report.input == "slow";
                if let Some(report) = world.runs.iter_mut().find(is_slow) {
                    report.set_state(RunState::Completed);
                }
            }
            report().ok_or_else(|| Status::not_found(format!("there is no run {}", request.run)))
        }

        async fn trace(&self, _: TraceRequest) -> Result<TraceResponse, Status> {
            self.leads()?;
            Ok(TraceResponse::default())
        }

        async fn cancel(&self, request: CancelRequest) -> Result<Empty, Status> {
            let mut world = self.world();
            let is_running = |report: &&mut RunReport| {
                report.run == request.run && report.state() == RunState::Running
            };
            let Some(report) = world.runs.iter_mut().find(is_running) else {
                let ended = format!("run {} has ended: completed", request.run);
                return Err(Status::refused(ended));
            };
            report.set_state(RunState::Cancelled);
            drop(world);
            self.toys.changed.send_replace(());
            self.leads()?;
            Ok(Empty {})
        }

        async fn runs(&self, _: RunsRequest) -> Result<RunsResponse, Status> {
            let without_items = |report: &RunReport| RunReport {
                output: Vec::new(),
                ..report.clone()
            };
            let runs = self.world().runs.iter().rev().map(without_items).collect();
            Ok(RunsResponse { runs })
        }

        async fn cluster(&self, _: Empty) -> Result<ClusterResponse, Status> {
            let world = self.world();
            let workers = world
                .processes
                .iter()
                .filter(|(_, process)| process.role == "worker");
            let status = |(name, process): (&String, &Process)| WorkerStatus {
                worker: Some(WorkerAddress {
                    name: name.clone(),
                    url: process.url.clone(),
                }),
                incarnation: u64::from(process.pid),
                ..WorkerStatus::default()
            };
            Ok(ClusterResponse {
                leads: world.led_before.as_ref() != Some(&self.name),
                leader: String::new(),
                workers: workers.map(status).collect(),
                ring: world.ring.clone(),
            })
        }

        async fn set_ring(&self, request: SetRingRequest) -> Result<Empty, Status> {
            storage::Service::set_ring(self, request).await?;
            Ok(Empty {})
        }

        async fn heartbeat(&self, _: HeartbeatRequest) -> Result<HeartbeatResponse, Status> {
            Ok(HeartbeatResponse::default())
        }

        async fn stage_done(&self, _: StageReport) -> Result<Empty, Status> {
            Ok(Empty {})
        }

        async fn reassign(&self, _: ReassignRequest) -> Result<ReassignResponse, Status> {
            Ok(ReassignResponse::default())
        }

        async fn certify_death(&self, request: CertifyDeathRequest) -> Result<Empty, Status> {
            self.toys
                .tell(format!("{}: {} is dead", self.name, request.name));
            Ok(Empty {})
        }

        async fn deploy(&self, _: DeployRequest) -> Result<DeployResponse, Status> {
            Ok(DeployResponse::default())
        }

        async fn rollback(&self, _: RollbackRequest) -> Result<DeployResponse, Status> {
            Ok(DeployResponse::default())
        }

        async fn operators(&self, _: Empty) -> Result<OperatorsResponse, Status> {
            Ok(OperatorsResponse::default())
        }
    }
}
