//! A hostile mail server: the process lives, no other mailbox notices, memory stays bounded.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::world::{Settings, World};

/// What the server says instead of a greeting or after it, one after the other.
fn attacks() -> Vec<Vec<u8>> {
    let greeting = b"* OK ready\r\n".to_vec();
    let after = |bytes: Vec<u8>| [greeting.clone(), bytes].concat();
    let nested = |count: usize| {
        [
            b"* 1 FETCH (BODYSTRUCTURE ".as_slice(),
            "(".repeat(count).as_bytes(),
            b"\r\n",
        ]
        .concat()
    };
    vec![
        after(nested(500)),
        after(nested(100_000)),
        after([b"* OK x {100000}\r\n".to_vec(), nested(99_000)].concat()),
        after(b"* 1 FETCH (BODY[] {4294967295}\r\n".to_vec()),
        after(b"* 1 FETCH (BODY[] {536000000}\r\n".to_vec()),
        after(vec![b'x'; 64 << 20]),
        after(b"* 1 FETCH (INTERNALDATE NIL)\r\n".repeat(10_000)),
        "* OK [ALERT]\u{1f4a3}\r\n".as_bytes().to_vec(),
        b"* PREAUTH welcome\r\n".to_vec(),
        b"\r\n\r\n\r\n".to_vec(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        Vec::new(),
    ]
}

async fn hostile_server() -> (u16, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = served.clone();
    tokio::spawn(async move {
        let attacks = attacks();
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let attack = attacks
                [count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % attacks.len()]
            .clone();
            tokio::spawn(async move {
                // The client may hang up in the middle: that is what is wanted.
                let _ = stream.write_all(&attack).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (port, served)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_server_harms_nobody_else() {
    let (port, served) = hostile_server().await;
    let mut world = World::new(Settings {
        mailboxes: 2,
        more: format!(
            "[mailboxes.evil]\naddress = \"evil@example.org\"\nserver = {{ host = \"127.0.0.1\", port = {port}, tls = \"none\" }}\n\
             credential = \"lab\"\nfolders = [\"INBOX\"]\nendpoints = [\"tickets\"]\nbackoff = {{ first = \"100ms\", max = \"200ms\" }}\n"
        ),
        ..Settings::default()
    })
    .await;
    world.start();
    world.expect_watching(2).await;
    let rounds = attacks().len();
    world
        .expect("every attack made", |_| {
            served.load(std::sync::atomic::Ordering::Relaxed) >= rounds
        })
        .await;
    for mailbox in 0..2 {
        world.burst(mailbox, 10);
    }
    world.expect_all().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_ne!(world.mailbox("evil")["state"], "watching");
    let high_water = world.memory_high_water_kib();
    println!("memory high-water under attack: {high_water} KiB");
    assert!(high_water < 120 * 1024, "{high_water} KiB");
    assert!(world.metric("postrider_watch_panics_total").await == 0.0);
    world.expect_account().await;
}
