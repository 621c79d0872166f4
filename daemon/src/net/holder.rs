//! Which program has a port, as far as Linux tells: the kernel's tables name the socket's inode and its user, and the
//! open files of the processes say whose inode it is. Those of other users are seen by root only.

use std::path::Path;
use std::{fmt, fs};

/// Where the kernel shows its tables.
const PROC: &str = "/proc";
/// Open files looked at in all before the search is given up: a busy desktop has some ten thousand.
const MAX_FILES: usize = 100_000;
/// State 0A of the kernel's TCP table: listening.
const LISTENING: &str = "0A";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// Whoever has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    Process {
        id: u32,
        name: String,
    },
    /// This process.
    Ourselves,
    /// A program of another user, which the system does not name.
    User(String),
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { id, name } => write!(f, "{name} (process {id})"),
            Self::Ourselves => f.write_str("this kithd itself"),
            Self::User(user) => write!(f, "a program of the user {user}"),
            Self::Unknown => f.write_str("another program"),
        }
    }
}

/// Who has this port of this machine. Reads a few hundred small files.
pub fn holder(transport: Transport, port: u16) -> Holder {
    find(Path::new(PROC), transport, port)
}

fn find(proc: &Path, transport: Transport, port: u16) -> Holder {
    let tables = match transport {
        Transport::Tcp => ["net/tcp", "net/tcp6"],
        Transport::Udp => ["net/udp", "net/udp6"],
    };
    let texts = tables.iter().filter_map(|table| fs::read_to_string(proc.join(table)).ok());
    let Some(socket) = texts.flat_map(|text| sockets(&text, transport, port)).next() else { return Holder::Unknown };
    match process_of(proc, socket.inode) {
        Some(id) if id == std::process::id() => Holder::Ourselves,
        Some(id) => Holder::Process { id, name: name_of(proc, id) },
        None if socket.user != rustix::process::getuid().as_raw() => Holder::User(user_name(socket.user)),
        None => Holder::Unknown,
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Socket {
    user: u32,
    inode: u64,
}

/// The sockets of a kernel table (proc_pid_net(5)) that stand in the way of binding `port`.
fn sockets(table: &str, transport: Transport, port: u16) -> Vec<Socket> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, own) = fields.get(1)?.rsplit_once(':')?;
        let here = u16::from_str_radix(own, 16).ok()? == port;
        let counts = transport == Transport::Udp || *fields.get(3)? == LISTENING;
        (here && counts).then_some(())?;
        Some(Socket { user: fields.get(7)?.parse().ok()?, inode: fields.get(9)?.parse().ok()? })
    };
    table.lines().skip(1).filter_map(parse).collect()
}

fn process_of(proc: &Path, inode: u64) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let mut left = MAX_FILES;
    for entry in fs::read_dir(proc).ok()?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // Not ours to look at, or gone meanwhile.
        let Ok(files) = fs::read_dir(entry.path().join("fd")) else { continue };
        for file in files.flatten() {
            left = left.checked_sub(1)?;
            if fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str()) {
                return Some(id);
            }
        }
    }
    None
}

fn name_of(proc: &Path, id: u32) -> String {
    let name = fs::read_to_string(proc.join(id.to_string()).join("comm")).unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    if name.is_empty() { "a program".to_owned() } else { name }
}

fn user_name(id: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, user) = (fields.next()?, fields.next()?, fields.next()?);
        (user.parse() == Ok(id)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("number {id}"))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn our_own_sockets_are_found_as_ours() {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = |address: std::io::Result<std::net::SocketAddr>| address.expect("bound").port();
        assert_eq!(holder(Transport::Tcp, port(tcp.local_addr())), Holder::Ourselves);
        assert_eq!(holder(Transport::Udp, port(udp.local_addr())), Holder::Ourselves);
    }

    #[test]
    fn another_program_is_named_with_its_process() {
        let proc = tempfile::tempdir().expect("a folder");
        let at = |path: &str| proc.path().join(path);
        for folder in ["net", "1/fd", "4711/fd"] {
            fs::create_dir_all(at(folder)).expect("our own folder");
        }
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     0: 0100007F:270C 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 77 2 0\n";
        fs::write(at("net/udp"), table).expect("our own file");
        assert_eq!(find(proc.path(), Transport::Udp, 9995), Holder::Unknown);
        std::os::unix::fs::symlink("socket:[77]", at("4711/fd/3")).expect("our own link");
        fs::write(at("4711/comm"), "python3\n").expect("our own file");
        let holder = find(proc.path(), Transport::Udp, 9996);
        assert_eq!(holder.to_string(), "python3 (process 4711)");
        assert_eq!(find(proc.path(), Transport::Tcp, 9996), Holder::Unknown);
    }

    #[test]
    fn nonsense_in_the_tables_is_passed_over() {
        let table = "head\n\n0:\n1: x:y z 0A\n2: 0:270C 0 0A 0 0 0 nobody 0 77\n3: 0:270C 0 06 0 0 0 5 0 78\n\
                     4: 0:270C 0 0A 0 0 0 5 0 79";
        assert_eq!(sockets(table, Transport::Tcp, 9996), [Socket { user: 5, inode: 79 }]);
    }

    #[test]
    fn a_program_of_another_user_is_said_to_be_that() {
        assert_eq!(user_name(0), "root");
        assert_eq!(Holder::User(user_name(4_000_000_000)).to_string(), "a program of the user number 4000000000");
    }
}
