//! Ports for nodes, which have to know one another's before they start.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that the system hands out by itself, also for connections: nobody takes one of these by chance.
const FIRST: u16 = 11_000;
const COUNT: u16 = 20_000;
static GIVEN: AtomicU16 = AtomicU16::new(0);

/// Ports that are free on every loopback host; this process gets each of them once.
pub fn free() -> impl Iterator<Item = u16> {
    // Each process begins elsewhere, since others may run at the same time.
    let start = u64::from(std::process::id()) * 97;
    let port = move |given: u16| {
        let place = (start + u64::from(given)) % u64::from(COUNT);
        FIRST + u16::try_from(place).unwrap_or_default()
    };
    let next = || Some(GIVEN.fetch_add(1, Ordering::Relaxed));
    std::iter::from_fn(next)
        .take(usize::from(COUNT))
        .map(port)
        .filter(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok())
}
