//! The proofs of a credential as they stand: which gave a token, which are new and not tried yet,
//! which were refused. A new one takes the place of the one before only when it has given a token.

use std::{path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use postrider_core::{
    time::{Monotonic, Wall},
    token::{Purpose, secret_order},
};
use postrider_oauth::{
    authority::AuthorityError,
    certificate::{Algorithm, Certificate},
    client::{GOOGLE_TOKEN_URL, TokenClient},
    proof::Proof,
    service_account::ServiceAccountKey,
};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{
    access::CertificateStatus,
    identity::{Identity, ProofRef, Settings},
};
use crate::{
    config::{CertificateRef, CertificateSource, SignatureAlgorithm},
    secrets::SecretList,
};

/// A secret that was refused while another one works gets its next chance after this time: a new
/// one may not be known everywhere at the provider yet, and the old one's end is near.
const AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// A proof that was read and makes sense.
#[derive(Clone)]
pub(super) enum Ready {
    Proof(Proof, TokenClient),
    /// To be read for every request.
    Federated(PathBuf, TokenClient),
    /// What goes with a refresh token of the vault.
    Client(Option<SecretString>),
    Token(SecretString),
    Command {
        program: PathBuf,
        args: Vec<String>,
    },
}

/// One proof to be tried.
pub(super) struct Try {
    pub(super) id: u64,
    /// Its place in the configuration's list, from 0 (the newest).
    pub(super) index: usize,
    pub(super) what: &'static str,
    pub(super) ready: Ready,
    pub(super) is_new: bool,
}

struct Candidate {
    id: u64,
    index: usize,
    materials: Vec<SecretString>,
    ready: Ready,
    /// When it ends, as it says itself.
    ends: Option<Wall>,
    proven: bool,
    refused_at: Option<Monotonic>,
    /// It was not there when the slot began.
    read_anew: bool,
}

/// A proof that was read anew and has given its first token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proven {
    pub(super) id: u64,
    pub(super) what: &'static str,
    /// Its place in the configuration's list, from 1.
    pub(super) number: usize,
}

pub(super) struct Proofs {
    settings: Settings,
    /// By place in the list, and for one place the newest first.
    candidates: Vec<Candidate>,
    /// What could not be put together, each with its hint.
    problems: Vec<String>,
    ids: u64,
    /// What gave the token in use.
    live: Option<u64>,
    has_begun: bool,
}

impl Proofs {
    pub(super) fn new(settings: &Settings, list: &SecretList) -> Self {
        let mut proofs = Self {
            settings: settings.clone(),
            candidates: Vec::new(),
            problems: Vec::new(),
            ids: 0,
            live: None,
            has_begun: false,
        };
        proofs.take_over(list);
        proofs.has_begun = true;
        proofs
    }

    /// Takes in what was read. What has given a token stays until its successor has.
    pub(super) fn take_over(&mut self, list: &SecretList) {
        self.problems.clear();
        let mut old = std::mem::take(&mut self.candidates);
        let mut at = 0;
        for (index, reference) in self.settings.proofs.clone().iter().enumerate() {
            let count = reference.materials().len();
            let materials: Option<Vec<SecretString>> = (at..at + count)
                .map(|number| list.get(number).cloned())
                .collect();
            at += count;
            let (mut here, rest): (Vec<_>, Vec<_>) =
                old.into_iter().partition(|one| one.index == index);
            old = rest;
            match materials.map(|materials| self.successor(index, reference, materials, &mut here))
            {
                Some(Ok(candidate)) => {
                    self.candidates.push(candidate);
                    here.retain(|one| one.proven);
                }
                Some(Err(problem)) => self.problems.push(format!(
                    "{} number {}: {problem}",
                    reference.what(),
                    index + 1
                )),
                // Its reference cannot be read, which the list tells itself.
                None => {}
            }
            self.candidates.append(&mut here);
        }
    }

    /// The candidate of these materials: one that is known, else a new one.
    fn successor(
        &mut self,
        index: usize,
        reference: &ProofRef,
        materials: Vec<SecretString>,
        here: &mut Vec<Candidate>,
    ) -> Result<Candidate, String> {
        let known = here.iter().position(|one| same(&one.materials, &materials));
        if let Some(known) = known {
            return Ok(here.remove(known));
        }
        let (ready, ends) = ready(&self.settings.identity, reference, &materials)?;
        self.ids += 1;
        Ok(Candidate {
            id: self.ids,
            index,
            materials,
            ready,
            ends,
            proven: false,
            refused_at: None,
            read_anew: self.has_begun,
        })
    }

    /// What to ask with, in order: as listed, but what was refused of late comes last. A probe
    /// tries what was never tried, and nothing else.
    pub(super) fn tries(&self, purpose: Purpose, now: Monotonic) -> Vec<Try> {
        let refused: Vec<_> = self.candidates.iter().map(|one| one.refused_at).collect();
        let order = secret_order(&refused, now, AGAIN_AFTER);
        let all = order.iter().filter_map(|at| self.candidates.get(*at));
        all.filter(|one| match purpose {
            Purpose::Token => true,
            Purpose::Probe => !one.proven && one.refused_at.is_none(),
        })
        .map(|one| Try {
            id: one.id,
            index: one.index,
            what: self.what(one.index),
            ready: one.ready.clone(),
            is_new: !one.proven && one.refused_at.is_none(),
        })
        .collect()
    }

    /// It gave a token: what stood in its place before is not needed any more.
    pub(super) fn granted(&mut self, id: u64) -> Option<Proven> {
        let (index, is_first) = self.find(id).map(|one| {
            let is_first = one.read_anew && !one.proven;
            one.proven = true;
            one.refused_at = None;
            (one.index, is_first)
        })?;
        self.live = Some(id);
        self.candidates
            .retain(|one| one.id == id || one.index != index);
        is_first.then(|| Proven {
            id,
            what: self.what(index),
            number: index + 1,
        })
    }

    /// It is there and has given no token yet.
    pub(super) fn is_unproven(&self, id: u64) -> bool {
        self.candidates
            .iter()
            .any(|one| one.id == id && !one.proven)
    }

    /// The certificates that could be read, by place in the list.
    pub(super) fn certificates(&self) -> Vec<CertificateStatus> {
        let shown = |one: &Candidate| match &one.ready {
            Ready::Proof(Proof::Certificate { certificate, .. }, _) => Some(CertificateStatus {
                index: one.index,
                thumbprint: certificate.portal_thumbprint(),
                subject: certificate.subject().to_owned(),
                ends: certificate.not_after(),
                is_live: Some(one.id) == self.live,
            }),
            Ready::Proof(..)
            | Ready::Federated(..)
            | Ready::Client(_)
            | Ready::Token(_)
            | Ready::Command { .. } => None,
        };
        self.candidates.iter().filter_map(shown).collect()
    }

    fn what(&self, index: usize) -> &'static str {
        let reference = self.settings.proofs.get(index);
        reference.map_or("proof", ProofRef::what)
    }

    pub(super) fn refused(&mut self, id: u64, now: Monotonic) {
        if let Some(one) = self.find(id) {
            one.refused_at = Some(now);
        }
    }

    /// Which place of the list gave the token in use.
    pub(super) fn live_index(&self) -> Option<usize> {
        self.live_candidate().map(|one| one.index)
    }

    pub(super) fn forget_live(&mut self) {
        self.live = None;
    }

    /// When what is in use ends, or what would be tried first.
    pub(super) fn ends(&self) -> Option<Wall> {
        let first = self.candidates.iter().find(|one| one.refused_at.is_none());
        self.live_candidate().or(first).and_then(|one| one.ends)
    }

    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }

    pub(super) fn count(&self) -> usize {
        self.settings.proofs.len()
    }

    fn live_candidate(&self) -> Option<&Candidate> {
        self.candidates.iter().find(|one| Some(one.id) == self.live)
    }

    fn find(&mut self, id: u64) -> Option<&mut Candidate> {
        self.candidates.iter_mut().find(|one| one.id == id)
    }
}

fn same(these: &[SecretString], those: &[SecretString]) -> bool {
    these.len() == those.len()
        && these
            .iter()
            .zip(those)
            .all(|(a, b)| a.expose_secret() == b.expose_secret())
}

/// Puts a proof together. Errors name no content.
fn ready(
    identity: &Identity,
    reference: &ProofRef,
    materials: &[SecretString],
) -> Result<(Ready, Option<Wall>), String> {
    let missing = || "it is not whole".to_owned();
    let first = || materials.first().cloned().ok_or_else(missing);
    let client = || client_of(identity).ok_or_else(missing);
    let ready = match reference {
        ProofRef::Nothing => Ready::Proof(Proof::Nothing, client()?),
        ProofRef::Secret(_) => Ready::Proof(Proof::Secret(first()?), client()?),
        ProofRef::Federated(file) => Ready::Federated(file.clone(), client()?),
        ProofRef::Refresh { .. } => Ready::Proof(
            Proof::RefreshToken {
                token: first()?,
                client_secret: materials.get(1).cloned(),
            },
            client()?,
        ),
        ProofRef::Client(_) => Ready::Client(materials.first().cloned()),
        ProofRef::Token(_) => Ready::Token(first()?),
        ProofRef::Command { program, args } => Ready::Command {
            program: program.clone(),
            args: args.clone(),
        },
        ProofRef::ServiceAccount(_) => account(identity, &first()?)?,
        ProofRef::Certificate(reference) => {
            let certificate = certificate(reference, materials)?;
            let ends = certificate.not_after();
            let proof = Proof::Certificate {
                certificate: Arc::new(certificate),
                algorithm: match reference.algorithm {
                    SignatureAlgorithm::Ps256 => Algorithm::Ps256,
                    SignatureAlgorithm::Rs256 => Algorithm::Rs256,
                },
            };
            return Ok((Ready::Proof(proof, client()?), Some(ends)));
        }
    };
    Ok((ready, None))
}

fn client_of(identity: &Identity) -> Option<TokenClient> {
    match identity {
        Identity::Own(client)
        | Identity::Person { client, .. }
        | Identity::Refreshed(client, _) => Some(client.clone()),
        Identity::User { .. } | Identity::Foreign(..) => None,
    }
}

/// The key names the endpoint, unless the configuration does.
fn account(identity: &Identity, json: &SecretString) -> Result<Ready, String> {
    let key = ServiceAccountKey::from_json(json).map_err(|error| error.to_string())?;
    let (token_url, scope, subject) = match identity {
        Identity::User {
            token_url,
            scope,
            subject,
            accounts: _,
        } => (token_url.as_ref(), scope.as_str(), subject.as_ref()),
        Identity::Own(_)
        | Identity::Person { .. }
        | Identity::Refreshed(..)
        | Identity::Foreign(..) => (None, "", None),
    };
    let default = Url::parse(GOOGLE_TOKEN_URL).ok();
    let url = token_url.or(key.token_uri()).or(default.as_ref());
    let client = url
        .ok_or(AuthorityError::NotHttp)
        .and_then(|url| TokenClient::google(url, scope))
        .map_err(|error| error.to_string())?;
    let proof = Proof::ServiceAccount {
        key: Arc::new(key),
        subject: subject.cloned().unwrap_or_default(),
    };
    Ok(Ready::Proof(proof, client))
}

fn certificate(
    reference: &CertificateRef,
    materials: &[SecretString],
) -> Result<Certificate, String> {
    let bytes = |at: usize| {
        materials
            .get(at)
            .map_or(&b""[..], |one| one.expose_secret().as_bytes())
    };
    let read = match &reference.source {
        CertificateSource::Pem(_) => Certificate::from_pem(bytes(0), bytes(0)),
        CertificateSource::PemAndKey { .. } => Certificate::from_pem(bytes(0), bytes(1)),
        CertificateSource::Pkcs12 { .. } => {
            let file = STANDARD
                .decode(bytes(0))
                .map_err(|_| "it is not whole".to_owned())?;
            let empty = SecretString::from("");
            Certificate::from_pkcs12(&file, materials.get(1).unwrap_or(&empty))
        }
    };
    read.map_err(|error| error.to_string())
}
