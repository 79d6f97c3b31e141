//! From a server's name to a conversation that may carry credentials: addresses, TCP, proxy, TLS or
//! STARTTLS, greeting, capabilities. Nothing of a login is known here.

use std::{collections::VecDeque, io, net::SocketAddr, time::Duration};

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, task::JoinSet, time::sleep};

use crate::{
    conversation::{Conversation, FrontEnd, ignore, within},
    error::{Breach, Error, ServerText, classify},
    framer::Step,
    parse::{
        Response, Untagged, parse,
        status::{Code, Condition},
    },
    proxy,
    server::{Server, Tls},
    stream::Stream,
    tls::TlsStream,
};

/// How long one address may stay silent before the next is tried beside it (RFC 8305 section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// Firewalls drop idle connections after 4 min and more.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEPALIVE_TRIES: u32 = 4;

/// A conversation that has been greeted and knows the capabilities; encrypted unless `tls = none`.
pub(crate) async fn open(server: &Server) -> Result<Conversation, Error> {
    within(server.deadlines.reach, "reaching the server", reach(server)).await
}

async fn reach(server: &Server) -> Result<Conversation, Error> {
    let tcp = within(server.deadlines.connect, "connecting", dial(server)).await?;
    let stream = match server.tls {
        Tls::Implicit => encrypted(server, tcp).await?,
        Tls::StartTls | Tls::None => Stream::Plain(tcp),
    };
    let mut conversation = Conversation::new(stream, server.deadlines, server.idle);
    within(
        server.deadlines.greeting,
        "waiting for the greeting",
        greeted(&mut conversation),
    )
    .await?;
    if server.tls == Tls::StartTls {
        start_tls(&mut conversation, server).await?;
    }
    ask_capabilities(&mut conversation).await?;
    Ok(conversation)
}

pub(crate) async fn ask_capabilities(conversation: &mut Conversation) -> Result<(), Error> {
    if !conversation.capabilities.told {
        conversation
            .command("CAPABILITY", "CAPABILITY", ignore)
            .await?;
    }
    Ok(())
}

async fn dial(server: &Server) -> Result<TcpStream, Error> {
    match &server.proxy {
        None => connect_host(&server.host, server.port).await,
        Some(proxy) => proxy::dial(proxy, &server.host, server.port).await,
    }
}

/// Tries all addresses of both families, each next one a little later or as soon as one failed.
pub(crate) async fn connect_host(host: &str, port: u16) -> Result<TcpStream, Error> {
    let dns = |source| Error::Dns {
        host: host.to_owned(),
        source,
    };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(dns)?
        .collect();
    let mut waiting = alternating(addresses);
    let mut attempts = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    loop {
        if let Some(address) = waiting.pop_front() {
            attempts.spawn(TcpStream::connect(address));
        }
        let ended = tokio::select! {
            ended = attempts.join_next() => ended,
            () = sleep(NEXT_ADDRESS_AFTER), if !waiting.is_empty() => continue,
        };
        match ended {
            Some(Ok(Ok(tcp))) => {
                return prepared(tcp).map_err(|source| refused(host, port, source));
            }
            Some(Ok(Err(source))) => last = source,
            Some(Err(panicked)) => last = io::Error::other(panicked),
            None if waiting.is_empty() => return Err(refused(host, port, last)),
            None => {}
        }
    }
}

fn refused(host: &str, port: u16, source: io::Error) -> Error {
    Error::Connect {
        to: format!("{host}:{port}"),
        source,
    }
}

/// The resolver's order, families taking turns, so that a dead family costs one delay only.
fn alternating(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut order = VecDeque::with_capacity(first.len() + second.len());
    while !first.is_empty() || !second.is_empty() {
        order.extend(first.pop_front());
        order.extend(second.pop_front());
    }
    order
}

fn prepared(tcp: TcpStream) -> io::Result<TcpStream> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_TRIES);
    SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
    Ok(tcp)
}

async fn encrypted(server: &Server, tcp: TcpStream) -> Result<Stream, Error> {
    let failed = |source| Error::Tls {
        host: server.host.clone(),
        source,
    };
    let name = ServerName::try_from(server.host.clone())
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    within(server.deadlines.tls, "the TLS handshake", async {
        let config = server.tls_config.clone();
        let tls = TlsStream::connect(config, name, tcp)
            .await
            .map_err(failed)?;
        Ok(Stream::Tls(Box::new(tls)))
    })
    .await
}

/// Reads the greeting (RFC 3501 section 7.1). PREAUTH is refused: it leaves open whose mailbox it
/// is, and before STARTTLS it may be forged.
async fn greeted(conversation: &mut Conversation) -> Result<(), Error> {
    let Step::Frame(frame) = conversation.step().await? else {
        return Err(Breach::NoGreeting(ServerText::new(b"")).into());
    };
    let no_greeting = || Breach::NoGreeting(ServerText::new(&frame.text));
    let response = conversation.noted(parse(&frame)?)?;
    let Response::Untagged(Untagged::Status(status)) = response else {
        return Err(no_greeting().into());
    };
    match status.condition {
        Condition::Ok => {
            conversation.front_end = FrontEnd::of(&status.text);
            Ok(())
        }
        Condition::Preauth => Err(Breach::Preauth.into()),
        // `noted` has made an error of BYE.
        Condition::No | Condition::Bad | Condition::Bye => {
            Err(classify(status.code_name(), &status.text).unwrap_or(no_greeting().into()))
        }
    }
}

/// RFC 3501 section 6.2.1: what was told before the handshake does not count after it.
async fn start_tls(conversation: &mut Conversation, server: &Server) -> Result<(), Error> {
    ask_capabilities(conversation).await?;
    if !conversation.capabilities.starttls {
        return Err(Breach::NoStartTls.into());
    }
    conversation.command("STARTTLS", "STARTTLS", ignore).await?;
    match conversation.take_stream()? {
        Stream::Plain(tcp) => {
            conversation.put_stream(encrypted(server, tcp).await?);
            Ok(())
        }
        Stream::Tls(_) => Err(Breach::NoStartTls.into()),
    }
}

impl Response {
    /// The UIDVALIDITY that an untagged status tells.
    pub(crate) fn uid_validity(&self) -> Option<u32> {
        match self {
            Self::Untagged(Untagged::Status(status)) => match status.code {
                Some(Code::UidValidity(number)) => Some(number),
                Some(Code::Capability(_) | Code::UidNext(_) | Code::Named(_)) | None => None,
            },
            Self::Untagged(_)
            | Self::Tagged { .. }
            | Self::Continue(_)
            | Self::Skipped(_)
            | Self::Bare(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_in_the_resolvers_order() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let order = alternating(vec![
            parse("[::1]:1"),
            parse("[::2]:1"),
            parse("127.0.0.1:1"),
        ]);
        let expected = [parse("[::1]:1"), parse("127.0.0.1:1"), parse("[::2]:1")];
        assert_eq!(Vec::from(order), expected);
    }
}
