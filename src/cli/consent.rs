//! Asks at the terminal whether something is intended.

use std::io::{self, BufRead, IsTerminal};

use anyhow::bail;

use super::print::{self, Text};

/// Whether the answer to `question` is `yes`. `what` completes "give --yes to".
///
/// # Errors
/// When there is nobody to ask.
pub fn is_intended(question: &str, what: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("standard input is no terminal, so nobody can be asked: give --yes to {what}");
    }
    print::write(Text::lines([format!("{question} Type yes to confirm:")]))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
