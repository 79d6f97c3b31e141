//! The disk fills up under load, and is freed: reading waits, deliveries go on, nothing is lost.

use std::{fs, io::Write as _, path::PathBuf, process::Command, time::Duration};

use crate::world::{Settings, World};

/// A small file system of its own, taken away at the end.
pub(crate) struct Disk(pub(crate) PathBuf);

impl Disk {
    pub(crate) fn new(path: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&path)
            .status();
        assert!(
            mounted.unwrap().success(),
            "this test mounts a tmpfs, which needs root"
        );
        Self(path)
    }

    /// Takes all the room that is left.
    pub(crate) fn fill_up(&self) {
        let output = Command::new("df")
            .args(["--output=avail", "-k"])
            .arg(&self.0)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let free: usize = text.lines().last().unwrap().trim().parse().unwrap();
        let mut ballast = fs::File::create(self.ballast()).unwrap();
        let piece = vec![1u8; 1 << 20];
        // The daemon may take the last of it meanwhile, so the end of the room is no failure.
        for _ in 0..free / 1024 {
            if ballast.write_all(&piece).is_err() {
                return;
            }
        }
        let _ = ballast.write_all(&piece);
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the daemon may still hold its files at this moment.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_and_drains_by_itself() {
    let mut world = World::new(Settings {
        mailboxes: 2,
        ..Settings::default()
    })
    .await;
    let disk = Disk::new(world.dir.path().join("disk"), "64m");
    world.settings.store = Some(disk.0.clone());
    world.start();
    world.expect_watching(2).await;
    world.burst(0, 20);
    world.expect_all().await;
    // Somebody else fills the disk.
    disk.fill_up();
    world.burst(0, 200);
    world.burst(1, 200);
    world.expect_state("box1", "store_full").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    disk.make_room();
    world.expect_all_within(Duration::from_secs(60)).await;
    world.expect_watching(2).await;
    world.expect_account().await;
}
