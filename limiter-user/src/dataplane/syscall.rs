//! System calls that neither aya nor nix wraps: iterators over a map, programs
//! of a cgroup hook, pinned links, the cookie of the network namespace.
//!
//! Each function is safe to call: it owns
//! every buffer it hands to the kernel for the length of the call.
#![expect(unsafe_code, reason = "bpf(2) and getsockopt(2) take pointers; see the module's documentation")]

use std::{
    ffi::CString,
    fs::File,
    io,
    net::UdpSocket,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

/// Commands of bpf(2) and an attach type, from `include/uapi/linux/bpf.h`.
const BPF_OBJ_GET: i32 = 7;
const BPF_PROG_QUERY: i32 = 16;
const BPF_LINK_CREATE: i32 = 28;
const BPF_LINK_UPDATE: i32 = 29;
const BPF_ITER_CREATE: i32 = 33;
const BPF_LINK_DETACH: i32 = 34;
const BPF_TRACE_ITER: u32 = 28;
/// Attach type of `sock_ops` programs.
const BPF_CGROUP_SOCK_OPS: u32 = 3;
/// Attach type of programs that TCX runs on what arrives.
const BPF_TCX_INGRESS: u32 = 46;
/// `BPF_F_ALLOW_MULTI`: others may attach beside it.
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
/// `SO_NETNS_COOKIE`, since 5.14 (`include/uapi/asm-generic/socket.h`).
const SO_NETNS_COOKIE: i32 = 71;
/// Programs that one hook of a cgroup can have (`BPF_CGROUP_MAX_PROGS`).
const PROGRAMS_MAX: usize = 64;

/// The part of `union bpf_attr` that creates a link to an iterator over a map.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    pad: u32,
}

/// The part of `union bpf_attr` that opens an iterator.
#[repr(C)]
struct IterCreate {
    link_fd: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that lists the programs of a hook.
#[repr(C)]
struct ProgQuery {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    // The kernel writes it for TCX, however short it is told that the struct is.
    revision: u64,
}

/// The part of `union bpf_attr` that opens a pinned object.
#[repr(C)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The part of `union bpf_attr` that replaces the program of a link.
#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// The part of `union bpf_attr` that detaches a link.
#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

/// The programs on the `sock_ops` hook of a cgroup.
#[derive(Debug)]
pub(super) struct SockOpsPrograms {
    /// Their ids.
    pub(super) ids: Vec<u32>,
    /// Whether they leave room for others.
    pub(super) allow_others: bool,
}

fn bpf<T>(command: i32, attr: &mut T) -> io::Result<i32> {
    let size = size_of::<T>();
    // SAFETY: `attr` is `size` bytes that the kernel may read and write, and
    // every pointer inside it outlives the call (the callers below see to it).
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { i32::try_from(result).map_err(io::Error::other) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just returned this descriptor, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Opens an iterator program on a map; reading the file runs it.
pub(crate) fn iterate_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<File> {
    let info = raw(map);
    let mut attr = LinkCreate {
        prog_fd: raw(program),
        target_fd: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
        iter_info: std::ptr::from_ref(&info).addr() as u64,
        iter_info_len: u32::try_from(size_of_val(&info)).map_err(io::Error::other)?,
        pad: 0,
    };
    let link = owned(bpf(BPF_LINK_CREATE, &mut attr)?);
    let mut attr = IterCreate { link_fd: raw(link.as_fd()), flags: 0 };
    // The iterator keeps its link alive: `link` may be closed.
    Ok(File::from(owned(bpf(BPF_ITER_CREATE, &mut attr)?)))
}

/// Opens a pinned link.
pub(super) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attr = ObjGet { pathname: path.as_ptr().expose_provenance() as u64, bpf_fd: 0, file_flags: 0 };
    bpf(BPF_OBJ_GET, &mut attr).map(owned)
}

/// Replaces the program of a link, atomically; tracing links cannot do that.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdate { link_fd: raw(link), new_prog_fd: raw(program), flags: 0, old_prog_fd: 0 };
    bpf(BPF_LINK_UPDATE, &mut attr).map(|_| ())
}

/// Detaches a link at once, whoever else holds it; tracing links cannot do that.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(BPF_LINK_DETACH, &mut LinkDetach { link_fd: raw(link) }).map(|_| ())
}

/// Lists the programs on the `sock_ops` hook of a cgroup.
pub(super) fn sock_ops_programs(cgroup: BorrowedFd<'_>) -> io::Result<SockOpsPrograms> {
    let (ids, attach_flags) = programs(raw(cgroup), BPF_CGROUP_SOCK_OPS)?;
    Ok(SockOpsPrograms { ids, allow_others: attach_flags & BPF_F_ALLOW_MULTI != 0 })
}

/// Lists the ids of the programs that TCX runs at the ingress of an interface.
///
/// aya asks for more about each of them, which takes privileges that the daemon gives up.
pub(super) fn tcx_programs(index: u32) -> io::Result<Vec<u32>> {
    programs(index, BPF_TCX_INGRESS).map(|(ids, _)| ids)
}

/// Lists the programs on a hook, with the flags they were attached with.
fn programs(target: u32, attach_type: u32) -> io::Result<(Vec<u32>, u32)> {
    let mut ids = vec![0_u32; PROGRAMS_MAX];
    let mut attr = ProgQuery {
        target_fd: target,
        attach_type,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr().expose_provenance() as u64,
        prog_cnt: u32::try_from(ids.len()).map_err(io::Error::other)?,
        pad: 0,
        prog_attach_flags: 0,
        link_ids: 0,
        link_attach_flags: 0,
        revision: 0,
    };
    bpf(BPF_PROG_QUERY, &mut attr)?;
    ids.truncate(attr.prog_cnt as usize);
    Ok((ids, attr.attach_flags))
}

/// Returns the cookie of this thread's network namespace.
pub(crate) fn netns_cookie() -> io::Result<u64> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).or_else(|_| UdpSocket::bind(("::", 0)))?;
    let mut cookie = 0_u64;
    let mut len = libc::socklen_t::try_from(size_of_val(&cookie)).map_err(io::Error::other)?;
    // SAFETY: `cookie` is `len` bytes that the kernel may write, and `len` is written back to a live variable.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut len,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}
