//! `make bench`: what postrider costs on this machine, measured from outside on the release binary,
//! each figure beside one that was taken in the same run from something that does less: the bare
//! disk, a bare IDLE client, one bare `UID FETCH`. It never measures a debug build.
//!
//! `POSTRIDER_BENCH_QUICK=1` makes a small run that writes no document, `POSTRIDER_BENCH_ONLY=memory`
//! (or `latency`, `catchup`, `backlog`) a part of it, `POSTRIDER_BENCH_DIR` another place for the store, `POSTRIDER_BENCH_BINARY` another daemon.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that fails is of no use"
)]
#![expect(clippy::print_stdout, reason = "it is what this program is for")]

mod daemon;
mod disk;
mod raw_client;

mod backlog;
mod catchup;
mod latency;
mod memory;

mod machine;
mod report;

#[path = "../../tests/support/mod.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod support;

use std::{env, path::PathBuf};

use report::Report;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) latency_mailboxes: usize,
    pub(crate) latency_messages: usize,
    pub(crate) catchup_messages: usize,
    pub(crate) catchup_runs: usize,
    pub(crate) memory_mailboxes: &'static [usize],
    /// Deliveries that wait at a dead endpoint.
    pub(crate) backlog: u32,
}

const WHOLE: Size = Size {
    latency_mailboxes: 1000,
    latency_messages: 1000,
    catchup_messages: 10_000,
    catchup_runs: 3,
    memory_mailboxes: &[100, 1000, 5000],
    backlog: 1_000_000,
};
const QUICK: Size = Size {
    latency_mailboxes: 20,
    latency_messages: 20,
    catchup_messages: 500,
    catchup_runs: 1,
    memory_mailboxes: &[20, 100],
    backlog: 20_000,
};

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run());
    // What still idles ends with the process.
    runtime.shutdown_background();
}

async fn run() {
    let quick = env::var("POSTRIDER_BENCH_QUICK").is_ok_and(|value| value == "1");
    let only = env::var("POSTRIDER_BENCH_ONLY").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only == part;
    let size = if quick { QUICK } else { WHOLE };
    let folder = env::var_os("POSTRIDER_BENCH_DIR").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let mut report = Report::new(machine::describe(&folder), machine::load());
    let mut disk = disk::Samples::default();
    disk.take(&folder);
    if wanted("latency") {
        report.latency = Some(latency::measure(size, &folder).await);
        disk.take(&folder);
    }
    if wanted("catchup") {
        report.catchup = Some(catchup::measure(size, &folder).await);
        disk.take(&folder);
    }
    if wanted("memory") {
        report.memory = memory::measure(size, &folder).await;
    }
    if wanted("backlog") {
        report.backlog = Some(backlog::measure(size, &folder).await);
    }
    report.disk = disk.spread();
    report.load_after = machine::load();
    println!("\n{}", report.text());
    if !quick && only.is_empty() {
        report.write();
    }
}
