//! Whose a folder is: what another user of this machine put above a project is not the project's.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Whether a folder belongs to somebody who is neither this user nor root. One that is not there belongs to nobody.
#[must_use]
pub fn is_foreign(folder: &Path) -> bool {
    let me = rustix::process::geteuid().as_raw();
    std::fs::metadata(folder).is_ok_and(|metadata| is_of_another(metadata.uid(), me))
}

fn is_of_another(owner: u32, me: u32) -> bool {
    owner != me && owner != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_this_user_and_of_root_are_read_and_those_of_others_are_not() {
        assert!(!is_of_another(0, 1000) && !is_of_another(1000, 1000) && !is_of_another(0, 0));
        assert!(is_of_another(1001, 1000) && is_of_another(1000, 0));
        let own = tempfile::tempdir().expect("creates");
        assert!(!is_foreign(own.path()) && !is_foreign(&own.path().join("nowhere")));
    }
}
