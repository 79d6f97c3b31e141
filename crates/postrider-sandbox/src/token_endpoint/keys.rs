//! Keys and certificates for tests: an application's certificate, an issuer outside the tenant, a
//! service account's key file. They are made anew each time and are worth nothing outside the sandbox.

use std::time::Duration;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::config::{FederatedCredential, ServiceAccount};
use crate::error::Error;

/// An RSA key of 2048 bits.
pub struct RsaKey {
    pair: KeyPair,
    signer: RsaKeyPair,
}

impl std::fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RsaKey").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    Rs256,
    Ps256,
}

impl RsaKey {
    pub fn generate() -> Result<Self, Error> {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let signer = RsaKeyPair::from_pkcs8(&pair.serialize_der()).map_err(|_| Error::Key)?;
        Ok(Self { pair, signer })
    }

    /// PKCS#8.
    pub fn pem(&self) -> String {
        self.pair.serialize_pem()
    }

    pub fn public_key(&self) -> Vec<u8> {
        self.signer.public_key().as_ref().to_vec()
    }

    /// A compact JWS over whatever the test wants to say; `alg` and `typ` are put into the header.
    pub fn sign(&self, signing: Signing, header: Value, claims: &Value) -> Result<String, Error> {
        let mut header = header;
        let (name, encoding) = match signing {
            Signing::Rs256 => ("RS256", &RSA_PKCS1_SHA256),
            Signing::Ps256 => ("PS256", &RSA_PSS_SHA256),
        };
        header["alg"] = name.into();
        header["typ"] = "JWT".into();
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; self.signer.public_modulus_len()];
        self.signer
            .sign(
                encoding,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|_| Error::Key)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// A self-signed certificate with its key, as people make them for an application.
#[derive(Debug)]
pub struct AppCertificate {
    pub key: RsaKey,
    pem: String,
}

impl AppCertificate {
    /// Good from yesterday on for a year.
    pub fn generate(name: &str) -> Result<Self, Error> {
        let now = OffsetDateTime::now_utc();
        let day = time::Duration::DAY;
        Self::between(name, now - day, now + day * 365)
    }

    pub fn between(name: &str, from: OffsetDateTime, until: OffsetDateTime) -> Result<Self, Error> {
        let key = RsaKey::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = from;
        params.not_after = until;
        let pem = params.self_signed(&key.pair)?.pem();
        Ok(Self { key, pem })
    }

    /// What is registered with the application.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// Key and certificate in one file.
    pub fn both_pem(&self) -> String {
        format!("{}{}", self.key.pem(), self.pem)
    }
}

/// An issuer outside the tenant, as a Kubernetes cluster is one.
#[derive(Debug)]
pub struct Issuer {
    pub url: String,
    key: RsaKey,
}

impl Issuer {
    pub fn new(url: &str) -> Result<Self, Error> {
        let key = RsaKey::generate()?;
        let url = url.to_owned();
        Ok(Self { url, key })
    }

    /// What an application trusts after it was registered there.
    pub fn credential(&self, subject: &str) -> FederatedCredential {
        FederatedCredential {
            issuer: self.url.clone(),
            subject: subject.to_owned(),
            audience: "api://AzureADTokenExchange".to_owned(),
            public_key: self.key.public_key(),
        }
    }

    /// A projected service-account token.
    pub fn token(
        &self,
        subject: &str,
        audience: &str,
        lifetime: Duration,
    ) -> Result<String, Error> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let claims = json!({
            "iss": self.url,
            "sub": subject,
            "aud": [audience],
            "iat": now,
            "nbf": now,
            "exp": now.saturating_add(lifetime),
        });
        self.key
            .sign(Signing::Rs256, json!({"kid": "cluster"}), &claims)
    }
}

/// A service account's key, as the file that Google's console hands out.
#[derive(Debug)]
pub struct ServiceAccountFile {
    pub email: String,
    pub key: RsaKey,
}

impl ServiceAccountFile {
    pub fn generate(email: &str) -> Result<Self, Error> {
        let key = RsaKey::generate()?;
        let email = email.to_owned();
        Ok(Self { email, key })
    }

    pub fn json(&self, token_uri: &str) -> String {
        json!({
            "type": "service_account",
            "project_id": "sandbox",
            "private_key_id": KEY_ID,
            "private_key": self.key.pem(),
            "client_email": self.email,
            "client_id": "100000000000000000001",
            "token_uri": token_uri,
        })
        .to_string()
    }

    /// What Google knows of it once the administrator of this domain has delegated these scopes.
    pub fn account(&self, domain: &str, delegated: &[&str]) -> ServiceAccount {
        ServiceAccount {
            public_key: self.key.public_key(),
            key_id: KEY_ID.to_owned(),
            delegated: delegated.iter().map(|&scope| scope.to_owned()).collect(),
            domain: domain.to_owned(),
        }
    }
}

const KEY_ID: &str = "5a4d0b0x";
