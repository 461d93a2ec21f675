//! Unix sockets in the file system: with a mode from their first moment on, of one process at a time, and gone at its end.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// How many connections may wait to be accepted, unless `net.core.somaxconn` is less.
const BACKLOG: i32 = 1024;

/// The bits of a mode that a socket has.
const MODE: u32 = 0o777;

/// How often the folder's lock is asked for, and how long between two times: another process removes an abandoned socket
/// meanwhile, which takes it some system calls.
const LOCK: (u32, Duration) = (50, Duration::from_millis(10));

/// The file of a socket; dropped, it is removed if it is still that of this socket. It has to go before the socket is closed: nobody
/// else takes a path over while somebody listens there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode, which nothing else has as long as the socket is there.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a socket could not be removed");
        }
    }
}

/// A socket that listens at `path`, with `mode` or else as the umask says.
///
/// It is made under another name of the same folder, and listens only once it has its mode: until then connections are refused.
/// It comes to its path by a link, which takes the place of nothing.
pub(super) fn bind(path: &Path, mode: Option<u32>) -> io::Result<(SocketFile, UnixListener)> {
    if mode.is_some_and(|mode| mode & !MODE != 0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the mode of a socket is 0 to 0o777"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let temporary = folder.join(format!(".{:08x}", fastrand::u32(..)));
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&temporary)?)?;
    let temporary = Temporary(temporary);
    if let Some(mode) = mode {
        fs::set_permissions(&temporary.0, Permissions::from_mode(mode))?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    publish(&temporary.0, path, folder)?;
    let file = SocketFile { identity: identity(&temporary.0)?, path: path.to_owned() };
    Ok((file, OwnedFd::from(socket).into()))
}

/// Gives the socket at `temporary` its name, in place of one that is abandoned.
fn publish(temporary: &Path, path: &Path, folder: &Path) -> io::Result<()> {
    let in_use = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => io::ErrorKind::AddrInUse.into(),
        _ => error,
    };
    match fs::hard_link(temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_abandoned(path) => {}
        result => return result.map_err(in_use),
    }
    // Two that start at once must not both find the old one, and the second remove what the first has put there.
    let _lock = lock(folder)?;
    if is_abandoned(path) {
        fs::remove_file(path)?;
    }
    fs::hard_link(temporary, path).map_err(in_use)
}

/// Waits for the lock of a folder, for a bounded time.
fn lock(folder: &Path) -> io::Result<File> {
    let (times, pause) = LOCK;
    let folder = File::open(folder)?;
    for _ in 0..times {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(TryLockError::WouldBlock) => std::thread::sleep(pause),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    let message = "another process holds the lock of the socket's folder; wait for its end and start again";
    Err(io::Error::new(io::ErrorKind::ResourceBusy, message))
}

/// Whether a socket is there that nobody listens on. The system refuses connections to files that are none, too.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && connect(path).is_err_and(refused)
}

/// Connects to a socket, without a wait for one whose queue is full: somebody listens there.
fn connect(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// The first name of a socket.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the first name of a socket could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_socket_has_its_mode_and_is_gone_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        for mode in [0o600, 0o660, 0o666] {
            let (file, listener) = bind(&path, Some(mode)).unwrap();
            assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & MODE, mode);
            assert_eq!(names(folder.path()), ["s"]);
            UnixStream::connect(&path).unwrap();
            drop((file, listener));
            assert_eq!(names(folder.path()), [""; 0]);
        }
        assert_eq!(bind(&path, Some(0o1660)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn what_somebody_listens_on_or_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let first = bind(&path, None).unwrap();
        assert_eq!(bind(&path, None).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        UnixStream::connect(&path).unwrap();
        drop(first);
        fs::write(&path, "precious").unwrap();
        assert_eq!(bind(&path, None).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert_eq!(names(folder.path()), ["s"]);
    }

    #[test]
    fn a_socket_whose_queue_is_full_is_somebodys_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(1).unwrap();
        let _queued: Vec<_> = std::iter::from_fn(|| connect(&path).ok()).take(100).collect();
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let (done, bound) = mpsc::channel();
        std::thread::spawn(move || done.send(bind(&path, None).map(drop)));
        let bound = bound.recv_timeout(Duration::from_secs(60)).expect("it waits for the queue");
        assert_eq!(bound.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(names(folder.path()), ["s"]);
    }

    #[test]
    fn one_of_those_that_start_at_once_takes_over_an_abandoned_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        for _ in 0..20 {
            // The standard library leaves it there.
            drop(UnixListener::bind(&path).unwrap());
            let started: Vec<_> = std::thread::scope(|scope| {
                let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| bind(&path, Some(0o600)))).collect();
                starts.into_iter().map(|start| start.join().unwrap()).collect()
            });
            let mut bound = started.iter().filter_map(|started| started.as_ref().ok());
            let (_, listener) = bound.next().unwrap();
            assert!(bound.next().is_none(), "two of them have it");
            // It is the one at the path.
            UnixStream::connect(&path).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener.accept().unwrap();
            drop(started);
            assert_eq!(names(folder.path()), [""; 0]);
        }
    }

    #[test]
    fn a_file_that_took_the_place_of_the_socket_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (file, _listener) = bind(&path, None).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another");
    }
}
