//! Google's errors
//! (<https://developers.google.com/identity/protocols/oauth2/service-account#error-codes>,
//! <https://developers.google.com/identity/protocols/oauth2/native-app>). One `invalid_grant` stands
//! for many things there, which its description alone tells apart.

const DELEGATION: &str = "the service account may not act for this user: in the Google Admin console, Security > Access and data control > API controls > Domain-wide delegation, add the service account's client ID (the number `client_id` in its key file) with exactly the configured scope (https://mail.google.com/ or https://www.googleapis.com/auth/gmail.imap_admin); it takes minutes, at worst a day";

pub(super) fn by_error(error: &str, description: &str) -> &'static str {
    match error {
        "unauthorized_client" => DELEGATION,
        "access_denied" => {
            "the person or a policy declined; for a service account: the scope is not authorised under Security > API controls > Domain-wide delegation"
        }
        "invalid_grant" => by_description(description),
        "invalid_client" | "deleted_client" | "disabled_client" => {
            "check client_id and client_secret: Google Cloud console > APIs & Services > Credentials, an OAuth client of type Desktop app"
        }
        "invalid_scope" => {
            "check scope: for IMAP it is https://mail.google.com/; Google offers it in the browser sign-in, not with a device code"
        }
        "admin_policy_enforced" | "org_internal" | "access_not_configured" => {
            "the organisation does not allow this application: Google Admin console, Security > Access and data control > API controls > App access control"
        }
        "redirect_uri_mismatch" => {
            "the OAuth client must be of type Desktop app: Google Cloud console > APIs & Services > Credentials"
        }
        _ => {
            "check scope and the key: Google Cloud console > IAM & Admin > Service Accounts, or APIs & Services > Credentials"
        }
    }
}

fn by_description(description: &str) -> &'static str {
    let description = description.to_ascii_lowercase();
    let says = |part: &str| description.contains(part);
    if says("jwt signature") {
        "the key is not the service account's any more: create a new one (Google Cloud console > IAM & Admin > Service Accounts > Keys)"
    } else if says("timeframe") || says("short-lived") || says("iat") {
        "the assertion is outside its time: set this machine's clock"
    } else if says("account not found") {
        "the service account is gone: Google Cloud console > IAM & Admin > Service Accounts"
    } else if says("user id") || says("impersonation") || says("sub field") {
        "no such user in this Workspace: check the mailbox's user name, which must be a user's primary address"
    } else {
        "the refresh token was revoked or has expired: sign in again with `postrider login`; an application in publishing status Testing loses its sign-ins after 7 days (Google Cloud console > Google Auth Platform > Audience)"
    }
}
