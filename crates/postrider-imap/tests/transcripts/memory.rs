//! What a server can make us hold is bounded by us, and what is announced costs nothing.

use std::io;

use postrider_core::watch::Part;
use postrider_imap::{
    error::Error,
    read::{Body, BodySink, Memory},
};
use tokio::io::Sink;

use crate::script::{AMPLE, Script, Step, uids};

/// What one connection may hold at most, and as much again for the test's own ends.
const BOUND_KIB: u64 = 2 * 1024;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

struct Nowhere;

impl BodySink for Nowhere {
    type Writer = Sink;
    async fn open(&mut self, _: u64) -> io::Result<Sink> {
        Ok(tokio::io::sink())
    }
}

fn fetch() -> Script {
    Script::logged_in()
        .examined(3, 9)
        .expect(&format!("UID FETCH 1 {}", crate::reading::WHOLE))
}

async fn read(script: Script, memory: Memory) -> Result<Vec<Body<Sink>>, Error> {
    let served = script.serve().await;
    let mut session = served.examined().await;
    let read = session
        .read(&uids([1]), Part::Whole, memory, &mut Nowhere)
        .await?;
    Ok(read.answers.into_iter().map(|answer| answer.body).collect())
}

/// The high-water mark belongs to a process, so the looking is done in one of its own.
#[test]
fn memory_stays_within_bounds() {
    const CHILD: &str = "POSTRIDER_IMAP_MEMORY_CHILD";
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    if std::env::var_os(CHILD).is_some() {
        return runtime().block_on(look());
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::memory_stays_within_bounds"])
        .env(CHILD, "1")
        .status();
    assert!(status.unwrap().success());
}

async fn look() {
    let warm = Script::logged_in().examined(3, 9).serve().await;
    drop(warm.examined().await);
    let before = resident_kib();

    // 64 MB go by.
    let body = fetch()
        .say_bytes("* 1 FETCH (UID 1 BODY[] {67108864}\r\n")
        .step(Step::Repeat(vec![b'x'; 64 * 1024], 1024))
        .say(&[")", "$T OK done"]);
    let bodies = read(body, AMPLE).await.unwrap();
    assert!(matches!(
        bodies[..],
        [Body::Spooled {
            size: 67_108_864,
            ..
        }]
    ));

    // 512 MiB and 4 GB are announced; so is what would be kept, and then nothing follows.
    for size in [
        "536000000",
        "4294967295",
        "268435456",
        "18446744073709551615",
    ] {
        let script = fetch().say_bytes(format!("* 1 FETCH (UID 1 BODY[] {{{size}}}\r\n"));
        assert!(read(script.close(), AMPLE).await.is_err());
    }
    let ample = Memory {
        message_bytes: 200 << 20,
        total_bytes: 200 << 20,
    };
    let script = fetch().say_bytes("* 1 FETCH (UID 1 BODY[] {200000000}\r\nx");
    assert!(read(script.close(), ample).await.is_err());

    // 2 MB of lines that mean nothing, of literals that nobody asked for, of one line, of flags.
    let floods: [&[u8]; 4] = [
        b"* OK still here\r\n",
        b"* LIST () \"/\" {5}\r\nabcde\r\n",
        b"x",
        b"* 5 FETCH (UID 5 FLAGS (a b c))\r\n",
    ];
    for line in floods {
        let chunk = line.repeat(65_536 / line.len());
        let script = fetch().step(Step::Repeat(chunk, 32));
        assert!(read(script.close(), AMPLE).await.is_err());
    }

    // 100,000 nested parentheses, bare and smuggled.
    let nested = "(".repeat(100_000);
    for lines in [
        format!("* 1 FETCH (BODYSTRUCTURE {nested})\r\n"),
        format!("* OK x {{100000}}\r\n{nested}\r\n"),
    ] {
        assert!(read(fetch().say_bytes(lines).close(), AMPLE).await.is_err());
    }

    let grown = resident_kib() - before;
    assert!(grown < BOUND_KIB, "{grown} KiB more than before");
}
