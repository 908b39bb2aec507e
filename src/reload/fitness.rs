//! Whether the rows of the first load can mean what the options say.

use super::load::LoadError;
use crate::core::credential::{Look, PwdFmt};
use crate::snapshot::{MisfitTenant, Snapshot};

/// The options that say what rows mean.
#[derive(Debug, Clone)]
pub(super) struct Meaning {
    /// `--pwd-fmt`
    pub pwd_fmt: PwdFmt,
    /// `--realm`
    pub realm: Option<String>,
    /// `--default-domain`
    pub default_domain: Option<String>,
    /// `--accept-rows`
    pub accepts_all: bool,
}

impl Meaning {
    /// Checks the rows of the first load, and logs what cannot be known or is only odd.
    ///
    /// # Errors
    /// [`LoadError::Misfit`] if the passwords of a tenant are stored in another format.
    pub fn check(&self, snapshot: &Snapshot) -> Result<(), LoadError> {
        if let Some(misfit) = snapshot.misfits().first() {
            let why = self.refusal(misfit);
            if !self.accepts_all {
                return Err(LoadError::Misfit(why));
            }
            tracing::warn!("{why}");
        }
        let has_users = snapshot.counts().users > 0;
        if has_users && matches!(self.pwd_fmt, PwdFmt::Ha1 | PwdFmt::Ha1Sha256) {
            let realm =
                self.realm.as_deref().map_or("the user's domain".into(), |realm| format!("{realm:?}"));
            tracing::info!(
                "stored ha1 passwords fit only the realm for which they were made; the server uses {realm}, \
                 and cannot find out whether that is right (--realm)"
            );
        }
        self.check_default_domain(snapshot);
        Ok(())
    }

    fn refusal(&self, misfit: &MisfitTenant) -> String {
        let MisfitTenant { domain, users, misfits, look } = misfit;
        let format = match self.pwd_fmt {
            PwdFmt::Md5 => "md5",
            PwdFmt::Plain => "plain",
            PwdFmt::Ha1 => "ha1",
            PwdFmt::Ha1Sha256 => "ha1_sha256",
        };
        let (look, other) = match look {
            Look::Md5 => ("like md5 (32 hexadecimal digits)", "md5 or ha1"),
            Look::Sha256 => ("like SHA-256 (64 hexadecimal digits)", "ha1_sha256"),
            Look::Text => ("like no hash", "plain"),
        };
        format!(
            "of {users} stored passwords of {domain}, {misfits} do not fit --pwd-fmt {format}: most of them look \
             {look}, so give --pwd-fmt {other}; if the rows are right, give --accept-rows"
        )
    }

    fn check_default_domain(&self, snapshot: &Snapshot) {
        let Some(default) = &self.default_domain else { return };
        let folded = snapshot.fold(default);
        let mut domains = snapshot.domains_with_users();
        if let (Some(only), None) = (domains.next(), domains.next())
            && *only != *folded
        {
            tracing::warn!(
                "a request without a domain is for `{default}`, which has no users; the only tenant is \
                 `{only}`: give --default-domain {only} unless all clients send it",
                only = String::from_utf8_lossy(only)
            );
        }
    }
}
