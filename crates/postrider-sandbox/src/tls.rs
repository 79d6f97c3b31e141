//! A certificate authority of the sandbox's own and a server certificate for `localhost` and
//! `127.0.0.1`. The keys live in memory unless a caller writes the PEM texts to a file.

use std::{net::IpAddr, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use time::{Duration, OffsetDateTime};

use crate::error::Error;

/// How much certificate the server shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// One leaf, about 0.5 KB.
    Short,
    /// Leaf and intermediate, about 4 KB: what a large provider shows, and what a client keeps in
    /// memory for as long as the connection lives.
    Realistic,
}

/// A certificate authority and one server certificate from it.
#[derive(Clone)]
pub struct Tls {
    ca_pem: String,
    chain_pem: String,
    key_pem: String,
    chain_bytes: usize,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("chain_bytes", &self.chain_bytes)
            .finish_non_exhaustive()
    }
}

impl Tls {
    pub fn generate() -> Result<Self, Error> {
        Self::generate_with(Chain::Short)
    }

    pub fn generate_with(chain: Chain) -> Result<Self, Error> {
        let ca_key = KeyPair::generate()?;
        let ca_params = authority("postrider sandbox CA")?;
        let ca = ca_params.self_signed(&ca_key)?;
        let ca_issuer = Issuer::new(ca_params, ca_key);
        let key = KeyPair::generate()?;
        let certificates = match chain {
            Chain::Short => vec![leaf(0)?.signed_by(&key, &ca_issuer)?],
            Chain::Realistic => {
                let middle_key = KeyPair::generate()?;
                let middle_params = authority("postrider sandbox intermediate CA")?;
                let middle = middle_params.signed_by(&middle_key, &ca_issuer)?;
                let middle_issuer = Issuer::new(middle_params, middle_key);
                vec![
                    leaf(ALTERNATIVE_NAMES)?.signed_by(&key, &middle_issuer)?,
                    middle,
                ]
            }
        };
        let der: Vec<CertificateDer<'static>> =
            certificates.iter().map(|one| one.der().clone()).collect();
        Ok(Self {
            ca_pem: ca.pem(),
            chain_pem: certificates.iter().map(rcgen::Certificate::pem).collect(),
            key_pem: key.serialize_pem(),
            chain_bytes: der.iter().map(|one| one.len()).sum(),
            server: server_config(der, &key)?,
            client: client_config(ca.der().clone())?,
        })
    }

    /// What a client puts into its `ca_file`.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The server's certificate chain, leaf first.
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The server's private key. It is worth nothing outside the sandbox.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The size of the chain in DER.
    pub fn chain_bytes(&self) -> usize {
        self.chain_bytes
    }

    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// For a bare client beside the program under test: trusts this authority alone.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}

/// As many names as make the chain about as large as that of a big mail provider.
const ALTERNATIVE_NAMES: usize = 86;

fn authority(name: &str) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    params.key_usages.push(KeyUsagePurpose::CrlSign);
    valid_now(&mut params);
    Ok(params)
}

fn leaf(more_names: usize) -> Result<CertificateParams, Error> {
    let mut names = vec!["localhost".to_owned()];
    names.extend((0..more_names).map(|n| format!("node{n:03}.mail.sandbox.postrider.test")));
    let mut params = CertificateParams::new(names)?;
    params
        .subject_alt_names
        .push(SanType::IpAddress(IpAddr::from([127, 0, 0, 1])));
    params
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    params.use_authority_key_identifier_extension = true;
    params.key_usages.push(KeyUsagePurpose::DigitalSignature);
    params
        .extended_key_usages
        .push(ExtendedKeyUsagePurpose::ServerAuth);
    valid_now(&mut params);
    Ok(params)
}

fn valid_now(params: &mut CertificateParams) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::days(30);
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
) -> Result<Arc<ServerConfig>, Error> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

fn client_config(ca: CertificateDer<'static>) -> Result<Arc<ClientConfig>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
