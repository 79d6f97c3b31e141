//! What the token endpoints' refusals mean: Entra's AADSTS numbers
//! (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>), the managed
//! identity's and Google's errors. Each with the page and the setting that mend it.

use super::{Cause, Told, facts::Proof, names::Names};

/// What one of Entra's numbers means; `None` for those that are not known here.
pub(super) fn entra(code: u32, n: &Names<'_>) -> Option<Told> {
    secret(code, n)
        .or_else(|| application(code, n))
        .or_else(|| assertion(code, n))
        .or_else(|| scope(code, n))
        .or_else(|| user(code, n))
        .or_else(|| session(code, n))
}

fn secret(code: u32, n: &Names<'_>) -> Option<Told> {
    let credential = n.credential();
    Some(match code {
        7_000_215 => Told::new(
            Cause::ClientSecretWrong,
            "the client secret is wrong",
            [
                format!(
                    "put the secret's Value (not its Secret ID) into [credentials.{credential}] client_secret"
                ),
                format!(
                    "the Value is shown only once: if it is lost, make a new one: {}",
                    n.page("Certificates & secrets > New client secret")
                ),
            ],
        ),
        7_000_222 => Told::new(
            Cause::ClientSecretExpired,
            "the client secret has expired",
            [
                n.page("Certificates & secrets > New client secret"),
                format!(
                    "put its Value first into [credentials.{credential}] client_secret; a changed file is used at once"
                ),
            ],
        ),
        7_000_218 => Told::new(
            Cause::ClientCredentialNotSent,
            "the application is confidential, and no secret or certificate was sent",
            [
                format!(
                    "give [credentials.{credential}] a client_secret, a certificate or a federated_token"
                ),
                format!(
                    "or, where it is meant to be a public client: {}",
                    n.page("Authentication > Allow public client flows > Yes")
                ),
            ],
        ),
        _ => return None,
    })
}

fn application(code: u32, n: &Names<'_>) -> Option<Told> {
    let (credential, tenant) = (n.credential(), n.tenant());
    Some(match code {
        700_016 => Told::new(
            Cause::ApplicationNotFound,
            format!("there is no application {} in the tenant {tenant}", n.application()),
            [
                format!(
                    "compare [credentials.{credential}] client_id and tenant with {}: App registrations > your application > Overview",
                    n.portal()
                ),
                format!(
                    "an application of another tenant needs consent in this one first: {}",
                    n.consent_url()
                ),
            ],
        ),
        700_011 | 70_001 | 7_000_112 => Told::new(
            Cause::ApplicationDisabled,
            format!(
                "the enterprise application {} is missing or disabled in the tenant {tenant}",
                n.application()
            ),
            [
                n.enterprise_page("Properties > Enabled for users to sign in > Yes"),
                format!("where it is not listed, consent to it: {}", n.consent_url()),
            ],
        ),
        90_002 => Told::new(
            Cause::TenantNotFound,
            format!("there is no tenant {tenant} in this cloud"),
            [
                format!(
                    "compare [credentials.{credential}] tenant with {}: Overview > Tenant ID, or a domain of it",
                    n.portal()
                ),
                "where the tenant is in a national cloud, set cloud = \"gcc-high\", \"dod\" or \"china\""
                    .to_owned(),
            ],
        ),
        90_038 | 900_382 | 900_432 => Told::new(
            Cause::WrongCloud,
            format!("the tenant {tenant} is in another national cloud"),
            [
                format!(
                    "set [credentials.{credential}] cloud to the tenant's (\"global\", \"gcc-high\", \"dod\" or \"china\"), and the mailboxes' server to its preset"
                ),
                "the application must be registered in that cloud's own portal".to_owned(),
            ],
        ),
        50_194 | 9_001_023 | 90_130 => Told::new(
            Cause::TenantEndpointNeeded,
            format!("`{tenant}` stands for many tenants, and here one has to be named"),
            [format!(
                "set [credentials.{credential}] tenant to the tenant's id or domain instead of common, organizations or consumers"
            )],
        ),
        _ => return None,
    })
}

fn assertion(code: u32, n: &Names<'_>) -> Option<Told> {
    Some(match code {
        700_027 => Told::new(
            Cause::CertificateNotAccepted,
            "the signature with this certificate is not accepted: it is not uploaded to the application, or its key is another one",
            [
                format!(
                    "upload the certificate (the .cer or .pem without the key): {}",
                    n.page("Certificates & secrets > Certificates > Upload certificate")
                ),
                format!(
                    "compare the thumbprint shown there with that of [credentials.{}] certificate: openssl x509 -noout -fingerprint -sha1 -in FILE (-sha256 where 64 digits are shown)",
                    n.credential()
                ),
                "check this machine's clock (`timedatectl`)".to_owned(),
            ],
        ),
        50_027 | 50_012 | 700_030 => Told::new(
            Cause::AssertionRejected,
            "the signed assertion is not accepted: its time, its audience, its subject or its certificate",
            [
                "check this machine's clock (`timedatectl`): an assertion is good for minutes only"
                    .to_owned(),
                match n.0.credential.proof {
                    Proof::Federated => n.page("Certificates & secrets > Federated credentials: issuer, subject and audience must equal the token's"),
                    Proof::Certificate | Proof::Secret | Proof::Nothing => n.page("Certificates & secrets > Certificates: the certificate must be listed and not expired"),
                },
                format!(
                    "[credentials.{}]: authority must be the login host itself, tenant and client_id the application's; algorithm = \"RS256\" is the older signature",
                    n.credential()
                ),
            ],
        ),
        70_021 => Told::new(
            Cause::FederatedCredentialMissing,
            "no federated credential of the application matches the token's issuer, subject and audience",
            [
                n.page("Certificates & secrets > Federated credentials"),
                "issuer, subject (`system:serviceaccount:NAMESPACE:NAME`) and audience (`api://AzureADTokenExchange`) must equal those of the token exactly".to_owned(),
                "a new one takes some minutes to work everywhere: postrider tries again by itself"
                    .to_owned(),
            ],
        ),
        _ => return None,
    })
}

fn scope(code: u32, n: &Names<'_>) -> Option<Told> {
    let (credential, scope) = (n.credential(), n.scope());
    let set = format!("set [credentials.{credential}] scope = \"{scope}\", or leave it out");
    Some(match code {
        70_011 | 28_002 | 28_003 => Told::new(Cause::ScopeInvalid, "the scope is not valid", [set]),
        1_002_012 => Told::new(
            Cause::ScopeLacksDefault,
            "the scope of an application must end in /.default",
            [set],
        ),
        700_022 | 700_023 => Told::new(
            Cause::ScopeOfSeveralResources,
            "the scope names several resources, or none",
            [set],
        ),
        500_011 | 650_057 | 50_001 => Told::new(
            Cause::ExchangeNotInTenant,
            "the scope's resource is unknown in this tenant: it has no Exchange Online, or the scope is another cloud's",
            [
                set,
                format!(
                    "{}: Enterprise applications > Application type: Microsoft Applications > Office 365 Exchange Online must be listed",
                    n.portal()
                ),
            ],
        ),
        65_001 | 90_094 | 650_056 => Told::new(
            Cause::ConsentMissing,
            "an administrator's consent to the application is missing",
            [
                n.page("API permissions > Grant admin consent"),
                format!("or open, as an administrator: {}", n.consent_url()),
            ],
        ),
        _ => return None,
    })
}

fn user(code: u32, n: &Names<'_>) -> Option<Told> {
    let again = format!("sign in: postrider login {}", n.credential());
    let instead =
        "for a machine, application access (type = \"microsoft\") needs no user".to_owned();
    Some(match code {
        50_034 | 51_004 | 50_020 => Told::new(
            Cause::UserNotInTenant,
            format!("the user is not in the tenant {}", n.tenant()),
            [
                format!("check the user and [credentials.{}] tenant", n.credential()),
                again,
            ],
        ),
        50_057 => Told::new(
            Cause::UserDisabled,
            "the user's account is disabled",
            [
                format!(
                    "{}: Users > the user > Properties > Account enabled",
                    n.portal()
                ),
                instead,
            ],
        ),
        50_076 | 50_079 | 50_074 | 50_072 => Told::new(
            Cause::InteractiveSignInRequired,
            "the user must sign in with a second factor, or register one",
            [again, instead],
        ),
        50_055 => Told::new(
            Cause::UserPasswordExpired,
            "the user's password has expired",
            ["set a new one at https://aka.ms/sspr".to_owned(), again],
        ),
        50_126 => Told::new(
            Cause::UserPasswordWrong,
            "wrong user name or password",
            [again],
        ),
        50_053 => Told::new(
            Cause::UserLocked,
            "the account is locked, or this machine's address is blocked",
            [
                format!("{}: Users > the user > Sign-in logs", n.portal()),
                "a lock ends by itself; find what tries a wrong password".to_owned(),
            ],
        ),
        53_000..=53_003 | 530_032 | 530_035 => Told::new(
            Cause::ConditionalAccessBlocks,
            "Conditional Access or security defaults block the sign-in",
            [
                format!(
                    "{}: Sign-in logs > Service principal sign-ins (or User sign-ins) > the failed one > Conditional Access names the policy",
                    n.portal()
                ),
                format!(
                    "exclude the service principal {} from it, or allow this machine's address as a named location",
                    n.application()
                ),
            ],
        ),
        _ => return None,
    })
}

fn session(code: u32, n: &Names<'_>) -> Option<Told> {
    let again = format!("sign in again: postrider login {}", n.credential());
    Some(match code {
        700_082 | 70_008 | 70_000 | 70_043 => Told::new(
            Cause::RefreshTokenExpired,
            "the sign-in has expired: its refresh token was not used for too long, or is not valid",
            [again],
        ),
        50_173 => Told::new(
            Cause::RefreshTokenRevoked,
            "the sign-in was revoked: a changed password, or an administrator's order",
            [again],
        ),
        54_005 => Told::new(
            Cause::CodeAlreadyUsed,
            "the code of this sign-in was used before",
            [again],
        ),
        50_011 => Told::new(
            Cause::RedirectNotRegistered,
            "the redirect address is not registered with the application",
            [
                n.page("Authentication > Add a platform > Mobile and desktop applications > http://localhost"),
                again,
            ],
        ),
        50_196 => Told::new(
            Cause::RequestLoop,
            "too many equal requests: something uses this application in a loop",
            [
                "postrider asks once per token's life: look for another program with the same client id"
                    .to_owned(),
            ],
        ),
        90_055 | 90_024 | 90_033 | 90_006 | 90_012 | 50_033 | 50_000 => Told::new(
            Cause::TokenEndpointBusy,
            "Entra is busy or in trouble for the moment",
            ["nothing to do: postrider tries again by itself".to_owned()],
        ),
        _ => return None,
    })
}

/// What Google's token endpoint says to a service account or a refresh token.
pub(super) fn google(error: &str, description: &str, n: &Names<'_>) -> Option<Told> {
    let said = description.to_ascii_lowercase();
    let scope =
        n.0.credential
            .scope
            .as_deref()
            .unwrap_or("https://mail.google.com/");
    let delegation = "https://admin.google.com: Security > Access and data control > API controls > Manage domain-wide delegation > Add new";
    Some(match error {
        "unauthorized_client" | "access_denied" => Told::new(
            Cause::GoogleDelegationMissing,
            "the service account is not authorised for domain-wide delegation with this scope",
            [
                delegation.to_owned(),
                format!("Client ID: {}; OAuth scope: {scope}", n.application()),
                "it takes minutes, at times a day, to work".to_owned(),
            ],
        ),
        "invalid_grant" if said.contains("email or user") || said.contains("user id") => Told::new(
            Cause::GoogleUserUnknown,
            "Google knows no such user in the domain that delegates",
            [format!(
                "check the mailbox's address {}: it must be a user of the Workspace domain, not an alias or a group",
                n.mailbox()
            )],
        ),
        "invalid_grant" if said.contains("expired or revoked") => Told::new(
            Cause::RefreshTokenExpired,
            "the sign-in has expired or was revoked",
            [format!("sign in again: postrider login {}", n.credential())],
        ),
        "invalid_grant" if said.contains("reasonable timeframe") || said.contains("iat") => {
            Told::new(
                Cause::ClockWrong,
                "the assertion's time is not Google's: this machine's clock is wrong",
                ["set the clock (`timedatectl set-ntp true`)".to_owned()],
            )
        }
        "invalid_grant" if said.contains("signature") => Told::new(
            Cause::GoogleKeyRejected,
            "the service account's key is not accepted: it was deleted, or is another account's",
            [format!(
                "https://console.cloud.google.com: IAM & Admin > Service Accounts > Keys > Add key (JSON); put the file into [credentials.{}] service_account",
                n.credential()
            )],
        ),
        "invalid_scope" => Told::new(
            Cause::ScopeInvalid,
            "the scope is not valid",
            [format!(
                "set [credentials.{}] scope = \"https://mail.google.com/\"",
                n.credential()
            )],
        ),
        _ => return None,
    })
}

/// A refusal without a number that is known.
pub(super) fn other(error: &str, n: &Names<'_>) -> Told {
    let credential = n.credential();
    match error {
        "invalid_client" => Told::new(
            Cause::ClientRejected,
            "the token endpoint does not accept the client: its id, or its secret",
            [format!(
                "check [credentials.{credential}] client_id, the secret's value and its expiry"
            )],
        ),
        "unauthorized_client" => Told::new(
            Cause::ClientRejected,
            "the client may not ask for a token in this way",
            [format!(
                "check [credentials.{credential}] client_id and tenant, and that the application may use this grant"
            )],
        ),
        "invalid_scope" => Told::new(
            Cause::ScopeInvalid,
            "the scope is not valid",
            [format!("check [credentials.{credential}] scope")],
        ),
        "invalid_grant" => Told::new(
            Cause::RefreshTokenExpired,
            "the sign-in is not valid any more",
            [format!("sign in again: postrider login {credential}")],
        ),
        _ => Told::new(
            Cause::TokenRequestRefused,
            "the token endpoint refuses the request",
            [format!(
                "check [credentials.{credential}]: tenant, client_id, scope and the secret"
            )],
        ),
    }
}
