//! Whom the endpoint knows and what it hands out: one [`TokenConfig`] per application, managed
//! identity, service account or client of another provider. It never prints a secret.

use std::time::Duration;

/// One identity, as its provider has it registered.
#[derive(Clone)]
pub struct TokenConfig {
    pub provider: Provider,
    pub tenant: String,
    /// The application's id; a service account's address.
    pub client_id: String,
    /// All that are good now. Basic authentication and the form are both taken.
    pub secrets: Vec<String>,
    /// What was good once (AADSTS7000222).
    pub expired_secrets: Vec<String>,
    /// The certificates registered with the application, in PEM.
    pub certificates: Vec<String>,
    pub federated: Vec<FederatedCredential>,
    /// So many more right assertions of a federated credential are refused with AADSTS70021, as
    /// happens for some minutes after it was registered.
    pub federation_flaps: u32,
    pub lifetime: Duration,
    pub expires_in: ExpiresIn,
    /// Whether `ext_expires_in` is there; not every answer has it.
    pub ext_expires_in: bool,
    pub refresh_in: Option<Duration>,
    pub shape: TokenShape,
    /// Of tokens for mail, whatever mail host the scope names.
    pub audience: String,
    /// Without any the claim is not there, as before consent is given.
    pub roles: Vec<String>,
    pub claims: Claims,
    pub delegated: Delegated,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            provider: Provider::Entra,
            tenant: "contoso.onmicrosoft.com".to_owned(),
            client_id: "11111111-2222-3333-4444-555555555555".to_owned(),
            secrets: vec!["sandbox~secret".to_owned()],
            expired_secrets: Vec::new(),
            certificates: Vec::new(),
            federated: Vec::new(),
            federation_flaps: 0,
            lifetime: Duration::from_secs(3599),
            expires_in: ExpiresIn::Number,
            ext_expires_in: true,
            refresh_in: None,
            shape: TokenShape::Jwt,
            audience: "https://outlook.office365.com".to_owned(),
            roles: vec!["IMAP.AccessAsApp".to_owned()],
            claims: Claims::default(),
            delegated: Delegated::default(),
        }
    }
}

impl std::fmt::Debug for TokenConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenConfig")
            .field("tenant", &self.tenant)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// Who plays the identity's provider, and at which path it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// `/{tenant}/oauth2/v2.0/{token,devicecode,authorize}` and the older `/{tenant}/oauth2/token`.
    Entra,
    /// `/metadata/identity/oauth2/token`; system-assigned where it has no resource id.
    ManagedIdentity { resource_id: Option<String> },
    /// `/token`: an OAuth client of Google's, for users that sign in.
    Google,
    /// `/token`, by a signed assertion.
    GoogleServiceAccount(ServiceAccount),
    /// `/oauth/token`, `/oauth/authorize`, `/oauth/device`: RFC 6749 and 8628, and nothing else.
    Generic,
}

/// What Google knows of a service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// RSA, in DER.
    pub public_key: Vec<u8>,
    pub key_id: String,
    /// The scopes that the domain's administrator has delegated to it.
    pub delegated: Vec<String>,
    /// The domain of the users whom it may act for.
    pub domain: String,
}

/// A federated credential of an application: these three must match to the letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederatedCredential {
    pub issuer: String,
    pub subject: String,
    pub audience: String,
    /// The issuer's RSA key, in DER.
    pub public_key: Vec<u8>,
}

/// How the lifetime is written: the v2 endpoint writes a number, managed identities a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiresIn {
    Number,
    Text,
    /// The field is not there.
    Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenShape {
    /// Three parts with readable claims; the signature is noise.
    Jwt,
    Opaque,
}

/// What a token says of itself beside audience and roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The service principal: what `New-ServicePrincipal -ObjectId` has to be given.
    pub oid: String,
    /// Another tenant than the one that was asked.
    pub tid: Option<String>,
    /// These in `scp`, and no roles, as though a user had signed in.
    pub scp: Option<String>,
    pub version: ClaimsVersion,
    /// The token is at least this long.
    pub bytes_min: usize,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            oid: "99999999-8888-7777-6666-555555555555".to_owned(),
            tid: None,
            scp: None,
            version: ClaimsVersion::V1,
            bytes_min: 0,
        }
    }
}

/// `appid` and `appidacr`, or `azp` and `azpacr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimsVersion {
    V1,
    V2,
}

/// How people sign in to the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegated {
    /// Whether it may do without a secret.
    pub public_client: bool,
    /// At `http://localhost` the port does not matter; anything else matches to the letter.
    pub redirect_uris: Vec<String>,
    pub users: Vec<User>,
    /// Who sits at the browser; nobody: access is denied.
    pub browser: Option<String>,
    pub device_interval: Duration,
    pub device_lifetime: Duration,
    /// What becomes of each device code, and after how many polls; else [`decide`] says it.
    ///
    /// [`decide`]: super::TokenEndpoint::decide
    pub device_decision: Option<(u32, Decision)>,
    pub rotation: Rotation,
}

impl Default for Delegated {
    fn default() -> Self {
        let ann = User {
            name: "ann@contoso.com".to_owned(),
            opens: Vec::new(),
        };
        Self {
            public_client: true,
            redirect_uris: vec!["http://localhost".to_owned()],
            browser: Some(ann.name.clone()),
            users: vec![ann],
            device_interval: Duration::from_secs(5),
            device_lifetime: Duration::from_secs(900),
            device_decision: None,
            rotation: Rotation::OldStaysGood,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    /// Other mailboxes that the user may open.
    pub opens: Vec<String>,
}

/// What a person does with a device code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Signs in as this user.
    Approve(String),
    Decline,
    /// Lets it pass.
    Expire,
}

/// What becomes of a refresh token when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// There is a new one, and the old one stays good: Entra.
    OldStaysGood,
    /// There is a new one, and the old one is good no more.
    OldIsRevoked,
    /// There is no new one: Google.
    NoNewOne,
}

/// Why a refresh token is good no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshEnd {
    /// Password changed, or sessions revoked (AADSTS50173).
    Revoked,
    /// Unused for 90 days (AADSTS700082).
    Idle,
    /// A second factor is asked for now (AADSTS50076).
    SecondFactor,
    /// A policy limits how long a sign-in lasts (AADSTS70043).
    SignInFrequency,
}
