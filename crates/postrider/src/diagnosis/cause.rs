//! The causes by their stable names, which programs may match on, and who can mend each.

use std::fmt;

/// Who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// A person has to change something.
    Operator,
    /// It may pass by itself.
    Passing,
    /// A person has to change this configuration.
    Config,
}

macro_rules! causes {
    ($($variant:ident $name:literal $nature:ident,)*) => {
        /// Why a mailbox cannot be read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Cause { $($variant,)* }

        impl Cause {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub fn nature(self) -> Nature {
                match self { $(Self::$variant => Nature::$nature,)* }
            }
        }
    };
}

causes! {
    // The configuration and what it refers to.
    ConfigInvalid "config_invalid" Config,
    SecretUnreadable "secret_unreadable" Operator,
    SignInNeeded "sign_in_needed" Operator,
    // The token endpoint's refusals: Entra.
    ClientSecretWrong "client_secret_wrong" Operator,
    ClientSecretExpired "client_secret_expired" Operator,
    ClientCredentialNotSent "client_credential_not_sent" Operator,
    ApplicationNotFound "application_not_found" Operator,
    ApplicationDisabled "application_disabled" Operator,
    TenantNotFound "tenant_not_found" Operator,
    WrongCloud "wrong_cloud" Operator,
    CertificateNotAccepted "certificate_not_accepted" Operator,
    AssertionRejected "assertion_rejected" Operator,
    FederatedCredentialMissing "federated_credential_missing" Operator,
    ScopeInvalid "scope_invalid" Operator,
    ScopeLacksDefault "scope_lacks_default" Operator,
    ScopeOfSeveralResources "scope_of_several_resources" Operator,
    ExchangeNotInTenant "exchange_not_in_tenant" Operator,
    ConsentMissing "consent_missing" Operator,
    UserNotInTenant "user_not_in_tenant" Operator,
    UserDisabled "user_disabled" Operator,
    InteractiveSignInRequired "interactive_sign_in_required" Operator,
    UserPasswordExpired "user_password_expired" Operator,
    UserPasswordWrong "user_password_wrong" Operator,
    UserLocked "user_locked" Operator,
    ConditionalAccessBlocks "conditional_access_blocks" Operator,
    RefreshTokenExpired "refresh_token_expired" Operator,
    RefreshTokenRevoked "refresh_token_revoked" Operator,
    CodeAlreadyUsed "code_already_used" Operator,
    RedirectNotRegistered "redirect_not_registered" Operator,
    TenantEndpointNeeded "tenant_endpoint_needed" Operator,
    RequestLoop "request_loop" Passing,
    TokenEndpointBusy "token_endpoint_busy" Passing,
    // Google and others.
    GoogleDelegationMissing "google_delegation_missing" Operator,
    GoogleUserUnknown "google_user_unknown" Operator,
    GoogleKeyRejected "google_key_rejected" Operator,
    ManagedIdentityMissing "managed_identity_missing" Operator,
    ClientRejected "client_rejected" Operator,
    TokenRequestRefused "token_request_refused" Operator,
    // The way to the token endpoint.
    TokenEndpointThrottles "token_endpoint_throttles" Passing,
    TokenEndpointUnreachable "token_endpoint_unreachable" Passing,
    TokenEndpointTimeout "token_endpoint_timeout" Passing,
    TokenEndpointUnavailable "token_endpoint_unavailable" Passing,
    TokenEndpointWrong "token_endpoint_wrong" Operator,
    ProxyRefuses "proxy_refuses" Operator,
    ClockWrong "clock_wrong" Operator,
    // A token that cannot open a mailbox.
    TokenForGraph "token_for_graph" Operator,
    TokenForOtherResource "token_for_other_resource" Operator,
    TokenExpired "token_expired" Passing,
    TokenOfOtherTenant "token_of_other_tenant" Operator,
    TokenOfOtherApplication "token_of_other_application" Operator,
    TokenEndpointV1 "token_endpoint_v1" Operator,
    AppPermissionMissing "app_permission_missing" Operator,
    AppConsentMissing "app_consent_missing" Operator,
    UserTokenForApplication "user_token_for_application" Operator,
    ApplicationTokenForUser "application_token_for_user" Operator,
    DelegatedPermissionMissing "delegated_permission_missing" Operator,
    // The mail server refuses the login.
    ServicePrincipalMissing "service_principal_missing" Operator,
    ServicePrincipalWrongId "service_principal_wrong_id" Operator,
    MailboxPermissionMissing "mailbox_permission_missing" Operator,
    AccessWithdrawn "access_withdrawn" Operator,
    ImapDisabled "imap_disabled" Operator,
    MailboxUnlicensed "mailbox_unlicensed" Operator,
    AddressNotPrimary "address_not_primary" Operator,
    MailboxNotFound "mailbox_not_found" Operator,
    NotYetReplicated "not_yet_replicated" Passing,
    BasicAuthOff "basic_auth_off" Operator,
    PasswordWrong "password_wrong" Operator,
    PasswordsNotTaken "passwords_not_taken" Operator,
    AccountLocked "account_locked" Operator,
    AppPasswordNeeded "app_password_needed" Operator,
    WebSignInNeeded "web_sign_in_needed" Operator,
    TokenNotAccepted "token_not_accepted" Operator,
    // The folder.
    FolderMissing "folder_missing" Operator,
    // The way to the mail server.
    NameNotFound "name_not_found" Passing,
    ConnectionRefused "connection_refused" Passing,
    ConnectionTimedOut "connection_timed_out" Passing,
    ConnectionFailed "connection_failed" Passing,
    ConnectionLost "connection_lost" Passing,
    TlsUnknownAuthority "tls_unknown_authority" Operator,
    TlsWrongName "tls_wrong_name" Operator,
    TlsCertificateExpired "tls_certificate_expired" Operator,
    TlsNotYetValid "tls_not_yet_valid" Operator,
    TlsNotSpoken "tls_not_spoken" Operator,
    TlsVersion "tls_version" Operator,
    TlsFailed "tls_failed" Operator,
    StartTlsMissing "starttls_missing" Operator,
    NoImapServer "no_imap_server" Operator,
    ServerThrottles "server_throttles" Passing,
    ConnectionLimit "connection_limit" Passing,
    ServerUnavailable "server_unavailable" Passing,
    ServerRefusesCommand "server_refuses_command" Passing,
    ServerBreaksProtocol "server_breaks_protocol" Passing,
    LocalStorage "local_storage" Passing,
    // The endpoint.
    EndpointUnreachable "endpoint_unreachable" Passing,
    EndpointRefuses "endpoint_refuses" Operator,
    EndpointFails "endpoint_fails" Passing,
    // What must stay shut.
    MustNotOpenViolated "must_not_open_violated" Operator,
}

impl Cause {
    /// The token says it itself. It stays as it is; another one may say something else.
    pub fn is_in_the_token(self) -> bool {
        matches!(
            self,
            Self::TokenForGraph
                | Self::TokenForOtherResource
                | Self::TokenExpired
                | Self::TokenOfOtherTenant
                | Self::TokenOfOtherApplication
                | Self::TokenEndpointV1
                | Self::AppPermissionMissing
                | Self::AppConsentMissing
                | Self::UserTokenForApplication
                | Self::ApplicationTokenForUser
                | Self::DelegatedPermissionMissing
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
