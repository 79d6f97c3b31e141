//! Loopback ports below the range that the kernel hands to outgoing connections, so that a port can
//! be closed and opened again without a stranger's connection sitting on it.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use rand::Rng as _;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

/// Ports tried before the choice is left to the kernel.
const TRIES: usize = 100;
/// How long a port that was ours may be in the way when it is opened again.
const REOPEN_LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn listen() -> io::Result<TcpListener> {
    for _ in 0..TRIES {
        let port = rand::rng().random_range(12_000..32_000);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

pub(crate) async fn listen_again(address: SocketAddr) -> io::Result<TcpListener> {
    let end = Instant::now() + REOPEN_LIMIT;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < end => {
                sleep(Duration::from_millis(20)).await;
            }
            done => return done,
        }
    }
}
