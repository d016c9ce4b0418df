//! The paths given to `volume create`: what is there, what is to be made, that none is given twice; and
//! the files made there, which go away again unless the volume is made.

use std::collections::HashMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use corelith_io::{Access, OpenDevice, OpenOptions};

use crate::arguments::VolumeCreateArguments;
use crate::failure::Failure;

/// What is to be done at one path.
pub(super) struct DevicePlan<'a> {
    path: &'a Path,
    is_new: bool,
}

impl DevicePlan<'_> {
    /// Opens what is there for this process alone, or makes the file.
    pub(super) fn open(
        &self,
        size_bytes: Option<u64>,
        made: &mut MadeFiles,
    ) -> Result<OpenDevice, Failure> {
        let opened = match size_bytes.filter(|_| self.is_new) {
            Some(size_bytes) => {
                let opened = OpenDevice::create_file(self.path, size_bytes);
                if opened.is_ok() {
                    made.paths.push(self.path.to_owned());
                }
                opened
            }
            None => OpenDevice::open(
                self.path,
                OpenOptions {
                    access: Access::Exclusive,
                    ..OpenOptions::default()
                },
            ),
        };
        opened.map_err(Failure::from_text)
    }
}

/// Files that are removed again unless the volume was made.
#[derive(Default)]
pub(super) struct MadeFiles {
    paths: Vec<PathBuf>,
}

impl MadeFiles {
    /// The volume was made: they stay.
    pub(super) fn keep(&mut self) {
        self.paths.clear();
    }
}

impl Drop for MadeFiles {
    fn drop(&mut self) {
        for path in &self.paths {
            // The reason for this is on its way to the operator; a file that stays says so by itself.
            drop(std::fs::remove_file(path));
        }
    }
}

/// Looks at the paths alone: what is there, what is to be made, and that none is given twice.
pub(super) fn plan(arguments: &VolumeCreateArguments) -> Result<Vec<DevicePlan<'_>>, Failure> {
    let mut seen = HashMap::new();
    let mut plans = Vec::new();
    for path in &arguments.devices {
        let place = Place::of(path)?;
        if let Some(first) = seen.insert(place.clone(), path) {
            return Err(Failure::new(
                format!(
                    "{} and {} are the same device",
                    first.display(),
                    path.display()
                ),
                "give each device once",
            ));
        }
        let is_new = matches!(place, Place::Nothing(_));
        check_new(path, is_new, arguments.size_bytes)?;
        plans.push(DevicePlan { path, is_new });
    }
    if arguments.size_bytes.is_some() && plans.iter().all(|plan| !plan.is_new) {
        return Err(Failure::new(
            "--size is for files that are to be made, and everything given is there already",
            "leave out --size: the volume takes the whole of each device or file",
        ));
    }
    Ok(plans)
}

fn check_new(path: &Path, is_new: bool, size_bytes: Option<u64>) -> Result<(), Failure> {
    let shown = path.display();
    if is_new && path.starts_with("/dev") && !path.starts_with("/dev/shm") {
        return Err(Failure::new(
            format!("{shown}: there is no such device"),
            "see `lsblk` for the devices of this machine",
        ));
    }
    if is_new && size_bytes.is_none() {
        return Err(Failure::new(
            format!("{shown}: there is no such device or file"),
            "give an existing one, or --size to make a file of that size",
        ));
    }
    Ok(())
}

/// What a path leads to, so that two paths to one thing are seen.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Block(u64),
    File(u64, u64),
    Nothing(PathBuf),
}

impl Place {
    fn of(path: &Path) -> Result<Self, Failure> {
        match path.metadata() {
            Ok(metadata) if metadata.file_type().is_block_device() => {
                Ok(Self::Block(metadata.rdev()))
            }
            Ok(metadata) => Ok(Self::File(metadata.dev(), metadata.ino())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let folder = path
                    .parent()
                    .filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
                Ok(Self::Nothing(
                    folder.join(path.file_name().unwrap_or_default()),
                ))
            }
            Err(error) => Err(Failure::new(format!("{}: {error}", path.display()), "")),
        }
    }
}
