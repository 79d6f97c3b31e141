//! TLS towards the outside: one configuration per set of trusted roots, shared by all sessions, so
//! that roots are loaded once. It never turns verification off.

use std::{
    collections::HashMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use rustls::{
    ClientConfig, RootCertStore,
    client::{Resumption, danger::ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
};
use rustls_pki_types::{CertificateDer, pem::PemObject};

/// A bundle of all public authorities takes 250 KiB.
const CA_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("ca_file {}: {error}; hint: it must be readable by the user that runs postrider", path.display())]
    Unreadable {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("ca_file {} is longer than 16 MiB; hint: give a file of PEM certificates", .0.display())]
    TooLong(PathBuf),
    #[error("ca_file {} holds no certificate; hint: it must be PEM, with -----BEGIN CERTIFICATE-----", .0.display())]
    Empty(PathBuf),
    #[error("ca_file {}: certificate {number} cannot be used: {detail}; hint: give the authority's certificate, in PEM", path.display())]
    Bad {
        path: PathBuf,
        number: usize,
        detail: String,
    },
    #[error(
        "this system's trusted certificates cannot be used: {0}; hint: install the package ca-certificates, or set SSL_CERT_FILE or ca_file"
    )]
    Platform(String),
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// The configurations in use, by CA file.
#[derive(Debug, Default)]
pub struct TlsConfigs {
    made: Mutex<HashMap<Option<PathBuf>, Made>>,
}

#[derive(Debug)]
struct Made {
    stamp: Option<Stamp>,
    config: Arc<ClientConfig>,
}

impl TlsConfigs {
    /// The shared configuration that trusts the system's roots, or exactly those of `ca_file`. A
    /// file that was replaced is read anew; sessions that are open keep what they began with.
    pub fn get(&self, ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
        let stamp = ca_file.map(Stamp::of).transpose()?;
        let key = ca_file.map(Path::to_owned);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.get(&key).filter(|known| known.stamp == stamp) {
            return Ok(Arc::clone(&known.config));
        }
        let mut config = match ca_file {
            Some(path) => trusting(roots(path)?)?,
            None => trusting_platform()?,
        };
        // A session of TLS 1.2 that a server cannot take up would be tried again and again.
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        made.insert(
            key,
            Made {
                stamp,
                config: Arc::clone(&config),
            },
        );
        Ok(config)
    }

    /// The same trust for an HTTP client, which says in its handshake that it speaks HTTP.
    pub fn http(&self, ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
        let mut config = ClientConfig::clone(self.get(ca_file)?.as_ref());
        config.resumption = Resumption::default();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// A configuration that trusts nobody, for clients that only speak clear text to loopback: they
/// need no roots, which a bare container may lack.
pub fn trusting_nobody() -> Result<ClientConfig, TlsError> {
    trusting(RootCertStore::empty())
}

/// Makes aws-lc-rs the provider of the process, so that every library uses the same. Harmless when
/// repeated.
pub fn install_provider() -> Arc<CryptoProvider> {
    // An error says that there is one already: ours, from an earlier call.
    let _ = aws_lc_rs::default_provider().install_default();
    CryptoProvider::get_default()
        .map_or_else(|| Arc::new(aws_lc_rs::default_provider()), Arc::clone)
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, TlsError> {
    Ok(ClientConfig::builder_with_provider(install_provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn trusting_platform() -> Result<ClientConfig, TlsError> {
    Ok(ClientConfig::builder_with_provider(install_provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(platform_verifier()?)
        .with_no_client_auth())
}

/// The system's roots are some hundred certificates: read once per process, by whoever comes first.
fn platform_verifier() -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    static VERIFIER: OnceLock<Arc<rustls_platform_verifier::Verifier>> = OnceLock::new();
    if let Some(verifier) = VERIFIER.get() {
        return Ok(Arc::clone(verifier) as Arc<dyn ServerCertVerifier>);
    }
    let verifier = rustls_platform_verifier::Verifier::new(install_provider())
        .map_err(|error| TlsError::Platform(error.to_string()))?;
    Ok(Arc::clone(VERIFIER.get_or_init(|| Arc::new(verifier))) as Arc<dyn ServerCertVerifier>)
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let pem = std::fs::read(path).map_err(|error| unreadable(path, error))?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(&pem).enumerate() {
        let bad = |detail: String| TlsError::Bad {
            path: path.to_owned(),
            number: index + 1,
            detail,
        };
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        Err(TlsError::Empty(path.to_owned()))
    } else {
        Ok(roots)
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> TlsError {
    TlsError::Unreadable {
        path: path.to_owned(),
        error,
    }
}

/// Tells whether a file was replaced or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Result<Self, TlsError> {
        let data = std::fs::metadata(path).map_err(|error| unreadable(path, error))?;
        if data.len() > CA_FILE_BYTES_MAX {
            return Err(TlsError::TooLong(path.to_owned()));
        }
        Ok(Self {
            inode: data.ino(),
            size: data.len(),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{
        config::Proxy,
        network::{build, http_builder, http_client},
    };

    /// A self-signed authority, as `openssl req -x509` makes it (P-256, valid for a century).
    const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBnTCCAUOgAwIBAgIUUlgvqN9OiC9zp6T+sTYLW9NuI+gwCgYIKoZIzj0EAwIw
IzEhMB8GA1UEAwwYcG9zdHJpZGVyIHRlc3QgYXV0aG9yaXR5MCAXDTI2MTEyMzIw
Mzk1NFoYDzIxMjYxMDMwMjAzOTU0WjAjMSEwHwYDVQQDDBhwb3N0cmlkZXIgdGVz
dCBhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATMr6woQVOfKq5W
Lk/7af/WBdajTgeUL/K4rz3PiMjNTQXWoMi66sJph+TeEedOSFoytqvNGeukiHTS
7ZMmK71qo1MwUTAdBgNVHQ4EFgQUlsJQW5YjpfN9KwgbtBLJPTakLigwHwYDVR0j
BBgwFoAUlsJQW5YjpfN9KwgbtBLJPTakLigwDwYDVR0TAQH/BAUwAwEB/zAKBggq
hkjOPQQDAgNIADBFAiEArd8yugPjAP/SxnqYs0j7OFbxaWbJ37ZzAmDYzQQ+3XYC
IFQdcax2LjPfBh5oPi8hK9NNlJrMEhWI4lMx80obAv16
-----END CERTIFICATE-----
";

    #[test]
    fn all_mailboxes_of_a_ca_file_share_one_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, format!("{AUTHORITY}\n{AUTHORITY}")).unwrap();
        let configs = TlsConfigs::default();
        let first = configs.get(Some(&path)).unwrap();
        assert!(Arc::ptr_eq(&first, &configs.get(Some(&path)).unwrap()));
        assert_eq!(configs.http(Some(&path)).unwrap().alpn_protocols.len(), 2);
        assert!(
            first.alpn_protocols.is_empty(),
            "IMAP has no ALPN name to offer"
        );
        std::fs::write(&path, AUTHORITY).unwrap();
        assert!(
            !Arc::ptr_eq(&first, &configs.get(Some(&path)).unwrap()),
            "a replaced file is read anew"
        );
    }

    /// Whether the second of two handshakes takes up the session of the first.
    fn is_resumed(client: ClientConfig, server: &Arc<rustls::ServerConfig>) -> bool {
        let client = Arc::new(client);
        let kinds = [(), ()].map(|()| {
            let name = ServerName::try_from("localhost").unwrap();
            let mut client = rustls::ClientConnection::new(Arc::clone(&client), name).unwrap();
            let mut server = rustls::ServerConnection::new(Arc::clone(server)).unwrap();
            // Some flights more than it takes, for tickets.
            for _ in 0..6 {
                let (mut there, mut back) = (Vec::new(), Vec::new());
                client.write_tls(&mut there).unwrap();
                server.read_tls(&mut there.as_slice()).unwrap();
                server.process_new_packets().unwrap();
                server.write_tls(&mut back).unwrap();
                client.read_tls(&mut back.as_slice()).unwrap();
                client.process_new_packets().unwrap();
            }
            client.handshake_kind().unwrap()
        });
        assert_eq!(kinds[0], rustls::HandshakeKind::Full);
        kinds[1] == rustls::HandshakeKind::Resumed
    }

    #[test]
    fn mail_sessions_begin_anew_and_those_of_http_are_resumed() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, made.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let server = rustls::ServerConfig::builder_with_provider(install_provider())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], key.clone_key().into())
                .unwrap();
            let server = Arc::new(server);
            let configs = TlsConfigs::default();
            let mail = configs.get(Some(&path)).unwrap();
            assert!(!is_resumed(ClientConfig::clone(&mail), &server));
            let mut http = configs.http(Some(&path)).unwrap();
            http.alpn_protocols.clear();
            assert!(is_resumed(http, &server));
        }
    }

    #[test]
    fn errors_name_the_file_and_give_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let contents = [
            None,
            Some(""),
            Some("no pem"),
            Some(broken),
            Some("-----BEGIN CERTIFICATE-----\n"),
        ];
        for content in contents {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let error = TlsConfigs::default()
                .get(Some(&path))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("ca.pem") && error.contains("hint: "),
                "{content:?}: {error}"
            );
        }
    }

    /// Answers every connection with an empty HTTP success.
    async fn https_server(tls: &postrider_sandbox::tls::Tls) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = tokio_rustls::TlsAcceptor::from(tls.server_config());
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        port
    }

    #[tokio::test]
    async fn a_ca_file_is_trusted_and_nobody_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let ours = postrider_sandbox::tls::Tls::generate().unwrap();
        let url = format!("https://localhost:{}/", https_server(&ours).await);
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, ours.ca_pem()).unwrap();
        let configs = TlsConfigs::default();
        let client = http_client(&Proxy::None, Some(&path), &configs).unwrap();
        assert_eq!(client.get(&url).send().await.unwrap().status(), 204);
        std::fs::write(&path, AUTHORITY).unwrap();
        let client = http_client(&Proxy::None, Some(&path), &configs).unwrap();
        assert!(client.get(&url).send().await.unwrap_err().is_connect());
        let client =
            build(http_builder(&Proxy::None, trusting_nobody().unwrap()).unwrap()).unwrap();
        assert!(client.get(&url).send().await.unwrap_err().is_connect());
    }
}
