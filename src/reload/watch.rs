//! Notices when files change.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::process::files::Aside;

/// Watches files until it is dropped.
pub struct Watch {
    _watcher: Option<RecommendedWatcher>,
    changed: Arc<Notify>,
}

impl Watch {
    /// Watches `files`, which need not exist. It watches their folders, because a file may be
    /// replaced by another one of the same name. If they cannot be watched, that is logged,
    /// and only polls notice changes. `is_change` says which events count as a change.
    pub fn new(files: &[PathBuf], is_change: fn(EventKind) -> bool) -> Watch {
        let changed = Arc::new(Notify::new());
        if files.is_empty() {
            return Watch { _watcher: None, changed };
        }
        // Symbolic links on the way are watched too, each in its own folder.
        let others: Vec<PathBuf> = files.iter().flat_map(|file| links(file)).collect();
        let all = || files.iter().chain(&others);
        let names: HashSet<OsString> = all().filter_map(|file| Some(file.file_name()?.to_owned())).collect();
        let folders: HashSet<&Path> = all().filter_map(|file| file.parent()).collect();

        let notify = changed.clone();
        let told = move |event: notify::Result<Event>| {
            let is_ours = |path: &PathBuf| path.file_name().is_some_and(|name| names.contains(name));
            // If events were lost, one of them may have been ours.
            let is_nothing = |event: Event| {
                !(event.need_rescan() || is_change(event.kind) && event.paths.iter().any(is_ours))
            };
            if event.is_ok_and(is_nothing) {
                return;
            }
            notify.notify_one();
        };
        let watching = notify::recommended_watcher(told).and_then(|mut watcher| {
            for folder in folders {
                let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        if let Err(why) = &watching {
            tracing::warn!("changes of {} are noticed only by polls: {why}", files[0].display());
        }
        Watch { _watcher: watching.ok(), changed }
    }

    /// Like [`Watch::new`], on another thread, because finding and watching folders waits for
    /// the disk.
    pub async fn aside(aside: &Aside, files: Vec<PathBuf>, is_change: fn(EventKind) -> bool) -> Watch {
        let Some(first) = files.first().cloned() else { return Watch::new(&[], is_change) };
        aside.run(move || Watch::new(&files, is_change)).await.unwrap_or_else(|why| {
            tracing::warn!("changes of {} are noticed only by polls: {why}", first.display());
            Watch { _watcher: None, changed: Arc::default() }
        })
    }

    /// Waits for a change since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// How many links are followed at most: about as many as the system follows.
const MOST_LINKS: usize = 64;

/// The symbolic links that lead to `file`, and their targets. They include links of folders,
/// and links in the path of a target, because each of them may be replaced.
fn links(file: &Path) -> Vec<PathBuf> {
    let mut links: Vec<PathBuf> = file.canonicalize().into_iter().collect();
    let mut next = vec![file.to_owned()];
    while let Some(path) = next.pop()
        && links.len() < MOST_LINKS
    {
        for link in path.ancestors().filter(|path| path.is_symlink()) {
            let Ok(target) = link.read_link() else { continue };
            let rest = path.strip_prefix(link).unwrap_or(Path::new(""));
            let target = link.parent().unwrap_or(Path::new("")).join(target);
            links.push(link.to_owned());
            // Joining an empty path would add a slash.
            next.push(if rest.as_os_str().is_empty() { target } else { target.join(rest) });
        }
        links.push(path);
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_link_on_the_way_is_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        // A common layout of deployments: file → current/file, current → releases/7.
        std::fs::create_dir_all(at("releases/7")).expect("a folder");
        std::fs::write(at("releases/7/cert.pem"), "").expect("a file");
        symlink("releases/7", at("current")).expect("a link");
        symlink("current/cert.pem", at("cert.pem")).expect("a link");
        symlink("cert.pem", at("alias.pem")).expect("a link");
        let links = links(&at("alias.pem"));
        for name in ["alias.pem", "cert.pem", "current", "current/cert.pem", "releases/7/cert.pem"] {
            assert!(links.contains(&at(name)), "{name}: {links:?}");
        }
        // Links in a circle must not be followed without end.
        symlink("b", at("a")).expect("a link");
        symlink("a", at("b")).expect("a link");
        assert!(super::links(&at("a")).len() <= MOST_LINKS * 2);
    }
}
