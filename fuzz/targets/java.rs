//! A second reader of `.properties`: `java.util.Properties.load(InputStream)`, written from its
//! documentation and independent of the library, so that the two can be compared.

/// A key and a value in UTF-16, as Java keeps them.
pub type Property = (Vec<u16>, Vec<u16>);

/// Every property in the order in which Java puts it, duplicates included. A lone backslash in the
/// very last line is not covered, because versions of Java differ.
///
/// # Errors
/// If Java throws an exception.
pub fn load(bytes: &[u8]) -> Result<Vec<Property>, String> {
    logical_lines(bytes).iter().map(|line| property(line)).collect()
}

/// Joins natural lines that a backslash continues; leaves out blank lines and comments.
fn logical_lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut natural: Vec<&[u8]> = bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')).collect();
    // The second half of `\r
    // ` does not end a line of its own.
    for at in (1..natural.len()).rev() {
        if natural[at] == b"\n" && natural[at - 1].ends_with(b"\r") {
            natural.remove(at);
        }
    }
    let (mut lines, mut open) = (Vec::new(), None::<Vec<u8>>);
    for line in natural {
        let start = line.iter().position(|&byte| !is_blank(byte)).unwrap_or(line.len());
        let line = line[start..].strip_suffix(b"\n").unwrap_or(&line[start..]);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if open.is_none() && (line.is_empty() || matches!(line[0], b'#' | b'!')) {
            continue;
        }
        let mut whole = open.take().unwrap_or_default();
        whole.extend_from_slice(line);
        let backslashes = line.iter().rev().take_while(|&&byte| byte == b'\\').count();
        if backslashes % 2 == 1 {
            whole.pop();
            // A lone backslash does not begin a logical line.
            open = Some(whole).filter(|whole| !whole.is_empty());
        } else {
            lines.push(whole);
        }
    }
    lines.extend(open);
    lines
}

fn property(line: &[u8]) -> Result<Property, String> {
    let mut end = 0;
    while end < line.len() && !matches!(line[end], b'=' | b':') && !is_blank(line[end]) {
        end += if line[end] == b'\\' { 2 } else { 1 };
    }
    let (key, rest) = line.split_at(end.min(line.len()));
    let blanks = |from: &[u8]| from.iter().take_while(|&&byte| is_blank(byte)).count();
    let mut value = &rest[blanks(rest)..];
    if matches!(value.first(), Some(b'=' | b':')) {
        value = &value[1..];
        value = &value[blanks(value)..];
    }
    Ok((unescaped(key)?, unescaped(value)?))
}

fn unescaped(text: &[u8]) -> Result<Vec<u16>, String> {
    let (mut units, mut bytes) = (Vec::new(), text.iter().copied());
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'\\' => match bytes.next() {
                Some(b'u') => {
                    let digits: Vec<u8> = bytes.by_ref().take(4).collect();
                    let digits = String::from_utf8_lossy(&digits).into_owned();
                    // `from_str_radix` accepts a sign, Java does not.
                    let is_hex = digits.len() == 4 && !digits.starts_with('+');
                    let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| is_hex);
                    units.push(unit.ok_or_else(|| format!("malformed \\u{digits}"))?);
                    continue;
                }
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b'f') => 0x0c,
                Some(other) => other,
                None => continue,
            },
            _ => byte,
        };
        units.push(u16::from(byte));
    }
    Ok(units)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}
