//! Secrets by reference: where they lie, and reading them. What was read is never printed.

use std::{fmt, io::Read, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::SecretString;

use super::{environment::Environment, model::SecretRef};

/// A secret is a line, not a file: what is longer is the wrong file.
const SECRET_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("{reference} cannot be read: {error}")]
    Unreadable {
        reference: SecretRef,
        error: std::io::Error,
    },
    #[error("{0} is not set")]
    NotSet(SecretRef),
    #[error("{0} is empty")]
    Empty(SecretRef),
    #[error("{0} is longer than 64 KiB")]
    TooLong(SecretRef),
    #[error("{0} is not UTF-8 text")]
    NotText(SecretRef),
    #[error(
        "{0}: this process was given no systemd credentials (CREDENTIALS_DIRECTORY is not set)"
    )]
    NoCredentials(SecretRef),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "secret file {}", path.display()),
            Self::Env(name) => write!(f, "secret variable {name}"),
            Self::Credential(name) => write!(f, "systemd credential {name}"),
        }
    }
}

impl SecretRef {
    /// The file that holds it, where one does.
    pub fn file(&self, environment: &Environment) -> Result<Option<PathBuf>, SecretError> {
        match self {
            Self::File(path) => Ok(Some(path.clone())),
            Self::Env(_) => Ok(None),
            Self::Credential(name) => environment
                .get("CREDENTIALS_DIRECTORY")
                .map(|folder| Some(PathBuf::from(folder).join(name)))
                .ok_or_else(|| SecretError::NoCredentials(self.clone())),
        }
    }

    /// Reads the secret; a line end at its end is no part of it.
    pub fn read(&self, environment: &Environment) -> Result<SecretString, SecretError> {
        let text = match (self.file(environment)?, self) {
            (Some(path), _) => self.read_file(path)?,
            (None, Self::Env(name)) => environment
                .get(name)
                .ok_or_else(|| SecretError::NotSet(self.clone()))?
                .to_owned(),
            (None, Self::File(_) | Self::Credential(_)) => {
                return Err(SecretError::NotSet(self.clone()));
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(SecretError::Empty(self.clone()));
        }
        Ok(SecretString::from(text))
    }

    /// Reads a file that is no text, in base64.
    pub fn read_binary(&self, environment: &Environment) -> Result<SecretString, SecretError> {
        let path = self
            .file(environment)?
            .ok_or_else(|| SecretError::NotSet(self.clone()))?;
        let bytes = self.read_bytes(path)?;
        if bytes.is_empty() {
            return Err(SecretError::Empty(self.clone()));
        }
        Ok(SecretString::from(STANDARD.encode(bytes)))
    }

    fn read_file(&self, path: PathBuf) -> Result<String, SecretError> {
        String::from_utf8(self.read_bytes(path)?).map_err(|_| SecretError::NotText(self.clone()))
    }

    fn read_bytes(&self, path: PathBuf) -> Result<Vec<u8>, SecretError> {
        let unreadable = |error| SecretError::Unreadable {
            reference: self.clone(),
            error,
        };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(SECRET_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > SECRET_BYTES_MAX {
            return Err(SecretError::TooLong(self.clone()));
        }
        Ok(bytes)
    }
}
