//! Assertions that postrider signs, judged by PyJWT. The judge is shown to say no as well: each
//! claim is bent alone, and signed again with the right key.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{rand::SystemRandom, rsa::KeyPair, signature::RSA_PSS_SHA256};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use postrider_oauth::{
    certificate::Algorithm, client::TokenClient, proof::Proof, service_account::ServiceAccountKey,
};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{
    endpoint::{Endpoint, LIMIT, SCOPE, ask, http, now},
    pki::Made,
};

const CLIENT: &str = "11111111-2222-3333-4444-555555555555";

/// One verdict per case: `accepted`, or the reason.
fn judge(cases: &[Value]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("../../.venv/bin/python");
    let mut process = Command::new(&python)
        .arg(root.join("tests/it/check_assertion.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "{} cannot be run ({error}); run scripts/install-test-tools.sh",
                python.display()
            )
        });
    let mut input = process.stdin.take().unwrap();
    input
        .write_all(json!(cases).to_string().as_bytes())
        .unwrap();
    drop(input);
    let output = process.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the judge fell over; run scripts/install-test-tools.sh: {complaint}"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What an endpoint expects of the client.
fn case(assertion: &str, made: &Made, audience: &str, algorithm: Algorithm) -> Value {
    json!({
        "kind": "client",
        "assertion": assertion,
        "certificate": made.certificate_pem(),
        "algorithm": algorithm.as_str(),
        "audience": audience,
        "issuer": CLIENT,
        "subject": CLIENT,
    })
}

/// Signed by postrider at a moment that is `age` ago, and the endpoint's URL.
async fn signed(made: &Made, algorithm: Algorithm, age: Duration) -> (String, String) {
    let endpoint = Endpoint::granting().await;
    let client = TokenClient::microsoft(&endpoint.base, "contoso.com", CLIENT, SCOPE).unwrap();
    let proof = Proof::Certificate {
        certificate: made.load(),
        algorithm,
    };
    let at = postrider_core::time::Wall(now().0 - i64::try_from(age.as_millis()).unwrap());
    client.request(&http(), &proof, LIMIT, at).await.unwrap();
    let mut form = endpoint.last().form();
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["client_id"], CLIENT);
    assert_eq!(form["scope"], SCOPE);
    assert_eq!(
        form["client_assertion_type"],
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    assert!(!form.contains_key("client_secret"));
    let assertion = form.remove("client_assertion").unwrap();
    (assertion, client.endpoint().to_string())
}

fn part(assertion: &str, index: usize) -> Value {
    let part = assertion.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Signs as the product does, but whatever it is told.
fn sign(header: &Value, claims: &Value, made: &Made) -> String {
    let key = KeyPair::from_pkcs8(&made.key.serialize_der()).unwrap();
    let mut jwt = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PSS_SHA256,
        &SystemRandom::new(),
        jwt.as_bytes(),
        &mut signature,
    )
    .unwrap();
    jwt.push('.');
    jwt.push_str(&URL_SAFE_NO_PAD.encode(signature));
    jwt
}

#[tokio::test]
async fn an_independent_library_accepts_both_algorithms_and_each_only_as_itself() {
    let made = Made::rsa("reader");
    let (pss, audience) = signed(&made, Algorithm::Ps256, Duration::ZERO).await;
    let (pkcs1, other) = signed(&made, Algorithm::Rs256, Duration::ZERO).await;
    let verdicts = judge(&[
        case(&pss, &made, &audience, Algorithm::Ps256),
        case(&pkcs1, &made, &other, Algorithm::Rs256),
        case(&pss, &made, &audience, Algorithm::Rs256),
        case(&pkcs1, &made, &other, Algorithm::Ps256),
    ]);
    assert_eq!(verdicts[0..2], ["accepted", "accepted"]);
    for verdict in &verdicts[2..] {
        assert!(verdict.starts_with("InvalidAlgorithmError"), "{verdict}");
    }
    assert_eq!(part(&pss, 0)["alg"], "PS256");
    assert!(part(&pss, 0)["x5t"].is_null() && part(&pkcs1, 0)["x5t"].is_string());
    assert_eq!(
        part(&pss, 0)["x5t#S256"],
        made.load().thumbprint_sha256().as_str()
    );
}

#[tokio::test]
async fn each_assertion_has_an_id_of_its_own() {
    let made = Made::rsa("reader");
    let (one, _) = signed(&made, Algorithm::Ps256, Duration::ZERO).await;
    let (other, _) = signed(&made, Algorithm::Ps256, Duration::ZERO).await;
    assert_ne!(part(&one, 1)["jti"], part(&other, 1)["jti"]);
}

#[tokio::test]
async fn an_assertion_is_refused_where_any_claim_is_off() {
    let (made, stranger) = (Made::rsa("reader"), Made::rsa("stranger"));
    let (good, audience) = signed(&made, Algorithm::Ps256, Duration::ZERO).await;
    let (header, claims) = (part(&good, 0), part(&good, 1));
    let bent = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        sign(&header, &claims, &made)
    };
    let hour = 3600;
    let seconds = now().seconds();
    let mut other_thumbprint = header.clone();
    other_thumbprint["x5t#S256"] = json!(stranger.load().thumbprint_sha256());
    let mut other_sha1 = header.clone();
    other_sha1["x5t"] = json!("AAAA");
    let mut missing = claims.clone();
    missing.as_object_mut().unwrap().remove("jti");
    let tampered = {
        let mut parts: Vec<&str> = good.split('.').collect();
        let mut claims = claims.clone();
        claims["sub"] = json!("somebody");
        let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
        parts[1] = &payload;
        parts.join(".")
    };
    let table = [
        (good.clone(), "accepted"),
        (sign(&header, &claims, &made), "accepted"),
        (
            bent("aud", json!(audience.replace("contoso.com", "other.com"))),
            "InvalidAudienceError",
        ),
        (bent("iss", json!("somebody")), "InvalidIssuerError"),
        (bent("sub", json!("somebody")), "InvalidSubjectError"),
        (bent("exp", json!(seconds - hour)), "ExpiredSignatureError"),
        (bent("nbf", json!(seconds + hour)), "ImmatureSignatureError"),
        (
            bent("exp", json!(seconds + hour)),
            "InvalidTokenError: it lives too long",
        ),
        (bent("jti", json!("1")), "InvalidTokenError: jti"),
        (sign(&header, &missing, &made), "MissingRequiredClaimError"),
        (sign(&header, &claims, &stranger), "InvalidSignatureError"),
        (
            sign(&other_thumbprint, &claims, &made),
            "InvalidTokenError: x5t#S256",
        ),
        (
            sign(&other_sha1, &claims, &made),
            "InvalidTokenError: x5t is not",
        ),
        (tampered, "InvalidSignatureError"),
    ];
    let cases: Vec<Value> = table
        .iter()
        .map(|(assertion, _)| case(assertion, &made, &audience, Algorithm::Ps256))
        .collect();
    for ((_, expected), verdict) in table.iter().zip(judge(&cases)) {
        assert!(verdict.starts_with(expected), "{expected}: {verdict}");
    }
}

#[tokio::test]
async fn an_endpoint_that_expects_somebody_else_refuses_what_postrider_signed() {
    let (made, stranger) = (Made::rsa("reader"), Made::rsa("stranger"));
    let (good, audience) = signed(&made, Algorithm::Ps256, Duration::ZERO).await;
    let (old, old_audience) = signed(&made, Algorithm::Ps256, Duration::from_secs(3600)).await;
    let expecting = |name: &str, value: Value| {
        let mut case = case(&good, &made, &audience, Algorithm::Ps256);
        case[name] = value;
        case
    };
    let table = [
        (
            expecting("audience", json!("https://login.example/token")),
            "InvalidAudienceError",
        ),
        (expecting("issuer", json!("other")), "InvalidIssuerError"),
        (expecting("subject", json!("other")), "InvalidSubjectError"),
        (
            expecting("certificate", json!(stranger.certificate_pem())),
            "InvalidTokenError: x5t#S256",
        ),
        (
            case(&old, &made, &old_audience, Algorithm::Ps256),
            "ExpiredSignatureError",
        ),
    ];
    let cases: Vec<Value> = table.iter().map(|(case, _)| case.clone()).collect();
    for ((_, expected), verdict) in table.iter().zip(judge(&cases)) {
        assert!(verdict.starts_with(expected), "{expected}: {verdict}");
    }
}

#[tokio::test]
async fn a_service_accounts_assertion_is_accepted_and_refused_as_it_should_be() {
    let made = Made::rsa("service account");
    let endpoint = Endpoint::granting().await;
    let key = json!({
        "type": "service_account",
        "client_email": "reader@project.iam.gserviceaccount.com",
        "client_id": "1234567890",
        "private_key_id": "key-1",
        "private_key": made.key_pem(),
    });
    let key = ServiceAccountKey::from_json(&SecretString::from(key.to_string())).unwrap();
    let scope = "https://www.googleapis.com/auth/gmail.imap_admin https://mail.google.com/";
    let client = TokenClient::google(&endpoint.url("token"), scope).unwrap();
    let proof = Proof::ServiceAccount {
        key: Arc::new(key),
        subject: "support@example.org".to_owned(),
    };
    ask(&client, &proof).await.unwrap();
    let form = endpoint.last().form();
    assert_eq!(
        form["grant_type"],
        "urn:ietf:params:oauth:grant-type:jwt-bearer"
    );
    let good = json!({
        "kind": "service_account",
        "assertion": form["assertion"],
        "certificate": made.certificate_pem(),
        "key_id": "key-1",
        "algorithm": "RS256",
        "audience": client.endpoint().as_str(),
        "issuer": "reader@project.iam.gserviceaccount.com",
        "subject": "support@example.org",
        "scope": scope,
    });
    let expecting = |name: &str, value: &str| {
        let mut case = good.clone();
        case[name] = json!(value);
        case
    };
    let stranger = Made::rsa("stranger").certificate_pem();
    let table = [
        (good.clone(), "accepted"),
        (
            expecting("audience", "https://a.example"),
            "InvalidAudienceError",
        ),
        (expecting("issuer", "other"), "InvalidIssuerError"),
        (
            expecting("subject", "ceo@example.org"),
            "InvalidSubjectError",
        ),
        (
            expecting("scope", "https://a.example"),
            "InvalidTokenError: scope",
        ),
        (expecting("key_id", "key-2"), "InvalidTokenError: kid"),
        (expecting("algorithm", "PS256"), "InvalidAlgorithmError"),
        (expecting("certificate", &stranger), "InvalidSignatureError"),
    ];
    let cases: Vec<Value> = table.iter().map(|(case, _)| case.clone()).collect();
    for ((_, expected), verdict) in table.iter().zip(judge(&cases)) {
        assert!(verdict.starts_with(expected), "{expected}: {verdict}");
    }
}
