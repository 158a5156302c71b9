//! The file of a Unix socket that we listen at. Must not touch one that is not ours.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file of a socket that we listen at. Dropping it removes the file, if that is still ours.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// The file that is there now. It is found again though the process changes its directory.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: std::path::absolute(path)?, identity: identity(path)? })
    }

    /// Returns its device and its inode.
    pub(crate) const fn identity(&self) -> (u64, u64) {
        self.identity
    }
}

/// Returns the device and the inode of a file.
pub(crate) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // Whoever cannot remove it now leaves a file that the next server replaces.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_again_in_another_directory() {
        // It is no socket of ours, and is to stay.
        let file = std::mem::ManuallyDrop::new(SocketFile::of(Path::new("Cargo.toml")).unwrap());
        assert!(file.path.is_absolute() && file.path.ends_with("Cargo.toml"));
    }
}
