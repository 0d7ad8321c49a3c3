//! Which file systems a store refuses: those whose locks and shared memory do not reach the other machine.

use std::path::Path;

/// The name of the network file system that holds `dir`, `None` for a local one. Only Linux is asked.
pub fn network_file_system(dir: &Path) -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        let magic = u32::try_from(rustix::fs::statfs(dir).ok()?.f_type & 0xFFFF_FFFF).ok()?;
        network_name(magic, || mount_type(dir))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = dir;
        None
    }
}

/// Magic numbers of `statfs(2)`. FUSE has one number for all, so its kind is looked up in the mount table.
#[cfg(target_os = "linux")]
fn network_name(magic: u32, mount_type: impl FnOnce() -> Option<String>) -> Option<String> {
    const FUSE: u32 = 0x6573_5546;
    const LOCAL_FUSE: [&str; 4] = ["fuse", "fuseblk", "virtiofs", "fuse.fuse-overlayfs"];
    let name = match magic {
        0x6969 => "NFS",
        0x517B | 0xFE53_4D42 | 0xFF53_4D42 => "SMB",
        0x0102_1997 => "9P",
        0x5346_414F => "AFS",
        0x7375_7245 => "Coda",
        0x00C3_6400 => "Ceph",
        0x0BD0_0BD0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        FUSE => return mount_type().filter(|kind| !LOCAL_FUSE.contains(&kind.as_str())),
        _ => return None,
    };
    Some(name.to_owned())
}

#[cfg(target_os = "linux")]
fn mount_type(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    type_of_innermost_mount(&table, &dir)
}

/// A line is `id parent dev root mount-point options [fields] - type source options`; a later mount hides an earlier.
#[cfg(target_os = "linux")]
fn type_of_innermost_mount(table: &str, dir: &Path) -> Option<String> {
    table
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mount_point = left.split(' ').nth(4)?.replace("\\040", " ");
            let kind = right.split(' ').next()?;
            dir.starts_with(&mount_point).then(|| (mount_point.len(), kind.to_owned()))
        })
        .max_by_key(|(length, _)| *length)
        .map(|(_, kind)| kind)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_by_their_magic_number() {
        let never = || None;
        assert_eq!(network_name(0x6969, never).as_deref(), Some("NFS"));
        assert_eq!(network_name(0xFF53_4D42, never).as_deref(), Some("SMB"));
        assert_eq!(network_name(0xEF53, never), None, "ext4");
    }

    #[test]
    fn fuse_is_refused_unless_the_mount_table_says_it_is_local() {
        let kind = |name: &'static str| network_name(0x6573_5546, move || Some(name.to_owned()));
        assert_eq!(kind("fuse.sshfs").as_deref(), Some("fuse.sshfs"));
        assert_eq!(kind("fuseblk"), None);
    }

    #[test]
    fn the_innermost_mount_counts() {
        let table =
            "22 1 8:1 / / rw - ext4 /dev/vda rw\n30 22 0:40 / /home/my\\040data rw shared:1 - fuse.sshfs a:/ rw\n";
        let kind = |dir: &str| type_of_innermost_mount(table, Path::new(dir));
        assert_eq!(kind("/home/my data/skein").as_deref(), Some("fuse.sshfs"));
        assert_eq!(kind("/home/other").as_deref(), Some("ext4"));
    }
}
