//! Credentials after defaults: one variant per type, with what its requests need. Secrets are
//! references here, never values.

use std::{fmt, path::PathBuf, time::Duration};

use postrider_core::{ids::CredentialKey, time::Wall};
use url::Url;

use super::Proxy;

#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    pub key: CredentialKey,
    pub kind: CredentialKind,
    pub proxy: Proxy,
    /// When its secret ends, where the secret itself does not tell.
    pub expires: Option<Wall>,
    /// Mailboxes (addresses) at which this access has to be refused.
    pub must_not_open: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CredentialKind {
    /// Microsoft Entra, the application itself (client credentials).
    Microsoft(MicrosoftApplication),
    /// Microsoft Entra, on behalf of a person who logged in.
    MicrosoftDelegated(MicrosoftDelegated),
    /// The identity of the Azure machine itself, asked for at its metadata service.
    ManagedIdentity(ManagedIdentity),
    /// A Google Workspace service account with domain-wide delegation; a token per user.
    Google(GoogleServiceAccount),
    /// Google, on behalf of a person who logged in.
    GoogleDelegated(GoogleDelegated),
    /// Any other token endpoint.
    OAuth2(OAuth2),
    Password {
        /// Newest first.
        password: Vec<SecretRef>,
    },
    /// Tokens that somebody else obtains.
    Token(ForeignToken),
}

impl CredentialKind {
    /// Its `type` in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Microsoft(_) => "microsoft",
            Self::MicrosoftDelegated(_) => "microsoft-delegated",
            Self::ManagedIdentity(_) => "managed-identity",
            Self::Google(_) => "google",
            Self::GoogleDelegated(_) => "google-delegated",
            Self::OAuth2(_) => "oauth2",
            Self::Password { .. } => "password",
            Self::Token(_) => "token",
        }
    }

    /// Whether its refresh token lies in the vault, where `postrider login` puts it.
    pub fn uses_vault(&self) -> bool {
        match self {
            Self::MicrosoftDelegated(_) | Self::GoogleDelegated(_) => true,
            Self::OAuth2(oauth2) => oauth2.grant == OAuth2Grant::RefreshToken(RefreshFrom::Vault),
            Self::Microsoft(_)
            | Self::ManagedIdentity(_)
            | Self::Google(_)
            | Self::Password { .. }
            | Self::Token(_) => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct MicrosoftApplication {
    pub tenant: String,
    pub client_id: String,
    pub proof: MicrosoftProof,
    pub cloud: Cloud,
    pub authority: Url,
    pub scope: String,
}

/// How an application shows that it is the one it says.
#[derive(Clone, Debug, PartialEq)]
pub enum MicrosoftProof {
    /// Newest first.
    Secrets(Vec<SecretRef>),
    /// Newest first.
    Certificates(Vec<CertificateRef>),
    /// A file with another provider's token, which is read for every request.
    FederatedToken(PathBuf),
}

/// A certificate with its private key, and how assertions are signed with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRef {
    pub source: CertificateSource,
    pub algorithm: SignatureAlgorithm,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// PEM with both.
    Pem(PathBuf),
    /// PEM with the certificate, the key elsewhere.
    PemAndKey {
        certificate: PathBuf,
        key: SecretRef,
    },
    /// `None`: its password is empty.
    Pkcs12 {
        file: PathBuf,
        password: Option<SecretRef>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    Ps256,
    Rs256,
}

/// The Microsoft cloud that tenant and mailboxes are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    Global,
    GccHigh,
    Dod,
    China,
}

impl Cloud {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::GccHigh => "gcc-high",
            Self::Dod => "dod",
            Self::China => "china",
        }
    }

    /// The login host, as the cloud's own documents name it
    /// (<https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud>).
    pub fn authority(self) -> &'static str {
        match self {
            Self::Global => "https://login.microsoftonline.com",
            Self::GccHigh | Self::Dod => "https://login.microsoftonline.us",
            Self::China => "https://login.partner.microsoftonline.cn",
        }
    }

    /// The scope of an application's own access.
    pub fn application_scope(self) -> &'static str {
        match self {
            Self::Global => "https://outlook.office365.com/.default",
            Self::GccHigh | Self::Dod => "https://outlook.office365.us/.default",
            Self::China => "https://partner.outlook.cn/.default",
        }
    }

    /// The scopes of a person's access: IMAP, and a refresh token.
    pub fn delegated_scope(self) -> &'static str {
        match self {
            Self::Global => "https://outlook.office.com/IMAP.AccessAsUser.All offline_access",
            Self::GccHigh | Self::Dod => {
                "https://outlook.office365.us/IMAP.AccessAsUser.All offline_access"
            }
            Self::China => "https://partner.outlook.cn/IMAP.AccessAsUser.All offline_access",
        }
    }

    /// Whether no document and no report confirms these scopes for IMAP.
    pub fn is_unverified(self) -> bool {
        match self {
            Self::Global | Self::GccHigh => false,
            Self::Dod | Self::China => true,
        }
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct MicrosoftDelegated {
    /// A tenant, or `common`, `organizations`, `consumers`.
    pub tenant: String,
    pub client_id: String,
    /// Of a confidential client, newest first; empty for a public one.
    pub client_secret: Vec<SecretRef>,
    pub cloud: Cloud,
    pub authority: Url,
    pub scope: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ManagedIdentity {
    pub identity: AzureIdentity,
    pub resource: String,
    /// The metadata service, which is never reached through a proxy.
    pub endpoint: Url,
}

/// Which of a machine's identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureIdentity {
    /// The system-assigned one, or the only one that there is.
    Default,
    ClientId(String),
    ObjectId(String),
    ResourceId(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct GoogleServiceAccount {
    /// JSON keys, newest first.
    pub service_account: Vec<SecretRef>,
    pub scope: String,
    /// `None`: the one that the key names.
    pub token_url: Option<Url>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct GoogleDelegated {
    pub client_id: String,
    /// Newest first.
    pub client_secret: Vec<SecretRef>,
    pub scope: String,
    pub token_url: Url,
    pub device_url: Url,
    pub authorize_url: Url,
}

#[derive(Clone, Debug, PartialEq)]
pub struct OAuth2 {
    pub token_url: Url,
    pub client_id: String,
    /// Newest first; empty for a public client, which only a refresh token allows.
    pub client_secret: Vec<SecretRef>,
    pub scope: Option<String>,
    pub grant: OAuth2Grant,
    pub client_auth: ClientAuth,
    /// For `postrider login`.
    pub authorize_url: Option<Url>,
    pub device_url: Option<Url>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OAuth2Grant {
    ClientCredentials,
    RefreshToken(RefreshFrom),
}

/// Where the refresh token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshFrom {
    /// `postrider login` put it there, and a rotated one goes there.
    Vault,
    /// A fixed one, newest first: the provider must not rotate it.
    Secrets(Vec<SecretRef>),
}

/// How a client sends its secret (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    Body,
    Basic,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ForeignToken {
    pub source: TokenSource,
    /// How long a token is used that does not tell its own end.
    pub lifetime: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// The token itself, newest first.
    Secrets(Vec<SecretRef>),
    /// A program, by its absolute path, and its arguments; it prints a token.
    Command { program: PathBuf, args: Vec<String> },
}

/// Where a secret lies. The secret itself is never part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretRef {
    File(PathBuf),
    Env(String),
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// Where the refresh tokens of logins are kept, encrypted.
#[derive(Clone, Debug, PartialEq)]
pub struct VaultConfig {
    /// A folder, with a file per credential.
    pub path: PathBuf,
    /// Master keys, newest first; empty where no credential needs the vault.
    pub key: Vec<SecretRef>,
}
