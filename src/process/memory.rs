//! How much memory the process may use.

use std::path::Path;

use super::files;

/// Half of the memory of the machine, or of the control group if that is less. `None` if the
/// system does not say.
pub fn half() -> Option<u64> {
    let read = |path: &str| {
        let bytes = files::read(Path::new(path)).ok()?;
        String::from_utf8(bytes).ok()
    };
    let machine = read("/proc/meminfo").and_then(|text| of_machine(&text));
    let groups = read("/proc/self/cgroup").map(|text| limits(&text)).unwrap_or_default();
    let groups = groups.iter().filter_map(|path| read(path)?.trim().parse().ok());
    machine.into_iter().chain(groups).min().map(|bytes: u64| bytes / 2)
}

/// The bytes of the machine, from `/proc/meminfo`.
fn of_machine(text: &str) -> Option<u64> {
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    kib.trim().trim_end_matches(" kB").parse::<u64>().ok()?.checked_mul(1024)
}

/// The files with the limits of the process's control group and of all groups above it, from
/// `/proc/self/cgroup`.
fn limits(text: &str) -> Vec<String> {
    let paths = text.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        match controllers {
            "" => Some(("/sys/fs/cgroup", path, "memory.max")),
            _ if controllers.split(',').any(|name| name == "memory") => {
                Some(("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"))
            }
            _ => None,
        }
    });
    let files = paths.flat_map(|(root, path, file)| {
        let groups = Path::new(path).ancestors().map(|group| group.to_string_lossy().into_owned());
        groups.map(move |group| format!("{root}{}/{file}", group.trim_end_matches('/')))
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_and_all_control_groups_count() {
        assert_eq!(of_machine("MemTotal:       8000000 kB\nMemFree: 1 kB\n"), Some(8_192_000_000));
        assert_eq!(
            limits("0::/system.slice/jitsiprovs.service\n"),
            [
                "/sys/fs/cgroup/system.slice/jitsiprovs.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(
            limits("9:cpu,memory:/x\n1:name=systemd:/y\n"),
            ["/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
        assert!(half().is_some_and(|bytes| bytes > 1 << 26));
    }
}
