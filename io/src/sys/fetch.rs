//! Calling a cache line before it is read. It reads nothing and waits for nothing.
#![expect(unsafe_code, reason = "the instruction takes a pointer")]

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// Has the CPU fetch the cache line at `address`, if it is one of the program's; does not wait for it.
pub fn prefetch_line(address: *const u8) {
    // SAFETY: a prefetch gives the program nothing to see and never faults, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

#[cfg(test)]
mod tests {
    use super::prefetch_line;

    #[test]
    fn any_address_will_do() {
        let bytes = [1_u8; 256];
        prefetch_line(bytes.as_ptr());
        prefetch_line(std::ptr::null());
        prefetch_line(std::ptr::without_provenance(usize::MAX));
        assert_eq!(bytes, [1; 256]);
    }
}
