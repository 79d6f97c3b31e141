//! What an operator can do about the error numbers of Microsoft Entra
//! (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>).
//!
//! Advice only: Microsoft says that codes may change, so decisions follow `error`. The one
//! exception is [`is_transient`], which only makes the next try come sooner.

use crate::client::Provider;

/// What to do, for the numbers that setups and tenants really run into.
pub fn advice(code: u32) -> Option<&'static str> {
    Some(match code {
        7_000_215 => {
            "give the secret's Value, not its Secret ID, and check that it is this application's"
        }
        7_000_222 => {
            "the client secret has expired: create a new one and put it first in client_secret"
        }
        7_000_218 => {
            "no secret arrived: configure client_secret, or the application is meant to be a public client"
        }
        700_016 => {
            "no such application in this tenant: check client_id and tenant, and that consent was given there"
        }
        700_011 | 70_001 | 7_000_112 => {
            "the enterprise application is missing or disabled in this tenant: consent to it or enable it"
        }
        90_002 => "no such tenant: check its id or domain, and that authority is the right cloud's",
        90_038 | 900_382 | 900_432 => {
            "the tenant is in another national cloud: set that cloud's authority and scope"
        }
        700_027 => {
            "the assertion's signature is not accepted: upload the certificate to the application, check key and thumbprint, and this machine's clock"
        }
        50_027 | 50_012 | 700_030 => {
            "the assertion is not accepted: check audience, certificate and this machine's clock"
        }
        70_021 => {
            "no federated credential matches: check issuer, subject and audience; a new one takes some minutes"
        }
        70_011 | 28_002 | 28_003 => {
            "the scope is not valid: for Exchange Online it is https://outlook.office365.com/.default"
        }
        1_002_012 => {
            "the scope must end in /.default: for Exchange Online it is https://outlook.office365.com/.default"
        }
        700_022 | 700_023 => "the scope must name exactly one resource",
        500_011 | 650_057 | 50_001 => {
            "the resource of the scope is unknown in this tenant: it has no Exchange Online, or the scope is another cloud's"
        }
        65_001 | 65_004 | 90_094 | 650_056 => {
            "consent is missing: an administrator must grant it to the application"
        }
        50_034 | 51_004 | 50_020 => "the user is not in this tenant: check user and tenant",
        50_057 => "the user is disabled: enable the account",
        50_076 | 50_079 | 50_074 | 50_072 => {
            "a person must sign in with a second factor: a daemon needs application access instead"
        }
        50_055 => "the user's password has expired: set a new one, or use application access",
        50_126 => "wrong user name or password",
        50_053 => {
            "the account is locked, or the address of this machine is blocked: look at the sign-in log"
        }
        53_003 | 53_000..=53_002 | 530_032 | 530_035 => {
            "Conditional Access or security defaults block it: exclude the service principal, or allow this machine's address"
        }
        700_082 | 70_008 | 70_000 => "the refresh token is not valid any more: sign in again",
        50_173 => "the refresh token was revoked: sign in again",
        54_005 => "the code was used before: start the sign-in again",
        50_011 => "the redirect URI is not registered with the application: register it",
        50_194 | 9_001_023 | 90_130 => {
            "this needs the tenant's own name: set tenant to its id or domain instead of common"
        }
        50_196 => "too many equal requests: something else may use the same application in a loop",
        code if is_transient(code) => {
            "nothing to do, the endpoint is busy; postrider tries again by itself"
        }
        _ => return None,
    })
}

/// Entra is busy or broken for the moment, whatever `error` comes with it.
pub fn is_transient(code: u32) -> bool {
    matches!(
        code,
        90_055 | 90_024 | 90_033 | 90_006 | 90_012 | 50_033 | 50_000
    )
}

/// What to do about an `error` without a number that is known, by provider.
pub(crate) fn by_error(provider: Provider, error: &str, _description: &str) -> &'static str {
    match (provider, error) {
        (_, "access_denied") => "the person or a policy declined: sign in again and consent",
        (Provider::Microsoft, "invalid_client") => {
            "check client_id and the secret's value and expiry"
        }
        (Provider::Microsoft, "unauthorized_client") => {
            "check client_id and tenant, and that the application may use client credentials"
        }
        (Provider::Microsoft, "invalid_scope") => {
            "check scope: for Exchange Online it is https://outlook.office365.com/.default"
        }
        _ => "check tenant, client_id, scope and the secret",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_code_has_advice() {
        let listed = [
            7_000_215, 7_000_222, 7_000_218, 700_016, 700_011, 70_001, 7_000_112, 90_002, 90_038,
            900_382, 900_432, 700_027, 50_027, 50_012, 700_030, 70_021, 70_011, 28_002, 28_003,
            1_002_012, 700_022, 700_023, 500_011, 650_057, 50_001, 65_001, 90_094, 650_056, 50_034,
            51_004, 50_020, 50_057, 50_076, 50_079, 50_074, 50_072, 50_055, 50_126, 50_053, 53_003,
            53_000, 53_001, 53_002, 530_032, 530_035, 700_082, 70_008, 70_000, 50_173, 54_005,
            50_011, 50_194, 9_001_023, 90_130, 50_196, 90_055, 90_024, 90_033, 90_006, 90_012,
            50_033, 50_000,
        ];
        for code in listed {
            assert!(
                advice(code).is_some_and(|advice| advice.len() > 20),
                "AADSTS{code}"
            );
        }
        assert_eq!(advice(1), None);
    }
}
