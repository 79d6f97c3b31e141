//! The disk's own commit: what a durable write costs without a database.

use std::{fs::File, io::Write as _, path::Path, time::Instant};

use crate::report::Spread;

const TIMES: usize = 1000;
/// What one event's transaction adds to the write-ahead log, roughly.
const BYTES: usize = 4096;

/// Taken several times in a run, because a shared disk has moods.
#[derive(Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn take(&mut self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        let folder = tempfile::tempdir_in(folder).unwrap();
        let mut file = File::create(folder.path().join("bare")).unwrap();
        let page = [7; BYTES];
        for _ in 0..TIMES {
            let started = Instant::now();
            file.write_all(&page).unwrap();
            file.sync_data().unwrap();
            self.0.push(started.elapsed().as_secs_f64() * 1000.0);
        }
    }

    pub(crate) fn spread(self) -> Spread {
        Spread::of(self.0)
    }
}
