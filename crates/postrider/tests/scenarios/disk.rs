//! The disk fills up under load, and is freed: reading waits, deliveries go on, nothing is lost.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use crate::world::{Settings, World};

/// A small file system of its own, taken away at the end.
struct Disk(PathBuf);

impl Disk {
    fn new(path: PathBuf, size: &str) -> Self {
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
    let ballast = disk.0.join("ballast");
    let free = |path: &PathBuf| {
        let output = Command::new("df")
            .args(["--output=avail", "-k"])
            .arg(path)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .last()
            .unwrap()
            .trim()
            .parse::<usize>()
            .unwrap()
            * 1024
    };
    fs::write(&ballast, vec![1u8; free(&disk.0)]).unwrap();
    world.burst(0, 200);
    world.burst(1, 200);
    world.expect_state("box1", "store_full").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    fs::remove_file(&ballast).unwrap();
    world.expect_all_within(Duration::from_secs(60)).await;
    world.expect_watching(2).await;
    world.expect_account().await;
}
