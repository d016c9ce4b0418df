//! Identities of volumes and devices: 16 random bytes.

use std::fs::File;
use std::io::Read;

use crate::failure::Failure;

/// A new identity: a UUID of version 4 (RFC 9562), from the kernel's generator.
pub(crate) fn random_identity() -> Result<[u8; 16], Failure> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| Failure::new(format!("/dev/urandom cannot be read: {error}"), ""))?;
    Ok(with_version(bytes))
}

fn with_version(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

#[cfg(test)]
mod tests {
    use corelith_store::volume::display_identity;

    use super::*;

    #[test]
    fn shown_as_a_uuid_of_version_4() {
        let text = display_identity(&with_version([0xff; 16]));
        assert_eq!(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(
            display_identity(&with_version([0; 16])),
            "00000000-0000-4000-8000-000000000000"
        );
    }

    #[test]
    fn no_two_alike() {
        assert_ne!(random_identity().unwrap(), random_identity().unwrap());
    }
}
