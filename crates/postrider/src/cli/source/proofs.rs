//! What a credential asks with, read once, newest first.

use std::{path::Path, sync::Arc};

use postrider_oauth::{
    certificate::{Algorithm, Certificate},
    proof::Proof,
    service_account::ServiceAccountKey,
};
use secrecy::{ExposeSecret, SecretString};

use super::super::{
    direct,
    failure::{Exit, Failure},
};
use crate::{
    config::{
        CertificateRef, CertificateSource, Config, Credential, CredentialKind, Environment,
        MicrosoftProof, OAuth2Grant, RefreshFrom, SecretError, SecretRef, SignatureAlgorithm,
    },
    secrets,
};

/// What is asked with, and what people call it.
pub(super) struct Labelled {
    pub(super) proof: Proof,
    pub(super) label: String,
}

pub(super) fn of(
    config: &Config,
    credential: &Credential,
    user: Option<&str>,
) -> Result<Vec<Labelled>, Failure> {
    match &credential.kind {
        CredentialKind::Microsoft(ours) => match &ours.proof {
            MicrosoftProof::Secrets(references) => each(references, "client secret", |secret| {
                Ok(Proof::Secret(secret))
            }),
            MicrosoftProof::Certificates(references) => certificates(references),
            MicrosoftProof::FederatedToken(path) => {
                let reference = [SecretRef::File(path.clone())];
                each(&reference, "federated token", |token| {
                    Ok(Proof::Assertion(token))
                })
            }
        },
        CredentialKind::ManagedIdentity(_) => Ok(vec![Labelled {
            proof: Proof::Nothing,
            label: "managed identity".to_owned(),
        }]),
        CredentialKind::Google(ours) => each(&ours.service_account, "service account", |json| {
            let key = ServiceAccountKey::from_json(&json).map_err(|error| error.to_string())?;
            Ok(Proof::ServiceAccount {
                key: Arc::new(key),
                subject: user.unwrap_or_default().to_owned(),
            })
        }),
        CredentialKind::MicrosoftDelegated(ours) => {
            signed_in(config, credential, &ours.client_secret)
        }
        CredentialKind::GoogleDelegated(ours) => signed_in(config, credential, &ours.client_secret),
        CredentialKind::OAuth2(ours) => match &ours.grant {
            OAuth2Grant::ClientCredentials => {
                each(&ours.client_secret, "client secret", |secret| {
                    Ok(Proof::Secret(secret))
                })
            }
            OAuth2Grant::RefreshToken(RefreshFrom::Vault) => {
                signed_in(config, credential, &ours.client_secret)
            }
            OAuth2Grant::RefreshToken(RefreshFrom::Secrets(references)) => {
                let client_secret = newest(&ours.client_secret)?;
                each(references, "refresh token", |token| {
                    Ok(Proof::RefreshToken {
                        token,
                        client_secret: client_secret.clone(),
                    })
                })
            }
        },
        CredentialKind::Password { .. } | CredentialKind::Token(_) => {
            Err(direct::no_token(credential))
        }
    }
}

/// The first of a list that can be read; `None` for an empty list.
pub(in crate::cli) fn newest(references: &[SecretRef]) -> Result<Option<SecretString>, Failure> {
    let environment = Environment::of_process();
    let mut problem = None;
    for reference in references {
        match reference.read(&environment) {
            Ok(secret) => return Ok(Some(secret)),
            Err(error) => {
                problem.get_or_insert(error);
            }
        }
    }
    problem.map_or(Ok(None), |error| Err(unreadable(&error)))
}

/// One that cannot be read is passed over where another one can.
fn each(
    references: &[SecretRef],
    what: &str,
    proof: impl Fn(SecretString) -> Result<Proof, String>,
) -> Result<Vec<Labelled>, Failure> {
    let environment = Environment::of_process();
    let read = references.iter().map(|reference| {
        let secret = reference
            .read(&environment)
            .map_err(|error| unreadable(&error))?;
        proof(secret).map_err(|error| Failure::new(Exit::Config, format!("{reference}: {error}")))
    });
    usable(read, references.len(), what)
}

fn usable(
    proofs: impl Iterator<Item = Result<Proof, Failure>>,
    number: usize,
    what: &str,
) -> Result<Vec<Labelled>, Failure> {
    let mut good = Vec::new();
    let mut problem = None;
    for (index, proof) in proofs.enumerate() {
        let label = match number {
            1 => what.to_owned(),
            number => format!("{what} {} of {number}", index + 1),
        };
        match proof {
            Ok(proof) => good.push(Labelled { proof, label }),
            Err(failure) => {
                problem.get_or_insert(failure);
            }
        }
    }
    match (good.is_empty(), problem) {
        (true, Some(failure)) => Err(failure),
        (true, None) | (false, _) => Ok(good),
    }
}

fn certificates(references: &[CertificateRef]) -> Result<Vec<Labelled>, Failure> {
    let read = references.iter().map(|reference| {
        let algorithm = match reference.algorithm {
            SignatureAlgorithm::Ps256 => Algorithm::Ps256,
            SignatureAlgorithm::Rs256 => Algorithm::Rs256,
        };
        let certificate = Arc::new(certificate(&reference.source)?);
        Ok(Proof::Certificate {
            certificate,
            algorithm,
        })
    });
    usable(read, references.len(), "certificate")
}

fn certificate(source: &CertificateSource) -> Result<Certificate, Failure> {
    let environment = Environment::of_process();
    let secret = |reference: &SecretRef| {
        reference
            .read(&environment)
            .map_err(|error| unreadable(&error))
    };
    let (file, read) = match source {
        CertificateSource::Pem(file) => {
            let bytes = bytes(file)?;
            (file, Certificate::from_pem(&bytes, &bytes))
        }
        CertificateSource::PemAndKey { certificate, key } => {
            let key = secret(key)?;
            let pem = bytes(certificate)?;
            (
                certificate,
                Certificate::from_pem(&pem, key.expose_secret().as_bytes()),
            )
        }
        CertificateSource::Pkcs12 { file, password } => {
            let password = match password {
                Some(password) => secret(password)?,
                None => SecretString::from(""),
            };
            (file, Certificate::from_pkcs12(&bytes(file)?, &password))
        }
    };
    read.map_err(|error| Failure::new(Exit::Config, format!("{}: {error}", file.display())))
}

fn bytes(file: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure> {
    std::fs::read(file)
        .map(zeroize::Zeroizing::new)
        .map_err(|error| {
            Failure::new(
                Exit::Config,
                format!("{} cannot be read: {error}", file.display()),
            )
            .hint("the file must exist and be readable by the user that runs postrider")
        })
}

/// The refresh tokens of the vault, each with the newest client secret where there is one.
fn signed_in(
    config: &Config,
    credential: &Credential,
    client_secret: &[SecretRef],
) -> Result<Vec<Labelled>, Failure> {
    let Some(stored) = direct::vault(config).load(&credential.key)? else {
        let error = format!("nobody has signed in for credential `{}`", credential.key);
        let hint = format!("postrider login {}", credential.key);
        return Err(Failure::new(Exit::Failed, error).hint(hint));
    };
    let client_secret = newest(client_secret)?;
    let who = match &stored.account {
        Some(account) => format!(" of {account}"),
        None => String::new(),
    };
    let proofs = stored
        .candidates()
        .enumerate()
        .map(|(index, token)| Labelled {
            proof: Proof::RefreshToken {
                token: token.clone(),
                client_secret: client_secret.clone(),
            },
            label: match index {
                0 => format!("refresh token{who}"),
                _ => format!("refresh token{who}, the one before"),
            },
        });
    Ok(proofs.collect())
}

fn unreadable(error: &SecretError) -> Failure {
    Failure::new(Exit::Config, error.to_string()).hint(secrets::hint(error))
}
