//! Token endpoints' refusals, and tokens that open nothing.

use std::time::Duration;

use postrider_oauth::{
    client,
    error::{Cause as Unusable, TokenError},
};

use super::*;

fn refused(error: &str, description: &str, codes: &[u32]) -> TokenError {
    TokenError::Refused {
        provider: client::Provider::Microsoft,
        error: error.to_owned(),
        description: description.to_owned(),
        codes: codes.to_vec(),
    }
}

fn entra(credential: &CredentialFacts, code: u32) -> Diagnosis {
    let error = refused(
        "invalid_client",
        &format!("AADSTS{code}: something about ceo@contoso.com"),
        &[code],
    );
    token(&facts(credential, None, None), &error)
}

/// The whole table of Entra's numbers: cause, and a piece of what to do.
const ENTRA: &[(u32, Cause, &str)] = &[
    (
        7_000_215,
        Cause::ClientSecretWrong,
        "Value (not its Secret ID)",
    ),
    (7_000_222, Cause::ClientSecretExpired, "New client secret"),
    (
        7_000_218,
        Cause::ClientCredentialNotSent,
        "client_secret, a certificate",
    ),
    (700_016, Cause::ApplicationNotFound, CLIENT),
    (
        700_011,
        Cause::ApplicationDisabled,
        "Enterprise applications",
    ),
    (
        70_001,
        Cause::ApplicationDisabled,
        "Enterprise applications",
    ),
    (
        7_000_112,
        Cause::ApplicationDisabled,
        "Enterprise applications",
    ),
    (90_002, Cause::TenantNotFound, TENANT),
    (90_038, Cause::WrongCloud, "gcc-high"),
    (900_382, Cause::WrongCloud, "gcc-high"),
    (900_432, Cause::WrongCloud, "gcc-high"),
    (700_027, Cause::CertificateNotAccepted, "Upload certificate"),
    (50_027, Cause::AssertionRejected, "clock"),
    (50_012, Cause::AssertionRejected, "clock"),
    (700_030, Cause::AssertionRejected, "clock"),
    (
        70_021,
        Cause::FederatedCredentialMissing,
        "Federated credentials",
    ),
    (
        70_011,
        Cause::ScopeInvalid,
        "https://outlook.office365.com/.default",
    ),
    (
        28_002,
        Cause::ScopeInvalid,
        "https://outlook.office365.com/.default",
    ),
    (
        28_003,
        Cause::ScopeInvalid,
        "https://outlook.office365.com/.default",
    ),
    (
        1_002_012,
        Cause::ScopeLacksDefault,
        "https://outlook.office365.com/.default",
    ),
    (
        700_022,
        Cause::ScopeOfSeveralResources,
        "https://outlook.office365.com/.default",
    ),
    (
        700_023,
        Cause::ScopeOfSeveralResources,
        "https://outlook.office365.com/.default",
    ),
    (
        500_011,
        Cause::ExchangeNotInTenant,
        "Office 365 Exchange Online",
    ),
    (
        650_057,
        Cause::ExchangeNotInTenant,
        "Office 365 Exchange Online",
    ),
    (
        50_001,
        Cause::ExchangeNotInTenant,
        "Office 365 Exchange Online",
    ),
    (
        65_001,
        Cause::ConsentMissing,
        "/adminconsent?client_id=11111111-",
    ),
    (90_094, Cause::ConsentMissing, "Grant admin consent"),
    (650_056, Cause::ConsentMissing, "Grant admin consent"),
    (50_034, Cause::UserNotInTenant, "postrider login contoso"),
    (51_004, Cause::UserNotInTenant, "postrider login contoso"),
    (50_020, Cause::UserNotInTenant, "postrider login contoso"),
    (50_057, Cause::UserDisabled, "Account enabled"),
    (
        50_076,
        Cause::InteractiveSignInRequired,
        "postrider login contoso",
    ),
    (
        50_079,
        Cause::InteractiveSignInRequired,
        "postrider login contoso",
    ),
    (
        50_074,
        Cause::InteractiveSignInRequired,
        "postrider login contoso",
    ),
    (
        50_072,
        Cause::InteractiveSignInRequired,
        "type = \"microsoft\"",
    ),
    (
        50_055,
        Cause::UserPasswordExpired,
        "postrider login contoso",
    ),
    (50_126, Cause::UserPasswordWrong, "postrider login contoso"),
    (50_053, Cause::UserLocked, "Sign-in logs"),
    (
        53_003,
        Cause::ConditionalAccessBlocks,
        "exclude the service principal",
    ),
    (
        53_000,
        Cause::ConditionalAccessBlocks,
        "exclude the service principal",
    ),
    (
        53_001,
        Cause::ConditionalAccessBlocks,
        "exclude the service principal",
    ),
    (
        53_002,
        Cause::ConditionalAccessBlocks,
        "exclude the service principal",
    ),
    (
        530_032,
        Cause::ConditionalAccessBlocks,
        "exclude the service principal",
    ),
    (
        530_035,
        Cause::ConditionalAccessBlocks,
        "exclude the service principal",
    ),
    (
        700_082,
        Cause::RefreshTokenExpired,
        "postrider login contoso",
    ),
    (
        70_008,
        Cause::RefreshTokenExpired,
        "postrider login contoso",
    ),
    (
        70_000,
        Cause::RefreshTokenExpired,
        "postrider login contoso",
    ),
    (
        70_043,
        Cause::RefreshTokenExpired,
        "postrider login contoso",
    ),
    (
        50_173,
        Cause::RefreshTokenRevoked,
        "postrider login contoso",
    ),
    (54_005, Cause::CodeAlreadyUsed, "postrider login contoso"),
    (50_011, Cause::RedirectNotRegistered, "http://localhost"),
    (50_194, Cause::TenantEndpointNeeded, "instead of common"),
    (9_001_023, Cause::TenantEndpointNeeded, "instead of common"),
    (90_130, Cause::TenantEndpointNeeded, "instead of common"),
    (50_196, Cause::RequestLoop, "another program"),
    (90_055, Cause::TokenEndpointBusy, "by itself"),
    (90_024, Cause::TokenEndpointBusy, "by itself"),
    (90_033, Cause::TokenEndpointBusy, "by itself"),
    (90_006, Cause::TokenEndpointBusy, "by itself"),
    (90_012, Cause::TokenEndpointBusy, "by itself"),
    (50_033, Cause::TokenEndpointBusy, "by itself"),
    (50_000, Cause::TokenEndpointBusy, "by itself"),
];

#[test]
fn every_number_of_entra_has_its_cause_and_its_fix() {
    let credential = application();
    for (code, cause, piece) in ENTRA {
        let diagnosis = entra(&credential, *code);
        assert_eq!(diagnosis.cause, *cause, "AADSTS{code}");
        assert!(
            all_text(&diagnosis).contains(piece),
            "AADSTS{code} lacks {piece:?}: {diagnosis:#?}"
        );
        assert!(
            diagnosis
                .evidence
                .iter()
                .any(|line| line.contains(&code.to_string())),
            "the number is evidence"
        );
        assert_sound(&diagnosis);
    }
}

#[test]
fn what_passes_by_itself_is_told_from_what_does_not() {
    for (code, cause, _) in ENTRA {
        let passes = matches!(cause, Cause::RequestLoop | Cause::TokenEndpointBusy);
        assert_eq!(cause.nature() == Nature::Passing, passes, "AADSTS{code}");
    }
}

#[test]
fn the_fix_speaks_of_the_clouds_own_portal_and_scope() {
    let credential = CredentialFacts {
        cloud: Cloud::GccHigh,
        ..application()
    };
    let text = all_text(&entra(&credential, 70_011));
    assert!(
        text.contains("https://outlook.office365.us/.default"),
        "{text}"
    );
    let text = all_text(&entra(&credential, 65_001));
    assert!(
        text.contains("https://portal.azure.us")
            && text.contains("https://login.microsoftonline.us/"),
        "{text}"
    );
}

#[test]
fn a_federated_assertion_is_not_mended_by_a_certificate() {
    let credential = with(Way::Application, Proof::Federated);
    let text = all_text(&entra(&credential, 50_027));
    assert!(text.contains("Federated credentials: issuer"), "{text}");
}

#[test]
fn a_wrong_clock_is_evidence() {
    let credential = with(Way::Application, Proof::Certificate);
    let error = refused("invalid_client", "AADSTS700027", &[700_027]);
    let skewed = Facts {
        skew_s: Some(-900),
        ..facts(&credential, None, None)
    };
    let diagnosis = token(&skewed, &error);
    assert!(
        diagnosis
            .evidence
            .iter()
            .any(|line| line.contains("900 s behind")),
        "{diagnosis:#?}"
    );
}

#[test]
fn google_and_others_have_their_own_errors() {
    let google = with(Way::ServiceAccount, Proof::Certificate);
    let oauth2 = CredentialFacts {
        token_url: Some("https://id.example.org/token".to_owned()),
        ..with(Way::OAuth2, Proof::Secret)
    };
    let identity = CredentialFacts {
        token_url: Some("http://169.254.169.254/metadata/identity/oauth2/token".to_owned()),
        ..with(Way::ManagedIdentity, Proof::Nothing)
    };
    let table = [
        (
            &google,
            "unauthorized_client",
            "Client is unauthorized to retrieve access tokens",
            Cause::GoogleDelegationMissing,
        ),
        (
            &google,
            "access_denied",
            "Requested client not authorized.",
            Cause::GoogleDelegationMissing,
        ),
        (
            &google,
            "invalid_grant",
            "Invalid email or User ID",
            Cause::GoogleUserUnknown,
        ),
        (
            &google,
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values",
            Cause::ClockWrong,
        ),
        (
            &google,
            "invalid_grant",
            "Invalid JWT Signature.",
            Cause::GoogleKeyRejected,
        ),
        (
            &google,
            "invalid_grant",
            "Token has been expired or revoked.",
            Cause::RefreshTokenExpired,
        ),
        (&google, "invalid_scope", "Bad scope", Cause::ScopeInvalid),
        (&oauth2, "invalid_client", "", Cause::ClientRejected),
        (&oauth2, "unauthorized_client", "", Cause::ClientRejected),
        (&oauth2, "invalid_scope", "", Cause::ScopeInvalid),
        (&oauth2, "invalid_grant", "", Cause::RefreshTokenExpired),
        (&oauth2, "odd", "", Cause::TokenRequestRefused),
        (
            &identity,
            "invalid_request",
            "Identity not found",
            Cause::ManagedIdentityMissing,
        ),
    ];
    for (credential, error, description, cause) in table {
        let diagnosis = token(
            &facts(credential, None, None),
            &refused(error, description, &[]),
        );
        assert_eq!(diagnosis.cause, cause, "{error} {description}");
        assert_sound(&diagnosis);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, one row after the other")]
fn what_is_on_the_way_to_the_token_endpoint() {
    let unavailable = |cause| TokenError::Unavailable {
        cause,
        retry_after: None,
    };
    let table = [
        (
            TokenError::Throttled {
                retry_after: Some(Duration::from_secs(60)),
            },
            Cause::TokenEndpointThrottles,
        ),
        (
            unavailable(Unusable::Connect("dns error".to_owned())),
            Cause::TokenEndpointUnreachable,
        ),
        (
            unavailable(Unusable::Connect(
                "invalid peer certificate: UnknownIssuer".to_owned(),
            )),
            Cause::TokenEndpointUnreachable,
        ),
        (
            unavailable(Unusable::Transport("reset".to_owned())),
            Cause::TokenEndpointUnavailable,
        ),
        (
            unavailable(Unusable::Deadline(Duration::from_secs(20))),
            Cause::TokenEndpointTimeout,
        ),
        (
            unavailable(Unusable::Status(503)),
            Cause::TokenEndpointUnavailable,
        ),
        (
            unavailable(Unusable::Status(404)),
            Cause::TokenEndpointWrong,
        ),
        (
            unavailable(Unusable::Status(302)),
            Cause::TokenEndpointWrong,
        ),
        (unavailable(Unusable::Status(407)), Cause::ProxyRefuses),
        (
            unavailable(Unusable::Says("temporarily_unavailable".to_owned())),
            Cause::TokenEndpointUnavailable,
        ),
        (
            unavailable(Unusable::NoIdentityService("refused".to_owned())),
            Cause::ManagedIdentityMissing,
        ),
        (unavailable(Unusable::TooLong), Cause::TokenEndpointWrong),
        (
            TokenError::Malformed { what: "no token" },
            Cause::TokenEndpointWrong,
        ),
        (
            TokenError::Unsent { what: "nothing" },
            Cause::SecretUnreadable,
        ),
    ];
    let credential = application();
    for (error, cause) in table {
        let diagnosis = token(&facts(&credential, None, None), &error);
        assert_eq!(diagnosis.cause, cause, "{error}");
        assert_sound(&diagnosis);
    }
    let text = all_text(&token(
        &facts(&credential, None, None),
        &unavailable(Unusable::Connect(
            "invalid peer certificate: UnknownIssuer".to_owned(),
        )),
    ));
    assert!(text.contains("exempt login.microsoftonline.com"), "{text}");
}

#[test]
fn a_secret_that_is_not_there_is_not_a_wrong_one() {
    let table = [
        (application(), Cause::SecretUnreadable),
        (with(Way::Delegated, Proof::Nothing), Cause::SignInNeeded),
        (
            with(Way::GoogleDelegated, Proof::Secret),
            Cause::SignInNeeded,
        ),
    ];
    for (credential, cause) in table {
        let diagnosis = no_secret(
            &facts(&credential, None, None),
            "secret file x cannot be read",
        );
        assert_eq!(diagnosis.cause, cause);
        assert_sound(&diagnosis);
    }
    let diagnosis = no_secret(
        &facts(&application(), None, None),
        "secret variable X is not set; hint: set the variable",
    );
    assert!(diagnosis.fix[0].ends_with("refers to: set the variable"));
    assert!(!all_text(&diagnosis).contains("hint:"));
}

/// Table rows: what is changed in a good token, and the cause that it is.
#[test]
#[expect(clippy::too_many_lines, reason = "a table, one row after the other")]
fn a_token_that_opens_nothing_is_told_before_any_login() {
    let user = || Claims {
        roles: Vec::new(),
        scp: vec!["IMAP.AccessAsUser.All".to_owned()],
        ..good_claims()
    };
    let app = application();
    let delegated = with(Way::Delegated, Proof::Nothing);
    let v1 = CredentialFacts {
        token_url: Some(format!(
            "https://login.microsoftonline.com/{TENANT}/oauth2/token"
        )),
        ..with(Way::OAuth2, Proof::Secret)
    };
    let no_roles = || Claims {
        roles: Vec::new(),
        ..good_claims()
    };
    let other_roles = Claims {
        roles: vec!["POP.AccessAsApp".to_owned()],
        ..good_claims()
    };
    let graph = Claims {
        aud: vec!["https://graph.microsoft.com".to_owned()],
        ..good_claims()
    };
    let graph_id = Claims {
        aud: vec!["00000003-0000-0000-c000-000000000000".to_owned()],
        ..good_claims()
    };
    let vault = Claims {
        aud: vec!["https://vault.azure.net".to_owned()],
        ..good_claims()
    };
    let old = Claims {
        exp: Some(Wall(NOW.0 - 1)),
        ..good_claims()
    };
    let elsewhere = Claims {
        tid: Some("00000000-0000-0000-0000-000000000001".to_owned()),
        ..good_claims()
    };
    let stranger = Claims {
        appid: Some("00000000-0000-0000-0000-000000000002".to_owned()),
        ..good_claims()
    };
    let send_only = Claims {
        scp: vec!["SMTP.Send".to_owned()],
        ..user()
    };
    let table = [
        (
            &app,
            no_roles(),
            Cause::AppConsentMissing,
            "Office 365 Exchange Online",
        ),
        (
            &app,
            other_roles,
            Cause::AppPermissionMissing,
            "IMAP.AccessAsApp",
        ),
        (
            &app,
            graph,
            Cause::TokenForGraph,
            "https://outlook.office365.com/.default",
        ),
        (
            &app,
            graph_id,
            Cause::TokenForGraph,
            "https://outlook.office365.com/.default",
        ),
        (&app, vault, Cause::TokenForOtherResource, "scope"),
        (&app, old, Cause::TokenExpired, "clock"),
        (&app, elsewhere, Cause::TokenOfOtherTenant, "tenant"),
        (
            &app,
            stranger,
            Cause::TokenOfOtherApplication,
            "gets its token",
        ),
        (
            &app,
            user(),
            Cause::UserTokenForApplication,
            "microsoft-delegated",
        ),
        (
            &v1,
            no_roles(),
            Cause::TokenEndpointV1,
            "/oauth2/v2.0/token",
        ),
        (
            &delegated,
            send_only,
            Cause::DelegatedPermissionMissing,
            "IMAP.AccessAsUser.All",
        ),
        (
            &delegated,
            Claims {
                tid: None,
                ..good_claims()
            },
            Cause::ApplicationTokenForUser,
            "type = \"microsoft\"",
        ),
    ];
    for (credential, claims, cause, piece) in table {
        let diagnosis = super::claims(&facts(credential, None, Some(&claims)))
            .unwrap_or_else(|| panic!("{cause} is not found"));
        assert_eq!(diagnosis.cause, cause, "{diagnosis:#?}");
        assert!(all_text(&diagnosis).contains(piece), "{diagnosis:#?}");
        assert!(
            diagnosis
                .evidence
                .iter()
                .any(|line| line.starts_with("aud = "))
        );
        assert_sound(&diagnosis);
    }
    for (credential, claims) in [(&app, good_claims()), (&delegated, user())] {
        assert_eq!(super::claims(&facts(credential, None, Some(&claims))), None);
    }
}

#[test]
fn a_good_token_is_good_in_every_spelling() {
    let credential = application();
    for aud in [
        "https://outlook.office365.com",
        "https://outlook.office365.com/",
        "https://outlook.office.com",
        "00000002-0000-0ff1-ce00-000000000000",
        "https://outlook.office365.us",
    ] {
        let claims = Claims {
            aud: vec![aud.to_owned()],
            ..good_claims()
        };
        assert_eq!(
            super::claims(&facts(&credential, None, Some(&claims))),
            None,
            "{aud}"
        );
    }
    // A tenant that is configured by its domain cannot be compared with an id.
    let by_domain = CredentialFacts {
        tenant: Some("contoso.onmicrosoft.com".to_owned()),
        ..application()
    };
    let claims = good_claims();
    assert_eq!(super::claims(&facts(&by_domain, None, Some(&claims))), None);
}

#[test]
fn tokens_of_others_than_microsoft_are_not_judged() {
    let claims = Claims::default();
    for way in [Way::ServiceAccount, Way::Password] {
        let credential = with(way, Proof::Secret);
        assert_eq!(
            super::claims(&facts(&credential, None, Some(&claims))),
            None
        );
    }
}
