//! Changes files of the user's.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Puts `text` into the file at once or not at all, with the permissions that it has.
pub(super) fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    // What a link points to is what is meant, not the link.
    let path = path.canonicalize()?;
    let permissions = fs::metadata(&path)?.permissions();
    let (temporary, mut file) = create_beside(&path)?;
    let written = file
        .write_all(text)
        .and_then(|()| file.set_permissions(permissions))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A new file in the same folder, so that it can take the other's place.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    const ATTEMPTS_MAX: u32 = 100;
    let mut attempt = 0;
    loop {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}-{attempt}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        match File::create_new(&temporary) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS_MAX => attempt += 1,
            file => return file.map(|file| (temporary, file)),
        }
    }
}
