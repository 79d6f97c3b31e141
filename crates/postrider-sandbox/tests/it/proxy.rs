//! The fault proxy.

use std::time::{Duration, Instant};

use postrider_sandbox::{
    imap::{Config, ImapServer, Scope, TlsMode},
    mailboxes::Mailboxes,
    proxy::{FaultProxy, Mode},
};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use crate::client::Client;

const SECONDS: Duration = Duration::from_secs(10);

async fn behind_a_proxy() -> (ImapServer, FaultProxy, Client) {
    let server = ImapServer::start(Config::dovecot(TlsMode::None), Mailboxes::new());
    let server = server.await.unwrap();
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let mut client = Client::plain(proxy.address()).await;
    assert!(client.line().await.starts_with("* OK"));
    (server, proxy, client)
}

#[tokio::test]
async fn a_frozen_connection_goes_on_and_a_forgotten_one_never_does() {
    let (_server, proxy, mut client) = behind_a_proxy().await;
    let moment = Duration::from_millis(100);
    proxy.set(Mode::Freeze);
    client.send("a NOOP").await;
    assert!(client.is_silent_for(moment).await);
    proxy.set(Mode::Pass);
    assert!(client.line().await.starts_with("a OK"));

    proxy.set(Mode::Blackhole);
    client.send("b NOOP").await;
    assert!(client.is_silent_for(moment).await);
    proxy.set(Mode::Pass);
    assert!(client.is_silent_for(moment).await);
    let mut other = Client::plain(proxy.address()).await;
    assert!(other.line().await.starts_with("* OK"));
}

#[tokio::test]
async fn bytes_come_late_or_one_by_one() {
    let (_server, proxy, mut client) = behind_a_proxy().await;
    proxy.set(Mode::Delay(Duration::from_millis(50)));
    let begun = Instant::now();
    client.ask_ok("NOOP").await;
    assert!(begun.elapsed() >= Duration::from_millis(100));
    proxy.set(Mode::Trickle(200));
    let begun = Instant::now();
    client.ask_ok("NOOP").await;
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn connections_are_cut_reset_and_refused() {
    let (server, proxy, mut client) = behind_a_proxy().await;
    assert_eq!(proxy.connections(), 1);
    proxy.cut_all();
    assert_eq!(client.line().await, "");
    assert!(
        proxy
            .wait_until(SECONDS, |proxy| proxy.connections() == 0)
            .await
    );
    let gone = server.wait_until(Scope::Server, SECONDS, |counters| counters.sessions == 0);
    assert!(gone.await);

    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.read_u8().await.unwrap();
    proxy.reset_all();
    let mut rest = Vec::new();
    let error = stream.read_to_end(&mut rest).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    let mut stays = Client::plain(proxy.address()).await;
    stays.line().await;
    proxy.refuse().await;
    assert!(TcpStream::connect(proxy.address()).await.is_err());
    stays.ask_ok("NOOP").await;
    proxy.accept_again().await.unwrap();
    assert!(
        Client::plain(proxy.address())
            .await
            .line()
            .await
            .starts_with("* OK")
    );
}
