//! Refused logins: the rows of what Exchange says, and the others.

use postrider_imap::error::{Error, ServerText};

use super::*;

fn at_login(text: &str) -> Error {
    Error::LoginRefused {
        text: ServerText::new(text.as_bytes()),
    }
}

fn not_connected() -> Error {
    Error::NotConnected {
        text: ServerText::new(b"User is authenticated but not connected."),
    }
}

const FAILED: &str =
    "AUTHENTICATE failed. Error=\"AuthFailed:LogonDenied-None-OAuthLog\" User:ceo@contoso.com";

fn causes(diagnosis: &Diagnosis) -> Vec<Cause> {
    let others = diagnosis.or.iter().map(|one| one.cause);
    std::iter::once(diagnosis.cause).chain(others).collect()
}

fn exchange(error: &Error, others: Others, before: Before) -> Diagnosis {
    let (credential, claims) = (application(), good_claims());
    let mailbox = mailbox(Way::Application, "outlook.office365.com");
    let diagnosis = mail(
        &Facts {
            others,
            before,
            ..facts(&credential, Some(&mailbox), Some(&claims))
        },
        error,
    );
    assert_sound(&diagnosis);
    diagnosis
}

#[test]
fn a_refusal_of_the_first_mailbox_is_an_unknown_principal_most_likely() {
    let diagnosis = exchange(&at_login(FAILED), Others::Unknown, Before::Unknown);
    assert_eq!(
        causes(&diagnosis),
        [
            Cause::ServicePrincipalMissing,
            Cause::ServicePrincipalWrongId,
            Cause::MailboxPermissionMissing,
            Cause::MailboxNotFound,
            Cause::ImapDisabled,
            Cause::NotYetReplicated,
        ]
    );
    let text = all_text(&diagnosis);
    for piece in [
        "Get-ServicePrincipal | fl AppId,ObjectId",
        "New-ServicePrincipal -AppId '11111111-2222-3333-4444-555555555555' -ObjectId '99999999-8888-7777-6666-555555555555' -DisplayName 'postrider'",
        "Remove-ServicePrincipal -Identity '11111111-2222-3333-4444-555555555555'",
        "Add-MailboxPermission -Identity 'support@contoso.com' -User '99999999-8888-7777-6666-555555555555' -AccessRights FullAccess",
        "Get-MailboxPermission -Identity 'support@contoso.com'",
        "Get-CASMailbox -Identity 'support@contoso.com'",
        "Set-CASMailbox -Identity 'support@contoso.com' -ImapEnabled $true",
    ] {
        assert!(text.contains(piece), "{piece}\n{text}");
    }
    assert!(
        !text.contains("ceo@") && text.contains("User:[address]"),
        "{text}"
    );
}

#[test]
fn where_others_are_let_in_it_is_this_mailboxs_permission() {
    let diagnosis = exchange(&at_login(FAILED), Others::LetIn, Before::Unknown);
    assert_eq!(diagnosis.cause, Cause::MailboxPermissionMissing);
    assert!(!causes(&diagnosis).contains(&Cause::ServicePrincipalMissing));
    let short = diagnosis.short();
    assert!(short.fix.contains("support@contoso.com"), "{short:?}");
}

#[test]
fn where_all_are_refused_it_is_the_principal() {
    let diagnosis = exchange(&at_login(FAILED), Others::Refused, Before::Unknown);
    assert_eq!(diagnosis.cause, Cause::ServicePrincipalMissing);
}

#[test]
fn what_was_open_before_was_withdrawn() {
    for others in [Others::LetIn, Others::Unknown, Others::Refused] {
        let diagnosis = exchange(&at_login(FAILED), others, Before::LetIn);
        assert_eq!(diagnosis.cause, Cause::AccessWithdrawn);
        assert!(all_text(&diagnosis).contains("was let in before"));
    }
}

#[test]
fn authenticated_but_not_connected_is_imap_switched_off_most_likely() {
    for others in [Others::LetIn, Others::Unknown, Others::Refused] {
        let diagnosis = exchange(&not_connected(), others, Before::Unknown);
        assert_eq!(
            causes(&diagnosis),
            [
                Cause::ImapDisabled,
                Cause::MailboxPermissionMissing,
                Cause::MailboxUnlicensed,
                Cause::AddressNotPrimary,
                Cause::NotYetReplicated,
            ]
        );
        assert_eq!(diagnosis.fix[0], "Connect-ExchangeOnline");
        assert!(diagnosis.fix[1].starts_with("Get-CASMailbox"));
        assert_eq!(
            diagnosis.short().fix,
            "Set-CASMailbox -Identity 'support@contoso.com' -ImapEnabled $true"
        );
    }
}

#[test]
fn a_token_without_its_role_explains_the_refusal() {
    let credential = application();
    let claims = Claims {
        roles: Vec::new(),
        ..good_claims()
    };
    let mailbox = mailbox(Way::Application, "outlook.office365.com");
    for error in [at_login(FAILED), not_connected()] {
        let diagnosis = mail(&facts(&credential, Some(&mailbox), Some(&claims)), &error);
        assert_eq!(diagnosis.cause, Cause::AppConsentMissing);
        assert!(diagnosis.evidence[0].starts_with("the mail server says"));
        assert_sound(&diagnosis);
    }
}

#[test]
fn a_managed_identity_is_an_application_too() {
    let credential = CredentialFacts {
        client_id: None,
        tenant: None,
        ..with(Way::ManagedIdentity, Proof::Nothing)
    };
    let claims = good_claims();
    let mailbox = mailbox(Way::ManagedIdentity, "outlook.office365.com");
    let diagnosis = mail(
        &facts(&credential, Some(&mailbox), Some(&claims)),
        &at_login(FAILED),
    );
    assert_eq!(diagnosis.cause, Cause::ServicePrincipalMissing);
    assert!(
        all_text(&diagnosis).contains(CLIENT),
        "the id is the token's appid: {diagnosis:#?}"
    );
}

#[test]
fn a_signed_in_user_needs_a_permission_on_a_shared_mailbox() {
    let credential = with(Way::Delegated, Proof::Nothing);
    let claims = Claims {
        roles: Vec::new(),
        scp: vec!["IMAP.AccessAsUser.All".to_owned()],
        upn: Some("ceo@contoso.com".to_owned()),
        ..good_claims()
    };
    let mailbox = mailbox(Way::Delegated, "outlook.office365.com");
    let facts = facts(&credential, Some(&mailbox), Some(&claims));
    for error in [at_login(FAILED), not_connected()] {
        let diagnosis = mail(&facts, &error);
        assert!(causes(&diagnosis).contains(&Cause::MailboxPermissionMissing));
        assert!(!causes(&diagnosis).contains(&Cause::ServicePrincipalMissing));
        assert_sound(&diagnosis);
    }
}

#[test]
fn exchange_takes_no_passwords() {
    let credential = with(Way::Password, Proof::Secret);
    let exchange = mailbox(Way::Password, "outlook.office365.com");
    let other = mailbox(Way::Password, "imap.example.org");
    let table = [
        (&exchange, "LOGIN failed."),
        (
            &other,
            "[AUTHENTICATIONFAILED] AuthFailed:LogonDenied-BasicAuthBlocked-<UserType:OutlookCom>",
        ),
    ];
    for (mailbox, text) in table {
        let diagnosis = mail(&facts(&credential, Some(mailbox), None), &at_login(text));
        assert_eq!(diagnosis.cause, Cause::BasicAuthOff, "{text}");
        assert_sound(&diagnosis);
    }
}

/// Servers' words, one row per server.
#[test]
fn passwords_are_refused_in_many_words() {
    let table = [
        // Dovecot
        (
            "imap.example.org",
            "[AUTHENTICATIONFAILED] Authentication failed.",
            Cause::PasswordWrong,
        ),
        (
            "imap.example.org",
            "Plaintext authentication disallowed on non-secure (SSL/TLS) connections.",
            Cause::PasswordsNotTaken,
        ),
        // Cyrus
        (
            "imap.example.org",
            "Login failed: account locked",
            Cause::AccountLocked,
        ),
        // what this product's own IMAP crate says
        (
            "imap.example.org",
            "the server takes no passwords (LOGINDISABLED)",
            Cause::PasswordsNotTaken,
        ),
        // Gmail
        (
            "imap.gmail.com",
            "[ALERT] Application-specific password required: https://support.google.com (Failure)",
            Cause::AppPasswordNeeded,
        ),
        (
            "imap.gmail.com",
            "[ALERT] Your account is not enabled for IMAP use. Please visit your Gmail settings page and enable your account for IMAP access. (Failure)",
            Cause::ImapDisabled,
        ),
        (
            "imap.gmail.com",
            "[ALERT] Please log in via your web browser: https://support.google.com (Failure)",
            Cause::WebSignInNeeded,
        ),
        (
            "imap.gmail.com",
            "[AUTHENTICATIONFAILED] Invalid credentials (Failure)",
            Cause::PasswordWrong,
        ),
        // Yahoo
        (
            "imap.mail.yahoo.com",
            "[AUTHENTICATIONFAILED] AUTHENTICATE Invalid credentials",
            Cause::PasswordWrong,
        ),
    ];
    let credential = with(Way::Password, Proof::Secret);
    for (host, text, cause) in table {
        let mailbox = mailbox(Way::Password, host);
        let diagnosis = mail(&facts(&credential, Some(&mailbox), None), &at_login(text));
        assert_eq!(diagnosis.cause, cause, "{text}");
        assert_sound(&diagnosis);
    }
}

#[test]
fn tokens_are_refused_by_others_too() {
    let table = [
        (
            Way::ServiceAccount,
            "imap.gmail.com",
            "Invalid credentials (Failure) {\"status\":\"400\"}",
            Cause::TokenNotAccepted,
        ),
        (
            Way::GoogleDelegated,
            "imap.gmail.com",
            "Invalid credentials (Failure)",
            Cause::TokenNotAccepted,
        ),
        (
            Way::ServiceAccount,
            "imap.gmail.com",
            "Your account is not enabled for IMAP use",
            Cause::ImapDisabled,
        ),
        (
            Way::Token,
            "imap.example.org",
            "[AUTHENTICATIONFAILED] {\"status\":\"401\"}",
            Cause::TokenNotAccepted,
        ),
    ];
    for (way, host, text, cause) in table {
        let credential = CredentialFacts {
            token_url: None,
            ..with(way, Proof::Nothing)
        };
        let mailbox = mailbox(way, host);
        let diagnosis = mail(&facts(&credential, Some(&mailbox), None), &at_login(text));
        assert_eq!(diagnosis.cause, cause, "{text}");
        assert_sound(&diagnosis);
    }
}

#[test]
fn the_provider_is_known_by_host_or_credential() {
    let table = [
        (Way::Application, "localhost", Provider::Exchange),
        (Way::Password, "outlook.office365.com", Provider::Exchange),
        (Way::Password, "partner.outlook.cn", Provider::Exchange),
        (Way::Password, "imap.gmail.com.", Provider::Gmail),
        (Way::ServiceAccount, "localhost", Provider::Gmail),
        (Way::Password, "notoutlook.com", Provider::Other),
        (Way::OAuth2, "imap.example.org", Provider::Other),
    ];
    for (way, host, provider) in table {
        assert_eq!(Provider::of(way, host), provider, "{host}");
    }
}
