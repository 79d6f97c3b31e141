//! Signed statements (JWT, RFC 7519 and RFC 7523) in which a client or a service account names
//! itself. Each is made for one request and lives some minutes.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use postrider_core::time::Wall;
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use crate::{
    certificate::{Algorithm, Certificate, RsaKey},
    error::TokenError,
    service_account::ServiceAccountKey,
};

/// Microsoft recommends 5 to 10 minutes
/// (<https://learn.microsoft.com/entra/identity-platform/certificate-credentials>).
const CLIENT_SECONDS: i64 = 600;

/// The longest that Google accepts
/// (<https://developers.google.com/identity/protocols/oauth2/service-account#jwt-auth>).
const SERVICE_ACCOUNT_SECONDS: i64 = 3600;

/// `private_key_jwt` with the thumbprint by which the endpoint finds the certificate.
pub(crate) fn of_client(
    certificate: &Certificate,
    algorithm: Algorithm,
    client_id: &str,
    audience: &Url,
    now: Wall,
) -> Result<SecretString, TokenError> {
    let mut header = json!({
        "alg": algorithm.as_str(),
        "typ": "JWT",
        "x5t#S256": certificate.thumbprint_sha256(),
    });
    match algorithm {
        Algorithm::Ps256 => {}
        // Endpoints that want the older algorithm may know the older thumbprint only.
        Algorithm::Rs256 => header["x5t"] = Value::from(certificate.thumbprint_sha1()),
    }
    let now = now.seconds();
    let claims = json!({
        "aud": audience.as_str(),
        "iss": client_id,
        "sub": client_id,
        "jti": Uuid::new_v4().to_string(),
        "nbf": now,
        "iat": now,
        "exp": now.saturating_add(CLIENT_SECONDS),
    });
    signed(&header, &claims, certificate.key(), algorithm)
}

/// A service account that acts for `subject` (domain-wide delegation).
pub(crate) fn of_service_account(
    key: &ServiceAccountKey,
    subject: &str,
    scopes: &str,
    audience: &Url,
    now: Wall,
) -> Result<SecretString, TokenError> {
    let mut header = json!({ "alg": Algorithm::Rs256.as_str(), "typ": "JWT" });
    if let Some(id) = key.key_id() {
        header["kid"] = Value::from(id);
    }
    let now = now.seconds();
    let claims = json!({
        "iss": key.client_email(),
        "sub": subject,
        "scope": scopes,
        "aud": audience.as_str(),
        "iat": now,
        "exp": now.saturating_add(SERVICE_ACCOUNT_SECONDS),
    });
    signed(&header, &claims, key.key(), Algorithm::Rs256)
}

/// JWS compact serialization (RFC 7515 section 7.1).
fn signed(
    header: &Value,
    claims: &Value,
    key: &RsaKey,
    algorithm: Algorithm,
) -> Result<SecretString, TokenError> {
    let mut jwt = URL_SAFE_NO_PAD.encode(header.to_string());
    jwt.push('.');
    URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut jwt);
    let signature = key
        .sign(algorithm, jwt.as_bytes())
        .ok_or(TokenError::Unsent {
            what: "the private key cannot sign",
        })?;
    jwt.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
    Ok(SecretString::from(jwt))
}
