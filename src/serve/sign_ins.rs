//! The file of `--remember-sign-ins`: records of right passwords, so that after a restart no
//! slow hash is computed again. Requests never wait for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use arc_swap::ArcSwapOption;
use tokio::time::sleep;

use crate::core::credential::SignInRecords;
use crate::process::files::{self, Aside};
use crate::snapshot::Served;

/// How long new records wait until they are written.
const REST: Duration = Duration::from_secs(60);

/// The records and their file.
#[derive(Clone)]
pub struct SignInFile {
    path: PathBuf,
    records: Arc<SignInRecords>,
    aside: Aside,
}

impl SignInFile {
    /// The file at `path`, which is not read yet.
    pub fn new(path: PathBuf, records: SignInRecords) -> SignInFile {
        SignInFile { path, records: Arc::new(records), aside: Aside::new() }
    }

    /// The records.
    pub fn records(&self) -> &SignInRecords {
        &self.records
    }

    /// Reads the file. One that cannot be used is reported and ignored.
    pub async fn load(&self) {
        let path = self.path.clone();
        let why: Box<dyn fmt::Display> = match self.aside.run(move || files::read(&path)).await.flatten() {
            Ok(bytes) => match self.records.decode(&bytes) {
                Ok(count) => {
                    tracing::info!(count, "sign-ins of earlier processes are known");
                    return;
                }
                Err(why) => Box::new(why),
            },
            Err(why) if why.kind() == io::ErrorKind::NotFound => return,
            Err(why) => Box::new(why),
        };
        tracing::warn!(
            "the file {} of earlier sign-ins is ignored ({why}): each user's next sign-in computes its slow \
             hash, and the file is written again",
            self.path.display()
        );
    }

    /// Writes new records once a minute. Never returns.
    pub async fn keep(self, snapshot: Arc<ArcSwapOption<Served>>) {
        let mut is_failing = false;
        loop {
            sleep(REST).await;
            match self.save(&snapshot).await {
                Ok(()) => is_failing = false,
                Err(_) if is_failing => {}
                Err(why) => {
                    is_failing = true;
                    self.report(&why);
                }
            }
        }
    }

    /// Writes new records for the last time.
    pub async fn close(&self, snapshot: &ArcSwapOption<Served>) {
        if let Err(why) = self.save(snapshot).await {
            self.report(&why);
        }
    }

    /// There are at most as many records as users.
    async fn save(&self, snapshot: &ArcSwapOption<Served>) -> io::Result<()> {
        let Some(users) = snapshot.load().as_ref().map(|served| served.snapshot.counts().users) else {
            return Ok(());
        };
        let (path, records) = (self.path.clone(), self.records.clone());
        let work = move || records.encode(users).map_or(Ok(()), |bytes| files::replace(&path, &bytes));
        let saved = self.aside.run(work).await.flatten();
        if saved.is_err() {
            self.records.lose();
        }
        saved
    }

    fn report(&self, why: &io::Error) {
        tracing::warn!(
            "cannot write the file {} of sign-ins ({why}): check the space and the permissions of its folder",
            self.path.display()
        );
    }
}
