//! The kernel on the CPU, for tests: decode.cu through a C compiler, beside emulator.h.

use std::ffi::{CString, c_void};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::{Result, bail};

use super::plan::Address;
use super::{Launch, shared_floats};
use crate::model::Decoder;

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

/// A GPU of few blocks and threads.
pub struct Emulator {
    pub blocks: u32,
    pub threads: u32,
    pub floats: u64,
    pub order: Order,
    /// The emulator has one state for all.
    pub running: &'static Mutex<()>,
}

impl Emulator {
    pub fn new(decoder: &Decoder, blocks: u32, threads: u32) -> Self {
        static RUNNING: Mutex<()> = Mutex::new(());
        Emulator {
            blocks,
            threads,
            floats: shared_floats(decoder) as u64,
            order: Order::Forwards,
            running: &RUNNING,
        }
    }
}

impl Launch for Emulator {
    fn blocks(&self) -> u32 {
        self.blocks
    }

    fn launch(&self, plan: Address, phases: Range<u32>) -> Result<()> {
        let _alone = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, last) = (phases.start, phases.end);
        // SAFETY: `launch` of emulator.h has this signature, and is not called twice at a time; the plan and what it
        // points to are tensors in memory, which outlive the call.
        let failed = unsafe {
            compiled()(
                plan as *mut c_void,
                first,
                last,
                self.blocks,
                self.threads,
                self.floats,
                self.order as u32,
            )
        };
        if failed != 0 {
            bail!("the emulator takes warps of 32 threads");
        }
        Ok(())
    }
}

fn compiled() -> LaunchFunction {
    static COMPILED: OnceLock<LaunchFunction> = OnceLock::new();
    *COMPILED.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model/persistent/emulator.c");
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
            .arg(&source)
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
    })
}
