//! Inputs are lines of text, so that a seed can be read and written by hand. Any bytes are a valid
//! input: missing parts of a line are empty.

/// The first line, and the rest after it.
pub fn line(data: &[u8]) -> (&[u8], &[u8]) {
    cut(data, b'\n')
}

/// The text before the first `at`, and the text after it.
pub fn cut(data: &[u8], at: u8) -> (&[u8], &[u8]) {
    match data.iter().position(|&byte| byte == at) {
        Some(found) => (&data[..found], &data[found + 1..]),
        None => (data, &[]),
    }
}

/// Decodes `%XX`, which is needed for bytes that would end a line or field. Other text stays
/// unchanged.
pub fn unescape(field: &[u8]) -> Vec<u8> {
    let digit = |at: usize| field.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let (mut bytes, mut at) = (Vec::new(), 0);
    while at < field.len() {
        match (field[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    bytes
}

/// Appends `unit` with `digits` hexadecimal digits.
pub fn hex(unit: u16, digits: u32, out: &mut String) {
    let digit = |at| char::from_digit(u32::from(unit) >> (4 * at) & 15, 16);
    out.extend((0..digits).rev().filter_map(digit));
}

/// Decodes UTF-8, or ISO-8859-1 if it is invalid.
pub fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|not_utf8| not_utf8.into_bytes().into_iter().map(char::from).collect())
}

/// Parameters, one `name=value` a line, up to an empty line; and the rest after it.
pub fn params(mut data: &[u8]) -> (Vec<(String, String)>, &[u8]) {
    let mut params = Vec::new();
    while !data.is_empty() {
        let (first, rest) = line(data);
        data = rest;
        if first.is_empty() {
            break;
        }
        let (name, value) = cut(first, b'=');
        params.push((text(unescape(name)), text(unescape(value))));
    }
    (params, data)
}
