//! Changes files of the user's.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Puts `text` into a file that stays what it is otherwise: its permissions, its owner and group,
/// its other names, and whatever else the system keeps of it. One that may not be written is left
/// alone.
///
/// It happens at once or not at all, where a new file can take the old one's place and lack nothing
/// that this has. Where it cannot, the old one is written to; if that fails, what stood in it is
/// put back.
pub(super) fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    // What a link points to is what is meant, not the link.
    let path = path.canonicalize()?;
    let metadata = fs::metadata(&path)?;
    // Whoever may change the folder could replace the file all the same, and root may write to it.
    if metadata.permissions().readonly() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is read-only"));
    }
    let mut file = File::options().read(true).write(true).open(&path)?;
    match replacement(&path, &metadata, &file, text)? {
        Some(temporary) => fs::rename(&temporary, &path).inspect_err(|_| discard(&temporary)),
        None => overwrite(&mut file, text),
    }
}

/// A new file with `text`, which has everything that the old one has; none if there is no such file
/// to be had.
fn replacement(path: &Path, old: &Metadata, old_file: &File, text: &[u8]) -> io::Result<Option<PathBuf>> {
    if system::is_more_than_a_file(old, old_file) {
        return Ok(None);
    }
    let (temporary, mut file) = match create_beside(path) {
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        created => created?,
    };
    let written = file.write_all(text).and_then(|()| file.sync_all());
    let made = written.and_then(|()| {
        let is_owned = system::give_to_owner(&file, old)?;
        // Last, since what is given away loses some of them.
        file.set_permissions(old.permissions()).map(|()| is_owned)
    });
    match made {
        Ok(true) => Ok(Some(temporary)),
        Ok(false) => {
            discard(&temporary);
            Ok(None)
        }
        Err(err) => {
            discard(&temporary);
            Err(err)
        }
    }
}

/// Writes to the file that there is.
fn overwrite(file: &mut File, text: &[u8]) -> io::Result<()> {
    let mut before = Vec::new();
    file.read_to_end(&mut before)?;
    let mut write = |text: &[u8]| {
        file.rewind()?;
        file.write_all(text)?;
        file.set_len(text.len() as u64)?;
        file.sync_all()
    };
    let written = write(text);
    if written.is_err() {
        // There was room for it before. What went wrong is told in any case.
        let _ = write(&before);
    }
    written
}

fn discard(temporary: &Path) {
    let _ = fs::remove_file(temporary);
}

/// A new file in the same folder, so that it can take the other's place.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    const MAX_ATTEMPTS: u32 = 100;
    let mut attempt = 0;
    loop {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}-{attempt}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        match system::create_private(&temporary) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists && attempt < MAX_ATTEMPTS => attempt += 1,
            file => return file.map(|file| (temporary, file)),
        }
    }
}

/// Which file is meant, by whatever name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Identity {
    #[cfg(unix)]
    Inode {
        device: u64,
        number: u64,
    },
    Path(PathBuf),
}

impl Identity {
    /// That of the file at `path`; if there is none, nothing else has this one.
    pub(super) fn of(path: &Path) -> Self {
        system::identity(path).unwrap_or_else(|_| Self::Path(path.to_owned()))
    }
}

#[cfg(unix)]
mod system {
    use std::fs::{self, File, Metadata};
    use std::io;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
    use std::path::Path;

    use crate::cli::file::Identity;

    /// A new file that nobody else can read until it is given the mode of the one whose place it
    /// takes.
    pub(super) fn create_private(path: &Path) -> io::Result<File> {
        File::options().write(true).create_new(true).mode(0o600).open(path)
    }

    /// Whether a copy would lack something: another name for it, or attributes such as access
    /// lists.
    pub(super) fn is_more_than_a_file(metadata: &Metadata, file: &File) -> bool {
        metadata.nlink() > 1 || has_attributes(file)
    }

    #[cfg(target_os = "linux")]
    fn has_attributes(file: &File) -> bool {
        // Every file has this where it is used, and a new one in the same folder has its own.
        const LABEL: &[u8] = b"security.selinux";
        let mut names = [0; 4096];
        match rustix::fs::flistxattr(file, &mut names[..]) {
            Ok(length) => names[..length].split(|&byte| byte == 0).any(|name| !name.is_empty() && name != LABEL),
            Err(rustix::io::Errno::RANGE) => true,
            // Where the file system has none, the question is an error.
            Err(_) => false,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn has_attributes(_file: &File) -> bool {
        false
    }

    /// Makes `file` belong to whom `old` belongs to; whether that may be done.
    pub(super) fn give_to_owner(file: &File, old: &Metadata) -> io::Result<bool> {
        let new = file.metadata()?;
        if (new.uid(), new.gid()) == (old.uid(), old.gid()) {
            return Ok(true);
        }
        match fchown(file, Some(old.uid()), Some(old.gid())) {
            Err(err) if err.kind() == io::ErrorKind::PermissionDenied => Ok(false),
            given => given.map(|()| true),
        }
    }

    pub(super) fn identity(path: &Path) -> io::Result<Identity> {
        fs::metadata(path).map(|metadata| Identity::Inode { device: metadata.dev(), number: metadata.ino() })
    }
}

#[cfg(not(unix))]
mod system {
    use std::fs::{File, Metadata};
    use std::io;
    use std::path::Path;

    use crate::cli::file::Identity;

    pub(super) fn create_private(path: &Path) -> io::Result<File> {
        File::create_new(path)
    }

    pub(super) fn is_more_than_a_file(_metadata: &Metadata, _file: &File) -> bool {
        false
    }

    pub(super) fn give_to_owner(_file: &File, _old: &Metadata) -> io::Result<bool> {
        Ok(true)
    }

    pub(super) fn identity(path: &Path) -> io::Result<Identity> {
        path.canonicalize().map(Identity::Path)
    }
}
