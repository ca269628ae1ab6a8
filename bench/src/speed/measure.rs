//! Operations per second and latencies of concurrent clients in a closed loop, the same code for every system.
//!
//! Each client does one operation after the other. Only operations that end within the measured time count; those of
//! the warm-up before it do not. What the servers' processes and disks did meanwhile is sampled at both ends.

use std::time::{Duration, Instant};

use common::status::Status;
use tokio::task::JoinSet;

use super::machine::cpu_time;
use super::{Result, Trouble};

/// One client's operations.
pub trait Work: Send + 'static {
    /// Tries the operation under way. True: it is done, and the next try is that of the next.
    fn attempt(&mut self) -> impl Future<Output = Result<bool, Status>> + Send;
}

/// The servers under load.
pub trait Servers {
    fn pids(&self) -> Vec<u32>;
    /// Of all of them, since they have started.
    fn syncs(&self) -> impl Future<Output = Result<u64>> + Send;
}

/// How long a measurement takes.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub warm_up: Duration,
    pub measured: Duration,
}

#[derive(Debug, Clone)]
pub struct Figures {
    pub clients: usize,
    seconds: f64,
    /// Of the operations that succeeded, shortest first.
    latencies: Vec<Duration>,
    tries: u64,
    syncs: u64,
    cpu: Duration,
    pub failures: Vec<Status>,
}

impl Figures {
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    /// The latency that this fraction of the operations does not exceed; none without operations.
    pub fn percentile(&self, fraction: f64) -> Option<Duration> {
        let last = self.latencies.len().checked_sub(1)?;
        self.latencies
            .get((last as f64 * fraction).round() as usize)
            .copied()
    }

    /// All servers' together.
    pub fn syncs_per_operation(&self) -> f64 {
        self.per_operation(self.syncs as f64)
    }

    /// All servers' together.
    pub fn cpu_us_per_operation(&self) -> f64 {
        self.per_operation(self.cpu.as_secs_f64() * 1e6)
    }

    /// Also those that had led to nothing when the time was over.
    pub fn tries_per_operation(&self) -> f64 {
        self.per_operation(self.tries as f64)
    }

    fn per_operation(&self, total: f64) -> f64 {
        total / (self.latencies.len().max(1) as f64)
    }
}

/// A try of one client.
struct Tried {
    at: Instant,
    /// Since the first try of the same operation.
    elapsed: Duration,
    result: Result<bool, Status>,
}

/// Lets all clients work at once for the span. Fails when nothing at all succeeded.
pub async fn measure<W: Work>(
    servers: &impl Servers,
    clients: Vec<W>,
    span: Span,
) -> Result<Figures> {
    let begin = Instant::now() + span.warm_up;
    let end = begin + span.measured;
    let count = clients.len();
    let mut working = JoinSet::new();
    for client in clients {
        working.spawn(work(client, end));
    }
    let before = sample(servers, begin).await?;
    let after = sample(servers, end).await?;
    let mut figures = Figures {
        clients: count,
        seconds: span.measured.as_secs_f64(),
        latencies: Vec::new(),
        tries: 0,
        syncs: after.syncs.saturating_sub(before.syncs),
        cpu: after.cpu.saturating_sub(before.cpu),
        failures: Vec::new(),
    };
    while let Some(worked) = working.join_next().await {
        let measured = worked?
            .into_iter()
            .filter(|tried| (begin..end).contains(&tried.at));
        for tried in measured {
            figures.tries += 1;
            match tried.result {
                Ok(true) => figures.latencies.push(tried.elapsed),
                Ok(false) => {}
                Err(status) => figures.failures.push(status),
            }
        }
    }
    figures.latencies.sort_unstable();
    match figures.failures.first() {
        Some(status) if figures.latencies.is_empty() => {
            Err(Trouble(format!("every operation failed: {status}")).into())
        }
        _ => Ok(figures),
    }
}

async fn work(mut client: impl Work, end: Instant) -> Vec<Tried> {
    let mut all = Vec::new();
    let mut begun = Instant::now();
    loop {
        let result = client.attempt().await;
        let at = Instant::now();
        let is_over = !matches!(result, Ok(false));
        all.push(Tried {
            at,
            elapsed: at - begun,
            result,
        });
        if at >= end {
            return all;
        }
        if is_over {
            begun = at;
        }
    }
}

struct Sample {
    syncs: u64,
    cpu: Duration,
}

async fn sample(servers: &impl Servers, at: Instant) -> Result<Sample> {
    tokio::time::sleep_until(at.into()).await;
    Ok(Sample {
        syncs: servers.syncs().await?,
        cpu: servers
            .pids()
            .into_iter()
            .map(cpu_time)
            .sum::<Result<_>>()?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Fails, then needs two tries, and so on.
    struct Counter(u64);

    impl Work for Counter {
        async fn attempt(&mut self) -> Result<bool, Status> {
            tokio::task::yield_now().await;
            self.0 += 1;
            match self.0 % 3 {
                1 => Err(Status::unavailable("every third one")),
                place => Ok(place == 0),
            }
        }
    }

    struct Nobody;

    impl Servers for Nobody {
        fn pids(&self) -> Vec<u32> {
            vec![std::process::id()]
        }

        async fn syncs(&self) -> Result<u64> {
            Ok(0)
        }
    }

    #[tokio::test]
    async fn failures_are_told_and_do_not_count_as_operations() {
        let span = Span {
            warm_up: Duration::ZERO,
            measured: Duration::from_millis(20),
        };
        let clients = vec![Counter(0), Counter(0)];
        let figures = measure(&Nobody, clients, span).await.unwrap();
        assert_eq!(figures.clients, 2);
        assert!(figures.failures.len().abs_diff(figures.latencies.len()) <= 2);
        assert!((figures.tries_per_operation() - 3.0).abs() < 0.1);
        assert!(figures.percentile(0.5) <= figures.percentile(0.99));
    }
}
