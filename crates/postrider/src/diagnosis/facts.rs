//! What is known when something fails: the account, the credential, the token's claims, and how it
//! went elsewhere and before. Nothing secret is among it.

use postrider_core::time::Wall;
use postrider_oauth::claims::Claims;

use crate::config::{self, Cloud, CredentialKind, MicrosoftProof, OAuth2Grant, RefreshFrom};

/// Everything that a diagnosis may lean on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub credential: &'a CredentialFacts,
    /// `None` where the trouble is the credential's own.
    pub mailbox: Option<&'a MailboxFacts>,
    /// Of the token that was used or just given, where it can be read.
    pub claims: Option<&'a Claims>,
    pub others: Others,
    pub before: Before,
    /// How far this machine's clock is ahead of the other side's, in seconds.
    pub skew_s: Option<i64>,
    pub now: Wall,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFacts {
    pub key: String,
    pub way: Way,
    pub proof: Proof,
    pub cloud: Cloud,
    pub tenant: Option<String>,
    /// The application's id; for a Google service account its client id, where it is known.
    pub client_id: Option<String>,
    pub scope: Option<String>,
    /// Where tokens come from, without anything secret.
    pub token_url: Option<String>,
}

/// How access is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The application itself (`IMAP.AccessAsApp`).
    Application,
    ManagedIdentity,
    /// A user who signed in at Microsoft.
    Delegated,
    ServiceAccount,
    /// A user who signed in at Google.
    GoogleDelegated,
    OAuth2,
    /// A token that somebody else obtains.
    Token,
    Password,
}

/// How the client proves itself to the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Nothing,
    Secret,
    Certificate,
    Federated,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxFacts {
    pub address: String,
    /// What is logged in as.
    pub username: String,
    pub host: String,
    pub port: u16,
    pub folder: String,
    pub provider: Provider,
    /// The connection goes through a proxy.
    pub proxied: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    Exchange,
    Gmail,
    Other,
}

/// How other mailboxes of the same credential fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    Unknown,
    /// At least one was let in with the same credential.
    LetIn,
    /// All that were tried were refused too.
    Refused,
}

/// Whether this mailbox was let in before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Unknown,
    LetIn,
}

impl Provider {
    /// By the credential first: who has Microsoft's or Google's token goes to their servers.
    pub fn of(way: Way, host: &str) -> Self {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let within = |domain: &str| {
            host == domain
                || host
                    .strip_suffix(domain)
                    .is_some_and(|rest| rest.ends_with('.'))
        };
        let exchange = [
            "outlook.com",
            "office365.com",
            "office.com",
            "office365.us",
            "apps.mil",
            "outlook.cn",
        ];
        let gmail = ["gmail.com", "googlemail.com"];
        if exchange.iter().any(|domain| within(domain)) {
            return Self::Exchange;
        }
        if gmail.iter().any(|domain| within(domain)) {
            return Self::Gmail;
        }
        match way {
            Way::Application | Way::ManagedIdentity | Way::Delegated => Self::Exchange,
            Way::ServiceAccount | Way::GoogleDelegated => Self::Gmail,
            Way::OAuth2 | Way::Token | Way::Password => Self::Other,
        }
    }
}

impl CredentialFacts {
    /// What the configuration says of a credential.
    pub fn of(credential: &config::Credential) -> Self {
        let blank = Self {
            key: credential.key.to_string(),
            way: Way::Password,
            proof: Proof::Secret,
            cloud: Cloud::Global,
            tenant: None,
            client_id: None,
            scope: None,
            token_url: None,
        };
        match &credential.kind {
            CredentialKind::Microsoft(ours) => Self::of_application(ours, blank),
            CredentialKind::MicrosoftDelegated(ours) => Self {
                way: Way::Delegated,
                proof: Proof::Nothing,
                cloud: ours.cloud,
                tenant: Some(ours.tenant.clone()),
                client_id: Some(ours.client_id.clone()),
                scope: Some(ours.scope.clone()),
                token_url: Some(entra_endpoint(&ours.authority, &ours.tenant)),
                ..blank
            },
            CredentialKind::ManagedIdentity(ours) => Self {
                way: Way::ManagedIdentity,
                proof: Proof::Nothing,
                client_id: match &ours.identity {
                    config::AzureIdentity::ClientId(id) => Some(id.clone()),
                    config::AzureIdentity::Default
                    | config::AzureIdentity::ObjectId(_)
                    | config::AzureIdentity::ResourceId(_) => None,
                },
                scope: Some(ours.resource.clone()),
                token_url: Some(shown(&ours.endpoint)),
                ..blank
            },
            CredentialKind::Google(ours) => Self {
                way: Way::ServiceAccount,
                proof: Proof::Certificate,
                scope: Some(ours.scope.clone()),
                token_url: ours.token_url.as_ref().map(shown),
                ..blank
            },
            CredentialKind::GoogleDelegated(ours) => Self {
                way: Way::GoogleDelegated,
                client_id: Some(ours.client_id.clone()),
                scope: Some(ours.scope.clone()),
                token_url: Some(shown(&ours.token_url)),
                ..blank
            },
            CredentialKind::OAuth2(ours) => Self::of_oauth2(ours, blank),
            CredentialKind::Password { .. } => blank,
            CredentialKind::Token(_) => Self {
                way: Way::Token,
                proof: Proof::Nothing,
                ..blank
            },
        }
    }

    fn of_application(ours: &config::MicrosoftApplication, blank: Self) -> Self {
        Self {
            way: Way::Application,
            proof: match &ours.proof {
                MicrosoftProof::Secrets(_) => Proof::Secret,
                MicrosoftProof::Certificates(_) => Proof::Certificate,
                MicrosoftProof::FederatedToken(_) => Proof::Federated,
            },
            cloud: ours.cloud,
            tenant: Some(ours.tenant.clone()),
            client_id: Some(ours.client_id.clone()),
            scope: Some(ours.scope.clone()),
            token_url: Some(entra_endpoint(&ours.authority, &ours.tenant)),
            ..blank
        }
    }

    fn of_oauth2(ours: &config::OAuth2, blank: Self) -> Self {
        Self {
            way: Way::OAuth2,
            proof: match &ours.grant {
                OAuth2Grant::ClientCredentials => Proof::Secret,
                OAuth2Grant::RefreshToken(RefreshFrom::Vault | RefreshFrom::Secrets(_)) => {
                    Proof::Nothing
                }
            },
            client_id: Some(ours.client_id.clone()),
            scope: ours.scope.clone(),
            token_url: Some(shown(&ours.token_url)),
            ..blank
        }
    }

    /// Whether tokens come from Microsoft Entra.
    pub(super) fn is_entra(&self) -> bool {
        match self.way {
            Way::Application | Way::ManagedIdentity | Way::Delegated => true,
            Way::OAuth2 | Way::Token => self
                .token_url
                .as_deref()
                .and_then(|url| url::Url::parse(url).ok())
                .is_some_and(|url| url.host_str().is_some_and(is_entra_host)),
            Way::ServiceAccount | Way::GoogleDelegated | Way::Password => false,
        }
    }

    pub(super) fn is_google(&self) -> bool {
        match self.way {
            Way::ServiceAccount | Way::GoogleDelegated => true,
            Way::Application
            | Way::ManagedIdentity
            | Way::Delegated
            | Way::OAuth2
            | Way::Token
            | Way::Password => false,
        }
    }

    /// Whether the token stands for the application, not for a user.
    pub(super) fn is_application(&self) -> bool {
        match self.way {
            Way::Application | Way::ManagedIdentity => true,
            // With client credentials there is no user; a token from elsewhere says it itself.
            Way::OAuth2 => self.is_entra() && self.proof != Proof::Nothing,
            Way::Delegated
            | Way::ServiceAccount
            | Way::GoogleDelegated
            | Way::Token
            | Way::Password => false,
        }
    }
}

impl MailboxFacts {
    /// What the configuration says of a mailbox, for the trouble with one of its folders.
    pub fn of(mailbox: &config::Mailbox, credential: &CredentialFacts, folder: &str) -> Self {
        Self {
            address: mailbox.address.to_string(),
            username: mailbox.username.to_string(),
            host: mailbox.server.host.clone(),
            port: mailbox.server.port,
            folder: folder.to_owned(),
            provider: Provider::of(credential.way, &mailbox.server.host),
            proxied: mailbox.server.proxy != config::Proxy::None,
        }
    }
}

/// The v2.0 endpoint, which is the only one that the credential types for Microsoft ask.
fn entra_endpoint(authority: &url::Url, tenant: &str) -> String {
    format!(
        "{}/{tenant}/oauth2/v2.0/token",
        shown(authority).trim_end_matches('/')
    )
}

/// Without what may be secret in a URL.
fn shown(url: &url::Url) -> String {
    let mut url = url.clone();
    // These fail for URLs without a host alone, which hold neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

fn is_entra_host(host: &str) -> bool {
    [
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
        "login.chinacloudapi.cn",
        "login.windows.net",
        "sts.windows.net",
    ]
    .contains(&host)
}
