//! What a token is asked for with. A proof is secret, lives for one request, and prints its kind only.

use std::{fmt, sync::Arc};

use secrecy::SecretString;
use url::Url;

use crate::{
    certificate::{Algorithm, Certificate},
    service_account::ServiceAccountKey,
};

#[derive(Clone)]
pub enum Proof {
    /// The machine itself is known (managed identity).
    Nothing,
    /// A client secret (RFC 6749 section 4.4).
    Secret(SecretString),
    /// A JWT signed with the certificate's key (RFC 7523 section 2.2).
    Certificate {
        certificate: Arc<Certificate>,
        algorithm: Algorithm,
    },
    /// A JWT of another identity provider, as it is: workload identity federation.
    Assertion(SecretString),
    /// Google's JWT bearer grant (RFC 7523 section 2.1), on behalf of the user `subject`.
    ServiceAccount {
        key: Arc<ServiceAccountKey>,
        subject: String,
    },
    /// RFC 6749 section 6.
    RefreshToken {
        token: SecretString,
        client_secret: Option<SecretString>,
    },
    /// RFC 6749 section 4.1.3 with RFC 7636.
    AuthorizationCode {
        code: SecretString,
        verifier: SecretString,
        redirect: Url,
        client_secret: Option<SecretString>,
    },
    /// RFC 8628 section 3.4.
    DeviceCode {
        device_code: SecretString,
        client_secret: Option<SecretString>,
    },
}

impl Proof {
    /// The same with another client secret, where one goes with it.
    pub fn with_client_secret(self, client_secret: Option<SecretString>) -> Self {
        match self {
            Self::RefreshToken { token, .. } => Self::RefreshToken {
                token,
                client_secret,
            },
            Self::AuthorizationCode {
                code,
                verifier,
                redirect,
                ..
            } => Self::AuthorizationCode {
                code,
                verifier,
                redirect,
                client_secret,
            },
            Self::DeviceCode { device_code, .. } => Self::DeviceCode {
                device_code,
                client_secret,
            },
            Self::Nothing
            | Self::Secret(_)
            | Self::Certificate { .. }
            | Self::Assertion(_)
            | Self::ServiceAccount { .. } => self,
        }
    }

    /// Its kind, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Secret(_) => "client secret",
            Self::Certificate { .. } => "certificate",
            Self::Assertion(_) => "federated token",
            Self::ServiceAccount { .. } => "service account",
            Self::RefreshToken { .. } => "refresh token",
            Self::AuthorizationCode { .. } => "authorization code",
            Self::DeviceCode { .. } => "device code",
        }
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({})", self.kind())
    }
}
