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
use std::sync::Arc;

use common::fabric::{Address, AddressError};
use common::types::ReplicaId;

use crate::cluster::Place;
use crate::launcher::{Launcher, LauncherError};

const PORT: u16 = 7_000;
/// One for each side of a cut.
const SIDES: [&str; 2] = ["side0", "side1"];
const CLIENTS_BRIDGE: &str = "clients";

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error(transparent)]
    Launcher(#[from] LauncherError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("cannot write {0}: {1}")]
    Setting(String, io::Error),
}

/// Hosts are numbered like the replicas on them, from 1.
pub struct Network {
    switch: Launcher,
    /// In the same network: while clients run there, cuts are made from the other thread.
    clients: Arc<Launcher>,
    hosts: Vec<Arc<Launcher>>,
}

impl Network {
    pub fn new(hosts: u8) -> Result<Self, NetworkError> {
        let switch = Launcher::in_new_network()?;
        for bridge in SIDES {
            switch.shell(&format!("ip link add {bridge} type bridge"))?;
            switch.shell(&format!("ip link set {bridge} up"))?;
        }
        switch.shell(&format!("ip link add {CLIENTS_BRIDGE} type bridge"))?;
        address(&switch, CLIENTS_BRIDGE, "127.78.0.100")?;
        switch.shell(&format!(
            "ip route add 127.77.0.0/24 dev {CLIENTS_BRIDGE} src 127.78.0.100"
        ))?;
        let mut network = Self {
            clients: Arc::new(switch.run(Launcher::new)??),
            switch,
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
        let [whole, _] = SIDES;
        let both = [("peers", whole, 77), ("clients", CLIENTS_BRIDGE, 78)];
        for (name, bridge, network) in both {
            let link = format!("{name}{host}");
            let pair = format!("{link} type veth peer name {name} netns {thread}");
            self.switch.shell(&format!("ip link add {pair}"))?;
            self.switch
                .shell(&format!("ip link set {link} master {bridge} up"))?;
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
        &self.clients
    }

    /// Cuts these hosts off from the others.
    pub fn cut(&self, side: &BTreeSet<ReplicaId>) -> Result<(), NetworkError> {
        let [whole, cut_off] = SIDES;
        for (host, _) in (1..).zip(&self.hosts) {
            let bridge = if side.contains(&host) { cut_off } else { whole };
            self.switch
                .shell(&format!("ip link set peers{host} master {bridge}"))?;
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
    allowed.map_err(|error| NetworkError::Setting(path, error))?;
    launcher.shell(&format!("ip link set {interface} up"))?;
    let added = launcher.shell(&format!("ip address add {address}/24 dev {interface}"));
    Ok(added?)
}
