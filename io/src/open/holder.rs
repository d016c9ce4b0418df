//! Who uses a block device that could not be had: mounts, swap, devices built on it. It only reads what
//! the kernel publishes; who cannot be found is unknown.

use std::fs;
use std::path::{Path, PathBuf};

use super::Holder;
use super::facts::sysfs_of;

/// Looks for the holder of the block device with this path and number.
pub(super) fn find(path: &Path, number: u64) -> Holder {
    let device = sysfs_of(number);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let resolved = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let numbers = related_numbers(&device);
    if let Some(mount_point) = mount_of(&mounts, &numbers, &resolved) {
        return Holder::Mount { mount_point };
    }
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if is_swap(&swaps, &resolved) {
        return Holder::Swap;
    }
    let holders = fs::read_dir(device.join("holders")).into_iter().flatten();
    let name = holders
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .next();
    name.map_or(Holder::Unknown, |name| Holder::Device { name })
}

/// "major:minor" of the device, of its partitions, and of the drive that it is a partition of.
fn related_numbers(device: &Path) -> Vec<String> {
    let read = |path: PathBuf| {
        fs::read_to_string(path)
            .ok()
            .map(|text| text.trim().to_owned())
    };
    let mut numbers: Vec<String> = read(device.join("dev")).into_iter().collect();
    let parts = fs::read_dir(device)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    numbers.extend(
        parts
            .filter(|part| part.join("partition").exists())
            .filter_map(|part| read(part.join("dev"))),
    );
    if device.join("partition").exists() {
        numbers.extend(read(device.join("../dev")));
    }
    numbers
}

/// The first mount of one of the devices. A line of mountinfo: id, parent, device number, root, mount
/// point, options, optional fields, "-", type, source, options.
fn mount_of(mounts: &str, numbers: &[String], path: &Path) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let number = fields.nth(2)?;
        let mount_point = fields.nth(1)?;
        let source = fields.skip_while(|field| *field != "-").nth(2)?;
        let is_ours = numbers.iter().any(|known| known == number) || Path::new(source) == path;
        is_ours.then(|| PathBuf::from(unescape(mount_point)))
    })
}

fn is_swap(swaps: &str, path: &Path) -> bool {
    let names = swaps
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    names.map(unescape).any(|name| Path::new(&name) == path)
}

/// Spaces and the like are written as a backslash and three octal digits.
fn unescape(field: &str) -> String {
    let mut text = String::new();
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let digits = after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match digits {
            Some(code) => {
                text.push(char::from(code));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                text.push('\\');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{is_swap, mount_of, unescape};

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 7:1 / /mnt/with\\040space rw master:3 shared:9 - xfs /dev/loop1 rw
31 22 0:45 / /data rw - btrfs /dev/sdb1 rw,space_cache
";

    #[test]
    fn mounts_are_found_by_number_and_by_source() {
        let find =
            |number: &str, path: &str| mount_of(MOUNTS, &[number.to_owned()], Path::new(path));
        assert_eq!(
            find("7:1", "/dev/x"),
            Some(PathBuf::from("/mnt/with space"))
        );
        assert_eq!(find("8:17", "/dev/sdb1"), Some(PathBuf::from("/data")));
        assert_eq!(find("8:17", "/dev/sdb2"), None);
        assert_eq!(
            mount_of("short line\n\n", &["7:1".to_owned()], Path::new("/x")),
            None
        );
    }

    #[test]
    fn swap_is_found() {
        let swaps = "Filename\tType\tSize\n/dev/sda2\tpartition\t100\n";
        assert!(is_swap(swaps, Path::new("/dev/sda2")));
        assert!(!is_swap(swaps, Path::new("/dev/sda1")));
        assert!(!is_swap("", Path::new("/dev/sda1")));
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescape("a\\040b\\134c"), "a b\\c");
        assert_eq!(unescape("odd\\9"), "odd\\9");
    }
}
