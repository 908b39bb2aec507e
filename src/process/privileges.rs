//! The user and group of the process, which is root only while it must be.

use std::ffi::CString;

use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getresgid, getresuid, initgroups, setgroups, setresgid, setresuid};

/// Whether this process runs as root.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// The user and group to become (`--user`, `--group`).
#[derive(Debug, Clone)]
pub struct Identity {
    /// None if the user does not change.
    uid: Option<Uid>,
    /// The name in the user database, to find the user's other groups.
    name: Option<CString>,
    gid: Gid,
    /// Whether `--group` was given; if not, the group is that of the user.
    wants_group: bool,
    /// The user and group as typed, for messages.
    wanted: String,
}

impl Identity {
    /// Looks up names or numbers.
    ///
    /// # Errors
    /// When there is no such user or group: a line that names the option.
    pub fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<Identity>, String> {
        let wanted = match (user, group) {
            (None, None) => return Ok(None),
            (Some(user), None) => format!("user {user}"),
            (None, Some(group)) => format!("group {group}"),
            (Some(user), Some(group)) => format!("user {user} and group {group}"),
        };
        let (uid, known) = match user.map(find_user).transpose()? {
            Some((uid, known)) => (Some(uid), known),
            None => (None, None),
        };
        let gid = match (group, &known) {
            (Some(group), _) => find_group(group)?,
            (None, Some(user)) => user.gid,
            (None, None) => {
                return Err(format!(
                    "--{wanted}: the user database has no group for this number, add --group"
                ));
            }
        };
        let name = known.and_then(|user| CString::new(user.name).ok());
        Ok(Some(Identity { uid, name, gid, wants_group: group.is_some(), wanted }))
    }

    /// Changes all threads of the process to this user and group, permanently.
    ///
    /// # Errors
    /// When the system does not allow it, or would allow the process to become root again.
    pub fn assume(&self) -> anyhow::Result<()> {
        if self.is_assumed()? {
            return Ok(());
        }
        self.set().with_context(|| {
            format!("cannot become {}: start as root, or leave out --user and --group", self.wanted)
        })?;
        self.verify().with_context(|| format!("did not become {}", self.wanted))
    }

    /// Sets the groups first, because the new user may not change them.
    fn set(&self) -> Result<(), Errno> {
        match &self.name {
            Some(name) => initgroups(name, self.gid)?,
            None => setgroups(&[self.gid])?,
        }
        setresgid(self.gid, self.gid, self.gid)?;
        self.uid.map_or(Ok(()), |uid| setresuid(uid, uid, uid))
    }

    /// Whether there is nothing to do, because an ordinary user has this user and group
    /// already. Never true for root, because root may have more groups than these.
    fn is_assumed(&self) -> Result<bool, Errno> {
        let is_user = match self.uid {
            Some(uid) => is_uid(uid)?,
            None => true,
        };
        let is_group = !self.wants_group || is_gid(self.gid)?;
        Ok(is_user && is_group && !Uid::effective().is_root())
    }

    fn verify(&self) -> anyhow::Result<()> {
        ensure!(is_gid(self.gid)?, "the process has another group");
        let Some(uid) = self.uid else { return Ok(()) };
        ensure!(is_uid(uid)?, "the process has another user");
        if !uid.is_root() {
            let root = Uid::from_raw(0);
            if setresuid(root, root, root).is_ok() {
                bail!("the system allows the process to become root again");
            }
        }
        Ok(())
    }
}

/// Whether the real, effective and saved users are all `uid`.
fn is_uid(uid: Uid) -> Result<bool, Errno> {
    let ids = getresuid()?;
    Ok([ids.real, ids.effective, ids.saved] == [uid; 3])
}

fn is_gid(gid: Gid) -> Result<bool, Errno> {
    let ids = getresgid()?;
    Ok([ids.real, ids.effective, ids.saved] == [gid; 3])
}

fn find_user(typed: &str) -> Result<(Uid, Option<User>), String> {
    if let Some(user) = User::from_name(typed).map_err(|why| format!("--user {typed}: {why}"))? {
        return Ok((user.uid, Some(user)));
    }
    let uid =
        typed.parse().map(Uid::from_raw).map_err(|_| format!("--user {typed}: there is no such user"))?;
    Ok((uid, User::from_uid(uid).unwrap_or(None)))
}

fn find_group(typed: &str) -> Result<Gid, String> {
    if let Some(group) = Group::from_name(typed).map_err(|why| format!("--group {typed}: {why}"))? {
        return Ok(group.gid);
    }
    typed.parse().map(Gid::from_raw).map_err(|_| format!("--group {typed}: there is no such group"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_understood_and_what_is_unknown_is_named() {
        let find = |user, group| Identity::find(user, group).map(|identity| identity.expect("asked for"));
        let root = find(Some("root"), None).expect("there always is");
        assert_eq!((root.uid, root.gid), (Some(Uid::from_raw(0)), Gid::from_raw(0)));
        assert_eq!(find(Some("0"), None).expect("known").name, Some(c"root".to_owned()));
        let stranger = find(Some("4000000000"), Some("4000000001")).expect("numbers");
        assert_eq!((stranger.gid, stranger.name), (Gid::from_raw(4_000_000_001), None));
        assert_eq!(find(None, Some("root")).expect("known").uid, None);
        for (user, group, named) in [
            (Some("no-such-user"), None, "--user no-such-user"),
            (None, Some("no-such-group"), "--group no-such-group"),
            (Some("4000000000"), None, "--group"),
            (Some("-1"), None, "--user -1"),
        ] {
            let error = find(user, group).expect_err("unknown");
            assert!(error.contains(named), "{error}");
        }
        assert!(Identity::find(None, None).is_ok_and(|identity| identity.is_none()));
    }
}
