//! Checks backslashes that the client does not read as such.

use crate::core::problem::Code;
use crate::core::properties::{self, LostBackslashes};
use crate::core::template::TemplatePiece;

/// How much of a text a message may show.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Text,
    /// Nothing, because the text is a secret.
    Nothing,
}

/// The longest text that a message shows, in bytes.
const LONGEST_SHOWN: usize = 100;

/// Single backslashes that were probably meant to be read, with what the client reads instead.
pub(super) fn lost_backslashes(piece: TemplatePiece<'_>, column: &str, shown: Shown) -> Vec<(Code, String)> {
    let written = piece.fallback_sample("x");
    let Some(lost) = LostBackslashes::of(&written) else { return Vec::new() };
    let read = properties::client_value(&written);
    let is_whole =
        piece.params().next().is_none() && written.len() <= LONGEST_SHOWN && !written.contains('$');
    let mut found = Vec::new();
    if let Some(next) = lost.dropped {
        let what = match shown {
            Shown::Nothing => "Java leaves out a single backslash: write `\\\\` for a backslash".to_owned(),
            Shown::Text if is_whole && !read.contains(char::is_control) => format!(
                "Java leaves out a single backslash, so the client reads `{read}`: write `{}`",
                lost.corrected
            ),
            Shown::Text => format!(
                "Java leaves out a single backslash, so the client reads `\\{next}` as `{next}`: write `\\\\{next}`"
            ),
        };
        found.push((Code::DroppedBackslash, format!("{column}: {what}")));
    }
    if let Some(letter) = lost.control {
        let control = match letter {
            't' => "a tab",
            'f' => "a form feed",
            _ => "a line break",
        };
        let what = match shown {
            Shown::Nothing => "the client reads a single backslash and the next letter as a control \
                               character: write `\\\\` for a backslash"
                .to_owned(),
            Shown::Text => {
                let write = if is_whole { lost.corrected } else { format!("\\\\{letter}") };
                format!(
                    "the client reads `\\{letter}` as {control}, and the text looks like a path: write `{write}`"
                )
            }
        };
        let what = format!("{column}: {what}");
        found.push((Code::ControlCharacter, what));
    }
    found
}
