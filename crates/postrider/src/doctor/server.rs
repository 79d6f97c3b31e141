//! The way to a mail server, step by step: its name, a connection, the TLS handshake and the
//! certificate. Nothing is logged in; behind a proxy the login shows it all.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use postrider_imap::error::Error;
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::report::{Outcome, Step, StepName};
use crate::{
    clock,
    config::{Proxy, Server, TlsMode},
    tls::TlsConfigs,
};

const LIMIT: Duration = Duration::from_secs(15);
/// A certificate that ends sooner than this is worth a word.
const EXPIRY_WARN_DAYS: i64 = 14;

/// How far one got.
pub(super) struct Reached {
    pub(super) steps: Vec<Step>,
    pub(super) failed: Option<Arc<Error>>,
}

pub(super) async fn reach(server: &Server, tls: &TlsConfigs) -> Reached {
    let mut steps = Vec::new();
    let failed = match server.proxy {
        Proxy::None => walk(server, tls, &mut steps).await.err().map(Arc::new),
        Proxy::Env | Proxy::Url(_) => {
            for name in [StepName::Dns, StepName::Tcp, StepName::Tls] {
                steps.push(Step::skipped(name, "through a proxy: the login shows it"));
            }
            None
        }
    };
    Reached { steps, failed }
}

async fn walk(server: &Server, tls: &TlsConfigs, steps: &mut Vec<Step>) -> Result<(), Error> {
    let addresses = told(steps, StepName::Dns, resolve(server)).await?;
    let tcp = told(steps, StepName::Tcp, connect(server, &addresses)).await?;
    match server.tls {
        TlsMode::Implicit => told(steps, StepName::Tls, handshake(server, tls, tcp))
            .await
            .map(drop),
        TlsMode::StartTls => {
            steps.push(Step::skipped(StepName::Tls, "STARTTLS: the login shows it"));
            Ok(())
        }
        TlsMode::None => {
            let why = "no encryption (tls = \"none\")";
            steps.push(Step::new(StepName::Tls, Outcome::Warn, Duration::ZERO, why));
            Ok(())
        }
    }
}

/// A value, how it went, and what to say of it.
struct Seen<T> {
    value: T,
    outcome: Outcome,
    note: String,
}

async fn told<T>(
    steps: &mut Vec<Step>,
    name: StepName,
    doing: impl Future<Output = Result<Seen<T>, Error>>,
) -> Result<T, Error> {
    let started = clock::monotonic();
    let done = doing.await;
    let took = clock::monotonic() - started;
    match done {
        Ok(seen) => {
            steps.push(Step::new(name, seen.outcome, took, seen.note));
            Ok(seen.value)
        }
        Err(error) => {
            steps.push(Step::new(name, Outcome::Failed, took, first_line(&error)));
            Err(error)
        }
    }
}

/// Errors carry their hint behind an empty line; the diagnosis has a better one.
pub(super) fn first_line(error: &Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

async fn resolve(server: &Server) -> Result<Seen<Vec<SocketAddr>>, Error> {
    let dns = |source| Error::Dns {
        host: server.host.clone(),
        source,
    };
    let asked = tokio::net::lookup_host((server.host.as_str(), server.port));
    let addresses: Vec<SocketAddr> = timeout(LIMIT, asked)
        .await
        .map_err(|_| dns(io::Error::from(io::ErrorKind::TimedOut)))?
        .map_err(dns)?
        .collect();
    let Some(first) = addresses.first() else {
        return Err(dns(io::Error::new(io::ErrorKind::NotFound, "no address")));
    };
    let more = match addresses.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let note = format!("{} is {}{more}", server.host, first.ip());
    Ok(Seen {
        value: addresses,
        outcome: Outcome::Ok,
        note,
    })
}

async fn connect(server: &Server, addresses: &[SocketAddr]) -> Result<Seen<TcpStream>, Error> {
    let connecting = async {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(tcp) => return Ok((tcp, address)),
                Err(error) => last = error,
            }
        }
        Err(Error::Connect {
            to: format!("{}:{}", server.host, server.port),
            source: last,
        })
    };
    let (tcp, address) = timeout(LIMIT, connecting)
        .await
        .unwrap_or(Err(Error::Timeout {
            doing: "connecting",
        }))?;
    Ok(Seen {
        value: tcp,
        outcome: Outcome::Ok,
        note: address.to_string(),
    })
}

async fn handshake(server: &Server, tls: &TlsConfigs, tcp: TcpStream) -> Result<Seen<()>, Error> {
    let failed = |source| Error::Tls {
        host: server.host.clone(),
        source,
    };
    let config = tls
        .get(server.ca_file.as_deref())
        .map_err(|error| failed(io::Error::other(error)))?;
    let name = ServerName::try_from(server.host.clone())
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let stream = timeout(LIMIT, TlsConnector::from(config).connect(name, tcp))
        .await
        .map_err(|_| Error::Timeout {
            doing: "the TLS handshake",
        })?
        .map_err(failed)?;
    let (_, session) = stream.get_ref();
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    let ends = session
        .peer_certificates()
        .and_then(|chain| end_of(chain.first()?));
    let (outcome, expiry) = match ends {
        None => (Outcome::Ok, String::new()),
        Some(ends) => {
            let days = (ends - clock::wall().seconds()) / 86_400;
            let outcome = match days < EXPIRY_WARN_DAYS {
                true => Outcome::Warn,
                false => Outcome::Ok,
            };
            let date = postrider_core::time::Wall::from_seconds(ends).rfc3339();
            let date = date.split('T').next().unwrap_or_default().to_owned();
            (outcome, format!(", certificate until {date} ({days} days)"))
        }
    };
    Ok(Seen {
        value: (),
        outcome,
        note: format!("{version}{expiry}"),
    })
}

/// When a certificate ends, in Unix seconds.
fn end_of(certificate: &rustls_pki_types::CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}
