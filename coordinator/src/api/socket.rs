//! The Unix socket of the API: nobody but its owner can open it, at no moment.

use rustix::fs::{Mode, OFlags, chmod, open};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Connections waiting to be accepted.
const BACKLOG: i32 = 128;
/// What fits into a socket address of this system, with its end.
const ADDRESS_BYTES_MAX: usize = 107;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    #[error("{path} is in use by another process")]
    InUse { path: PathBuf },
    #[error("{path} cannot be made: {source}")]
    System { path: PathBuf, source: io::Error },
}

/// Listens on a socket file that only this user may open. A file that a dead process left is replaced.
///
/// # Errors
/// Somebody listens there, or the system refuses.
pub fn bind_private(path: &Path) -> Result<UnixListener, SocketError> {
    let system = |source: io::Error| SocketError::System { path: path.to_path_buf(), source };
    if UnixStream::connect(reachable(path).map_err(system)?.path()).is_ok() {
        return Err(SocketError::InUse { path: path.to_path_buf() });
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(system(error)),
        _ => {}
    }
    listen_on(path).map_err(system)
}

/// The permissions are set between binding and listening: before, nobody can connect.
fn listen_on(path: &Path) -> io::Result<UnixListener> {
    let short = reachable(path)?;
    let descriptor: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&descriptor, &SocketAddrUnix::new(short.path())?)?;
    chmod(path, Mode::RUSR | Mode::WUSR)?;
    listen(&descriptor, BACKLOG)?;
    Ok(UnixListener::from(descriptor))
}

/// A name of the socket that fits into a socket address; good for as long as this value lives.
///
/// # Errors
/// The folder cannot be opened.
pub fn reachable(path: &Path) -> io::Result<Reachable> {
    if path.as_os_str().len() <= ADDRESS_BYTES_MAX {
        return Ok(Reachable { path: path.to_path_buf(), _folder: None });
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok(Reachable { path: short, _folder: Some(folder) })
}

/// See [`reachable`].
#[derive(Debug)]
pub struct Reachable {
    path: PathBuf,
    _folder: Option<OwnedFd>,
}

impl Reachable {
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_socket_is_for_its_owner_only_and_one_process_has_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api.sock");
        let listener = bind_private(&path).expect("binds");
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind_private(&path), Err(SocketError::InUse { .. })));
        drop(listener);
        bind_private(&path).expect("what a dead process left is replaced");
    }

    #[test]
    fn a_long_path_is_reached_all_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("long".repeat(30)).join("still longer");
        fs::create_dir_all(&deep).expect("made");
        let path = deep.join("api.sock");
        let _listener = bind_private(&path).expect("binds");
        UnixStream::connect(reachable(&path).expect("reachable").path()).expect("connects");
    }
}
