//! What an operator can do about a refusal, in one sentence that names the page to open.
//!
//! Advice only: decisions follow `error` (RFC 6749 section 5.2). The exceptions are
//! [`is_transient`] and [`may_settle`], which only make the next try come sooner.

use crate::client::Provider;

mod entra;
mod google;

/// What to do about an AADSTS number, for those that setups and tenants really run into.
pub fn advice(code: u32) -> Option<&'static str> {
    entra::ADVICE
        .iter()
        .find(|(codes, _)| codes.contains(&code))
        .map(|(_, advice)| *advice)
        .or_else(|| is_transient(code).then_some(entra::BUSY))
}

/// Entra is busy or broken for the moment, whatever `error` comes with it.
pub fn is_transient(code: u32) -> bool {
    entra::TRANSIENT.contains(&code)
}

/// For some minutes after a federated credential was registered it is not found everywhere
/// (<https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations>).
pub fn may_settle(code: u32) -> bool {
    code == 70_021
}

/// What to do about an `error` that has no number, or one that is not known.
pub(crate) fn by_error(provider: Provider, error: &str, description: &str) -> &'static str {
    match provider {
        Provider::Microsoft => entra::by_error(error),
        Provider::ManagedIdentity => entra::by_error_of_identity_service(error),
        Provider::Google => google::by_error(error, description),
        Provider::OAuth2 => of_any_endpoint(error),
    }
}

fn of_any_endpoint(error: &str) -> &'static str {
    match error {
        "invalid_client" => {
            "check client_id, client_secret and client_auth (some endpoints want `basic`, some `body`)"
        }
        "invalid_grant" => {
            "the refresh token or code is not valid any more: sign in again with `postrider login`"
        }
        "unauthorized_client" => "the provider does not allow this client this grant: check grant",
        "unsupported_grant_type" => {
            "the endpoint does not offer this grant: check grant and token_url"
        }
        "invalid_scope" => "check scope: the provider does not know it or does not allow it",
        "access_denied" => "the person or a policy declined: sign in again and consent",
        _ => "check token_url, client_id, scope and the secret",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that Microsoft's page lists for what a mail program does
    /// (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>).
    const KNOWN: &[u32] = &[
        7_000_215, 7_000_222, 7_000_218, 700_016, 700_011, 70_001, 7_000_112, 90_002, 90_038,
        900_382, 900_432, 700_027, 50_027, 50_012, 700_030, 700_024, 70_021, 70_011, 28_002,
        28_003, 1_002_012, 700_022, 700_023, 500_011, 650_057, 50_001, 65_001, 90_094, 650_056,
        50_034, 51_004, 50_020, 50_057, 50_076, 50_079, 50_074, 50_072, 50_055, 50_126, 50_053,
        53_003, 53_000, 53_001, 53_002, 530_032, 530_035, 700_082, 70_008, 70_000, 70_043, 50_173,
        54_005, 50_011, 50_194, 9_001_023, 90_130, 50_196, 90_055, 90_024, 90_033, 90_006, 90_012,
        50_033, 50_000, 70_016, 70_018, 70_019, 65_004, 700_211, 700_212, 700_213, 700_025,
    ];

    #[test]
    fn every_known_code_has_advice_of_its_own() {
        for code in KNOWN {
            assert!(
                advice(*code).is_some_and(|advice| advice.len() > 20),
                "AADSTS{code}"
            );
        }
        assert_eq!(advice(1), None);
        for (codes, text) in entra::ADVICE {
            for code in *codes {
                assert_eq!(
                    advice(*code),
                    Some(*text),
                    "AADSTS{code} stands in two rows"
                );
                assert!(KNOWN.contains(code) && !is_transient(*code), "AADSTS{code}");
            }
        }
    }

    #[test]
    fn advice_names_the_page_and_the_permission() {
        let table = [
            (7_000_215, "Certificates & secrets"),
            (7_000_222, "Certificates & secrets"),
            (7_000_218, "Allow public client flows"),
            (65_001, "IMAP.AccessAsApp"),
            (65_001, "Grant admin consent"),
            (500_011, "Office 365 Exchange Online"),
            (7_000_112, "Enterprise applications"),
            (700_027, "Certificates & secrets"),
            (70_021, "Federated credentials"),
            (53_003, "Conditional Access"),
            (50_011, "Authentication"),
            (900_382, "cloud"),
            (70_019, "login"),
        ];
        for (code, page) in table {
            let advice = advice(code).unwrap();
            assert!(advice.contains(page), "AADSTS{code}: {advice}");
        }
    }

    #[test]
    fn each_provider_is_advised_in_its_own_words() {
        let table = [
            (Provider::Microsoft, "invalid_client", "", "client_id"),
            (Provider::Microsoft, "invalid_grant", "", "postrider login"),
            (Provider::Microsoft, "something_new", "", "client_id"),
            (
                Provider::ManagedIdentity,
                "invalid_request",
                "Identity not found",
                "Identity",
            ),
            (
                Provider::Google,
                "unauthorized_client",
                "",
                "Domain-wide delegation",
            ),
            (
                Provider::Google,
                "invalid_grant",
                "Invalid JWT Signature.",
                "Keys",
            ),
            (
                Provider::Google,
                "invalid_grant",
                "Invalid email or User ID",
                "user name",
            ),
            (
                Provider::Google,
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
                "clock",
            ),
            (
                Provider::Google,
                "invalid_grant",
                "Invalid grant: account not found",
                "Service Accounts",
            ),
            (
                Provider::Google,
                "invalid_grant",
                "Token has been expired or revoked.",
                "postrider login",
            ),
            (
                Provider::Google,
                "invalid_scope",
                "",
                "https://mail.google.com/",
            ),
            (
                Provider::Google,
                "admin_policy_enforced",
                "",
                "API controls",
            ),
            (Provider::OAuth2, "invalid_client", "", "basic"),
            (Provider::OAuth2, "something_new", "", "token_url"),
        ];
        for (provider, error, description, part) in table {
            let advice = by_error(provider, error, description);
            assert!(advice.contains(part), "{provider:?} {error}: {advice}");
        }
    }
}
