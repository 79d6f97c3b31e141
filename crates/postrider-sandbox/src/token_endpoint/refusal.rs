//! Why a request is refused, before it is known how the provider words it.

use serde_json::{Value, json};

use super::{
    aadsts::{self, Names},
    ask::Ask,
    config::RefreshEnd,
    desk::Denied,
};

pub(super) enum Refusal {
    /// By number, with the catalogue's words or others.
    Aadsts {
        code: u32,
        words: Option<String>,
        error: Option<&'static str>,
    },
    /// RFC 6749 section 5.2.
    OAuth {
        status: u16,
        error: &'static str,
        description: String,
    },
    /// To a browser.
    Page {
        status: u16,
        text: String,
    },
    NotThere,
}

impl Refusal {
    pub(super) fn aadsts(code: u32) -> Self {
        Self::Aadsts {
            code,
            words: None,
            error: None,
        }
    }

    pub(super) fn says(code: u32, words: &str) -> Self {
        Self::Aadsts {
            code,
            words: Some(words.to_owned()),
            error: None,
        }
    }

    pub(super) fn missing(parameter: &str) -> Self {
        let words =
            format!("The request body must contain the following parameter: '{parameter}'.");
        Self::says(900_144, &words)
    }

    pub(super) fn oauth(status: u16, error: &'static str, description: &str) -> Self {
        Self::OAuth {
            status,
            error,
            description: description.to_owned(),
        }
    }

    /// As Entra words what its desk says.
    pub(super) fn entra(denied: Denied) -> Self {
        let code = match denied {
            Denied::Pending => 70_016,
            Denied::SlowDown => {
                return Self::oauth(400, "slow_down", "polled before the interval was over");
            }
            Denied::Declined => {
                return Self::Aadsts {
                    code: 65_004,
                    words: None,
                    error: Some("authorization_declined"),
                };
            }
            Denied::Expired => 70_019,
            Denied::BadDeviceCode => 70_018,
            Denied::BadCode | Denied::BadRefreshToken => 70_000,
            Denied::CodeUsed => 54_005,
            Denied::CodeExpired => 70_008,
            Denied::WrongRedirect => 500_112,
            Denied::WrongVerifier => 501_481,
            Denied::RefreshEnded(RefreshEnd::Revoked) => 50_173,
            Denied::RefreshEnded(RefreshEnd::Idle) => 700_082,
            Denied::RefreshEnded(RefreshEnd::SecondFactor) => 50_076,
            Denied::RefreshEnded(RefreshEnd::SignInFrequency) => 70_043,
        };
        Self::aadsts(code)
    }

    /// As RFC 6749 and RFC 8628 word it.
    pub(super) fn plain(denied: Denied) -> Self {
        let (error, description) = match denied {
            Denied::Pending => ("authorization_pending", "the user has not decided yet"),
            Denied::SlowDown => ("slow_down", "polled before the interval was over"),
            Denied::Declined => ("access_denied", "the user declined"),
            Denied::Expired => ("expired_token", "the device code has expired"),
            Denied::BadDeviceCode => ("invalid_grant", "no such device code"),
            Denied::BadCode => ("invalid_grant", "no such code"),
            Denied::CodeUsed => ("invalid_grant", "the code was used before"),
            Denied::CodeExpired => ("invalid_grant", "the code has expired"),
            Denied::WrongRedirect => ("invalid_grant", "the redirect_uri is another one"),
            Denied::WrongVerifier => ("invalid_grant", "the code_verifier does not match"),
            Denied::BadRefreshToken | Denied::RefreshEnded(_) => {
                ("invalid_grant", "Token has been expired or revoked.")
            }
        };
        Self::oauth(400, error, description)
    }

    /// The status and the body; a body that is no JSON is a web page.
    pub(super) fn answer(&self, ask: &Ask, names: &Names<'_>) -> (u16, Result<Value, String>) {
        match self {
            Self::Aadsts { code, words, error } => {
                let correlation = ask.header("client-request-id");
                let (status, body) =
                    aadsts::answer(*code, words.as_deref(), *error, names, correlation);
                (status, Ok(body))
            }
            Self::OAuth {
                status,
                error,
                description,
            } => {
                let body = json!({"error": error, "error_description": description});
                (*status, Ok(body))
            }
            Self::Page { status, text } => {
                let page = format!("<!DOCTYPE html><html><body><p>{text}</p></body></html>");
                (*status, Err(page))
            }
            Self::NotThere => (404, Err(String::new())),
        }
    }
}
