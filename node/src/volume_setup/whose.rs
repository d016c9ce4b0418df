//! Of which volume each of a namespace's devices is, before any is opened as one.
//!
//! Devices of two volumes in one list are mostly two lists that were mixed up, and no single device tells that: all of
//! them are told, with their volumes and slots.

use std::fmt;
use std::path::PathBuf;

use corelith_io::{BufferPool, Device, OpenDevice, OpenOptions, Ring};
use corelith_store::volume::{display_identity, inspect_device};

use crate::boot::BootError;
use crate::configuration::NamespaceConfiguration;

/// The devices that are of one volume, in the order in which they were given.
pub(super) struct OneVolume {
    pub(super) devices: Vec<OpenDevice>,
    pub(super) attached: Vec<Device>,
    found: FoundVolume,
}

/// A volume of which devices were given, as far as their labels tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FoundVolume {
    identity: [u8; 16],
    namespace: String,
    device_count: u16,
    /// Slots and paths.
    devices: Vec<(u16, String)>,
}

impl FoundVolume {
    fn missing_slots(&self) -> Vec<u16> {
        let is_given = |slot: &u16| self.devices.iter().any(|(given, _)| given == slot);
        (0..self.device_count)
            .filter(|slot| !is_given(slot))
            .collect()
    }
}

impl fmt::Display for FoundVolume {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, count) = (&self.namespace, self.device_count);
        let noun = if count == 1 { "device" } else { "devices" };
        let identity = display_identity(&self.identity);
        write!(
            formatter,
            "volume {identity} (namespace {name:?}, {count} {noun}): "
        )?;
        let given = self.devices.iter();
        let given: Vec<String> = given
            .map(|(slot, path)| format!("{path} is slot {slot}"))
            .collect();
        formatter.write_str(&given.join(", "))?;
        for slot in self.missing_slots() {
            write!(formatter, "; slot {slot} was not given")?;
        }
        Ok(())
    }
}

/// Opens devices and sorts them by their volumes.
///
/// # Errors
/// One cannot be opened or is no device of a volume. Or they are of several volumes, and their namespace has a name, and
/// so one volume; or not all of these are whole.
pub(super) fn sort(
    paths: &[PathBuf],
    (namespace, open_options): (&NamespaceConfiguration, OpenOptions),
    (ring, pool): (&Ring, &BufferPool),
) -> Result<Vec<OneVolume>, BootError> {
    let mut volumes: Vec<OneVolume> = Vec::new();
    for path in paths {
        let opened = OpenDevice::open(path, open_options)?;
        let device = opened.attach(ring)?;
        let label = ring.block_on(inspect_device(&device, pool))??.label;
        let place = (label.slot, opened.name().to_owned());
        let mut known = volumes.iter_mut();
        if let Some(volume) = known.find(|known| known.found.identity == label.volume) {
            volume.devices.push(opened);
            volume.attached.push(device);
            volume.found.devices.push(place);
            continue;
        }
        volumes.push(OneVolume {
            devices: vec![opened],
            attached: vec![device],
            found: FoundVolume {
                identity: label.volume,
                namespace: label.namespace,
                device_count: label.device_count,
                devices: vec![place],
            },
        });
    }
    let has_gaps = |volume: &OneVolume| !volume.found.missing_slots().is_empty();
    if volumes.len() > 1 && (namespace.name.is_some() || volumes.iter().any(has_gaps)) {
        return Err(BootError::MixedVolumes {
            asked: namespace.name.clone(),
            found: volumes.into_iter().map(|volume| volume.found).collect(),
        });
    }
    Ok(volumes)
}
