//! Files for what is too large for memory. A file has its name only when all of it is durable, so
//! a row that names it can be trusted; what no row names is swept at the next start.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use uuid::Uuid;

use crate::{
    model::{Raw, SpoolKey, StoreError},
    room::Room,
};

/// Bytes of a name's hint that are kept.
const HINT_MAX: usize = 40;
const TEMPORARY: &str = ".part-";

#[derive(Clone, Debug)]
pub struct Spool {
    dir: Arc<PathBuf>,
    room: Arc<Room>,
}

/// A file being written. Dropped without [`finish`](Self::finish), it leaves nothing.
#[derive(Debug)]
pub struct SpoolWriter {
    file: tokio::fs::File,
    temporary: PathBuf,
    key: SpoolKey,
    spool: Spool,
    written: u64,
    finished: bool,
}

impl Spool {
    pub(crate) fn open(dir: PathBuf, room: Arc<Room>) -> Self {
        Self {
            dir: Arc::new(dir),
            room,
        }
    }

    /// Begins a file; `hint` becomes part of its name, as far as it is plain.
    pub async fn create(&self, hint: &str) -> Result<SpoolWriter, StoreError> {
        if let Some(reason) = self.room.refuses() {
            return Err(StoreError::Full(reason));
        }
        let plain = hint.chars().map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        });
        let hint: String = plain.take(HINT_MAX).collect();
        let name = format!("{}-{hint}", Uuid::new_v4().simple());
        let temporary = self.dir.join(format!("{TEMPORARY}{name}"));
        let mut options = tokio::fs::OpenOptions::new();
        let opened = options
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)
            .await;
        let file = opened.map_err(|error| self.failed(&error))?;
        Ok(SpoolWriter {
            file,
            temporary,
            key: SpoolKey(name),
            spool: self.clone(),
            written: 0,
            finished: false,
        })
    }

    pub async fn open_file(&self, key: &SpoolKey) -> Result<tokio::fs::File, StoreError> {
        let path = self.path(key)?;
        tokio::fs::File::open(path)
            .await
            .map_err(|error| self.failed(&error))
    }

    /// Where a finished file lies.
    pub fn path_of(&self, key: &SpoolKey) -> Result<PathBuf, StoreError> {
        self.path(key)
    }

    /// Takes care of a finished file until a commit names it.
    pub fn hold(&self, key: SpoolKey, bytes: u64) -> SpoolFile {
        SpoolFile {
            key,
            bytes,
            spool: self.clone(),
            kept: false,
        }
    }

    /// A file that a row names, to be read by others. One that is gone (a database that was put
    /// back without its spool) is a message that is not kept.
    pub(crate) async fn stored(&self, key: &SpoolKey) -> Result<Option<Raw>, StoreError> {
        let path = self.path(key)?;
        match tokio::fs::metadata(&path).await {
            Ok(data) => {
                let len = data.len();
                Ok(Some(Raw::File { path, len }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::warn!(file = key.0, "a message is gone from the spool");
                Ok(None)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Removes a file; one that is gone already is no error.
    pub async fn remove(&self, key: &SpoolKey) -> Result<(), StoreError> {
        let path = self.path(key)?;
        let bytes = tokio::fs::metadata(&path)
            .await
            .map_or(0, |data| data.len());
        match tokio::fs::remove_file(&path).await {
            Ok(()) => {
                self.room.spool_shrank(bytes);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn path(&self, key: &SpoolKey) -> Result<PathBuf, StoreError> {
        let plain = !key.0.is_empty()
            && key
                .0
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        match plain {
            true => Ok(self.dir.join(&key.0)),
            false => Err(StoreError::Other(format!(
                "{:?} is no name of a spool file",
                key.0
            ))),
        }
    }

    /// A full disk found here stops reading everywhere.
    fn failed(&self, error: &io::Error) -> StoreError {
        let text = format!("spool {}: {error}", self.dir.display());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                self.room.disk_full();
                StoreError::Full(text)
            }
            _ => StoreError::Other(text),
        }
    }

    /// Removes what no row names, and counts what stays.
    pub(crate) fn sweep(&self, kept: &HashSet<String>) -> io::Result<()> {
        let mut removed = 0u32;
        for entry in fs::read_dir(&*self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if kept.contains(&*name) {
                self.room.spool_grew(entry.metadata()?.len());
            } else if ours(&name) && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        if removed > 0 {
            tracing::info!(
                files = removed,
                "the spool was swept of what was never committed"
            );
        }
        Ok(())
    }
}

/// Only names that this module gives out are swept: a directory shared by mistake loses nothing.
fn ours(name: &str) -> bool {
    let name = name.strip_prefix(TEMPORARY).unwrap_or(name);
    name.len() > 32
        && name.as_bytes()[32] == b'-'
        && name.bytes().take(32).all(|byte| byte.is_ascii_hexdigit())
}

/// A finished file that no row names yet. Dropped, it is removed: what was read and never stored
/// would fill the disk until the next start.
#[derive(Debug)]
pub struct SpoolFile {
    key: SpoolKey,
    bytes: u64,
    spool: Spool,
    kept: bool,
}

impl SpoolFile {
    /// It is about to be named by a row, and stays.
    pub fn keep(mut self) -> SpoolKey {
        self.kept = true;
        self.key.clone()
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        match fs::remove_file(self.spool.dir.join(&self.key.0)) {
            Ok(()) => self.spool.room.spool_shrank(self.bytes),
            Err(error) => {
                tracing::warn!("a spool file that nobody needs stays until the next start: {error}")
            }
        }
    }
}

impl SpoolWriter {
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Makes the file durable under its name. Only then may a row name it.
    pub async fn finish(mut self) -> Result<SpoolKey, StoreError> {
        let done = async {
            self.file.flush().await?;
            self.file.sync_all().await?;
            let target = self.spool.dir.join(&self.key.0);
            let (temporary, dir) = (self.temporary.clone(), self.spool.dir.clone());
            let named = tokio::task::spawn_blocking(move || {
                fs::rename(&temporary, &target)?;
                File::open(&*dir)?.sync_all()
            });
            named
                .await
                .unwrap_or_else(|ended| Err(io::Error::other(ended)))
        }
        .await;
        done.map_err(|error| self.spool.failed(&error))?;
        self.finished = true;
        Ok(self.key.clone())
    }

    /// Gives the file up.
    pub async fn abort(self) {
        drop(self);
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.spool.room.spool_shrank(self.written);
        if let Err(error) = fs::remove_file(&self.temporary) {
            tracing::warn!("a spool file that was given up stays until the next start: {error}");
        }
    }
}

impl AsyncWrite for SpoolWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = match ready!(Pin::new(&mut this.file).poll_write(cx, bytes)) {
            Ok(written) => written,
            Err(error) => {
                this.spool.failed(&error);
                return Poll::Ready(Err(error));
            }
        };
        this.written += written as u64;
        this.spool.room.spool_grew(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.file).poll_flush(cx));
        if let Err(error) = &flushed {
            self.spool.failed(error);
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_shutdown(cx)
    }
}
