//! What the file looks like.
//!
//! A first line with the version; eight bytes that are other ones in each file;
//! then stretches. A stretch is its length, a checksum of that, a checksum of
//! what is in it, and what is in it. Each checksum also covers everything before
//! it in the file. So a stretch that is left out, repeated, swapped or left over
//! from an older file is noticed, and a length is known to be right before it is
//! believed.
//!
//! By that, the end of a file that a crash has cut off is told from damage: where
//! the right length of a stretch lies beyond the end of the file, or the file ends
//! before it can say a length, it was cut off. Everything else that does not fit
//! is damage. A crash may also leave zeros at the end. They count as damage, since
//! nobody can tell whether they cover a stretch that was never finished or many
//! that were.
//!
//! The checksums have 64 bits: with 32, one damaged stretch of four billion
//! passes for a good one, and zeros always do.

use std::io::{self, Read, Write};

use twox_hash::XxHash3_64;

/// The first line of the file, with the version of its format.
pub(super) const MAGIC: &[u8] = b"jitsiprovs state 2\n";
/// How that line begins in every version.
pub(super) const OURS: &[u8] = b"jitsiprovs state ";
/// What is other in each file, in bytes.
const SALT: usize = 8;
/// Length and two checksums.
const HEAD: usize = 20;

/// Writes stretches to a file.
#[derive(Debug)]
pub(super) struct Sealer {
    /// The checksum of everything before.
    chain: u64,
}

/// How the next stretch follows what was before.
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
    /// What the system says.
    pub fn begin(file: &mut impl Write) -> io::Result<Sealer> {
        let mut salt = [0; SALT];
        // Not secret, only seldom the same.
        fastrand::fill(&mut salt);
        let begin = [MAGIC, &salt].concat();
        file.write_all(&begin)?;
        Ok(Sealer { chain: sum(0, &begin) })
    }

    /// Appends a stretch. Returns its length in the file.
    ///
    /// # Errors
    /// What the system says. Then nothing may follow.
    pub fn append(&mut self, file: &mut impl Write, stretch: &[u8]) -> io::Result<u64> {
        let len = u32::try_from(stretch.len()).expect("a stretch is far shorter").to_le_bytes();
        let len_sum = sum(self.chain, &len);
        self.chain = sum(len_sum, stretch);
        let whole = [&len[..], &len_sum.to_le_bytes(), &self.chain.to_le_bytes(), stretch].concat();
        file.write_all(&whole)?;
        Ok(whole.len() as u64)
    }
}

/// What comes next in a file.
#[derive(Debug)]
pub(super) enum NextPart {
    /// A whole stretch.
    Stretch(Vec<u8>),
    /// Nothing: the file ends behind a stretch.
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
    /// Of another source.
    Other(String),
    Damaged,
}

impl From<io::Error> for Bad {
    fn from(why: io::Error) -> Bad {
        match why.kind() {
            // Shorter than it said just before.
            io::ErrorKind::UnexpectedEof => Bad::Damaged,
            _ => Bad::Io(why),
        }
    }
}

/// Reads stretches from a file.
pub(super) struct Opener<R> {
    file: R,
    /// Bytes that have not been read yet.
    left: u64,
    chain: u64,
}

/// Whether a file that begins so is a state file, or what is left of one.
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
        // Checked before memory is taken for it.
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
