//! The Unix socket that clients come in by: for this user alone, left by no one.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The kernel's limit on a socket's path, without its final zero.
const MAX_PATH_BYTES: usize = 107;

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("could not {action} the socket {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("another program answers on the socket {0}: stop it, or give this daemon its own with --socket")]
    Taken(PathBuf),
    #[error(
        "the socket path {0} is too long: give a shorter one with --socket (the kernel takes {MAX_PATH_BYTES} bytes)"
    )]
    TooLong(PathBuf),
    #[error(
        "the service manager gave {0} sockets: kithd takes the one for its clients, so name one ListenStream= only"
    )]
    TooMany(usize),
    #[error("the service manager gave a connection in place of a listening socket: set Accept=no in the socket unit")]
    NotListening,
    #[error("could not take over the socket that the service manager gave: {0}")]
    Inherited(io::Error),
    #[error("{0} exists and is not a socket: move it away, or choose another path with --socket")]
    NotASocket(PathBuf),
}

/// The socket, listening. The file goes when this is dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
    /// Given by the service manager, which keeps the file.
    inherited: bool,
}

impl Socket {
    /// Takes the socket that systemd has opened for this process, or opens one at `path`.
    pub fn open(path: &Path) -> Result<Self, SocketError> {
        if let Some(inherited) = Self::inherit(&mut listenfd::ListenFd::from_env(), path)? {
            return Ok(inherited);
        }
        let io = |action| move |source| SocketError::Io { action, path: path.to_owned(), source };
        if path.as_os_str().len().max(draft(path).as_os_str().len()) > MAX_PATH_BYTES {
            return Err(SocketError::TooLong(path.to_owned()));
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(io("make the directory of"))?;
        }
        remove_stale(path)?;
        let listener = bind_private(path).map_err(io("open"))?;
        Ok(Self { path: path.to_owned(), listener, inherited: false })
    }

    /// The socket among `given`. It is where its maker has put it, whatever the settings say.
    fn inherit(given: &mut listenfd::ListenFd, path: &Path) -> Result<Option<Self>, SocketError> {
        if given.len() > 1 {
            return Err(SocketError::TooMany(given.len()));
        }
        let Some(listener) = given.take_unix_listener(0).map_err(SocketError::Inherited)? else { return Ok(None) };
        if !rustix::net::sockopt::socket_acceptconn(&listener).map_err(|error| SocketError::Inherited(error.into()))? {
            return Err(SocketError::NotListening);
        }
        let bound = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
        if let Some(bound) = &bound {
            warn_if_open(bound);
        }
        Ok(Some(Self { path: bound.unwrap_or_else(|| path.to_owned()), listener, inherited: true }))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The listening end, for the thread that serves it.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.inherited {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Others who can connect are refused, since every client's user is checked, but they can take places.
fn warn_if_open(path: &Path) {
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o022 != 0 {
        let mode = format!("{:o}", mode & 0o777);
        tracing::warn!(path = %path.display(), mode, "others may knock at the socket: set SocketMode=0600 in its unit");
    }
}

fn draft(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}", std::process::id())).join("s")
}

/// Binds where nobody else can reach and moves the socket to its place once it has its mode: there is no moment in which
/// another user could connect. (A umask would do, but belongs to the whole process.)
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let draft = draft(path);
    let folder = draft.with_file_name("");
    let _ = std::fs::remove_dir_all(&folder);
    DirBuilder::new().mode(0o700).create(&folder)?;
    let bind = || {
        let listener = UnixListener::bind(&draft)?;
        std::fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
        std::fs::rename(&draft, path)?;
        Ok(listener)
    };
    let bound = bind();
    let _ = std::fs::remove_dir_all(&folder);
    bound
}

/// Removes a socket that a daemon left behind when it was killed: one that refuses connections.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let io = |action| move |source| SocketError::Io { action, path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("look at")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::Taken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(io("remove the old"))
        }
        // Full backlogs and foreign permissions: somebody is there.
        Err(error) => Err(io("use")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run/kithd.sock");
        let first = Socket::open(&path).expect("free");
        assert_eq!(std::fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
        assert!(matches!(Socket::open(&path), Err(SocketError::Taken(_))));
        drop(first);
        assert!(!path.exists());
        // As after kill -9: the file is there, nobody listens.
        drop(UnixListener::bind(&path).expect("free"));
        Socket::open(&path).expect("stale");
        std::fs::write(&path, "precious").expect("a file of our own");
        assert!(matches!(Socket::open(&path), Err(SocketError::NotASocket(_))));
        let long = folder.path().join("x".repeat(200));
        assert!(matches!(Socket::open(&long), Err(SocketError::TooLong(_))));
    }
}
