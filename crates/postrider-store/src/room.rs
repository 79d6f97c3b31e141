//! Room on the disk: the reserve that keeps settling and pruning possible when it is full, the
//! budget, and whether new mail may be stored. It never deletes anything but the reserve.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::model::{BudgetAction, Options, Space};

/// With less than this free, reading does not resume, however small the reserve is.
const RESUME_FREE_MIN: u64 = 1024 * 1024;

/// How room stands, as operators are told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Fine,
    /// Four fifths of the budget are used: there is time to do something.
    Low,
    /// The budget is used up, and reading goes on.
    Over,
    /// Reading is stopped.
    Full,
}

/// Per cent of the budget at which room is low, and below which it is fine again.
const LOW_FROM: u64 = 80;
const FINE_BELOW: u64 = 75;
/// The same for its end.
const OVER_FROM: u64 = 100;
const WITHIN_BELOW: u64 = 95;

impl Space {
    /// `before` keeps it from going to and fro.
    pub fn level(&self, before: Level) -> Level {
        let reaches = |level: Level, from: u64, back_below: u64| {
            let percent = if before >= level { back_below } else { from };
            let bound = |budget: u64| budget / 100 * percent;
            self.budget
                .is_some_and(|budget| self.used() >= bound(budget))
        };
        if self.low() {
            Level::Full
        } else if reaches(Level::Over, OVER_FROM, WITHIN_BELOW) {
            Level::Over
        } else if reaches(Level::Low, LOW_FROM, FINE_BELOW) {
            Level::Low
        } else {
            Level::Fine
        }
    }
}

#[derive(Debug)]
pub(crate) struct Room {
    db: PathBuf,
    wal: PathBuf,
    reserve: PathBuf,
    reserve_bytes: u64,
    budget: Option<u64>,
    action: BudgetAction,
    spool_bytes: AtomicU64,
    full: Mutex<Option<Full>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    Disk,
    Budget,
}

impl Room {
    pub(crate) fn new(options: &Options) -> Self {
        let db = options.path.as_path();
        Self {
            db: db.to_owned(),
            wal: beside(db, "-wal"),
            reserve: beside(db, ".reserve"),
            reserve_bytes: options.reserve_bytes,
            budget: options.budget_bytes,
            action: options.budget_action,
            spool_bytes: AtomicU64::new(0),
            full: Mutex::new(None),
        }
    }

    /// Why new mail cannot be stored now, if so. Looks at the disk, so that it notices by itself
    /// when there is room again: twice the reserve, and a twentieth of the budget.
    pub(crate) fn refuses(&self) -> Option<String> {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let used = self.used();
        let over = match self.action {
            BudgetAction::PauseReading => self.budget.is_some_and(|budget| used >= budget),
            BudgetAction::Warn => false,
        };
        match *full {
            None if over => *full = Some(Full::Budget),
            None => {}
            Some(Full::Budget) if self.budget.is_none_or(|budget| used < budget - budget / 20) => {
                *full = None
            }
            Some(Full::Budget) => {}
            Some(Full::Disk)
                if self.disk_free() >= (2 * self.reserve_bytes).max(RESUME_FREE_MIN) =>
            {
                match self.keep_reserve() {
                    Ok(()) => *full = over.then_some(Full::Budget),
                    Err(error) => tracing::debug!("the reserve cannot be put aside yet: {error}"),
                }
            }
            Some(Full::Disk) => {}
        }
        full.map(|full| self.say(full))
    }

    fn say(&self, full: Full) -> String {
        match full {
            Full::Disk => format!("the disk of {} is full", self.db.display()),
            Full::Budget => format!(
                "the budget of {} bytes is used up",
                self.budget.unwrap_or_default()
            ),
        }
    }

    /// The disk is full: new mail is refused from now on, and the reserve is given up.
    pub(crate) fn disk_full(&self) {
        *self.full.lock().unwrap_or_else(PoisonError::into_inner) = Some(Full::Disk);
        self.give_up_reserve();
    }

    pub(crate) fn give_up_reserve(&self) {
        match fs::remove_file(&self.reserve) {
            Ok(()) => tracing::debug!("the reserve was given up"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(
                "the reserve {} cannot be given up: {error}",
                self.reserve.display()
            ),
        }
    }

    /// Puts the reserve aside, with its blocks allocated.
    pub(crate) fn keep_reserve(&self) -> io::Result<()> {
        if self.reserve_bytes == 0
            || fs::metadata(&self.reserve).is_ok_and(|data| data.len() == self.reserve_bytes)
        {
            return Ok(());
        }
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.reserve)?;
        let kept = allocate(&file, self.reserve_bytes);
        if kept.is_err() {
            drop(file);
            fs::remove_file(&self.reserve)?;
        }
        kept
    }

    pub(crate) fn spool_grew(&self, bytes: u64) {
        self.spool_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn spool_shrank(&self, bytes: u64) {
        // Never below zero, even if a file was changed behind our back.
        let _ = self
            .spool_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                Some(now.saturating_sub(bytes))
            });
    }

    fn used(&self) -> u64 {
        size(&self.db) + size(&self.wal) + self.spool_bytes.load(Ordering::Relaxed)
    }

    fn disk_free(&self) -> u64 {
        match rustix::fs::statvfs(self.db.parent().unwrap_or(Path::new("."))) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
            Err(error) => {
                tracing::warn!(
                    "the room on the disk of {} cannot be told: {error}",
                    self.db.display()
                );
                0
            }
        }
    }

    pub(crate) fn space(&self) -> Space {
        Space {
            full: self.refuses(),
            db_bytes: size(&self.db),
            wal_bytes: size(&self.wal),
            spool_bytes: self.spool_bytes.load(Ordering::Relaxed),
            budget: self.budget,
            disk_free: self.disk_free(),
            reserve_present: self.reserve.exists(),
        }
    }
}

/// The path with something added to its last part.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |data| data.len())
}

fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // Not every file system can: then the blocks are taken by writing them.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(file, bytes),
        Err(error) => Err(error.into()),
    }
}

fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    const CHUNK: u64 = 64 * 1024;
    let zeros = vec![0; CHUNK as usize];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(CHUNK);
        file.write_all(&zeros[..now as usize])?;
        left -= now;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_low_from_four_fifths_on_and_fine_again_below_three_quarters() {
        let space = |used: u64, full: Option<&str>| Space {
            db_bytes: used,
            budget: Some(1_000),
            full: full.map(str::to_owned),
            ..Space::default()
        };
        assert_eq!(space(799, None).level(Level::Fine), Level::Fine);
        assert_eq!(space(800, None).level(Level::Fine), Level::Low);
        assert_eq!(space(760, None).level(Level::Low), Level::Low);
        assert_eq!(space(749, None).level(Level::Full), Level::Fine);
        assert_eq!(space(999, None).level(Level::Low), Level::Low);
        assert_eq!(space(1_000, None).level(Level::Low), Level::Over);
        assert_eq!(space(950, None).level(Level::Over), Level::Over);
        assert_eq!(space(949, None).level(Level::Over), Level::Low);
        assert_eq!(space(2_000, Some("disk")).level(Level::Over), Level::Full);
        assert_eq!(space(10, Some("disk")).level(Level::Fine), Level::Full);
        assert_eq!(Space::default().level(Level::Low), Level::Fine);
    }
}
