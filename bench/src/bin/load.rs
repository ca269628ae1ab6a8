//! Loads a million records, stops the nodes and starts them again: how long until they are ready, and what a record
//! costs in memory and on disk.
//!
//! `cargo run --release -p bench --bin load -- [--nodes 3] [--records N] [--sync MODE]`

#![allow(
    clippy::cast_precision_loss,
    reason = "counts of a measurement are far below 2^52"
)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bench::binary;
use bench::cluster::{Cluster, PATIENCE, Settings, detail};
use bench::speed::machine::{cpu_time, disk_bytes, has_ended, resident_bytes};
use bench::speed::records::fill;
use bench::speed::{Result, Trouble, VALUE_BYTES};
use clap::Parser;
use common::types::ReplicaId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use storage::SyncMode;

/// A node that holds a million records is ready within this.
const READY_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Parser)]
struct Options {
    /// Storage nodes; up to 3 hold each record
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    #[arg(long, default_value_t = SyncMode::Always)]
    sync: SyncMode,
    /// The binary to measure [default: the workspace's, built anew]
    #[arg(long)]
    binary: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let binary = binary::find(options.binary.clone())?;
    let settings = Settings {
        sync: Some(options.sync),
        ..Settings::new(binary)
    };
    let mut cluster = Cluster::start(settings, options.nodes).await?;
    costs(&cluster, "empty", None).await?;

    let begun = Instant::now();
    fill(&mut cluster, 0..options.records).await?;
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{} records of {VALUE_BYTES} bytes loaded and spread in {seconds:.1} s: {:.0} a second",
        options.records,
        options.records as f64 / seconds
    );
    costs(&cluster, "loaded", Some(options.records)).await?;

    let begun = Instant::now();
    for replica in cluster.replicas() {
        stop(&mut cluster, replica).await?;
    }
    println!("stopped in {:.1} s", begun.elapsed().as_secs_f64());

    let mut slowest = Duration::ZERO;
    for replica in cluster.replicas() {
        let begun = Instant::now();
        cluster.restart(replica).await?;
        let took = begun.elapsed();
        let cpu = cpu_time(cluster.pid(replica)?)?;
        println!(
            "s{replica} is ready after {:.2} s, {:.2} s of them on a CPU",
            took.as_secs_f64(),
            cpu.as_secs_f64()
        );
        slowest = slowest.max(took);
    }
    let begun = Instant::now();
    cluster.await_members(PATIENCE).await?;
    println!(
        "all are members {:.2} s later",
        begun.elapsed().as_secs_f64()
    );
    costs(&cluster, "restarted", Some(options.records)).await?;
    println!(
        "ready within {READY_MAX:?}: {}",
        if slowest <= READY_MAX {
            "met"
        } else {
            "MISSED"
        }
    );
    Ok(())
}

/// Ends it as `kill` does, and waits.
async fn stop(cluster: &mut Cluster, replica: ReplicaId) -> Result<()> {
    let pid = cluster.pid(replica)?;
    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
    let begun = Instant::now();
    while !has_ended(pid) {
        if begun.elapsed() > PATIENCE {
            return Err(Trouble(format!("s{replica} does not stop")).into());
        }
        tokio::time::sleep(POLL).await;
    }
    // Reaps it.
    Ok(cluster.kill(replica)?)
}

/// What each node takes, and what that is for each of so many records, which it must hold.
async fn costs(cluster: &Cluster, when: &str, records: Option<u64>) -> Result<()> {
    for replica in cluster.running() {
        let status = cluster.status(replica).await?;
        let held: u64 = detail(&status, "records").parse()?;
        let memory = resident_bytes(cluster.pid(replica)?)?;
        let disk = disk_bytes(&cluster.directory().join(format!("s{replica}")))?;
        println!(
            "s{replica} {when}: {held} records, {} MB resident, {} MB on disk",
            memory >> 20,
            disk >> 20
        );
        let Some(records) = records else { continue };
        if held != records {
            return Err(Trouble(format!("s{replica} holds {held} records, not {records}")).into());
        }
        println!(
            "s{replica} {when}: {} bytes of memory and {} bytes of disk for each record",
            memory / held.max(1),
            disk / held.max(1)
        );
    }
    Ok(())
}
