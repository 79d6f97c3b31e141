//! The vault's folder: whose it is, who writes when, and how a file is replaced so that a reader,
//! or a process that is killed, finds the old bytes or the new ones whole. It knows nothing of
//! what the bytes mean.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use postrider_core::ids::CredentialKey;
use rustix::{
    fs::{FlockOperation, Gid, Mode, OFlags, Uid, fchown, flock},
    process::geteuid,
};
use tokio::time::Instant;

use super::VaultError;

const EXTENSION: &str = "vault";
/// Two refresh tokens of 64 KiB, encoded.
const RECORD_BYTES_MAX: u64 = 256 << 10;
/// A writer holds the lock for a few durable writes.
const LOCK_TIME_MAX: Duration = Duration::from_secs(10);
const LOCK_STEP: Duration = Duration::from_millis(20);
/// Records that could not be read and were set aside: nobody signs in in vain more often.
const ASIDE_MAX: u32 = 100;

pub(super) struct Folder {
    path: PathBuf,
}

pub(super) struct Found {
    pub(super) bytes: Vec<u8>,
    pub(super) path: PathBuf,
}

/// Tells whether a record was replaced: every write makes a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The right to use one credential's refresh token; ends when dropped.
#[derive(Debug)]
pub struct Turn {
    _lock: File,
}

/// The right to write; ends when dropped.
pub(super) struct Write<'a> {
    folder: &'a Folder,
    file: PathBuf,
    owner: Owner,
    _lock: File,
}

#[derive(Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a credential's record lies.
    pub(super) fn file(&self, credential: &CredentialKey) -> Result<PathBuf, VaultError> {
        self.named(credential, "", EXTENSION)
    }

    fn named(
        &self,
        credential: &CredentialKey,
        prefix: &str,
        extension: &str,
    ) -> Result<PathBuf, VaultError> {
        let name = credential.as_str();
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        match !name.is_empty() && name.len() <= 63 && name.bytes().all(plain) {
            true => Ok(self.path.join(format!("{prefix}{name}.{extension}"))),
            false => Err(VaultError::Name(name.to_owned())),
        }
    }

    pub(super) fn stamp(&self, credential: &CredentialKey) -> Option<Stamp> {
        let data = fs::symlink_metadata(self.file(credential).ok()?).ok()?;
        Some(Stamp {
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }

    pub(super) fn read(&self, credential: &CredentialKey) -> Result<Option<Found>, VaultError> {
        let path = self.file(credential)?;
        let Some(owner) = self.owner()? else {
            return Ok(None);
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(&path, "read")(error.into())),
        };
        let data = file.metadata().map_err(failed(&path, "read"))?;
        let damaged = |what| VaultError::Damaged {
            path: path.clone(),
            what,
        };
        if !data.is_file() {
            return Err(damaged("it is no regular file"));
        }
        owned(&path, &data, owner)?;
        private(&path, &data, 0o600)?;
        let mut bytes = Vec::new();
        file.take(RECORD_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(failed(&path, "read"))?;
        match bytes.len() as u64 > RECORD_BYTES_MAX {
            true => Err(damaged("it is too long")),
            false => Ok(Some(Found { bytes, path })),
        }
    }

    /// For one who is about to replace the record: what cannot even be read counts as no bytes.
    pub(super) fn read_if_possible(&self, credential: &CredentialKey) -> Option<Found> {
        match self.read(credential) {
            Ok(found) => found,
            Err(_) => Some(Found {
                bytes: Vec::new(),
                path: self.file(credential).ok()?,
            }),
        }
    }

    /// The credentials that have a record, by name.
    pub(super) fn credentials(&self) -> Result<Vec<CredentialKey>, VaultError> {
        if self.owner()?.is_none() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed(&self.path, "read"))? {
            let path = entry.map_err(failed(&self.path, "read"))?.path();
            let is_record = path.extension().is_some_and(|found| found == EXTENSION);
            if let (true, Some(name)) = (is_record, path.file_stem().and_then(|name| name.to_str()))
            {
                let credential = CredentialKey::from(name);
                if self.file(&credential).is_ok() {
                    names.push(credential);
                }
            }
        }
        names.sort();
        Ok(names)
    }

    /// Makes the folder where there is none, and waits for its lock. What a killed process left
    /// half-written is removed.
    pub(super) fn write(&self, credential: &CredentialKey) -> Result<Write<'_>, VaultError> {
        let file = self.file(credential)?;
        let owner = self.make()?;
        let path = self.path.join(".lock");
        let lock = lock_file(&path, owner)?;
        let start = std::time::Instant::now();
        while !taken(&lock, &path)? {
            if start.elapsed() > LOCK_TIME_MAX {
                return Err(busy(path, LOCK_TIME_MAX));
            }
            std::thread::sleep(LOCK_STEP);
        }
        Ok(Write {
            folder: self,
            file,
            owner,
            _lock: lock,
        })
    }

    pub(super) async fn turn(
        &self,
        credential: &CredentialKey,
        limit: Duration,
    ) -> Result<Turn, VaultError> {
        let path = self.named(credential, ".", "turn")?;
        let owner = self.make()?;
        let lock = lock_file(&path, owner)?;
        let start = Instant::now();
        while !taken(&lock, &path)? {
            if start.elapsed() > limit {
                return Err(busy(path, limit));
            }
            tokio::time::sleep(LOCK_STEP).await;
        }
        Ok(Turn { _lock: lock })
    }

    /// Whose vault it is; `None` where there is no folder yet.
    fn owner(&self) -> Result<Option<Owner>, VaultError> {
        let data = match fs::metadata(&self.path) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&self.path, "read")(error)),
        };
        if !data.is_dir() {
            return Err(failed(&self.path, "used")(
                io::ErrorKind::NotADirectory.into(),
            ));
        }
        let me = geteuid().as_raw();
        if me != 0 && me != data.uid() {
            return Err(VaultError::Foreign {
                path: self.path.clone(),
                owner: data.uid(),
                expected: me,
            });
        }
        private(&self.path, &data, 0o700)?;
        Ok(Some(Owner {
            uid: data.uid(),
            gid: data.gid(),
        }))
    }

    /// The folder above must exist: it is the database's, and its owner becomes this one's too.
    fn make(&self) -> Result<Owner, VaultError> {
        if let Some(owner) = self.owner()? {
            return Ok(owner);
        }
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&self.path, "made")(error)),
        }
        let folder = File::open(&self.path).map_err(failed(&self.path, "made"))?;
        if let Some(above) = self.path.parent().filter(|above| *above != Path::new("")) {
            let above_data = fs::metadata(above).map_err(failed(above, "read"))?;
            let owner = Owner {
                uid: above_data.uid(),
                gid: above_data.gid(),
            };
            give(&folder, &self.path, owner)?;
            sync(above)?;
        }
        self.owner()?
            .ok_or_else(|| failed(&self.path, "made")(io::ErrorKind::NotFound.into()))
    }
}

impl Write<'_> {
    /// Keeps the present file under another name; replacing it loses nothing then.
    pub(super) fn set_aside(&self) -> Result<PathBuf, VaultError> {
        for number in 1..=ASIDE_MAX {
            let aside = self.file.with_extension(format!("unreadable-{number}"));
            match fs::hard_link(&self.file, &aside) {
                Ok(()) => return Ok(aside),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&self.file, "set aside")(error)),
            }
        }
        let error = io::Error::other("too many of its kind were set aside before");
        Err(failed(&self.file, "set aside")(error))
    }

    pub(super) fn replace(&self, bytes: &[u8]) -> Result<(), VaultError> {
        let replacement = self.begin()?;
        let filled = replacement.fill(bytes).and_then(|()| replacement.settle());
        if let Err(error) = filled.and_then(|()| replacement.take_effect()) {
            // What cannot be removed now is removed by the next write.
            let _ = fs::remove_file(&replacement.temporary);
            return Err(error);
        }
        sync(&self.folder.path)
    }

    /// An empty file beside the record.
    pub(super) fn begin(&self) -> Result<Replacement, VaultError> {
        let temporary = self.file.with_extension("vault-new");
        match fs::remove_file(&temporary) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&temporary, "removed")(error)),
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed(&temporary, "written"))?;
        give(&file, &temporary, self.owner)?;
        Ok(Replacement {
            file,
            temporary,
            target: self.file.clone(),
        })
    }
}

/// A file on its way to take another's place, step by step. Between any two of them the process
/// may end: the record is the old one until [`Self::take_effect`], and the new one from there.
pub(super) struct Replacement {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
}

impl Replacement {
    pub(super) fn fill(&self, bytes: &[u8]) -> Result<(), VaultError> {
        (&self.file)
            .write_all(bytes)
            .map_err(failed(&self.temporary, "written"))
    }

    pub(super) fn settle(&self) -> Result<(), VaultError> {
        self.file
            .sync_all()
            .map_err(failed(&self.temporary, "written"))
    }

    pub(super) fn take_effect(&self) -> Result<(), VaultError> {
        fs::rename(&self.temporary, &self.target).map_err(failed(&self.target, "replaced"))
    }
}

fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> VaultError {
    let path = path.to_owned();
    move |error| VaultError::Io { path, what, error }
}

fn busy(path: PathBuf, waited: Duration) -> VaultError {
    VaultError::Busy {
        path,
        waited: waited.as_secs(),
    }
}

fn sync(folder: &Path) -> Result<(), VaultError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed(folder, "written"))
}

fn owned(path: &Path, data: &fs::Metadata, owner: Owner) -> Result<(), VaultError> {
    match data.uid() == owner.uid {
        true => Ok(()),
        false => Err(VaultError::Foreign {
            path: path.to_owned(),
            owner: data.uid(),
            expected: owner.uid,
        }),
    }
}

fn private(path: &Path, data: &fs::Metadata, allowed: u32) -> Result<(), VaultError> {
    let mode = data.mode() & 0o7777;
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(VaultError::TooOpen {
            path: path.to_owned(),
            mode,
            allowed,
        }),
    }
}

/// What root makes belongs to the vault's owner, so that the daemon can use it.
fn give(file: &File, path: &Path, owner: Owner) -> Result<(), VaultError> {
    if geteuid().is_root() && owner.uid != 0 {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        fchown(file, Some(uid), Some(gid))
            .map_err(|error| failed(path, "given to its owner")(error.into()))?;
    }
    Ok(())
}

fn lock_file(path: &Path, owner: Owner) -> Result<File, VaultError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default())
        .open(path)
        .map_err(failed(path, "opened"))?;
    file.set_permissions(Permissions::from_mode(0o600))
        .map_err(failed(path, "opened"))?;
    give(&file, path, owner)?;
    Ok(file)
}

/// Whether the lock is ours now.
fn taken(lock: &File, path: &Path) -> Result<bool, VaultError> {
    match flock(lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(failed(path, "locked")(error.into())),
    }
}
