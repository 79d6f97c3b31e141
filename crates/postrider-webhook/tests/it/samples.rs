//! Signed requests for those who write a receiver: what it has to accept and what to refuse, with
//! fixed secrets. The file in the documents is what this makes.

use std::path::Path;

use postrider_webhook::{
    payload,
    sign::Signer,
    verify::{Signed, Verifier},
};
use secrecy::SecretString;
use serde_json::{Value, json};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const KEY: &str = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// 2026-11-23T12:00:00Z
const NOW: i64 = 1_795_435_200;

fn signer(secrets: &[&str]) -> Signer {
    let secrets: Vec<SecretString> = secrets
        .iter()
        .map(|text| SecretString::from(*text))
        .collect();
    Signer::new(&secrets).unwrap()
}

/// What is signed, by which secrets, when, and what it says of itself.
struct Sample {
    name: &'static str,
    accept: bool,
    secrets: &'static [&'static str],
    signed_at: i64,
    told_at: i64,
}

const fn sample(
    name: &'static str,
    accept: bool,
    secrets: &'static [&'static str],
    seconds: i64,
) -> Sample {
    Sample {
        name,
        accept,
        secrets,
        signed_at: NOW + seconds,
        told_at: NOW + seconds,
    }
}

const SAMPLES: [Sample; 8] = [
    sample("signed with the secret", true, &[SECRET], 0),
    sample("four minutes ago", true, &[SECRET], -240),
    sample(
        "signed with a new secret and this one (rotation)",
        true,
        &[NEW, SECRET],
        0,
    ),
    sample("signed with Ed25519", true, &[KEY], 0),
    sample("signed with another secret", false, &[NEW], 0),
    sample("ten minutes ago", false, &[SECRET], -600),
    sample("ten minutes ahead", false, &[SECRET], 600),
    Sample {
        told_at: NOW,
        ..sample(
            "the time is not the one that was signed",
            false,
            &[SECRET],
            -60,
        )
    },
];

fn samples() -> Vec<Value> {
    let body = payload::sample();
    let event: Value = serde_json::from_str(&body).unwrap();
    let id = event["id"].as_str().unwrap();
    let told = |name: &str, accept: bool, signature: String, at: i64, body: &str| {
        json!({
            "name": name, "accept": accept,
            "headers": { "webhook-id": id, "webhook-timestamp": at.to_string(), "webhook-signature": signature },
            "body": body,
        })
    };
    let sign = |secrets: &[&str], at: i64| signer(secrets).header(id, at, body.as_bytes());
    let mut all: Vec<Value> = SAMPLES
        .iter()
        .map(|one| {
            let signature = sign(one.secrets, one.signed_at);
            told(one.name, one.accept, signature, one.told_at, &body)
        })
        .collect();
    let changed = body.replacen("helpdesk", "sales", 1);
    all.push(told(
        "the body was changed",
        false,
        sign(&[SECRET], NOW),
        NOW,
        &changed,
    ));
    all.push(told("no signature", false, String::new(), NOW, &body));
    all
}

fn document() -> String {
    let key = signer(&[KEY]).public_keys().remove(0);
    let samples: Vec<String> = samples().iter().map(|one| format!("    {one}")).collect();
    format!(
        "{{\n  \"about\": \"Requests as postrider makes them, for trying a receiver. Compare times with `now`. These secrets are public.\",\n  \
         \"now\": {NOW},\n  \"secret\": \"{SECRET}\",\n  \"public_key\": \"{key}\",\n  \"samples\": [\n{}\n  ]\n}}\n",
        samples.join(",\n")
    )
}

#[test]
fn the_signed_samples_in_the_documents_are_what_the_code_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/samples/signed.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, document()).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == document(),
        "docs/samples/signed.json differs; hint: run the test with UPDATE=1"
    );
}

#[test]
fn a_receiver_that_follows_the_rules_tells_the_samples_apart() {
    let document: Value = serde_json::from_str(&document()).unwrap();
    let secrets = [SECRET, KEY].map(SecretString::from);
    let verifier = Verifier::new(&secrets).unwrap();
    let theirs = standardwebhooks::Webhook::new(SECRET).unwrap();
    for sample in document["samples"].as_array().unwrap() {
        let header = |name: &str| sample["headers"][name].as_str();
        let signed = Signed {
            id: header("webhook-id"),
            timestamp: header("webhook-timestamp"),
            signature: header("webhook-signature"),
        };
        let body = sample["body"].as_str().unwrap();
        let accepted = verifier.verify(&signed, body.as_bytes(), NOW).is_ok();
        assert_eq!(
            accepted,
            sample["accept"].as_bool().unwrap(),
            "{}",
            sample["name"]
        );
        // The library signs as we do, whatever the time is now.
        let at: i64 = signed.timestamp.unwrap().parse().unwrap();
        let right = theirs
            .sign(signed.id.unwrap(), at, body.as_bytes())
            .unwrap();
        let shared = signed.signature.unwrap().split(' ').any(|one| one == right);
        let with_key = signed.signature.unwrap().starts_with("v1a,");
        let timely = (at - NOW).abs() <= 300;
        assert_eq!(
            (shared || with_key) && timely,
            accepted,
            "{}",
            sample["name"]
        );
    }
}
