//! Identities of volumes and devices as people see them. Who makes one sees to it that it is random.

/// Shown as a UUID: "67e55044-10b1-426f-9247-bb680e5fe0c8".
#[must_use]
pub fn display_identity(identity: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (place, byte) in identity.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_a_uuid() {
        let identity = std::array::from_fn(|place| u8::try_from(place * 16 + 1).unwrap());
        assert_eq!(
            display_identity(&identity),
            "01112131-4151-6171-8191-a1b1c1d1e1f1"
        );
    }
}
