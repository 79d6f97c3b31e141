//! Whether the place of a store can be trusted: SQLite's locks and shared memory work between
//! processes of one machine on a local file system, and not on a network one
//! (<https://www.sqlite.org/useovernet.html>).

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// The name of the network file system that holds `path`, if it is on one.
pub(crate) fn network(path: &Path) -> io::Result<Option<String>> {
    let magic = rustix::fs::statfs(path)?.f_type;
    // Signs of this number differ between architectures; its 32 bits do not.
    let magic = u32::try_from(magic & 0xffff_ffff).unwrap_or_default();
    let kind = mount_kind(fs::metadata(path)?.dev());
    Ok(judge(magic, kind.as_deref()))
}

/// By the magic number of statfs(2), and by the mount's type, which tells FUSE's kinds apart.
fn judge(magic: u32, mount_kind: Option<&str>) -> Option<String> {
    let by_magic = match magic {
        0x6969 => Some("nfs"),
        0x517b => Some("smb"),
        0xff53_4d42 => Some("cifs"),
        0xfe53_4d42 => Some("smb2"),
        0x0102_1997 => Some("9p"),
        0x00c3_6400 => Some("ceph"),
        0x5346_414f => Some("afs"),
        0x7375_7245 => Some("coda"),
        0x564c => Some("ncp"),
        0x0bd0_0bd0 => Some("lustre"),
        0x4750_4653 => Some("gpfs"),
        0x1983_0326 => Some("beegfs"),
        0x0116_1970 => Some("gfs2"),
        0x7461_636f => Some("ocfs2"),
        _ => None,
    };
    let by_mount = mount_kind.filter(|kind| {
        let kind = kind.strip_prefix("fuse.").unwrap_or(kind);
        [
            "nfs",
            "nfs4",
            "cifs",
            "smb3",
            "smbfs",
            "9p",
            "sshfs",
            "davfs",
            "glusterfs",
            "ceph-fuse",
            "rclone",
            "s3fs",
            "gcsfuse",
        ]
        .contains(&kind)
            || kind.starts_with("s3")
            || kind.starts_with("mount-s3")
            || kind.starts_with("blobfuse")
    });
    by_mount.or(by_magic).map(str::to_owned)
}

/// The type of the mount with this device number, as the kernel lists it (proc(5), mountinfo).
fn mount_kind(device: u64) -> Option<String> {
    let device = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts
        .lines()
        .find_map(|line| kind_in(line, &device))
        .map(str::to_owned)
}

fn kind_in<'a>(line: &'a str, device: &str) -> Option<&'a str> {
    let (place, what) = line.split_once(" - ")?;
    (place.split(' ').nth(2) == Some(device))
        .then(|| what.split(' ').next())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_magic_and_by_mount_type() {
        assert_eq!(judge(0x6969, None).as_deref(), Some("nfs"));
        assert_eq!(judge(0x6969, Some("nfs4")).as_deref(), Some("nfs4"));
        assert_eq!(judge(0xff53_4d42, None).as_deref(), Some("cifs"));
        assert_eq!(
            judge(0x6573_5546, Some("fuse.sshfs")).as_deref(),
            Some("fuse.sshfs")
        );
        assert_eq!(
            judge(0x6573_5546, Some("fuse.mergerfs")),
            None,
            "local FUSE is the operator's choice"
        );
        assert_eq!(judge(0xef53, Some("ext4")), None);
        assert_eq!(judge(0x0102_1994, Some("tmpfs")), None);
    }

    #[test]
    fn a_mount_is_found_by_its_device() {
        let line =
            "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - fuse.sshfs server:/x rw,errors=continue";
        assert_eq!(kind_in(line, "98:0"), Some("fuse.sshfs"));
        assert_eq!(kind_in(line, "98:1"), None);
    }

    #[test]
    fn a_local_directory_is_local() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(network(dir.path()).unwrap(), None);
    }
}
