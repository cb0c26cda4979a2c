//! A GPU on the CPU, for tests: kernels through a C compiler, beside emulator.h.

use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use candle_core::{Result, bail};

type LaunchFunction = unsafe extern "C" fn(*mut c_void, u32, u32, u32, u32, u64, u32) -> i32;

/// Whose turn it is.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Order {
    Forwards,
    Backwards,
    /// A block is as far ahead of the next one as barriers let it.
    FirstBlockAhead,
    LastBlockAhead,
}

impl Order {
    pub const ALL: [Order; 4] = [
        Order::Forwards,
        Order::Backwards,
        Order::FirstBlockAhead,
        Order::LastBlockAhead,
    ];
}

/// Kernels that were compiled for it, and its one state.
pub struct Emulator {
    launch: LaunchFunction,
    running: Mutex<()>,
}

impl Emulator {
    /// Compiles a file of the sources that says how `emulated` of emulator.h starts its kernels.
    pub fn compile(source: &str) -> Emulator {
        Emulator {
            launch: compiled(&Path::new(env!("CARGO_MANIFEST_DIR")).join(source)),
            running: Mutex::new(()),
        }
    }

    /// Runs blocks of some threads, in warps of 32, with so many floats of shared memory that the kernel does not declare.
    ///
    /// # Safety
    /// `plan` is what the kernel takes, and what it points to are tensors in memory that outlive the call.
    pub unsafe fn launch(
        &self,
        plan: *mut c_void,
        (first, last): (u32, u32),
        (blocks, threads): (u32, u32),
        floats: u64,
        order: Order,
    ) -> Result<()> {
        let _alone = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: `launch` of emulator.h has this signature, and is not called twice at a time; the rest is the caller's.
        let failed = unsafe { (self.launch)(plan, first, last, blocks, threads, floats, order as u32) };
        if failed != 0 {
            bail!("the emulator takes warps of 32 threads");
        }
        Ok(())
    }
}

fn compiled(source: &Path) -> LaunchFunction {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("emulator.so");
    // The compiler that links Rust programs is there.
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let arguments = [
        "-std=gnu11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unknown-pragmas",
        "-U_FORTIFY_SOURCE",
        "-shared",
        "-fPIC",
    ];
    let made = Command::new(&compiler)
        .args(arguments)
        .args(["-x", "c"])
        .arg(source)
        .arg("-o")
        .arg(&library)
        .arg("-lm")
        .output()
        .unwrap_or_else(|error| panic!("the C compiler {compiler} cannot be started: {error}"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let path = CString::new(library.as_os_str().as_bytes()).unwrap();
    // SAFETY: a library that was just made, without constructors; it stays loaded, and its `launch` has this type.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!handle.is_null(), "the emulator cannot be loaded");
        let launch = libc::dlsym(handle, c"launch".as_ptr());
        assert!(!launch.is_null());
        std::mem::transmute::<*mut c_void, LaunchFunction>(launch)
    }
}
