//! Unix sockets with a file: made, given to whom it is for, and removed. Must not accept.

use std::fs;
use std::io::{self, ErrorKind};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, lchown};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::listen::{UnixName, UnixPlace};
use crate::socket_file::{SocketFile, identity};
use crate::sockets::BACKLOG;

/// How long to wait for others that are about to listen in the same directory. Each of them takes
/// far less than a millisecond.
const MAX_WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);

/// The longest path of a socket (`sun_path` in unix(7)), without the zero at its end.
const MAX_PATH_BYTES: usize = if cfg!(any(target_os = "linux", target_os = "android")) { 107 } else { 103 };

/// Listens at a Unix socket, and returns its file if it has one.
pub(crate) fn listen_on(place: &UnixPlace) -> io::Result<(UnixListener, Option<SocketFile>)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let (file, _lock) = match &place.name {
        UnixName::Path(path) => {
            let lock = lock_directory_of(path);
            (Some(bind_to_file(&socket, path, place)?), lock)
        }
        UnixName::Abstract(name) => {
            socket.bind(&abstract_address(name)?)?;
            (None, None)
        }
    };
    // Nobody can connect before this, so the file's permissions hold from the start.
    socket.listen(i32::try_from(BACKLOG).expect("the backlog fits"))?;
    socket.set_nonblocking(true)?;
    Ok((OwnedFd::from(socket).into(), file))
}

/// Finds out whether the name is too long, or whether there are no such owner and group.
pub(crate) fn check(place: &UnixPlace) -> io::Result<()> {
    owner_and_group(place)?;
    match &place.name {
        UnixName::Path(path) => address_of(path, "path").map(drop),
        UnixName::Abstract(name) => abstract_address(name).map(drop),
    }
}

/// Locks the directory of a socket until the socket listens. Otherwise, of two servers that start
/// at the same time, one could take the other's new file for a stale one: until listen(2), a
/// connect is refused.
///
/// That prevents an accident, and protects from nobody: without the right to read the directory, or
/// while somebody else has locked it for long, it does without.
fn lock_directory_of(path: &Path) -> Option<OwnedFd> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let deadline = Instant::now() + MAX_WAIT_FOR_OTHERS;
    loop {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(directory),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            Err(_) => return None,
        }
    }
}

/// Binds a socket to a new file with the owner, the group and the mode that are asked for.
fn bind_to_file(socket: &Socket, path: &Path, place: &UnixPlace) -> io::Result<SocketFile> {
    let (owner, group) = owner_and_group(place)?;
    let address = address_of(path, "path")?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != ErrorKind::AddrInUse {
            return Err(error);
        }
        remove_stale(path, &address)?;
        socket.bind(&address)?;
    }
    // From here on, an error removes the file.
    let file = SocketFile::of(path)?;
    if place.mode.is_some() || owner.is_some() || group.is_some() {
        give(path, file.identity(), place.mode, owner, group)?;
    }
    Ok(file)
}

/// Returns the numbers of the owner and the group that are asked for.
fn owner_and_group(place: &UnixPlace) -> io::Result<(Option<u32>, Option<u32>)> {
    let owner = place.owner.as_deref().map(|owner| id_of(owner, "user", "/etc/passwd")).transpose()?;
    let group = place.group.as_deref().map(|group| id_of(group, "group", "/etc/group")).transpose()?;
    Ok((owner, group))
}

/// Gives the file of a socket its mode, its owner and its group.
///
/// The mode that fchmod(2) gives a socket before bind(2) is cut by the umask, which is the whole
/// process' (unix(7)), and afterwards fchmod(2) does not reach the file. So it is a name that leads
/// to the file; and a path might lead elsewhere by now, where others may write to its directory.
fn give(
    path: &Path,
    expected: (u64, u64),
    mode: Option<u32>,
    owner: Option<u32>,
    group: Option<u32>,
) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(held) = HeldFile::of(path, expected)? {
        if let Some(mode) = mode {
            fs::set_permissions(&held.name, fs::Permissions::from_mode(mode))?;
        }
        return if owner.is_some() || group.is_some() { chown(&held.name, owner, group) } else { Ok(()) };
    }
    if identity(path)? != expected {
        return Err(replaced());
    }
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    if owner.is_some() || group.is_some() { lchown(path, owner, group) } else { Ok(()) }
}

/// The file of a socket, whatever is at its path by now.
#[cfg(any(target_os = "linux", target_os = "android"))]
struct HeldFile {
    _file: fs::File,
    /// Leads to it while it is held.
    name: PathBuf,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl HeldFile {
    /// Returns `None` where there is no /proc that could lead to it.
    fn of(path: &Path, expected: (u64, u64)) -> io::Result<Option<Self>> {
        let held = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let name = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
        let file = fs::File::from(held);
        let metadata = file.metadata()?;
        if !metadata.file_type().is_socket() || (metadata.dev(), metadata.ino()) != expected {
            return Err(replaced());
        }
        let leads_to_it = fs::metadata(&name).is_ok_and(|there| (there.dev(), there.ino()) == expected);
        Ok(leads_to_it.then_some(Self { _file: file, name }))
    }
}

/// Returns the error for a socket whose file is another one before it has its mode.
fn replaced() -> io::Error {
    io::Error::new(ErrorKind::AlreadyExists, "somebody has put another file in the place of the socket")
}

/// Returns the address of a path or a name, or the error for one that is too long.
fn address_of(path: &Path, what: &str) -> io::Result<SockAddr> {
    SockAddr::unix(path).map_err(|error| match path.as_os_str().len() {
        // The first byte of a name without a file is none of its own.
        bytes if bytes > MAX_PATH_BYTES => {
            let problem = format!("its {what} has {bytes} bytes, and the system takes {MAX_PATH_BYTES} at most");
            io::Error::new(ErrorKind::InvalidInput, problem)
        }
        _ => error,
    })
}

/// Removes the file of a socket at which nobody listens any more.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let problem = |kind: ErrorKind, problem: &str| Err(io::Error::new(kind, problem));
    let before = match identity(path) {
        // A server that has stopped meanwhile has removed it.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        before => before?,
    };
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_dir() {
        return problem(ErrorKind::AlreadyExists, "there is a folder: choose a path in it, or another one");
    } else if !kind.is_socket() {
        return problem(
            ErrorKind::AlreadyExists,
            "there is a file that is no socket: remove it, or choose another path",
        );
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Where a server listens whose backlog is full, it would block.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused && identity(path)? == before => {
            fs::remove_file(path)
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let words = "there is a socket that we may not connect to (permission denied), so that nobody knows \
                         whether a server listens there: remove it, or choose another path";
            problem(ErrorKind::PermissionDenied, words)
        }
        _ => problem(ErrorKind::AddrInUse, "another server listens there"),
    }
}

/// Returns the number of a user or a group, which is written in the third field of its line
/// (passwd(5), group(5)). Other sources of names (nsswitch.conf(5)) cannot be asked in safe code.
fn id_of(name: &str, kind: &str, file: &str) -> io::Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let lines = fs::read_to_string(file)?;
    let mut entries = lines.lines().map(|line| line.split(':'));
    let id = entries.find_map(|mut fields| (fields.next() == Some(name)).then(|| fields.nth(1))?);
    id.and_then(|id| id.parse().ok()).ok_or_else(|| {
        let problem = format!("there is no {kind} {name} in {file}; a number would do");
        io::Error::new(ErrorKind::NotFound, problem)
    })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_address(name: &[u8]) -> io::Result<SockAddr> {
    let name = [b"\0", name].concat();
    let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(&name);
    address_of(Path::new(name), "name, with the zero before it,")
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn abstract_address(_: &[u8]) -> io::Result<SockAddr> {
    Err(ErrorKind::Unsupported.into())
}

/// Returns the name of a socket that has no file.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn abstract_name(address: &SockAddr) -> Option<UnixName> {
    address.as_abstract_namespace().map(|name| UnixName::Abstract(name.to_owned()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) const fn abstract_name(_: &SockAddr) -> Option<UnixName> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixStream;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    use std::path::PathBuf;

    /// A directory of the test's own, removed at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("greeter-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn place(&self) -> UnixPlace {
            UnixPlace { name: UnixName::Path(self.0.join("s")), mode: None, owner: None, group: None }
        }

        fn socket(&self) -> PathBuf {
            self.0.join("s")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_socket_file_has_its_mode_and_is_removed_at_the_end() {
        let directory = Directory::new("mode");
        for mode in [0o600, 0o666, 0o777] {
            let (listener, file) = listen_on(&UnixPlace { mode: Some(mode), ..directory.place() }).unwrap();
            let permissions = fs::symlink_metadata(directory.socket()).unwrap().permissions();
            assert_eq!(permissions.mode() & 0o777, mode);
            UnixStream::connect(directory.socket()).unwrap();
            drop((listener, file));
            assert!(!directory.socket().exists());
        }
    }

    #[test]
    fn a_file_that_was_left_behind_is_replaced() {
        let directory = Directory::new("stale");
        drop(UnixListener::bind(directory.socket()).unwrap());
        assert!(directory.socket().exists());
        let (_listener, _file) = listen_on(&directory.place()).unwrap();
        UnixStream::connect(directory.socket()).unwrap();
    }

    /// Between bind(2) and listen(2) of the one, the other's connect is refused.
    #[test]
    fn of_several_that_start_at_once_exactly_one_listens() {
        const SERVERS: usize = 3;
        let directory = Directory::new("race");
        for round in 0..200 {
            if round % 2 == 0 {
                drop(UnixListener::bind(directory.socket()).unwrap());
            }
            let barrier = std::sync::Barrier::new(SERVERS);
            let start = || {
                barrier.wait();
                listen_on(&directory.place())
            };
            let outcomes: Vec<_> = thread::scope(|scope| {
                let starts: Vec<_> = (0..SERVERS).map(|_| scope.spawn(start)).collect();
                starts.into_iter().map(|start| start.join().unwrap()).collect()
            });
            let (listening, failed): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
            assert_eq!(listening.len(), 1, "round {round}");
            for error in failed {
                assert_eq!(error.unwrap_err().to_string(), "another server listens there");
            }
            UnixStream::connect(directory.socket()).unwrap();
            let (listener, _file) = listening.into_iter().next().unwrap().unwrap();
            assert!(listener.accept().is_ok(), "round {round}");
        }
    }

    #[test]
    fn a_directory_that_somebody_has_locked_is_not_waited_for_long() {
        let directory = Directory::new("locked");
        let lock = lock_directory_of(&directory.socket()).unwrap();
        let started = Instant::now();
        let (_listener, _file) = listen_on(&directory.place()).unwrap();
        assert!(started.elapsed() >= MAX_WAIT_FOR_OTHERS);
        drop(lock);
    }

    #[test]
    fn a_path_is_as_long_as_the_system_has_it() {
        let directory = Directory::new("long");
        let of_length = |length: usize| {
            let rest = length - directory.0.as_os_str().len() - 1;
            let path = directory.0.join("s".repeat(rest));
            assert_eq!(path.as_os_str().len(), length);
            listen_on(&UnixPlace { name: UnixName::Path(path), mode: Some(0o600), owner: None, group: None })
        };
        let (max, more) = (MAX_PATH_BYTES, MAX_PATH_BYTES + 1);
        drop(of_length(max).unwrap());
        let problem = of_length(more).unwrap_err().to_string();
        assert_eq!(problem, format!("its path has {more} bytes, and the system takes {max} at most"));
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_has_gone_meanwhile_is_in_nobodys_way() {
        let directory = Directory::new("gone");
        remove_stale(&directory.socket(), &SockAddr::unix(directory.socket()).unwrap()).unwrap();
    }

    #[test]
    fn neither_a_living_socket_nor_another_file_is_replaced() {
        let directory = Directory::new("living");
        let problem = || listen_on(&directory.place()).unwrap_err().to_string();
        let (listener, file) = listen_on(&directory.place()).unwrap();
        assert_eq!(problem(), "another server listens there");
        // Also while its backlog is full.
        let full = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        fs::rename(directory.socket(), directory.0.join("other")).unwrap();
        full.bind(&SockAddr::unix(directory.socket()).unwrap()).unwrap();
        full.listen(0).unwrap();
        let _waits = UnixStream::connect(directory.socket()).unwrap();
        assert_eq!(problem(), "another server listens there");
        drop((listener, file, full));
        assert!(directory.socket().exists(), "only the file of our own is removed");
        fs::remove_file(directory.socket()).unwrap();
        fs::write(directory.socket(), "notes").unwrap();
        assert_eq!(problem(), "there is a file that is no socket: remove it, or choose another path");
        assert_eq!(fs::read(directory.socket()).unwrap(), b"notes");
        fs::remove_file(directory.socket()).unwrap();
        fs::create_dir(directory.socket()).unwrap();
        assert_eq!(problem(), "there is a folder: choose a path in it, or another one");
    }

    #[test]
    fn a_name_that_is_not_there_is_said() {
        let directory = Directory::new("owner");
        let place = UnixPlace { owner: Some("nobody-of-this-name".to_owned()), ..directory.place() };
        let problem = listen_on(&place).unwrap_err().to_string();
        assert_eq!(problem, "there is no user nobody-of-this-name in /etc/passwd; a number would do");
        assert!(!directory.socket().exists());
        let own = fs::symlink_metadata(&directory.0).unwrap();
        let group = fs::read_to_string("/etc/group").unwrap();
        let name = group.lines().find(|line| line.split(':').nth(2) == Some(&own.gid().to_string()));
        let name = name.and_then(|line| line.split(':').next()).unwrap().to_owned();
        // Only root may give a file away.
        let owner = if own.uid() == 0 { 65534 } else { own.uid() };
        let place = UnixPlace { owner: Some(owner.to_string()), group: Some(name), ..directory.place() };
        let (_listener, _file) = listen_on(&place).unwrap();
        let made = fs::symlink_metadata(directory.socket()).unwrap();
        assert_eq!((made.uid(), made.gid()), (owner, own.gid()));
    }

    /// As somebody would who may write to the directory, between bind(2) and chmod(2).
    #[test]
    fn another_file_in_the_place_of_the_socket_keeps_its_mode() {
        let directory = Directory::new("swapped");
        let (victim, socket) = (directory.0.join("victim"), directory.socket());
        fs::write(&victim, "theirs").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        let bound = identity(&socket).unwrap();
        give(&socket, bound, Some(0o640), None, None).unwrap();
        assert_eq!(fs::symlink_metadata(&socket).unwrap().permissions().mode() & 0o777, 0o640);
        fs::remove_file(&socket).unwrap();
        std::os::unix::fs::symlink(&victim, &socket).unwrap();
        let problem = give(&socket, bound, Some(0o666), None, None).unwrap_err().to_string();
        assert_eq!(problem, "somebody has put another file in the place of the socket");
        assert_eq!(fs::metadata(&victim).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_socket_has_no_file() {
        let name = format!("greeter-test-{}", std::process::id());
        let place = UnixPlace { name: UnixName::Abstract(name.into_bytes()), mode: None, owner: None, group: None };
        let (listener, file) = listen_on(&place).unwrap();
        assert!(file.is_none());
        let address = listener.local_addr().unwrap();
        UnixStream::connect_addr(&address).unwrap();
        assert_eq!(listen_on(&place).unwrap_err().kind(), ErrorKind::AddrInUse);
        let socket = Socket::from(std::os::fd::OwnedFd::from(listener));
        assert_eq!(abstract_name(&socket.local_addr().unwrap()), Some(place.name));
    }
}
