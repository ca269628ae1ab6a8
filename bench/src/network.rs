//! Networks of their own for nodes, which can be cut in two.
//!
//! Each host is a network namespace with two interfaces: `peers` on one of two bridges, by which the nodes speak with
//! one another, and `clients`, by which clients reach all hosts at all times. A cut moves the `peers` links of one side
//! to the second bridge: both sides go on among themselves and lose what the others send, as when a switch fails.
//! Nodes listen on loopback addresses only, so these are used, with the kernel's `route_localnet`.
//!
//! The bridges are in a namespace too, that of the clients. No namespace has a name, so the kernel removes all of it
//! when the threads and processes in it have ended, however they end. Needs root and iproute2.

use std::collections::BTreeSet;
use std::io;
use std::process::Command;
use std::sync::Arc;

use common::fabric::{Address, AddressError};
use common::types::ReplicaId;

use crate::cluster::Place;
use crate::launcher::{Launcher, LauncherError};

const PORT: u16 = 7_000;
/// One for each side of a cut.
const BRIDGES: [&str; 2] = ["side0", "side1"];
const CLIENTS_BRIDGE: &str = "clients";

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error(transparent)]
    Launcher(#[from] LauncherError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("`{0}` could not be run: {1}")]
    NotRun(String, io::Error),
    #[error("`{0}` failed: {1}")]
    Failed(String, String),
}

/// Hosts are numbered like the replicas on them, from 1.
pub struct Network {
    switch: Arc<Launcher>,
    hosts: Vec<Arc<Launcher>>,
}

impl Network {
    pub fn new(hosts: u8) -> Result<Self, NetworkError> {
        let switch = Launcher::in_new_network()?;
        for bridge in BRIDGES {
            shell(&switch, format!("ip link add {bridge} type bridge"))?;
            shell(&switch, format!("ip link set {bridge} up"))?;
        }
        let bridge = format!("ip link add {CLIENTS_BRIDGE} type bridge");
        shell(&switch, bridge)?;
        address(&switch, CLIENTS_BRIDGE, "127.78.0.100")?;
        shell(
            &switch,
            format!("ip route add 127.77.0.0/24 dev {CLIENTS_BRIDGE} src 127.78.0.100"),
        )?;
        let mut network = Self {
            switch: Arc::new(switch),
            hosts: Vec::new(),
        };
        for host in 1..=hosts {
            let added = network.add(host)?;
            network.hosts.push(Arc::new(added));
        }
        Ok(network)
    }

    fn add(&self, host: u8) -> Result<Launcher, NetworkError> {
        let launcher = Launcher::in_new_network()?;
        let thread = launcher.thread();
        let both = [("peers", BRIDGES[0], 77), ("clients", CLIENTS_BRIDGE, 78)];
        for (name, bridge, network) in both {
            let link = format!("{name}{host}");
            let commands = [
                format!("ip link add {link} type veth peer name {name} netns {thread}"),
                format!("ip link set {link} master {bridge} up"),
            ];
            for command in commands {
                shell(&self.switch, command)?;
            }
            address(&launcher, name, &format!("127.{network}.0.{host}"))?;
        }
        Ok(launcher)
    }

    /// A place for a node on each host.
    pub fn places(&self) -> Result<Vec<Place>, NetworkError> {
        let place = |(host, launcher): (usize, &Arc<Launcher>)| {
            Ok(Place {
                launcher: launcher.clone(),
                address: Address::parse(&format!("http://127.77.0.{host}:{PORT}"))?,
                data: None,
            })
        };
        (1..).zip(&self.hosts).map(place).collect()
    }

    /// What runs here reaches every host at all times.
    pub fn clients(&self) -> &Arc<Launcher> {
        &self.switch
    }

    /// Cuts these hosts off from the others.
    pub fn cut(&self, side: &BTreeSet<ReplicaId>) -> Result<(), NetworkError> {
        for (host, _) in (1..).zip(&self.hosts) {
            let bridge = BRIDGES[usize::from(side.contains(&host))];
            let command = format!("ip link set peers{host} master {bridge}");
            shell(&self.switch, command)?;
        }
        Ok(())
    }

    pub fn heal(&self) -> Result<(), NetworkError> {
        self.cut(&BTreeSet::new())
    }
}

/// Brings an interface up with a loopback address that others can reach.
fn address(launcher: &Launcher, interface: &str, address: &str) -> Result<(), NetworkError> {
    let path = format!("/proc/sys/net/ipv4/conf/{interface}/route_localnet");
    let allowed = {
        let path = path.clone();
        launcher.run(move || std::fs::write(&path, "1"))?
    };
    allowed.map_err(|error| NetworkError::NotRun(format!("echo 1 > {path}"), error))?;
    shell(launcher, format!("ip link set {interface} up"))?;
    shell(
        launcher,
        format!("ip address add {address}/24 dev {interface}"),
    )
}

/// Runs a command without quotes in the launcher's network.
fn shell(launcher: &Launcher, command: String) -> Result<(), NetworkError> {
    let mut words = command.split(' ').map(str::to_owned);
    let mut program = Command::new(words.next().unwrap_or_default());
    program.args(words);
    let ended = match launcher.run(move || program.output())? {
        Ok(ended) => ended,
        Err(error) => return Err(NetworkError::NotRun(command, error)),
    };
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
    Err(NetworkError::Failed(command, said))
}
