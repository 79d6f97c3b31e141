//! Entra's refusals: number, HTTP status, `error` and text, written as the real endpoint writes them
//! (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>).

use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// What the texts are filled with.
pub(super) struct Names<'a> {
    pub(super) app: &'a str,
    pub(super) tenant: &'a str,
    pub(super) resource: &'a str,
    pub(super) user: &'a str,
}

/// A refusal as it stands in the catalogue.
struct Entry {
    code: u32,
    status: u16,
    error: &'static str,
    suberror: Option<&'static str>,
    text: &'static str,
}

/// The body and status of a refusal; `words` replaces the catalogue's text.
pub(super) fn answer(
    code: u32,
    words: Option<&str>,
    error: Option<&str>,
    names: &Names<'_>,
    correlation_id: Option<&str>,
) -> (u16, Value) {
    let entry = entry(code);
    let text = words.map_or_else(|| fill(entry.text, names), str::to_owned);
    let trace_id = guid();
    let correlation_id = correlation_id.map_or_else(guid, str::to_owned);
    let now = timestamp(OffsetDateTime::now_utc());
    let mut body = json!({
        "error": error.unwrap_or(entry.error),
        "error_description": format!(
            "AADSTS{code}: {text}\r\nTrace ID: {trace_id}\r\nCorrelation ID: {correlation_id}\r\n\
             Timestamp: {now}"
        ),
        "error_codes": [code],
        "timestamp": now,
        "trace_id": trace_id,
        "correlation_id": correlation_id,
        "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
    });
    if let Some(suberror) = entry.suberror {
        body["suberror"] = suberror.into();
    }
    if matches!(code, 50_076 | 50_079 | 53_000..=53_003) {
        let claims = json!({"access_token": {"capolids": {"essential": true, "values": [guid()]}}});
        body["claims"] = claims.to_string().into();
    }
    (entry.status, body)
}

/// The catalogue's text alone, for a page or a redirect.
pub(super) fn text(code: u32, names: &Names<'_>) -> String {
    format!("AADSTS{code}: {}", fill(entry(code).text, names))
}

fn fill(text: &str, names: &Names<'_>) -> String {
    text.replace("{app}", names.app)
        .replace("{tenant}", names.tenant)
        .replace("{resource}", names.resource)
        .replace("{user}", names.user)
}

pub(super) fn guid() -> String {
    let bytes: [u8; 16] = rand::random();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

const TIMESTAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");

pub(super) fn timestamp(at: OffsetDateTime) -> String {
    at.format(TIMESTAMP).unwrap_or_default()
}

fn entry(code: u32) -> &'static Entry {
    let found = CATALOGUE.iter().find(|entry| entry.code == code);
    found.unwrap_or(&UNKNOWN)
}

const fn say(code: u32, error: &'static str, text: &'static str) -> Entry {
    Entry {
        code,
        status: if matches!(error.as_bytes(), b"invalid_client") {
            401
        } else {
            400
        },
        error,
        suberror: None,
        text,
    }
}

const fn sub(code: u32, suberror: &'static str, text: &'static str) -> Entry {
    Entry {
        suberror: Some(suberror),
        ..say(code, GRANT, text)
    }
}

const CLIENT: &str = "invalid_client";
const GRANT: &str = "invalid_grant";
const REQUEST: &str = "invalid_request";
const RESOURCE: &str = "invalid_resource";
const SCOPE: &str = "invalid_scope";
const UNAUTHORIZED: &str = "unauthorized_client";
const BUSY: &str = "temporarily_unavailable";

const UNKNOWN: Entry = say(0, REQUEST, "An error occurred.");

#[rustfmt::skip]
const CATALOGUE: &[Entry] = &[
    // the secret, the certificate, the assertion
    say(7_000_215, CLIENT, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{app}'."),
    say(7_000_222, CLIENT, "The provided client secret keys for app '{app}' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds."),
    say(7_000_218, CLIENT, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."),
    say(700_025, CLIENT, "Client is public so neither 'client_assertion' nor 'client_secret' should be presented."),
    say(700_027, CLIENT, "Client assertion contains an invalid signature. [Reason - The key was not found.]"),
    say(700_024, CLIENT, "Client assertion is not within its valid time range."),
    say(700_030, CLIENT, "Invalid certificate - subject name in certificate is not authorized. SubjectNames/SubjectAlternativeNames (up to 10) in token certificate are: 'unknown'."),
    say(50_012, CLIENT, "Authentication failed."),
    say(50_013, GRANT, "Assertion failed signature validation. [Reason - The key was not found.]"),
    say(50_027, REQUEST, "JWT token is invalid or malformed."),
    say(70_021, REQUEST, "No matching federated identity record found for presented assertion. Please check your federated identity credential Subject, Audience and Issuer against the presented assertion."),
    // the application, the tenant, the cloud
    say(700_016, UNAUTHORIZED, "Application with identifier '{app}' was not found in the directory '{tenant}'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."),
    say(700_011, UNAUTHORIZED, "Application with identifier '{app}' was not found in the directory."),
    say(70_001, UNAUTHORIZED, "The application named '{app}' was not found in the tenant named '{tenant}'."),
    say(7_000_112, UNAUTHORIZED, "Application '{app}'(sandbox) is disabled."),
    say(90_002, REQUEST, "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant."),
    say(90_038, REQUEST, "Confidential Client is not supported in Cross Cloud request. Tenant '{tenant}' is in another national cloud."),
    say(900_382, REQUEST, "Confidential Client is not supported in Cross Cloud request."),
    say(900_432, REQUEST, "Confidential Client is not supported in Cross Cloud request."),
    say(50_194, REQUEST, "Application '{app}'(sandbox) is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such apps created after '10/15/2018'. Use a tenant-specific endpoint or configure the application to be multi-tenant."),
    say(9_001_023, REQUEST, "The grant type is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint."),
    say(90_130, REQUEST, "Application '{app}' (sandbox) is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint."),
    // the request, the scope, the resource
    say(900_144, REQUEST, "The request body must contain the following parameter: 'grant_type'."),
    say(900_561, REQUEST, "The endpoint only accepts POST requests. Received a GET request."),
    say(9_000_411, REQUEST, "The request is not properly formatted. A parameter is duplicated."),
    say(70_003, "unsupported_grant_type", "The app requested an unsupported grant type."),
    say(70_011, SCOPE, "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope {resource} is not valid."),
    say(28_002, SCOPE, "The provided value for the input parameter scope '{resource}' isn't valid when requesting an access token. Specify a valid scope."),
    say(28_003, SCOPE, "The provided value for the input parameter scope can't be empty when requesting an access token using the provided authorization code. Specify a valid scope."),
    say(1_002_012, SCOPE, "The provided value for scope {resource} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."),
    say(700_022, SCOPE, "The provided value for the input parameter scope isn't valid because it contains more than one resource."),
    say(700_023, SCOPE, "The provided value for the input parameter scope isn't valid because it doesn't contain any resource."),
    say(500_011, RESOURCE, "The resource principal named {resource} was not found in the tenant named {tenant}. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant."),
    say(650_057, RESOURCE, "Invalid resource. The client has requested access to a resource which is not listed in the requested permissions in the client's application registration. Client app ID: {app}."),
    say(50_001, RESOURCE, "The resource principal named {resource} was not found in the tenant named {tenant}."),
    sub(65_001, "consent_required", "The user or administrator has not consented to use the application with ID '{app}' named 'sandbox'. Send an interactive authorization request for this user and resource."),
    say(65_004, "access_denied", "User declined to consent to access the app."),
    say(90_094, "consent_required", "An administrator of {tenant} has set a policy that prevents you from granting sandbox the permissions it is requesting. Contact an administrator of {tenant}, who can grant permissions to this app on your behalf."),
    say(650_056, UNAUTHORIZED, "Misconfigured application. This could be due to one of the following: the client has not listed any permissions for the resource in the requested permissions in the client's application registration. Or, the admin has not consented in the tenant."),
    // the user
    say(50_034, GRANT, "The user account {user} does not exist in the {tenant} directory. To sign into this application, the account must be added to the directory."),
    say(51_004, GRANT, "The user account {user} does not exist in the {tenant} directory."),
    say(50_020, GRANT, "User account '{user}' from identity provider 'live.com' does not exist in tenant '{tenant}' and cannot access the application '{app}'(sandbox) in that tenant."),
    say(50_057, GRANT, "The user account is disabled."),
    sub(50_076, "basic_action", "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access '{resource}'."),
    sub(50_079, "basic_action", "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication to access '{resource}'."),
    sub(50_074, "basic_action", "Strong Authentication is required."),
    sub(50_072, "basic_action", "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication to access '{resource}'."),
    sub(50_055, "user_password_expired", "The password is expired."),
    say(50_126, GRANT, "Error validating credentials due to invalid username or password."),
    say(50_053, GRANT, "The account is locked, you've tried to sign in too many times with an incorrect user ID or password."),
    sub(53_000, "additional_action", "Your device is required to be managed to access this resource."),
    sub(53_001, "additional_action", "Device is not in required device state: domain_joined. Conditional Access policy requires a domain joined device, and the device is not domain joined."),
    sub(53_002, "additional_action", "Application used is not an approved application for Conditional Access."),
    sub(53_003, "message_only", "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance."),
    sub(530_032, "message_only", "Access has been blocked by security policy."),
    sub(530_035, "message_only", "Access has been blocked by security defaults."),
    // sign-in, codes, refresh tokens
    sub(700_082, "bad_token", "The refresh token has expired due to inactivity. The token was issued on 2026-01-01T00:00:00.0000000Z and was inactive for 90.00:00:00."),
    say(70_008, GRANT, "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource."),
    say(70_000, GRANT, "Provided grant is invalid or malformed."),
    sub(70_043, "bad_token", "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access."),
    sub(50_173, "bad_token", "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password."),
    say(54_005, GRANT, "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token."),
    say(50_011, REQUEST, "The redirect URI '{resource}' specified in the request does not match the redirect URIs configured for the application '{app}'. Make sure the redirect URI sent in the request matches one added to your application in the Azure portal."),
    say(500_112, REQUEST, "The reply address does not match the reply address provided when requesting Authorization code."),
    say(501_481, GRANT, "The Code_Verifier does not match the code_challenge supplied in the authorization request."),
    say(9_002_325, REQUEST, "Proof Key for Code Exchange is required for cross-origin authorization code redemption."),
    say(70_016, "authorization_pending", "OAuth 2.0 device flow error. Authorization is pending. Continue polling."),
    say(70_018, "bad_verification_code", "Invalid verification code due to user typing in wrong user code for device code flow."),
    say(70_019, "expired_token", "Verification code expired."),
    // trouble of its own
    say(50_196, GRANT, "The server terminated an operation because it encountered a loop while processing a request."),
    say(90_055, BUSY, "There are too many incoming requests. Please try again later."),
    say(90_024, BUSY, "Request budget exceeded. A transient error has occurred. Please try again."),
    say(90_033, BUSY, "A transient error has occurred. Please try again."),
    say(90_006, BUSY, "External server request is not retryable. A transient error has occurred."),
    say(90_012, BUSY, "Timeout occurred for the request. Please try again."),
    say(50_033, BUSY, "A transient error has occurred. Please try again."),
    say(50_000, "server_error", "There was an error issuing a token or an issue with our sign-in service."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_stands_in_the_catalogue_once() {
        let mut codes: Vec<u32> = CATALOGUE.iter().map(|entry| entry.code).collect();
        codes.sort_unstable();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
        assert_eq!(entry(700_016).error, UNAUTHORIZED);
        assert_eq!(entry(7_000_215).status, 401);
    }
}
