//! Who may read and who may write: one rule, in front of every route.
//!
//! It goes by the method, so that a route cannot forget it: `GET` reads, all
//! else writes. Handlers find the [`Peer`] among the extensions of a request
//! that came this far.

use std::{io, sync::Arc};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};
use nix::unistd::{Group, geteuid};

use super::{
    error::{Kind, RequestError},
    peer::{Caller, Peer},
};
use crate::config::{ControlGroup, ControlRead, Runtime};

/// Why it cannot be said who may do what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The configured group does not exist.
    #[error(
        "[runtime] control_group is `{name}`, and there is no such group; \
         make it with `groupadd --system {name}`, or leave the key out: then only root may write"
    )]
    NoSuchGroup {
        /// Its name.
        name: String,
    },
    /// The group database cannot be read.
    #[error("cannot look up the group `{name}` of [runtime] control_group")]
    GroupDatabase {
        /// The name that was looked for.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It changes nothing.
    Read,
    /// It may change something.
    Write,
}

impl Act {
    fn of(method: &Method) -> Self {
        if matches!(*method, Method::GET | Method::HEAD) { Self::Read } else { Self::Write }
    }
}

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The user of the daemon: who can send it signals and change its files may as well write.
    pub own_uid: u32,
    /// The group that may read and write.
    pub group: Option<u32>,
    /// Who else may read.
    pub read: ControlRead,
}

impl Access {
    /// Returns what a configuration says, with the group looked up.
    ///
    /// # Errors
    ///
    /// When there is no such group.
    pub fn resolve(runtime: &Runtime) -> Result<Self, AccessError> {
        let group = match &runtime.control_group {
            None => None,
            Some(ControlGroup::Id(gid)) => Some(*gid),
            Some(ControlGroup::Name(name)) => {
                let found = Group::from_name(name).map_err(|error| AccessError::GroupDatabase {
                    name: name.clone(),
                    source: error.into(),
                })?;
                let group = found.ok_or_else(|| AccessError::NoSuchGroup { name: name.clone() })?;
                Some(group.gid.as_raw())
            }
        };
        Ok(Self { own_uid: geteuid().as_raw(), group, read: runtime.control_read })
    }

    /// Returns whether a caller of this user and these groups may do something.
    #[must_use]
    pub fn allows(&self, act: Act, uid: u32, groups: &[u32]) -> bool {
        let member = self.group.is_some_and(|group| groups.contains(&group));
        uid == 0 || uid == self.own_uid || member || (act == Act::Read && self.read == ControlRead::All)
    }

    /// Returns the permission bits of the socket: who may not even read need not connect.
    #[must_use]
    pub const fn socket_mode(&self) -> u32 {
        match (self.read, self.group) {
            (ControlRead::All, _) => 0o666,
            (ControlRead::Group, Some(_)) => 0o660,
            (ControlRead::Group, None) => 0o600,
        }
    }

    fn forbidden(&self, act: Act) -> RequestError {
        let group = self.group.map(|gid| {
            // Only for the sentence: without a name the number has to do.
            Group::from_gid(gid.into()).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name)
        });
        let what = if act == Act::Read { "ask limiterd" } else { "change anything" };
        let (who, remedy) = match &group {
            Some(name) => (
                format!("root and the group `{name}`"),
                format!(
                    "run limiterctl as root, or add your user: `usermod -aG {name} USER`, then log in anew"
                ),
            ),
            None => (
                "root".to_owned(),
                "run limiterctl as root, or name a group in [runtime] control_group and restart limiterd"
                    .to_owned(),
            ),
        };
        RequestError::new(Kind::Forbidden, format!("only {who} may {what}"), remedy)
    }

    fn admit(&self, act: Act, caller: &Caller) -> Result<Peer, RequestError> {
        caller
            .peer
            .filter(|peer| self.allows(act, peer.uid, &caller.groups))
            .ok_or_else(|| self.forbidden(act))
    }
}

/// Lets a request through to its route, with the [`Peer`] among its extensions, or answers 403.
///
/// # Errors
///
/// When the caller may not do what the method stands for.
pub async fn guard(
    State(access): State<Arc<Access>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    mut request: Request,
    next: Next,
) -> Result<Response, RequestError> {
    let act = Act::of(request.method());
    match access.admit(act, &caller) {
        Ok(peer) => {
            request.extensions_mut().insert(peer);
            Ok(next.run(request).await)
        }
        Err(error) => {
            let who = caller.peer.map_or_else(|| "unknown".to_owned(), |peer| peer.who());
            tracing::warn!(who, method = %request.method(), path = request.uri().path(), "not allowed");
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITER: u32 = 900;

    fn access(group: Option<u32>, read: ControlRead) -> Access {
        Access { own_uid: 800, group, read }
    }

    /// Root, the daemon's own user and the group may write; others never, whatever they may read.
    #[test]
    fn writers_are_root_the_daemon_and_the_group() {
        for read in [ControlRead::All, ControlRead::Group] {
            let with = access(Some(LIMITER), read);
            for (uid, groups, may) in [
                (0, &[0][..], true),
                (800, &[800], true),
                (1000, &[1000, LIMITER], true),
                (1000, &[LIMITER], true),
                (1000, &[1000], false),
                (1000, &[], false),
                // A user id is no group id.
                (LIMITER, &[LIMITER + 1], false),
            ] {
                assert_eq!(with.allows(Act::Write, uid, groups), may, "uid {uid} groups {groups:?}");
            }
            let without = access(None, read);
            assert!(!without.allows(Act::Write, 1000, &[LIMITER, 0]));
            assert!(without.allows(Act::Write, 0, &[]));
        }
    }

    /// Whoever may write may read; others only where the configuration says so.
    #[test]
    fn readers_are_the_writers_or_all() {
        let closed = access(Some(LIMITER), ControlRead::Group);
        assert!(closed.allows(Act::Read, 1000, &[LIMITER]));
        assert!(!closed.allows(Act::Read, 1000, &[1000]));
        assert!(access(None, ControlRead::All).allows(Act::Read, 1000, &[1000]));
    }

    /// Whom the kernel does not name may do nothing, even where all may read.
    #[test]
    fn nobody_may_nothing() {
        let open = access(None, ControlRead::All);
        let nobody = Caller { peer: None, groups: vec![0] };
        assert_eq!(open.admit(Act::Read, &nobody).unwrap_err().kind, Kind::Forbidden);
        let root = Caller { peer: Some(Peer { uid: 0, gid: 0, pid: None }), groups: vec![0] };
        assert!(open.admit(Act::Write, &root).is_ok());
    }

    /// Everything but asking writes, methods that no route knows included.
    #[test]
    fn only_asking_reads() {
        assert_eq!([Method::GET, Method::HEAD].map(|method| Act::of(&method)), [Act::Read; 2]);
        let writes = [Method::POST, Method::DELETE, Method::PUT, Method::PATCH, Method::OPTIONS];
        assert!(writes.iter().all(|method| Act::of(method) == Act::Write));
    }

    /// The socket lets connect whoever may at least read, and nobody else.
    #[test]
    fn the_socket_is_as_open_as_the_rule() {
        assert_eq!(access(None, ControlRead::Group).socket_mode(), 0o600);
        assert_eq!(access(Some(LIMITER), ControlRead::Group).socket_mode(), 0o660);
        assert_eq!(access(None, ControlRead::All).socket_mode(), 0o666);
    }

    /// A refusal names who may and what helps.
    #[test]
    fn refusals_name_the_remedy() {
        let error = access(None, ControlRead::All).forbidden(Act::Write);
        assert_eq!(error.body.error, "only root may change anything");
        assert!(error.body.remedy.contains("control_group"), "{error}");
        let error = access(Some(0), ControlRead::Group).forbidden(Act::Read);
        assert_eq!(error.body.error, "only root and the group `root` may ask limiterd");
        assert!(error.body.remedy.contains("usermod -aG root"), "{error}");
    }

    /// A group is found by name or number; one that does not exist is an error that says how to make it.
    #[test]
    fn groups_are_looked_up() {
        let runtime = |text: &str| {
            let text = format!("[runtime]\n{text}\n[[service]]\nname = \"smtp\"\nports = [25]\n");
            crate::config::Config::parse(&text, "test.toml").unwrap().runtime
        };
        let group = |text| Access::resolve(&runtime(text)).map(|access| access.group);
        assert_eq!(group("").unwrap(), None);
        assert_eq!(group("control_group = \"root\"").unwrap(), Some(0));
        assert_eq!(group("control_group = 4242").unwrap(), Some(4242));
        let error = group("control_group = \"no-such-group\"").unwrap_err();
        assert!(error.to_string().contains("groupadd --system no-such-group"), "{error}");
    }
}
