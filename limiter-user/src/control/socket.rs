//! The Unix socket that the daemon is reached at.
//!
//! It belongs to one daemon at a time: a socket that a dead one left is
//! removed, one that answers is not.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt, chown},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

use super::access::Access;

/// Everybody may look for the socket.
const DIRECTORY_MODE: u32 = 0o755;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another daemon answers on it.
    #[error(
        "another limiterd answers on {}; stop it first, or give this one a control_socket of its own",
        path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket is in the way.
    #[error("{} is not a socket; remove it, or choose another control_socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// A step failed.
    #[error("cannot {step} {}", path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// To which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// A bound control socket; dropping it removes the file.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    inode: u64,
}

impl ControlSocket {
    /// Binds the socket, makes its directory when that is missing, and listens; owner and mode
    /// let connect whoever may ask, and what they may do is decided per request.
    ///
    /// # Errors
    ///
    /// When another daemon answers there, something else is in the way, or the file system refuses.
    pub fn bind(path: &Path, access: &Access) -> Result<(Self, UnixListener), SocketError> {
        let io = |step, path: &Path| {
            let path = path.to_owned();
            move |source| SocketError::Io { step, path, source }
        };
        if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
            fs::create_dir_all(directory).map_err(io("create directory", directory))?;
            fs::set_permissions(directory, fs::Permissions::from_mode(DIRECTORY_MODE))
                .map_err(io("set the mode of", directory))?;
        }
        refuse_if_taken(path)?;
        // Bound beside its place and then moved there: nobody can connect before
        // the mode is right, and a socket of a dead daemon is replaced at once.
        let unready = path.with_extension(format!("{}", std::process::id()));
        match fs::remove_file(&unready) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io("remove", &unready)(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&unready).map_err(io("bind", &unready))?;
        let placed = chown(&unready, None, access.group)
            .and_then(|()| fs::set_permissions(&unready, fs::Permissions::from_mode(access.socket_mode())))
            .and_then(|()| fs::rename(&unready, path))
            .and_then(|()| fs::metadata(path));
        match placed {
            Ok(metadata) => Ok((Self { path: path.to_owned(), inode: metadata.ino() }, listener)),
            Err(source) => {
                // What is left is a file with our process id in its name, which the next start removes.
                drop(fs::remove_file(&unready));
                Err(io("put in place", path)(source))
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A daemon that took over has put a socket of its own there.
        if fs::metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "control socket stays behind");
        }
    }
}

/// Checks that nobody answers at `path`, and that nothing but a socket is there.
fn refuse_if_taken(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(SocketError::NotASocket { path: path.to_owned() })
        }
        Ok(_) if UnixStream::connect(path).is_ok() => Err(SocketError::InUse { path: path.to_owned() }),
        Ok(_) => {
            tracing::info!(path = %path.display(), "replacing the control socket of a daemon that is gone");
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SocketError::Io { step: "look at", path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ControlRead;

    const ROOT_ONLY: Access = Access { own_uid: 0, group: None, read: ControlRead::Group };

    /// The socket is for whoever may ask, in a directory that was made for it, and goes with its owner.
    #[tokio::test]
    async fn socket_is_made_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/limiterd.sock");
        let (socket, _listener) = ControlSocket::bind(&path, &ROOT_ONLY).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "nothing lies beside the socket"
        );
        drop(socket);
        assert!(!path.exists());
    }

    /// A daemon that answers keeps its socket; one that died loses it.
    #[tokio::test]
    async fn only_a_dead_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("limiterd.sock");
        let first = ControlSocket::bind(&path, &ROOT_ONLY).unwrap();
        assert!(matches!(ControlSocket::bind(&path, &ROOT_ONLY), Err(SocketError::InUse { .. })));
        let (socket, listener) = first;
        drop(listener);
        let second = ControlSocket::bind(&path, &ROOT_ONLY).unwrap();
        drop(socket);
        assert!(path.exists(), "the socket of the second daemon is not the first one's to remove");
        drop(second);
    }

    /// A file that is no socket is left alone.
    #[tokio::test]
    async fn other_files_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("limiterd.sock");
        fs::write(&path, "mail").unwrap();
        assert!(matches!(ControlSocket::bind(&path, &ROOT_ONLY), Err(SocketError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mail");
    }
}
