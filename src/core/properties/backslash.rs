//! Finds backslashes in stored text that the client does not read as its writer probably meant.

/// What Java reads after a backslash as something else than the character itself, or may need the
/// backslash for; and `$`, which is often escaped from habit.
const ESCAPED: &str = "\\tnrfu:=#! \t\x0c\r\n$";
/// Escapes that stand for a control character.
const CONTROLS: &str = "tnrf";

/// Single backslashes in a key or value that were probably meant to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostBackslashes {
    /// The first character whose backslash Java leaves out.
    pub dropped: Option<char>,
    /// The first letter in what looks like a path of Windows (`C:\new`) that Java reads, with its
    /// backslash, as a control character.
    pub control: Option<char>,
    /// The text in which each of these backslashes is written twice.
    pub corrected: String,
}

impl LostBackslashes {
    /// Looks at `written`, which has the syntax of properties. `None` if there are none.
    pub fn of(written: &str) -> Option<LostBackslashes> {
        let mut lost = LostBackslashes { dropped: None, control: None, corrected: String::new() };
        // The last three characters that Java reads.
        let mut last = [' '; 3];
        let mut chars = written.chars();
        let mut is_path = is_share(written);
        while let Some(c) = chars.next() {
            lost.corrected.push(c);
            let mut read = c;
            if c == '\\' {
                let Some(next) = chars.next() else { break };
                let is_drive = !last[0].is_alphanumeric() && last[1].is_ascii_alphabetic() && last[2] == ':';
                // A path that begins with a single backslash goes on with single ones.
                is_path |= is_drive && next != '\\';
                let is_dropped = !ESCAPED.contains(next);
                let is_control = is_path && CONTROLS.contains(next);
                if is_dropped {
                    lost.dropped.get_or_insert(next);
                }
                if is_control {
                    lost.control.get_or_insert(next);
                }
                if is_dropped || is_control {
                    lost.corrected.push('\\');
                }
                lost.corrected.push(next);
                read = next;
            }
            last = [last[1], last[2], read];
        }
        if is_share(written) {
            lost.corrected.insert_str(0, "\\\\");
        }
        (lost.dropped.is_some() || lost.control.is_some()).then_some(lost)
    }
}

/// Whether the text begins like the path of a shared folder (`\\server\share`), of which Java reads
/// only one of the first two backslashes.
fn is_share(written: &str) -> bool {
    written.strip_prefix("\\\\").is_some_and(|rest| rest.starts_with(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_that_java_leaves_out_is_found() {
        for (written, dropped, control, corrected) in [
            ("C:\\Program Files\\Jitsi", Some('P'), None, "C:\\\\Program Files\\\\Jitsi"),
            ("DOMAIN\\alice", Some('a'), None, "DOMAIN\\\\alice"),
            ("C:\\dir", Some('d'), None, "C:\\\\dir"),
            ("C:\\temp", None, Some('t'), "C:\\\\temp"),
            ("C\\:\\temp", None, Some('t'), "C\\:\\\\temp"),
            ("C:\\dir\\new", Some('d'), Some('n'), "C:\\\\dir\\\\new"),
            ("\\\\server\\share", Some('s'), None, "\\\\\\\\server\\\\share"),
            ("\\\\server\\temp", None, Some('t'), "\\\\\\\\server\\\\temp"),
            ("\\d+", Some('d'), None, "\\\\d+"),
            ("\\.example", Some('.'), None, "\\\\.example"),
            ("say \\\"x\\\"", Some('"'), None, "say \\\\\"x\\\\\""),
        ] {
            let expected = LostBackslashes { dropped, control, corrected: corrected.into() };
            assert_eq!(LostBackslashes::of(written), Some(expected), "{written:?}");
            assert_eq!(LostBackslashes::of(corrected), None, "{corrected:?}");
        }
        for written in [
            "C\\:\\\\temp",
            "C\\:\\\\dir\\nNext line",
            "Hello:\\nWorld",
            "a\\:b\\=c\\ d\\u00e9\\t\\#\\!",
            "joined\\\n line",
            "a\\",
            "\\$5",
            "\\\\server",
            "",
        ] {
            assert_eq!(LostBackslashes::of(written), None, "{written:?}");
        }
    }
}
