//! How the system divides the processor among the threads of this process.

/// The length of a turn on the processor that [`take_short_turns`] asks for, in nanoseconds. It
/// is the shortest that Linux grants.
const SHORT: u64 = 100_000;

/// Lowers the priority of this thread, and of those it starts, below that of the
/// threads that answer requests. On Linux each thread has its own priority.
pub fn step_back() {
    /// On the scale of `nice`: about a tenth of the processor if other threads
    /// want all of it.
    const NICE: i32 = 10;
    // If this fails, for example because the priority is lower already, it stays as it is.
    let _ = rustix::process::setpriority_process(None, NICE);
    // A thread begins with the turns of the thread that starts it.
    set_turn(0);
}

/// Asks for short turns on the processor for this thread, and for those it starts. A thread
/// that takes short turns needs not wait for the end of a longer turn of another thread, which
/// is about 3 ms, when there is something to do for it. Its share of the processor stays the
/// same.
///
/// Linux before 6.12 has turns of one length for all, and ignores this.
pub fn take_short_turns() {
    set_turn(SHORT);
}

/// Sets the length of the turns of this thread, in nanoseconds. 0 is what Linux chooses.
fn set_turn(length: u64) {
    let Ok(mut attributes) = uapi::sched_getattr(0, 0) else { return };
    attributes.sched_runtime = length;
    // A service manager may forbid it. Then turns stay as they are.
    let _ = uapi::sched_setattr(0, &attributes, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_turns_leave_the_priority_as_it_is_and_are_not_for_threads_that_step_back() {
        let attributes = || uapi::sched_getattr(0, 0).expect("Linux");
        let thread = std::thread::spawn(move || {
            let before = attributes();
            take_short_turns();
            let short = attributes();
            let other = std::thread::spawn(move || {
                step_back();
                attributes()
            });
            (before, short, other.join().expect("no panic"))
        });
        let (before, short, other) = thread.join().expect("no panic");
        assert_eq!((short.sched_policy, short.sched_nice), (before.sched_policy, before.sched_nice));
        // Older kernels know no length of turns, and report 0.
        assert!([0, SHORT].contains(&short.sched_runtime), "{}", short.sched_runtime);
        assert_eq!(other.sched_runtime, before.sched_runtime);
        assert!(other.sched_nice >= 10);
    }
}
