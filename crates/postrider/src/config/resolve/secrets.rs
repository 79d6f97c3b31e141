//! References to secrets: well formed, and as far as this machine shows, there and not public.

use std::{os::unix::fs::PermissionsExt, path::Path};

use super::Findings;
use crate::config::{
    model::SecretRef,
    raw::{self, SecretRefs},
    secret::SecretError,
};

/// The references of a key, the newest first; empty where something is wrong, which is told.
pub(super) fn references(
    path: &str,
    written: Option<&SecretRefs>,
    findings: &mut Findings<'_>,
) -> Vec<SecretRef> {
    let list: &[raw::SecretRef] = match written {
        None => {
            let hint = "write { file = \"/run/secrets/NAME\" }, { env = \"NAME\" } or { credential = \"NAME\" }";
            findings.missing(path, hint);
            return Vec::new();
        }
        Some(SecretRefs::One(one)) => std::slice::from_ref(one),
        Some(SecretRefs::Many(many)) if many.is_empty() => {
            findings.error(path, format!("`{path}` is an empty list"), "");
            &[]
        }
        Some(SecretRefs::Many(many)) => many,
    };
    list.iter()
        .filter_map(|one| reference(path, one, findings))
        .collect()
}

/// One reference of a key that takes no list.
pub(super) fn one(
    path: &str,
    written: &raw::OneSecretRef,
    findings: &mut Findings<'_>,
) -> Option<SecretRef> {
    reference(path, &written.0, findings)
}

fn reference(path: &str, one: &raw::SecretRef, findings: &mut Findings<'_>) -> Option<SecretRef> {
    let reference = match (&one.file, &one.env, &one.credential) {
        (Some(file), None, None) => SecretRef::File(findings.path(file)),
        (None, Some(name), None) => SecretRef::Env(name.clone()),
        (None, None, Some(name)) if !name.contains('/') && !name.is_empty() => {
            SecretRef::Credential(name.clone())
        }
        (None, None, Some(_)) => {
            let what = format!("`{path}`: a systemd credential has a name, not a path");
            findings.error(path, what, "write the name that stands in LoadCredential=");
            return None;
        }
        _ if findings.is_spoiled(path) => return None,
        _ => {
            let what =
                format!("`{path}` has to name exactly one of `file`, `env` and `credential`");
            findings.error(path, what, "several secrets are a list: [{ … }, { … }]");
            return None;
        }
    };
    look(path, &reference, findings);
    Some(reference)
}

/// What can be seen from here. The service may see more (another user, systemd credentials), so
/// nothing of it is an error.
fn look(path: &str, reference: &SecretRef, findings: &mut Findings<'_>) {
    match reference.read(findings.environment) {
        Ok(_) | Err(SecretError::NoCredentials(_)) => {}
        Err(error) => findings.warn(path, format!("`{path}`: {error}"), ""),
    }
    if let Ok(Some(file)) = reference.file(findings.environment) {
        look_at_mode(path, &file, findings);
    }
}

/// A file that holds a secret is not for everybody.
pub(super) fn look_at_mode(path: &str, file: &Path, findings: &mut Findings<'_>) {
    let Ok(facts) = std::fs::metadata(file) else {
        return;
    };
    if facts.permissions().mode() & 0o004 != 0 {
        let what = format!(
            "`{path}`: every user of this machine can read {}",
            file.display()
        );
        findings.warn(path, what, &format!("chmod o-r {}", file.display()));
    }
}
