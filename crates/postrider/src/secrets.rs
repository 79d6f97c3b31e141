//! Live secrets: lists of references, read again when what they refer to changes. A secret never
//! leaves here but as a type that prints nothing, and one that was good stays until a better one
//! has been read whole.

use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    config::{Environment, SecretError, SecretRef},
    telemetry::{Telemetry, tokens::Instead},
};

/// How often files are looked at, and how long one must rest before it is read.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub tick: Duration,
    /// A writer that fills a file in place is given this long to finish.
    pub settle: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(5),
            settle: Duration::from_millis(500),
        }
    }
}

/// One reference of a list, as it stands.
#[derive(Clone, Debug)]
pub enum Secret {
    Live(SecretString),
    /// Reading it again failed: the value from before is used.
    Kept(SecretString, Arc<SecretError>),
    Missing(Arc<SecretError>),
}

impl Secret {
    pub fn value(&self) -> Option<&SecretString> {
        match self {
            Self::Live(value) | Self::Kept(value, _) => Some(value),
            Self::Missing(_) => None,
        }
    }

    pub fn problem(&self) -> Option<&SecretError> {
        match self {
            Self::Live(_) => None,
            Self::Kept(_, error) | Self::Missing(error) => Some(error),
        }
    }
}

/// What a reference holds, and how it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    pub reference: SecretRef,
    pub form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line of text, or a few.
    Text,
    /// A file that is no text (PKCS#12): it is handed out in base64.
    Binary,
}

impl Material {
    pub fn text(reference: SecretRef) -> Self {
        Self {
            reference,
            form: Form::Text,
        }
    }

    pub fn binary(reference: SecretRef) -> Self {
        Self {
            reference,
            form: Form::Binary,
        }
    }
}

/// A list of secrets, newest first.
#[derive(Clone, Debug)]
pub struct SecretList(Vec<Secret>);

impl SecretList {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<&SecretString> {
        self.0.get(index).and_then(Secret::value)
    }

    /// Those that can be used, newest first.
    pub fn live(&self) -> impl Iterator<Item = &SecretString> {
        self.0.iter().filter_map(Secret::value)
    }

    /// What is wrong with the references, each with its hint.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.0
            .iter()
            .filter_map(Secret::problem)
            .map(|error| format!("{error}; hint: {}", hint(error)))
    }

    /// With `text` in place of what cannot be read: for requests that are shown and never sent.
    pub fn filled(&self, text: &str) -> Self {
        let filled = self.0.iter().map(|secret| match secret {
            Secret::Missing(_) => Secret::Live(SecretString::from(text)),
            Secret::Live(_) | Secret::Kept(..) => secret.clone(),
        });
        Self(filled.collect())
    }

    fn same_values(&self, other: &Self) -> bool {
        let exposed =
            |secret: &Secret| secret.value().map(|value| value.expose_secret().to_owned());
        self.len() == other.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|(a, b)| exposed(a) == exposed(b))
    }
}

/// What an operator can do about a secret that cannot be read.
pub fn hint(error: &SecretError) -> &'static str {
    match error {
        SecretError::Unreadable { .. } => {
            "the file must exist and be readable by the user that runs postrider"
        }
        SecretError::NotSet(_) => "set the variable in the environment of the service",
        SecretError::Empty(_) => "write the secret into it",
        SecretError::TooLong(_) | SecretError::NotText(_) => {
            "it must hold the secret alone, as one line of text"
        }
        SecretError::NoCredentials(_) => {
            "systemd gives them to its service alone (LoadCredential=); for a command, set CREDENTIALS_DIRECTORY to the folder of these files"
        }
    }
}

/// The watcher of all secrets. Its ticker ends with the last handle.
#[derive(Clone)]
pub struct Secrets {
    inner: Arc<Inner>,
    _ticker: Arc<DropGuard>,
}

struct Inner {
    environment: Environment,
    telemetry: Arc<Telemetry>,
    pace: Pace,
    watched: Mutex<Vec<Watched>>,
    /// One look at a time: it waits between two glances.
    looking: tokio::sync::Mutex<()>,
    look_now: Notify,
}

/// What becomes of a secret that was read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// It is used from then on.
    AtOnce,
    /// Whoever watches it proves it first, and says when it is in use.
    WhenProven,
}

struct Watched {
    materials: Vec<Material>,
    taken: Taken,
    stamps: Vec<Option<Stamp>>,
    list: watch::Sender<Arc<SecretList>>,
}

impl Secrets {
    /// Starts the ticker, so it must be called within the runtime.
    pub fn new(environment: Environment, telemetry: Arc<Telemetry>, pace: Pace) -> Self {
        let inner = Arc::new(Inner {
            environment,
            telemetry,
            pace,
            watched: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            look_now: Notify::new(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(tick(Arc::clone(&inner), stop.clone()));
        Self {
            inner,
            _ticker: Arc::new(stop.drop_guard()),
        }
    }

    /// The secrets of a list, now and whenever they change. A reference that cannot be read is no
    /// error yet: it may come.
    pub fn watch(&self, references: &[SecretRef]) -> watch::Receiver<Arc<SecretList>> {
        let materials = references.iter().cloned().map(Material::text);
        self.watched(materials.collect(), Taken::AtOnce)
    }

    /// The same for files of any form, which the caller proves before they are used.
    pub fn watch_materials(&self, materials: Vec<Material>) -> watch::Receiver<Arc<SecretList>> {
        self.watched(materials, Taken::WhenProven)
    }

    fn watched(&self, materials: Vec<Material>, taken: Taken) -> watch::Receiver<Arc<SecretList>> {
        let inner = &self.inner;
        let mut watched = inner.watched();
        let same = |known: &&Watched| known.materials == materials && known.taken == taken;
        if let Some(known) = watched.iter().find(same) {
            return known.list.subscribe();
        }
        let stamps = materials
            .iter()
            .map(|material| inner.stamp(&material.reference))
            .collect();
        let list = materials
            .iter()
            .map(|material| inner.first(material))
            .collect();
        let (sender, receiver) = watch::channel(Arc::new(SecretList(list)));
        watched.push(Watched {
            materials,
            taken,
            stamps,
            list: sender,
        });
        receiver
    }

    pub fn pace(&self) -> Pace {
        self.inner.pace
    }

    /// Lets the ticker look at once, after a reload for instance.
    pub fn look_soon(&self) {
        self.inner.look_now.notify_one();
    }

    /// Looks at every file now; returns when what changed and has come to rest is in use.
    pub async fn look(&self) {
        look(&self.inner).await;
    }
}

async fn tick(inner: Arc<Inner>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = inner.look_now.notified() => {}
            () = tokio::time::sleep(inner.pace.tick) => {}
        }
        look(&inner).await;
    }
}

/// Two glances: what differs at the first is read if it is still the same at the second.
async fn look(inner: &Arc<Inner>) {
    let _turn = inner.looking.lock().await;
    let first = Arc::clone(inner);
    let Ok(changed) = tokio::task::spawn_blocking(move || first.changed()).await else {
        return;
    };
    if changed.is_empty() {
        return;
    }
    tokio::time::sleep(inner.pace.settle).await;
    let second = Arc::clone(inner);
    // It only fails when the runtime ends, or by a panic that the panic hook has told of.
    let _ = tokio::task::spawn_blocking(move || second.take(changed)).await;
}

impl Inner {
    fn watched(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamp(&self, reference: &SecretRef) -> Option<Stamp> {
        let path = reference.file(&self.environment).ok()??;
        Stamp::of(&path)
    }

    fn read(&self, material: &Material) -> Result<SecretString, SecretError> {
        let reference = &material.reference;
        if let Some(path) = reference.file(&self.environment)?
            && std::fs::metadata(path).is_ok_and(|data| !data.is_file())
        {
            // Opening a pipe would wait for its writer.
            let error = std::io::Error::other("it is no regular file");
            return Err(SecretError::Unreadable {
                reference: reference.clone(),
                error,
            });
        }
        match material.form {
            Form::Text => reference.read(&self.environment),
            Form::Binary => reference.read_binary(&self.environment),
        }
    }

    fn first(&self, material: &Material) -> Secret {
        match self.read(material) {
            Ok(value) => Secret::Live(value),
            Err(error) => {
                self.telemetry
                    .tokens
                    .secret_unreadable(&error, hint(&error), Instead::Nothing);
                Secret::Missing(Arc::new(error))
            }
        }
    }

    /// The files that are not as they were, or that could not be read the last time.
    fn changed(&self) -> Vec<(Material, Option<Stamp>)> {
        let mut watched = self.watched();
        watched.retain(|one| one.list.receiver_count() > 0);
        let mut changed: Vec<(Material, Option<Stamp>)> = Vec::new();
        for one in watched.iter() {
            let list = one.list.borrow();
            for ((material, before), secret) in one.materials.iter().zip(&one.stamps).zip(&list.0) {
                let is_file = matches!(material.reference.file(&self.environment), Ok(Some(_)));
                let now = self.stamp(&material.reference);
                let differs = now != *before || secret.problem().is_some();
                if is_file && differs && !changed.iter().any(|(known, _)| known == material) {
                    changed.push((material.clone(), now));
                }
            }
        }
        changed
    }

    fn take(&self, changed: Vec<(Material, Option<Stamp>)>) {
        for (material, stamp) in changed {
            if self.stamp(&material.reference) != stamp {
                continue; // Still being written: the next look reads it.
            }
            let result = self.read(&material).map_err(Arc::new);
            for one in self.watched().iter_mut() {
                self.put(one, &material, stamp, &result);
            }
        }
    }

    fn put(
        &self,
        one: &mut Watched,
        material: &Material,
        stamp: Option<Stamp>,
        result: &Result<SecretString, Arc<SecretError>>,
    ) {
        let mut next = SecretList::clone(&one.list.borrow());
        for ((known, at), secret) in one.materials.iter().zip(&mut one.stamps).zip(&mut next.0) {
            if known == material {
                *at = stamp;
                *secret = self.succeed(secret, &material.reference, result, one.taken);
            }
        }
        one.list.send_if_modified(|list| {
            let same = list.same_values(&next);
            *list = Arc::new(next);
            !same
        });
    }

    fn succeed(
        &self,
        old: &Secret,
        reference: &SecretRef,
        result: &Result<SecretString, Arc<SecretError>>,
        taken: Taken,
    ) -> Secret {
        match result {
            Ok(value) => {
                let known = old
                    .value()
                    .is_some_and(|old| old.expose_secret() == value.expose_secret());
                let tokens = &self.telemetry.tokens;
                if !known {
                    match taken {
                        Taken::AtOnce => tokens.secret_replaced(reference),
                        Taken::WhenProven => tokens.secret_read_anew(reference),
                    }
                }
                Secret::Live(value.clone())
            }
            Err(error) => {
                let (next, instead) = match old.value() {
                    Some(value) => (
                        Secret::Kept(value.clone(), Arc::clone(error)),
                        Instead::TheOldOne,
                    ),
                    None => (Secret::Missing(Arc::clone(error)), Instead::Nothing),
                };
                self.telemetry
                    .tokens
                    .secret_unreadable(error, hint(error), instead);
                next
            }
        }
    }
}

/// Tells whether a file was written, replaced, or became readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests;
