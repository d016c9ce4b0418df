//! The network block device's protocol, the little of it that an emulator needs: the newstyle handshake with one export, and simple
//! replies. Pure encoding; integers are big-endian. Knows neither sockets nor drives.

use corelith_simulation::served_drive::{Answer, Request, ServedConfig};

/// What a server says first: both magics and that it speaks newstyle without padding.
pub const GREETING: [u8; 18] = *b"NBDMAGICIHAVEOPT\x00\x03";
/// Before each option of a client.
pub const OPTION_MAGIC: [u8; 8] = *b"IHAVEOPT";
/// Length of an option before its data: magic, number, length.
pub const OPTION_BYTES: usize = 16;
/// Longest data of an option, in bytes: a name of 4,096 and some numbers.
pub const OPTION_DATA_BYTES_MAX: usize = 8192;
/// Length of a request before its data.
pub const REQUEST_BYTES: usize = 28;

const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

const OPTION_ABORT: u32 = 2;
const OPTION_INFO: u32 = 6;
const OPTION_GO: u32 = 7;

const REPLY_ACKNOWLEDGED: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 0x8000_0001;

const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// The flags are there, and it can flush and trim. Forced writes are not offered: the emulator in question ignores them.
const EXPORT_FLAGS: u16 = 1 | 1 << 2 | 1 << 5;

/// What a handshake comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More options.
    Option,
    /// Requests.
    Requests,
    /// Nothing: the client has had enough.
    End,
}

/// The head of a request. Those that write have their bytes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    kind: u16,
    /// What the reply has to carry.
    pub cookie: u64,
    offset: u64,
    length_bytes: u32,
}

/// The number and the length of the data of an option; `None` if it is none.
pub fn option(bytes: &[u8; OPTION_BYTES]) -> Option<(u32, usize)> {
    let rest = bytes.strip_prefix(&OPTION_MAGIC)?;
    let (number, rest) = rest.split_first_chunk()?;
    let (length, _) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (length <= OPTION_DATA_BYTES_MAX).then_some((u32::from_be_bytes(*number), length))
}

/// The replies to an option, and what is next.
pub fn answer_option(number: u32, config: ServedConfig, block_bytes_max: u32) -> (Vec<u8>, Next) {
    let mut out = Vec::new();
    let next = match number {
        OPTION_ABORT => {
            option_reply(&mut out, number, REPLY_ACKNOWLEDGED, &[]);
            Next::End
        }
        OPTION_INFO | OPTION_GO => {
            let mut export = INFO_EXPORT.to_be_bytes().to_vec();
            export.extend(config.size_bytes.to_be_bytes());
            export.extend(EXPORT_FLAGS.to_be_bytes());
            option_reply(&mut out, number, REPLY_INFO, &export);
            let mut block = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
            block.extend(config.logical_block_bytes.to_be_bytes());
            block.extend(4096_u32.to_be_bytes());
            block.extend(block_bytes_max.to_be_bytes());
            option_reply(&mut out, number, REPLY_INFO, &block);
            option_reply(&mut out, number, REPLY_ACKNOWLEDGED, &[]);
            if number == OPTION_GO {
                Next::Requests
            } else {
                Next::Option
            }
        }
        _ => {
            option_reply(&mut out, number, REPLY_UNSUPPORTED, &[]);
            Next::Option
        }
    };
    (out, next)
}

fn option_reply(out: &mut Vec<u8>, number: u32, kind: u32, data: &[u8]) {
    out.extend(OPTION_REPLY_MAGIC.to_be_bytes());
    out.extend(number.to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(data);
}

impl RequestHead {
    /// `None` if it is no request.
    pub fn parse(bytes: &[u8; REQUEST_BYTES]) -> Option<Self> {
        let rest = bytes.strip_prefix(&REQUEST_MAGIC.to_be_bytes())?;
        // Two bytes of flags ask for what is not offered.
        let (_flags, rest) = rest.split_first_chunk::<2>()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let (cookie, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (length, _) = rest.split_first_chunk()?;
        Some(Self {
            kind: u16::from_be_bytes(*kind),
            cookie: u64::from_be_bytes(*cookie),
            offset: u64::from_be_bytes(*offset),
            length_bytes: u32::from_be_bytes(*length),
        })
    }

    /// How many bytes of data follow.
    pub fn data_bytes(&self) -> usize {
        match self.kind {
            1 => usize::try_from(self.length_bytes).unwrap_or(usize::MAX),
            _ => 0,
        }
    }

    /// The request with its data. `None` for the wish to end, and for what was not offered.
    pub fn request(&self, bytes: Vec<u8>) -> Option<Request> {
        let (offset, length_bytes) = (self.offset, self.length_bytes);
        Some(match self.kind {
            0 => Request::Read {
                offset,
                length_bytes,
            },
            1 => Request::Write { offset, bytes },
            3 => Request::Flush,
            4 => Request::Discard {
                offset,
                length_bytes: u64::from(length_bytes),
            },
            _ => return None,
        })
    }
}

/// The bytes of a reply.
pub fn reply(cookie: u64, answer: &Answer) -> Vec<u8> {
    let error = match answer {
        Answer::Failed(errno) => u32::try_from(errno.get()).unwrap_or(5),
        Answer::Done | Answer::Bytes(_) => 0,
    };
    let mut out = REPLY_MAGIC.to_be_bytes().to_vec();
    out.extend(error.to_be_bytes());
    out.extend(cookie.to_be_bytes());
    if let Answer::Bytes(bytes) = answer {
        out.extend(bytes);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: u16, length: u32) -> [u8; REQUEST_BYTES] {
        let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(7_u64.to_be_bytes());
        bytes.extend(8192_u64.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.try_into().unwrap()
    }

    #[test]
    fn requests_are_what_the_protocol_says() {
        let read = RequestHead::parse(&head(0, 4096)).unwrap();
        let expected = Request::Read {
            offset: 8192,
            length_bytes: 4096,
        };
        assert_eq!((read.cookie, read.data_bytes()), (7, 0));
        assert_eq!(read.request(Vec::new()), Some(expected));
        let write = RequestHead::parse(&head(1, 3)).unwrap();
        let expected = Request::Write {
            offset: 8192,
            bytes: vec![1, 2, 3],
        };
        assert_eq!(write.data_bytes(), 3);
        assert_eq!(write.request(vec![1, 2, 3]), Some(expected));
        let flush = RequestHead::parse(&head(3, 0)).unwrap();
        assert_eq!(flush.request(Vec::new()), Some(Request::Flush));
        assert_eq!(
            RequestHead::parse(&head(2, 0)).unwrap().request(Vec::new()),
            None
        );
        let mut damaged = head(0, 4096);
        damaged[0] ^= 1;
        assert_eq!(RequestHead::parse(&damaged), None);
    }

    #[test]
    fn replies_carry_cookie_error_and_bytes() {
        let failed = reply(7, &Answer::Failed(corelith_io::Errno::EIO));
        assert_eq!(
            failed,
            [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7]
        );
        let read = reply(7, &Answer::Bytes(vec![9; 4]));
        assert_eq!(read[4..8], [0; 4]);
        assert_eq!(read[16..], [9; 4]);
    }

    #[test]
    fn options_are_bounded_and_unknown_ones_refused() {
        let mut bytes = [0; OPTION_BYTES];
        bytes[..8].copy_from_slice(&OPTION_MAGIC);
        bytes[8..12].copy_from_slice(&OPTION_GO.to_be_bytes());
        bytes[12..].copy_from_slice(&20_u32.to_be_bytes());
        assert_eq!(option(&bytes), Some((OPTION_GO, 20)));
        bytes[12..].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(option(&bytes), None);

        let config = ServedConfig {
            seed: 0,
            size_bytes: 1 << 20,
            logical_block_bytes: 512,
        };
        let (go, next) = answer_option(OPTION_GO, config, 1 << 20);
        assert_eq!(next, Next::Requests);
        assert!(
            go.windows(8)
                .any(|bytes| bytes == (1_u64 << 20).to_be_bytes())
        );
        let (structured, next) = answer_option(8, config, 1 << 20);
        assert_eq!(next, Next::Option);
        assert!(
            structured
                .windows(4)
                .any(|bytes| bytes == REPLY_UNSUPPORTED.to_be_bytes())
        );
    }
}
