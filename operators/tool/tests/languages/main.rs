//! probe
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#[path = "../../../../worker/tests/host/support.rs"]
#[allow(dead_code)]
mod support;
use support::*;

#[tokio::test]
async fn probe() {
    let directory = std::path::PathBuf::from(std::env::var("PROBE").unwrap());
    let started = std::time::Instant::now();
    let host = host(&directory, true).await;
    println!("load {:?} problems {:?} ", started.elapsed(), host.problems());
    let class = std::env::var("CLASS").unwrap();
    let mut storage = MemoryStorage::boxed(&[]);
    for input in ["Ada", "Ada", ""] {
        let started = std::time::Instant::now();
        let (result, returned) = host.run(request(&class, input, &["one"]), storage, PLENTY).await;
        storage = returned;
        println!("--- {:?}", started.elapsed());
        match result {
            Ok(items) => for item in items { println!("{}", String::from_utf8_lossy(&item.value)) },
            Err(error) => println!("error {error}\n{error:?}"),
        }
    }
}
