//! Notices when files change.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Watches as long as it is kept.
pub struct Watch {
    _watcher: Option<RecommendedWatcher>,
    changed: Arc<Notify>,
}

impl Watch {
    /// Watches `files`, which need not exist: by their folders, since a file
    /// may be replaced by another of its name. What cannot be watched is
    /// reported, and left to polls. `is_change` tells what counts as a change.
    pub fn new(files: &[PathBuf], is_change: fn(EventKind) -> bool) -> Watch {
        let changed = Arc::new(Notify::new());
        if files.is_empty() {
            return Watch { _watcher: None, changed };
        }
        // Also the links on the way, each in its own folder, and the file itself.
        let others: Vec<PathBuf> = files.iter().flat_map(|file| links(file)).collect();
        let all = || files.iter().chain(&others);
        let names: HashSet<OsString> = all().filter_map(|file| Some(file.file_name()?.to_owned())).collect();
        let folders: HashSet<&Path> = all().filter_map(|file| file.parent()).collect();

        let notify = changed.clone();
        let told = move |event: notify::Result<Event>| {
            let is_ours = |path: &PathBuf| path.file_name().is_some_and(|name| names.contains(name));
            // Events that were lost are as good as one of ours.
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
            tracing::warn!("changes of {} are seen by polls alone: {why}", files[0].display());
        }
        Watch { _watcher: watching.ok(), changed }
    }

    /// Waits for a change since the last time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// The links that lead to `file`, and where they lead.
fn links(file: &Path) -> Vec<PathBuf> {
    let is_link = |path: &&Path| path.is_symlink();
    let on_the_way = file.ancestors().filter(is_link).map(Path::to_owned);
    let mut links: Vec<PathBuf> = on_the_way.chain(file.canonicalize().ok()).collect();
    // A link may lead to another, which may be replaced as well.
    let mut next = file.to_owned();
    while let Ok(target) = next.read_link()
        && links.len() < 64
    {
        next = next.parent().unwrap_or(Path::new("")).join(target);
        links.push(next.clone());
    }
    links
}
