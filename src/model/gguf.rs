use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::quantized::gguf_file::Content;

pub struct GgufFile {
    pub content: Content,
    pub mmap: memmap2::Mmap,
    pub path: PathBuf,
}

pub fn open(path: &Path) -> Result<GgufFile> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mmap = unsafe { memmap2::Mmap::map(&file)? };
    let content = Content::read(&mut std::io::Cursor::new(&mmap))?;
    Ok(GgufFile {
        content,
        mmap,
        path: path.to_path_buf(),
    })
}
