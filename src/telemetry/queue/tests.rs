use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;

/// A log that finishes a write only when the test reads its lines.
struct SlowLog(SyncSender<String>);

impl Write for SlowLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is read from it is what one write has written.
fn slow() -> (Arc<Queue>, Receiver<String>) {
    let (sender, writes) = sync_channel(0);
    (Queue::start(SlowLog(sender)).expect("a thread"), writes)
}

/// A line of 100 bytes with its end.
fn line(kind: Priority, number: usize) -> String {
    format!("{:99}\n", format!("{} {number}", kind.name()))
}

const LINE: usize = 100;

fn push(queue: &Queue, kind: Priority, number: usize) {
    queue.push(kind, line(kind, number).as_bytes());
}

#[test]
fn nobody_waits_for_a_slow_reader_who_is_told_how_much_is_lost() {
    let (queue, writes) = slow();
    for number in 0..CAPACITY / LINE + 100 {
        push(&queue, Priority::Important, number);
    }
    queue.flush(Duration::from_millis(10));
    let written = writes.recv().expect("a write");
    assert!(written.starts_with(&line(Priority::Important, 0)), "{written}");
    let [lost, routine] = queue.lock().lost;
    assert_eq!(routine, 0);
    // The writer may have taken lines before the buffer was full.
    assert!((100 - (WRITE / LINE) as u64..=100).contains(&lost), "{lost}");
    assert!(queue.lock().lines[0].capacity() <= 2 * CAPACITY);
}

#[test]
fn all_that_is_queued_is_written_before_the_end() {
    let (queue, writes) = slow();
    let reader = std::thread::spawn(move || {
        let mut read = 0;
        while read < 1000 {
            read += writes.recv().expect("a write").lines().count();
        }
        read
    });
    (0..1000).for_each(|number| push(&queue, Priority::Routine, number));
    queue.flush(Duration::from_secs(60));
    assert!(queue.lock().is_empty() && queue.lock().flushing == 0);
    assert_eq!(reader.join().expect("no panic"), 1000);
}

#[test]
fn lines_of_a_burst_are_written_at_once_and_whole() {
    let (queue, writes) = slow();
    let long = format!("{}\n", "x".repeat(2 * WRITE));
    // The thread writes this one, and the others wait.
    push(&queue, Priority::Important, 0);
    (0..100).for_each(|number| push(&queue, Priority::Routine, number));
    queue.push(Priority::Routine, long.as_bytes());
    push(&queue, Priority::Routine, 100);
    assert_eq!(writes.recv(), Ok(line(Priority::Important, 0)));
    let burst: Vec<String> = writes.iter().take(5).collect();
    let lengths: Vec<usize> = burst.iter().map(String::len).collect();
    assert_eq!(lengths, [4000, 4000, 2000, long.len(), LINE]);
    let expected: Vec<String> = (0..100).map(|number| line(Priority::Routine, number)).collect();
    assert_eq!(burst[..3].concat(), expected.concat());
}

/// A line that comes alone is written too, though nobody flushes.
#[test]
fn a_line_waits_a_moment_only() {
    let (queue, writes) = slow();
    for number in 0..3 {
        push(&queue, Priority::Routine, number);
        assert_eq!(writes.recv_timeout(Duration::from_secs(60)), Ok(line(Priority::Routine, number)));
    }
}

/// When requests overfill their buffer, no important line is lost, and these come first.
#[test]
fn important_lines_pass_those_of_requests() {
    let (queue, writes) = slow();
    let many = CAPACITY / LINE + 200;
    for number in 0..many {
        push(&queue, Priority::Routine, number);
        if number % 100 == 0 {
            push(&queue, Priority::Important, number / 100);
        }
    }
    let lost = queue.lock().lost;
    assert!(lost[0] == 0 && lost[1] >= 100, "{lost:?}");
    let wanted = many.div_ceil(100);
    let mut read = Vec::new();
    // The writer may have taken lines about requests before the others came.
    while read.iter().filter(|line: &&String| line.starts_with("important")).count() < wanted {
        read.extend(writes.recv().expect("a write").lines().map(str::to_owned));
    }
    let (important, routine): (Vec<String>, Vec<String>) =
        read.into_iter().partition(|line| line.starts_with("important"));
    let expected: Vec<String> = (0..wanted).map(|number| line(Priority::Important, number)).collect();
    assert_eq!(important.join("\n") + "\n", expected.concat());
    assert!(routine.len() <= WRITE / LINE, "{}", routine.len());
}

/// A log that writes little at once, is full at times, and at last refuses everything.
struct Difficult {
    written: Vec<u8>,
    calls: usize,
    room: usize,
}

impl Write for Difficult {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls += 1;
        match self.calls % 3 {
            1 => return Err(io::ErrorKind::WouldBlock.into()),
            2 => return Err(io::ErrorKind::Interrupted.into()),
            _ if self.written.len() >= self.room => return Err(io::ErrorKind::StorageFull.into()),
            _ => {}
        }
        let count = bytes.len().min(7).min(self.room - self.written.len());
        self.written.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn parts_are_written_until_the_log_refuses_them() {
    let lines = b"the first line\nthe second\nthe third\n";
    for (room, refused) in [(lines.len(), 0), (lines.len() - 1, 1), (20, 2), (0, 3)] {
        let mut log = Difficult { written: Vec::new(), calls: 0, room };
        assert_eq!(write_lines(&mut log, lines), refused);
        assert_eq!(log.written, lines[..room]);
    }
}
