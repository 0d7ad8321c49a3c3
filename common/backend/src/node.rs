//! Node: who a process is on its machine, also after it was started again.

use crate::embedded::lock_file::{LockFile, Taken};
use crate::embedded::network_file_system;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use uuid::Uuid;

const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// Processes that share a state directory. One machine runs far fewer; the bound ends a search that finds nothing.
const NODES_MAX: u32 = 1024;
/// The name of a node that is stored in its directory.
const ID_FILE: &str = "id";

/// The identity of one process. It is the only one that has it, until it ends or drops this.
///
/// Whoever gets an identity may rely on that every earlier process that had it is gone.
#[derive(Debug)]
pub struct Node {
    id: String,
    dir: PathBuf,
    _lock: LockFile,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    #[error("cannot use the state directory {}: {source}", dir.display())]
    Unusable {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{} is on a network file system ({kind}), where two machines could be the same node; name a local directory",
        dir.display()
    )]
    NetworkFileSystem { dir: PathBuf, kind: String },
    #[error("all {NODES_MAX} nodes of {} are taken", dir.display())]
    AllTaken { dir: PathBuf },
}

impl Node {
    /// Takes the first of `node-0`, `node-1`, … in this state directory that no process has, and creates what is not
    /// there. Roles that shall keep their nodes when they are started in another order need directories of their own.
    ///
    /// # Errors
    /// The directory cannot be used, is no local one, or has no free node.
    pub fn take(dir: &Path) -> Result<Node, NodeError> {
        let unusable = |source| NodeError::Unusable { dir: dir.to_owned(), source };
        create_private_dir(dir).map_err(unusable)?;
        if let Some(kind) = network_file_system(dir) {
            return Err(NodeError::NetworkFileSystem { dir: dir.to_owned(), kind });
        }
        for number in 0..NODES_MAX {
            let name = format!("node-{number}");
            if let Some(node) = Node::take_this(dir, &name).map_err(unusable)? {
                return Ok(node);
            }
        }
        Err(NodeError::AllTaken { dir: dir.to_owned() })
    }

    fn take_this(state_dir: &Path, name: &str) -> io::Result<Option<Node>> {
        // Beside the node's directory: what removes the lock's file shall not meet what is kept.
        let Taken::Ours(lock) = LockFile::take(&state_dir.join(format!("{name}.lock")), name)? else {
            return Ok(None);
        };
        let dir = state_dir.join(name);
        create_private_dir(&dir)?;
        let uuid = stored_uuid(&dir)?;
        Ok(Some(Node { id: format!("{name}-{uuid}"), dir, _lock: lock }))
    }

    /// `node-N-UUID`: the same for each process that has this node, another one on every machine.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the node keeps for the next process that has it. Of this user only.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The UUID of a node; a new one when there is none, or when the file is damaged.
fn stored_uuid(dir: &Path) -> io::Result<Uuid> {
    let path = dir.join(ID_FILE);
    match fs::read(&path) {
        Ok(text) => {
            if let Ok(uuid) = Uuid::try_parse_ascii(text.trim_ascii()) {
                return Ok(uuid);
            }
            tracing::warn!(path = %path.display(), "the name of this node is damaged; it gets a new one");
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let uuid = Uuid::now_v7();
    let unfinished = dir.join(format!("{ID_FILE}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE_FILE).open(&unfinished)?;
    writeln!(file, "{uuid}")?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    Ok(uuid)
}

/// A directory that is there already keeps its mode: it is the user's.
fn create_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_node_keeps_its_name_and_what_it_stored() {
        let state = tempfile::tempdir().expect("a directory");
        let first = Node::take(state.path()).expect("a node");
        let id = first.id().to_owned();
        assert!(id.starts_with("node-0-"), "{id}");
        fs::write(first.dir().join("kept"), "x").expect("writes");
        drop(first);
        let again = Node::take(state.path()).expect("a node");
        assert_eq!((again.id(), fs::read(again.dir().join("kept")).ok()), (id.as_str(), Some(b"x".to_vec())));
    }

    #[test]
    fn nodes_of_two_directories_differ_in_name() {
        let (one, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let (one, other) = (Node::take(one.path()).expect("a node"), Node::take(other.path()).expect("a node"));
        assert_ne!(one.id(), other.id());
    }

    #[test]
    fn a_node_that_is_taken_is_not_taken_again_and_the_first_free_one_is() {
        let state = tempfile::tempdir().expect("a directory");
        let mut nodes: Vec<Node> = (0..3).map(|_| Node::take(state.path()).expect("a node")).collect();
        assert_eq!(nodes.iter().map(Node::id).collect::<BTreeSet<_>>().len(), 3);
        let freed = nodes.remove(1).id().to_owned();
        assert!(freed.starts_with("node-1-"), "{freed}");
        assert_eq!(Node::take(state.path()).expect("a node").id(), freed);
    }

    #[test]
    fn those_that_come_at_once_get_different_nodes() {
        let state = tempfile::tempdir().expect("a directory");
        let take = || {
            std::thread::spawn({
                let dir = state.path().to_owned();
                move || Node::take(&dir).expect("a node")
            })
        };
        let takers: Vec<_> = (0..16).map(|_| take()).collect();
        let nodes: Vec<Node> = takers.into_iter().map(|taker| taker.join().expect("no panic")).collect();
        assert_eq!(nodes.iter().map(Node::id).collect::<BTreeSet<_>>().len(), 16);
        let names: BTreeSet<_> = nodes.iter().filter_map(|node| node.dir().file_name()).collect();
        assert!((0..16).all(|number| names.contains(format!("node-{number}").as_ref() as &std::ffi::OsStr)));
    }

    #[test]
    fn a_damaged_name_is_replaced() {
        let state = tempfile::tempdir().expect("a directory");
        let id = Node::take(state.path()).expect("a node").id().to_owned();
        for damage in ["", "../../etc", "\0\0\0\0"] {
            fs::write(state.path().join("node-0").join(ID_FILE), damage).expect("writes");
            let node = Node::take(state.path()).expect("a node");
            assert!(node.id() != id && node.id().starts_with("node-0-"), "{}", node.id());
        }
    }

    #[test]
    fn what_a_node_keeps_is_for_its_user_only() {
        let parent = tempfile::tempdir().expect("a directory");
        let node = Node::take(&parent.path().join("state")).expect("a node");
        let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
        assert_eq!((mode(&parent.path().join("state")), mode(node.dir())), (PRIVATE_DIR, PRIVATE_DIR));
        assert_eq!(mode(&node.dir().join(ID_FILE)), PRIVATE_FILE);
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let refusal = Node::take(file.path()).expect_err("no directory").to_string();
        assert!(refusal.contains(&file.path().display().to_string()), "{refusal}");
    }
}
