//! Who is at the other end of a connection, by the kernel's word.
//!
//! What a peer may do is the matter of [`access`](super::access).

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use nix::unistd::{Uid, User};
use tokio::net::UnixListener;

use super::peer_groups::supplementary_groups;

/// The process that made a request, as it was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user id.
    pub uid: u32,
    /// Its effective group id.
    pub gid: u32,
    /// Its process id; none when it is in a process namespace that we do not see.
    pub pid: Option<i32>,
}

impl Peer {
    /// Returns the peer as rules, logs and the audit name it: `uid 1000 pid 4711`.
    #[must_use]
    pub fn who(&self) -> String {
        let pid = self.pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
        format!("uid {} pid {pid}", self.uid)
    }

    /// Returns the name of its user, if there is one; asks the user database, which may take a while.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        User::from_uid(Uid::from_raw(self.uid)).ok().flatten().map(|user| user.name)
    }
}

/// A peer with every group that it was in when it connected; nobody when the kernel does not name one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    pub(super) peer: Option<Peer>,
    pub(super) groups: Vec<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let peer = stream.io().peer_cred().ok().map(|credentials| Peer {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid: credentials.pid(),
        });
        // A kernel that does not tell (before 4.13) leaves the primary group, which is in the credentials.
        let mut groups = supplementary_groups(stream.io()).unwrap_or_default();
        groups.extend(peer.map(|peer| peer.gid));
        Self { peer, groups }
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::{getgid, getgroups, getuid};
    use tokio::net::UnixStream;

    use super::*;

    /// A peer is named by user and process, and one without a process id still by its user.
    #[test]
    fn peers_have_names() {
        let peer = Peer { uid: 0, gid: 0, pid: Some(7) };
        assert_eq!((peer.who().as_str(), peer.user().as_deref()), ("uid 0 pid 7", Some("root")));
        assert_eq!(Peer { pid: None, ..peer }.who(), "uid 0 pid unknown");
    }

    /// The groups of a peer are those of the process that connected.
    #[tokio::test]
    async fn groups_are_those_of_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let own: Vec<u32> = getgroups().unwrap().into_iter().map(nix::unistd::Gid::as_raw).collect();
        assert_eq!(supplementary_groups(&server).unwrap(), own);
        let credentials = server.peer_cred().unwrap();
        assert_eq!((credentials.uid(), credentials.gid()), (getuid().as_raw(), getgid().as_raw()));
        drop(client);
    }
}
