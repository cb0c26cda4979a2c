//! CUDA's driver and libraries, found when a GPU is asked for and not when the program starts.
//!
//! candle links against them, so that a program built with CUDA would not start on a machine without a driver. Here each
//! of their functions that is used has a definition of its own, a jump to what [`load`] found. A function that candle
//! comes to use besides is an undefined symbol when the program is linked: add its name below.

/// Finds driver and libraries; once found they stay.
///
/// # Errors
/// Names the library that is missing, and what to do.
pub fn load() -> Result<(), String> {
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        static LOADED: std::sync::OnceLock<Result<(), String>> = std::sync::OnceLock::new();
        LOADED.get_or_init(at_run_time::load_all).clone()
    }
    #[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
    Ok(())
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod at_run_time {
    use std::ffi::{CStr, CString, c_void};
    use std::sync::atomic::{AtomicPtr, Ordering};

    /// Where a call of a function that was not found ends: libraries older than those that this program was built for.
    extern "C" fn missing() -> ! {
        const WORDS: &[u8] =
            b"drllm-tui: a function of CUDA that is needed was not found: the driver or a library is older \
            than the CUDA that this program was built with\n";
        // SAFETY: writes a constant to standard error.
        unsafe { libc::write(2, WORDS.as_ptr().cast(), WORDS.len()) };
        std::process::abort()
    }

    struct Function {
        name: &'static CStr,
        found: &'static AtomicPtr<c_void>,
    }

    struct Library {
        /// The names under which it may be installed, the likeliest first.
        files: &'static [&'static str],
        /// What brings it.
        from: &'static str,
        functions: &'static [Function],
    }

    /// Defines each function as a jump to its own pointer.
    macro_rules! libraries {
        ($($library:ident, $files:expr, $from:literal: $($name:ident)*;)*) => {
            $(
                #[allow(non_snake_case, reason = "the functions' names")]
                mod $library {
                    $(
                        pub mod $name {
                            use super::super::*;
                            pub static FOUND: AtomicPtr<c_void> = AtomicPtr::new(missing as *mut c_void);
                            #[cfg(target_arch = "x86_64")]
                            std::arch::global_asm!(
                                concat!(".globl ", stringify!($name)),
                                concat!(".type ", stringify!($name), ",@function"),
                                concat!(stringify!($name), ":"),
                                "jmpq *{found}(%rip)",
                                found = sym FOUND,
                                options(att_syntax)
                            );
                            #[cfg(target_arch = "aarch64")]
                            std::arch::global_asm!(
                                concat!(".globl ", stringify!($name)),
                                concat!(".type ", stringify!($name), ",%function"),
                                concat!(stringify!($name), ":"),
                                "adrp x16, {found}",
                                "ldr x16, [x16, :lo12:{found}]",
                                "br x16",
                                found = sym FOUND
                            );
                        }
                    )*
                }
            )*
            const LIBRARIES: &[Library] = &[$(
                Library {
                    files: $files,
                    from: $from,
                    functions: &[$(Function {
                        name: match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                            Ok(name) => name,
                            Err(_) => panic!("a name has no zero in it"),
                        },
                        found: &$library::$name::FOUND,
                    }),*],
                }
            ),*];
        };
    }

    include!("cuda_functions.rs");

    pub fn load_all() -> Result<(), String> {
        LIBRARIES.iter().try_for_each(Library::load)
    }

    impl Library {
        fn load(&self) -> Result<(), String> {
            let open = |file: &&str| {
                let file = CString::new(*file).ok()?;
                // SAFETY: the libraries are CUDA's, whose constructors are the system's to trust.
                let handle = unsafe { libc::dlopen(file.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
                (!handle.is_null()).then_some(handle)
            };
            let Some(handle) = self.files.iter().find_map(open) else {
                return Err(format!("{} is not found here; {}", self.files[0], self.from));
            };
            for function in self.functions {
                // SAFETY: `handle` is open, the name ends in a zero.
                let found = unsafe { libc::dlsym(handle, function.name.as_ptr()) };
                if !found.is_null() {
                    function.found.store(found, Ordering::Release);
                }
            }
            Ok(())
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_library_that_is_missing_is_named() {
            let library = Library {
                files: &["libnowhere.so.1"],
                from: "it comes from elsewhere",
                functions: &[],
            };
            assert_eq!(
                library.load().unwrap_err(),
                "libnowhere.so.1 is not found here; it comes from elsewhere"
            );
        }
    }
}
