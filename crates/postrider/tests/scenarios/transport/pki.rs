//! Authorities and certificates of a scenario, and a TLS front that changes while it runs.

use std::{
    ops::Range,
    sync::{Arc, Mutex},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use time::{Duration, OffsetDateTime};
use tokio::{net::TcpListener, sync::watch};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer},
        server::WebPkiClientVerifier,
    },
};

use crate::endpoint_faults::desk::Desk;

/// Days from now in which a certificate that is in order is valid.
pub(crate) const VALID: Range<i64> = -1..30;

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, in PEM.
pub(crate) struct Issued {
    pub(crate) pem: String,
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, name: &str, days: Range<i64>) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let now = OffsetDateTime::now_utc();
        params.not_before = now + Duration::days(days.start);
        params.not_after = now + Duration::days(days.end);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued {
            pem: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
        }
    }
}

impl Issued {
    /// A server that shows it, and lets in whoever shows a certificate of `clients`.
    pub(crate) fn served(&self, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let key = pem_key(&self.key);
        let builder = ServerConfig::builder();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.0.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = builder.with_single_cert(vec![self.der.clone()], key);
        Arc::new(config.unwrap())
    }
}

fn pem_key(pem: &str) -> PrivateKeyDer<'static> {
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// TLS before a desk.
#[derive(Clone)]
pub(crate) struct Front {
    config: Arc<Mutex<Arc<ServerConfig>>>,
    cut: watch::Sender<()>,
    shown: Arc<Mutex<Vec<Vec<u8>>>>,
    pub(crate) port: u16,
}

impl Front {
    pub(crate) async fn open(desk: &Desk, config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self {
            config: Arc::new(Mutex::new(config)),
            cut: watch::Sender::new(()),
            shown: Arc::default(),
            port: listener.local_addr().unwrap().port(),
        };
        let (made, desk) = (front.clone(), desk.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (front, desk) = (made.clone(), desk.clone());
                tokio::spawn(async move {
                    let mut cut = front.cut.subscribe();
                    let config = front.config.lock().unwrap().clone();
                    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else {
                        return;
                    };
                    if let Some(chain) = stream.get_ref().1.peer_certificates() {
                        front.shown.lock().unwrap().push(chain[0].to_vec());
                    }
                    tokio::select! {
                        () = desk.serve(stream) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        front
    }

    /// From now on; connections that are open end.
    pub(crate) fn becomes(&self, config: Arc<ServerConfig>) {
        *self.config.lock().unwrap() = config;
        self.cut.send_replace(());
    }

    /// The clients' certificates, one for each connection.
    pub(crate) fn shown(&self) -> Vec<Vec<u8>> {
        self.shown.lock().unwrap().clone()
    }
}
