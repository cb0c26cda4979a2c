//! With the feature `cuda`: compiles the kernels, by the compiler that candle's kernels are compiled by.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    cuda();
}

#[cfg(feature = "cuda")]
fn cuda() {
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR").expect("cargo names it"));
    println!("cargo::rerun-if-changed=src/model/gpu");
    for (folder, name) in [("persistent", "decode"), ("prefill", "prefill")] {
        let kernel = format!("src/model/{folder}/{name}.cu");
        println!("cargo::rerun-if-changed={kernel}");
        let built = cudaforge::KernelBuilder::new()
            .source_files([&kernel])
            .arg("-O3")
            .build_ptx();
        let built = built.unwrap_or_else(|error| panic!("{kernel} cannot be compiled: {error}"));
        built
            .write(out.join(format!("{name}_ptx.rs")))
            .expect("the folder of a build can be written to");
    }
    // The runtime is linked in, so that a program that finds no CUDA starts all the same; candle asks for the shared one.
    for variable in ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT", "CUDA_TOOLKIT_ROOT_DIR"] {
        println!("cargo::rerun-if-env-changed={variable}");
        for folder in ["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"] {
            if let Ok(root) = std::env::var(variable) {
                println!("cargo::rustc-link-search=native={root}/{folder}");
            }
        }
    }
    println!("cargo::rustc-link-lib=static=cudart_static");
}
