//! The functions of `libzfs_core` and `libnvpair`, found at run time, with signatures written by
//! hand after `libzfs_core.h` and `sys/nvpair.h` of OpenZFS 2.1 to 2.4, which keep them.
//!
//! `uint_t` is `unsigned int`; `boolean_t` and `enum lzc_dataset_type` are C enumerations, which
//! are `int` or `unsigned int` of the same size; all functions give 0 or an error number.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `nvlist_t`, of which only the library knows the inside.
#[repr(C)]
pub struct RawList {
    _private: [u8; 0],
}

/// `nvpair_t`, a part of a list.
#[repr(C)]
pub struct RawPair {
    _private: [u8; 0],
}

/// Name of the library with the version of its interface.
const LIBRARY: &str = "libzfs_core.so.3";

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        /// The functions. They may be called from any thread.
        #[derive(Debug)]
        #[allow(clippy::type_complexity)]
        pub struct Functions {
            $($(#[$doc])* pub $name: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)*
        }

        impl Functions {
            fn find(library: *mut c_void) -> Result<Functions, String> {
                Ok(Functions {
                    $($name: {
                        let name = concat!(stringify!($name), "\0");
                        // SAFETY: the library stays loaded, and the name ends with NUL.
                        let found = unsafe { libc::dlsym(library, name.as_ptr().cast()) };
                        if found.is_null() {
                            return Err(format!("{LIBRARY} has no {}", stringify!($name)));
                        }
                        // SAFETY: a function of this name has this signature, as the head of
                        // this file says.
                        unsafe {
                            std::mem::transmute::<
                                *mut c_void,
                                unsafe extern "C" fn($($arg),*) $(-> $ret)?,
                            >(found)
                        }
                    },)*
                })
            }
        }
    };
}

functions! {
    /// Makes a list: where to, flags (1: names are unique), 0.
    nvlist_alloc(*mut *mut RawList, c_uint, c_int) -> c_int;
    /// Frees a list with all that is in it.
    nvlist_free(*mut RawList);
    /// Adds a name without a value.
    nvlist_add_boolean(*mut RawList, *const c_char) -> c_int;
    /// Adds a number.
    nvlist_add_uint64(*mut RawList, *const c_char, u64) -> c_int;
    /// Adds a string, which is copied.
    nvlist_add_string(*mut RawList, *const c_char, *const c_char) -> c_int;
    /// Adds a list, which is copied.
    nvlist_add_nvlist(*mut RawList, *const c_char, *const RawList) -> c_int;
    /// The pair after one, the first after null; null at the end.
    nvlist_next_nvpair(*mut RawList, *const RawPair) -> *mut RawPair;
    /// Its name, which lives as long as the list.
    nvpair_name(*const RawPair) -> *const c_char;
    /// What kind its value is of.
    nvpair_type(*const RawPair) -> c_int;
    /// Its value, an error number.
    nvpair_value_int32(*const RawPair, *mut i32) -> c_int;
    /// Its value, a number.
    nvpair_value_uint64(*const RawPair, *mut u64) -> c_int;
    /// Opens `/dev/zfs`.
    libzfs_core_init() -> c_int;
    /// Whether a file system, volume or snapshot exists: 0 or 1.
    lzc_exists(*const c_char) -> c_int;
    /// Makes a file system (2) or volume (3): properties, key and its length.
    lzc_create(*const c_char, c_int, *mut RawList, *mut u8, c_uint) -> c_int;
    /// Makes a file system from a snapshot: new name, snapshot, properties.
    lzc_clone(*const c_char, *const c_char, *mut RawList) -> c_int;
    /// Renames a file system: from, to.
    lzc_rename(*const c_char, *const c_char) -> c_int;
    /// Destroys a file system that has nothing below it.
    lzc_destroy(*const c_char) -> c_int;
    /// Makes snapshots, all or none: names, user properties, errors of each.
    lzc_snapshot(*mut RawList, *mut RawList, *mut *mut RawList) -> c_int;
    /// Destroys snapshots, all or none: names, whether those in use go later, errors of each.
    lzc_destroy_snaps(*mut RawList, c_int, *mut *mut RawList) -> c_int;
    /// Returns a file system to its newest snapshot: name, where to put the snapshot's, its size.
    lzc_rollback(*const c_char, *mut c_char, c_int) -> c_int;
    /// The same, when this is the newest snapshot: file system, snapshot.
    lzc_rollback_to(*const c_char, *const c_char) -> c_int;
    /// Holds snapshots: name to tag, descriptor that ends the holds or -1, errors of each.
    lzc_hold(*mut RawList, c_int, *mut *mut RawList) -> c_int;
    /// Releases holds: name to list of tags, errors of each.
    lzc_release(*mut RawList, *mut *mut RawList) -> c_int;
    /// Holds of a snapshot: tag to time.
    lzc_get_holds(*const c_char, *mut *mut RawList) -> c_int;
    /// Makes bookmarks: name to snapshot, errors of each.
    lzc_bookmark(*mut RawList, *mut *mut RawList) -> c_int;
    /// Destroys bookmarks: names, errors of each.
    lzc_destroy_bookmarks(*mut RawList, *mut *mut RawList) -> c_int;
    /// Writes a stream: snapshot, what it starts from or null, descriptor, flags, and where a
    /// broken one goes on: object, offset.
    lzc_send_resume(*const c_char, *const c_char, c_int, c_int, u64, u64) -> c_int;
    /// Estimates the size of a stream: snapshot, what it starts from or null, flags, bytes.
    lzc_send_space(*const c_char, *const c_char, c_int, *mut u64) -> c_int;
    /// Reads a stream: new snapshot, properties that count as received, properties, key and its
    /// length, origin or null, whether changes and newer snapshots are lost, whether a broken one
    /// can go on, whether it is raw, descriptor, first record or null, -1, bytes read, flags of
    /// errors, 0, errors of properties.
    lzc_receive_with_cmdprops(
        *const c_char, *mut RawList, *mut RawList, *mut u8, c_uint, *const c_char, c_int, c_int,
        c_int, c_int, *const c_void, c_int, *mut u64, *mut u64, *mut u64, *mut *mut RawList
    ) -> c_int;
}

/// Loads the library, from a directory or from where the linker looks, and opens `/dev/zfs`. It
/// is never unloaded.
pub fn load(dir: Option<&Path>) -> Result<Functions, String> {
    let path = dir.map_or_else(|| LIBRARY.into(), |dir| dir.join(LIBRARY));
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| format!("{path:?} is no path of a library"))?;
    // SAFETY: the name ends with NUL. The library's initialisers do nothing but allocate.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if library.is_null() {
        return Err(load_error());
    }
    let functions = Functions::find(library)?;
    // SAFETY: it takes nothing, and counts how often it is called.
    match unsafe { (functions.libzfs_core_init)() } {
        0 => Ok(functions),
        code => Err(format!(
            "/dev/zfs: {:?} (is the kernel module loaded?)",
            nix::errno::Errno::from_raw(code)
        )),
    }
}

fn load_error() -> String {
    // SAFETY: the message is this thread's until its next call of the loader.
    let message = unsafe { libc::dlerror() };
    if message.is_null() {
        return format!("{LIBRARY} can't be loaded");
    }
    // SAFETY: not null, and it ends with NUL.
    let message = unsafe { CStr::from_ptr(message) };
    message.to_string_lossy().into_owned()
}
