//! Credentials, the vault and references to secrets, as they are written.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::config::units::Span;

/// How access is obtained. Each type takes the keys that name it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Credential {
    /// `microsoft`: an application of Entra, with its own access (client credentials). `microsoft-delegated`: a person's access, after `postrider login`. `managed-identity`: the Azure machine's own. `google`: a Workspace service account. `google-delegated`: a person's access. `oauth2`: any other token endpoint. `password`. `token`: tokens that somebody else obtains.
    #[serde(rename = "type")]
    pub(crate) kind: Option<CredentialType>,
    /// microsoft, microsoft-delegated: the tenant's id or one of its domains; for a person also `organizations`, `consumers` or `common`.
    pub(crate) tenant: Option<String>,
    /// microsoft, microsoft-delegated, google-delegated, oauth2: the application's (client) id. managed-identity: that of a user-assigned identity.
    pub(crate) client_id: Option<String>,
    /// microsoft, microsoft-delegated, google-delegated, oauth2: the client secret's value, by reference. For `microsoft` one of `client_secret`, `certificate` and `federated_token`.
    pub(crate) client_secret: Option<SecretRefs>,
    /// microsoft: a certificate with its key in place of a secret: `{ file = "app.pem" }` (PEM with both), `{ file = "cert.pem", key = {reference} }` or `{ file = "app.p12", password = {reference} }`; beside them `algorithm = "PS256"` (the default, as Microsoft documents it) or `"RS256"`. Or a list, the newest first.
    pub(crate) certificate: Option<Certificates>,
    /// microsoft: another provider's token in place of a secret, `{ file = "…" }`, read for every request; or `"azure"`: file, client, tenant and login host as AKS workload identity tells them (`AZURE_FEDERATED_TOKEN_FILE`, `AZURE_CLIENT_ID`, `AZURE_TENANT_ID`, `AZURE_AUTHORITY_HOST`), where the configuration does not.
    pub(crate) federated_token: Option<FederatedToken>,
    /// microsoft, microsoft-delegated: `global` (the default, GCC too), `gcc-high`, `dod` or `china`. It sets `authority` and `scope`. What is set for `dod` and `china` is not confirmed by any document.
    pub(crate) cloud: Option<Cloud>,
    /// microsoft, microsoft-delegated: the login host. Default: the cloud's, `https://login.microsoftonline.com`.
    pub(crate) authority: Option<String>,
    /// All but password, token and managed-identity: what is asked for. Default: microsoft `https://outlook.office365.com/.default`, microsoft-delegated `https://outlook.office.com/IMAP.AccessAsUser.All offline_access` (or the cloud's), google and google-delegated `https://mail.google.com/`.
    pub(crate) scope: Option<String>,
    /// managed-identity: the object id of a user-assigned identity.
    pub(crate) object_id: Option<String>,
    /// managed-identity: the resource id of a user-assigned identity.
    pub(crate) resource_id: Option<String>,
    /// managed-identity: what is asked for. Default: `https://outlook.office365.com`.
    pub(crate) resource: Option<String>,
    /// managed-identity: the metadata service, which is never asked through a proxy. Default: `http://169.254.169.254`.
    pub(crate) endpoint: Option<String>,
    /// google: the service account's JSON key, by reference. Its tokens are each for one user: the mailbox's `username`.
    pub(crate) service_account: Option<SecretRefs>,
    /// oauth2: the token endpoint. google: default: the key's `token_uri`. google-delegated: default: `https://oauth2.googleapis.com/token`.
    pub(crate) token_url: Option<String>,
    /// google-delegated, oauth2: where a person logs in by a browser here. Default for google-delegated: `https://accounts.google.com/o/oauth2/v2/auth`.
    pub(crate) authorize_url: Option<String>,
    /// google-delegated, oauth2: where a person's login on another device begins. Default for google-delegated: `https://oauth2.googleapis.com/device/code`.
    pub(crate) device_url: Option<String>,
    /// oauth2: `client_credentials` (the default) or `refresh_token`.
    pub(crate) grant: Option<Grant>,
    /// oauth2: how client id and secret are sent, in the `body` (the default) or as `basic` (RFC 6749 section 2.3.1).
    pub(crate) client_auth: Option<ClientAuth>,
    /// oauth2 with `grant = "refresh_token"`: a refresh token that stays the same, by reference. Without it `postrider login` puts one into the vault.
    pub(crate) refresh_token: Option<SecretRefs>,
    /// password: the password, by reference. The user name is the mailbox's.
    pub(crate) password: Option<SecretRefs>,
    /// token: the token, by reference; a file is read again when it changes.
    pub(crate) token: Option<SecretRefs>,
    /// token: a program that prints a token, or JSON with `access_token` and `expires_in`: its absolute path and its arguments. It has 30 s.
    pub(crate) command: Option<Vec<String>>,
    /// token: how long a token is used that does not tell its own end. Default: `1h`.
    #[schemars(extend("x-min" = "1m", "x-max" = "2d"))]
    pub(crate) lifetime: Option<Span>,
    /// When the secret ends, as a date, for one that does not tell (a certificate does). `credential.expiring` events come 30, 14, 7 and 1 days before.
    pub(crate) expires: Option<Date>,
    /// Addresses of mailboxes that this access must not open. `postrider doctor` and a daily check prove that it is refused there.
    pub(crate) must_not_open: Option<Vec<String>>,
    /// Overrides `network.proxy` for token requests.
    pub(crate) proxy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CredentialType {
    Microsoft,
    MicrosoftDelegated,
    ManagedIdentity,
    Google,
    GoogleDelegated,
    #[serde(rename = "oauth2")]
    OAuth2,
    Password,
    Token,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cloud {
    Global,
    GccHigh,
    Dod,
    China,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Grant {
    ClientCredentials,
    RefreshToken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientAuth {
    Body,
    Basic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Algorithm {
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "RS256")]
    Rs256,
}

/// A certificate and its private key.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Certificate {
    /// PEM with certificate and key, PEM with the certificate alone (then `key`), or PKCS#12 (`.p12`, `.pfx`).
    pub(crate) file: Option<String>,
    /// The private key (PEM), by reference, where it is not in `file`.
    pub(crate) key: Option<OneSecretRef>,
    /// The password of a PKCS#12 file, by reference.
    pub(crate) password: Option<OneSecretRef>,
    /// `PS256` (the default, as Microsoft documents it) or `RS256`.
    pub(crate) algorithm: Option<Algorithm>,
}

/// One certificate, or several for rotation, the newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Certificates {
    Many(Vec<Certificate>),
    One(Certificate),
}

/// Another provider's token.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum FederatedToken {
    Preset(FederationPreset),
    File(FederatedFile),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FederationPreset {
    Azure,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct FederatedFile {
    /// The file with the token.
    pub(crate) file: Option<String>,
}

/// Where refresh tokens of `postrider login` are kept, encrypted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Vault {
    /// The folder, one file per credential. Default: `vault` beside the database.
    pub(crate) path: Option<String>,
    /// The master key (32 bytes in base64 or hexadecimal), by reference; a list, the newest first, until `postrider rekey` has run.
    pub(crate) key: Option<SecretRefs>,
}

/// Where a secret lies: exactly one of the three.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct SecretRef {
    /// A file; a line end at its end is no part of the secret.
    pub(crate) file: Option<String>,
    /// A variable of the environment.
    pub(crate) env: Option<String>,
    /// A systemd credential (`LoadCredential=`).
    pub(crate) credential: Option<String>,
}

/// One reference, or several for rotation, the newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("x-secret" = true))]
pub(crate) enum SecretRefs {
    Many(Vec<SecretRef>),
    One(SecretRef),
}

/// One reference, where a list has no meaning.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("x-secret" = true))]
pub(crate) struct OneSecretRef(pub(crate) SecretRef);

/// A date, which TOML may also write without quotes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Date(pub(crate) String);

impl JsonSchema for Date {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Date".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date" })
    }
}
