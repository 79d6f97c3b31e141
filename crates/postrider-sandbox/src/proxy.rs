//! A TCP proxy that breaks: it freezes, swallows, delays, trickles, cuts, resets or refuses, and is
//! switched while connections run through it. It never looks at what passes.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    error::Error,
    port,
    sync::{Changes, lock},
};

/// Bytes moved at once.
const CHUNK: usize = 4096;
/// How often a trickle moves something.
const TICK: Duration = Duration::from_millis(50);

/// A running proxy. It ends when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Mutex<Accepting>,
}

/// What happens to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Nothing moves, nothing is lost: it goes on when the mode changes.
    Freeze,
    /// As a firewall that has forgotten the connection: what is sent is swallowed, and a connection
    /// that was there in this mode never says anything again.
    Blackhole,
    /// Each piece comes later by this time.
    Delay(Duration),
    /// So many bytes per second and direction.
    Trickle(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Cut,
    Reset,
}

#[derive(Debug)]
struct Shared {
    upstream: Mutex<SocketAddr>,
    mode: watch::Sender<Mode>,
    end: watch::Sender<End>,
    open: AtomicUsize,
    accepted: AtomicUsize,
    changes: Changes,
}

#[derive(Clone, Debug, Default)]
struct Accepting {
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl FaultProxy {
    pub async fn start(upstream: SocketAddr) -> Result<Self, Error> {
        let listener = port::listen().await?;
        let proxy = Self {
            address: listener.local_addr()?,
            shared: Arc::new(Shared {
                upstream: Mutex::new(upstream),
                mode: watch::Sender::new(Mode::Pass),
                end: watch::Sender::new(End::Cut),
                open: AtomicUsize::new(0),
                accepted: AtomicUsize::new(0),
                changes: Changes::default(),
            }),
            accepting: Mutex::default(),
        };
        proxy.run(listener);
        Ok(proxy)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Counts for the connections that are there and for those to come.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// New connections go here.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        *lock(&self.shared.upstream) = upstream;
    }

    /// Closes every connection at both ends (FIN).
    pub fn cut_all(&self) {
        self.shared.end.send_replace(End::Cut);
    }

    /// Resets every connection at both ends (RST).
    pub fn reset_all(&self) {
        self.shared.end.send_replace(End::Reset);
    }

    /// New connections are refused; those that are there stay.
    pub async fn refuse(&self) {
        let accepting = lock(&self.accepting).clone();
        accepting.cancel.cancel();
        accepting.tasks.close();
        accepting.tasks.wait().await;
    }

    /// Takes connections again on the same port.
    pub async fn accept_again(&self) -> Result<(), Error> {
        if !lock(&self.accepting).cancel.is_cancelled() {
            return Ok(());
        }
        let listener = port::listen_again(self.address).await?;
        *lock(&self.accepting) = Accepting::default();
        self.run(listener);
        Ok(())
    }

    /// Connections that run through now.
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Connections that were ever taken.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Whether the condition came true in time; it is looked at when a connection comes or goes.
    pub async fn wait_until(&self, limit: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let changes = &self.shared.changes;
        changes.wait_until(limit, || condition(self)).await
    }

    fn run(&self, listener: TcpListener) {
        let accepting = lock(&self.accepting).clone();
        let accept = accept(Arc::clone(&self.shared), listener);
        let cancel = accepting.cancel.clone();
        accepting
            .tasks
            .spawn(async move { cancel.run_until_cancelled(accept).await });
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        lock(&self.accepting).cancel.cancel();
        self.shared.end.send_replace(End::Cut);
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                shared.changes.tell();
                // Subscribed before the task runs: a cut from now on is not to miss it.
                let end = shared.end.subscribe();
                tokio::spawn(connection(Arc::clone(&shared), client, end));
            }
            Err(error) => {
                tracing::warn!(%error, "the fault proxy cannot accept");
                sleep(TICK).await;
            }
        }
    }
}

async fn connection(shared: Arc<Shared>, mut client: TcpStream, mut end: watch::Receiver<End>) {
    let upstream = *lock(&shared.upstream);
    if let Ok(mut server) = TcpStream::connect(upstream).await {
        let ended = carry(&shared, &mut client, &mut server, &mut end).await;
        if let Err(error) = ended {
            tracing::debug!(%error, "a proxied connection ended");
        }
    }
    shared.open.fetch_sub(1, Ordering::SeqCst);
    shared.changes.tell();
}

async fn carry(
    shared: &Shared,
    client: &mut TcpStream,
    server: &mut TcpStream,
    end: &mut watch::Receiver<End>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        let there = pump(shared.mode.subscribe(), client_read, server_write);
        let back = pump(shared.mode.subscribe(), server_read, client_write);
        tokio::select! {
            done = async { tokio::try_join!(there, back) } => return done.map(|_| ()),
            _ = end.changed() => {}
        }
    }
    let how = *end.borrow();
    if how == End::Reset {
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

/// Moves bytes in one direction until the stream ends.
async fn pump(
    mut mode: watch::Receiver<Mode>,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) -> io::Result<()> {
    let mut forgotten = false;
    let mut space = vec![0; CHUNK];
    loop {
        let now = *mode.borrow_and_update();
        forgotten |= now == Mode::Blackhole;
        if now == Mode::Freeze && !forgotten {
            if mode.changed().await.is_err() {
                return Ok(());
            }
            continue;
        }
        let count = tokio::select! {
            count = from.read(&mut space) => count?,
            changed = mode.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Ok(()),
            },
        };
        if forgotten {
            if count == 0 {
                // Nobody hears of the end either: the other side keeps waiting.
                return std::future::pending().await;
            }
            continue;
        }
        if count == 0 {
            return to.shutdown().await;
        }
        if hand_over(&mut mode, &mut to, &space[..count]).await? == Delivered::Swallowed {
            forgotten = true;
        }
    }
}

#[derive(PartialEq, Eq)]
enum Delivered {
    Whole,
    Swallowed,
}

/// Writes what was read, in the manner that the mode has by then.
async fn hand_over(
    mode: &mut watch::Receiver<Mode>,
    to: &mut WriteHalf<'_>,
    mut bytes: &[u8],
) -> io::Result<Delivered> {
    let mut waited = Duration::ZERO;
    while !bytes.is_empty() {
        let now = *mode.borrow_and_update();
        let (pause, count) = match now {
            Mode::Pass => (Duration::ZERO, bytes.len()),
            Mode::Blackhole => return Ok(Delivered::Swallowed),
            Mode::Freeze => {
                if mode.changed().await.is_err() {
                    return Ok(Delivered::Swallowed);
                }
                continue;
            }
            Mode::Delay(time) => (time.saturating_sub(waited), bytes.len()),
            Mode::Trickle(rate) => trickle(rate),
        };
        if pause > Duration::ZERO {
            let begun = tokio::time::Instant::now();
            tokio::select! {
                () = sleep(pause) => {}
                _ = mode.changed() => {
                    waited += begun.elapsed();
                    continue;
                }
            }
        }
        let (piece, rest) = bytes.split_at(count.min(bytes.len()));
        to.write_all(piece).await?;
        bytes = rest;
        waited = Duration::ZERO;
    }
    Ok(Delivered::Whole)
}

/// After which time how many bytes go.
fn trickle(rate: u32) -> (Duration, usize) {
    let rate = rate.max(1);
    if rate < 20 {
        return (Duration::from_secs(1) / rate, 1);
    }
    (TICK, rate as usize / 20)
}
