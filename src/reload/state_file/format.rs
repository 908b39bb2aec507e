//! The format of the state file.
//!
//! The first line contains the version. Eight random bytes follow, and then stretches. A
//! stretch is its length, a checksum of the length, a checksum of the contents, and the
//! contents. Each checksum also covers everything before it in the file. So the reader
//! notices a stretch that is missing, repeated, swapped or left over from an older file,
//! and checks a length before it uses it.
//!
//! This also distinguishes a file that a crash has cut off from a damaged one. The file was
//! cut off if a stretch with a correct length goes beyond its end, or if it ends before the
//! checksums of a stretch. Everything else that does not fit is damage. A crash may also
//! leave zeros at the end. They count as damage, because they may cover one unfinished
//! stretch or many finished ones.
//!
//! The checksums have 64 bits. With 32 bits, one damaged stretch in four billion would pass
//! as good, and zeros always would.

use std::io::{self, Read, Write};

use twox_hash::XxHash3_64;

/// The first line of the file, with the version of its format.
pub(super) const MAGIC: &[u8] = b"jitsiprovs state 2\n";
/// The beginning of that line in every version.
pub(super) const OURS: &[u8] = b"jitsiprovs state ";
/// The number of random bytes after the first line.
const SALT: usize = 8;
/// The size of the length and the two checksums, in bytes.
const HEAD: usize = 20;

/// Writes stretches to a file.
#[derive(Debug)]
pub(super) struct Sealer {
    /// The checksum of everything written so far.
    chain: u64,
}

/// The beginning of a stretch: its length and two checksums.
struct Head {
    len: [u8; 4],
    len_sum: u64,
    sum: u64,
}

fn sum(chain: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(chain, bytes)
}

impl Sealer {
    /// Begins a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin(file: &mut impl Write) -> io::Result<Sealer> {
        let mut salt = [0; SALT];
        // They need not be secret, only different in each file.
        fastrand::fill(&mut salt);
        let begin = [MAGIC, &salt].concat();
        file.write_all(&begin)?;
        Ok(Sealer { chain: sum(0, &begin) })
    }

    /// Appends a stretch. Returns its length in the file, in bytes.
    ///
    /// # Errors
    /// If the file cannot be written. Then nothing more may be appended.
    pub fn append(&mut self, file: &mut impl Write, stretch: &[u8]) -> io::Result<u64> {
        let len = u32::try_from(stretch.len()).expect("a stretch is far shorter").to_le_bytes();
        let len_sum = sum(self.chain, &len);
        self.chain = sum(len_sum, stretch);
        let whole = [&len[..], &len_sum.to_le_bytes(), &self.chain.to_le_bytes(), stretch].concat();
        file.write_all(&whole)?;
        Ok(whole.len() as u64)
    }
}

/// The next part of a file.
#[derive(Debug)]
pub(super) enum NextPart {
    /// A whole stretch.
    Stretch(Vec<u8>),
    /// Nothing: the file ends after a whole stretch.
    End,
    /// A stretch whose end is cut off.
    Torn,
}

/// Why a file cannot be used.
#[derive(Debug)]
pub(super) enum Bad {
    Io(io::Error),
    Foreign,
    Version,
    /// It belongs to the source of this name.
    Other(String),
    Damaged,
}

impl From<io::Error> for Bad {
    fn from(why: io::Error) -> Bad {
        match why.kind() {
            // The file is shorter than its metadata said.
            io::ErrorKind::UnexpectedEof => Bad::Damaged,
            _ => Bad::Io(why),
        }
    }
}

/// Reads stretches from a file.
pub(super) struct Opener<R> {
    file: R,
    /// How many bytes have not been read yet.
    left: u64,
    chain: u64,
}

/// Whether a file with this beginning is a state file, or a cut-off one.
pub(super) fn is_ours(begin: &[u8]) -> bool {
    begin.starts_with(OURS) || OURS.starts_with(begin)
}

impl<R: Read> Opener<R> {
    /// Begins to read a file of `len` bytes.
    pub fn begin(mut file: R, len: u64) -> Result<Opener<R>, Bad> {
        let mut begin = Vec::new();
        let long = MAGIC.len() + SALT;
        file.by_ref().take(long as u64).read_to_end(&mut begin)?;
        match begin.get(..MAGIC.len()) {
            Some(MAGIC) if begin.len() == long => {
                Ok(Opener { file, left: len.saturating_sub(long as u64), chain: sum(0, &begin) })
            }
            _ if !is_ours(&begin) => Err(Bad::Foreign),
            Some(magic) if magic != MAGIC => Err(Bad::Version),
            _ => Err(Bad::Damaged),
        }
    }

    /// The next stretch.
    pub fn next(&mut self) -> Result<NextPart, Bad> {
        match self.left {
            0 => return Ok(NextPart::End),
            left if left < HEAD as u64 => return Ok(NextPart::Torn),
            _ => {}
        }
        let Head { len, len_sum, sum: expected } = self.head()?;
        if sum(self.chain, &len) != len_sum {
            return Err(Bad::Damaged);
        }
        let len = u32::from_le_bytes(len);
        // Checked before memory of this size is allocated.
        let Some(left) = self.left.checked_sub(u64::from(len)) else { return Ok(NextPart::Torn) };
        let mut stretch = vec![0; len as usize];
        self.file.read_exact(&mut stretch)?;
        (self.left, self.chain) = (left, sum(len_sum, &stretch));
        if self.chain == expected { Ok(NextPart::Stretch(stretch)) } else { Err(Bad::Damaged) }
    }

    fn head(&mut self) -> Result<Head, Bad> {
        let (mut len, mut len_sum, mut sum) = ([0; 4], [0; 8], [0; 8]);
        for part in [&mut len[..], &mut len_sum, &mut sum] {
            self.file.read_exact(part)?;
        }
        self.left -= HEAD as u64;
        Ok(Head { len, len_sum: u64::from_le_bytes(len_sum), sum: u64::from_le_bytes(sum) })
    }
}
