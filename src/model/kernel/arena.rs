//! Memory for packed weights, in pages as large as the system has them.
//!
//! A token of the answer reads all weights once, in order, and waits for little else. A page of 4 KiB is
//! read in a fraction of a microsecond, after which the processor looks the next one up and its
//! prefetcher starts anew; with pages of 2 MiB the same weights come a third faster. The matrices of a small
//! model are smaller than that, so they share regions.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::MmapMut;

use crate::guard;

/// One cache line; gives packed bytes their alignment.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct CacheLine(pub [u8; 64]);

/// A large page of x86-64 and aarch64. Where pages have another size it is only slower.
const PAGE: usize = if cfg!(miri) { 4 << 10 } else { 2 << 20 };
/// Bytes of a region. What nothing was put into takes no memory.
const REGION: usize = 16 * PAGE;

/// Hands out memory that is freed with the last matrix of its region.
#[derive(Default)]
pub struct Arena {
    filling: Mutex<Option<Filling>>,
}

/// The region that is being filled.
struct Filling {
    region: Arc<Region>,
    /// Lines handed out.
    used: usize,
}

struct Region {
    /// Kept to be unmapped; its bytes belong to those who were handed them.
    _memory: MmapMut,
    first: NonNull<CacheLine>,
    lines: usize,
}

// SAFETY: `first` points into `_memory`, which is of this region alone and stays where it is; the region
// itself never follows the pointer, and `Lines` follow theirs under the rules for `&` and `&mut`.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// A part of a region, of one owner. Zero at first.
pub struct ArenaSlice {
    first: NonNull<CacheLine>,
    count: usize,
    _region: Arc<Region>,
}

// SAFETY: the lines have one owner, like a `Vec`'s elements, and `Line` is plain bytes.
unsafe impl Send for ArenaSlice {}
// SAFETY: shared references only read.
unsafe impl Sync for ArenaSlice {}

impl Arena {
    /// Memory of so many lines.
    ///
    /// # Panics
    /// Where the system has no more, see [`guard::no_memory`].
    pub fn lines(&self, count: usize) -> ArenaSlice {
        let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        if filling.as_ref().is_none_or(|f| f.region.lines - f.used < count) {
            *filling = Some(Filling {
                region: Arc::new(Region::new(count)),
                used: 0,
            });
        }
        let filling = filling.as_mut().expect("there is a region with room");
        // SAFETY: `used + count` is at most the region's lines.
        let first = unsafe { filling.region.first.add(filling.used) };
        filling.used += count;
        ArenaSlice {
            first,
            count,
            _region: filling.region.clone(),
        }
    }
}

impl Region {
    /// With room for at least `least` lines.
    fn new(least: usize) -> Region {
        let bytes = (least * size_of::<CacheLine>()).max(REGION);
        let mut memory = MmapMut::map_anon(bytes + PAGE)
            .unwrap_or_else(|e| guard::no_memory(&format!("{} MiB of weights", bytes >> 20), &e));
        // A system that declines gives small pages.
        #[cfg(all(target_os = "linux", not(miri)))]
        let _ = memory.advise(memmap2::Advice::HugePage);
        let before = memory.as_ptr().align_offset(PAGE);
        let first = NonNull::from(&mut memory[before..before + bytes]).cast();
        Region {
            _memory: memory,
            first,
            lines: bytes / size_of::<CacheLine>(),
        }
    }
}

impl Deref for ArenaSlice {
    type Target = [CacheLine];

    fn deref(&self) -> &[CacheLine] {
        // SAFETY: `first` is aligned (regions begin at a page) and `count` lines from there on lie in the
        // region, which lives as long as this; they are initialised (anonymous memory is zero) and no
        // one else's, since an arena hands out every line once.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.count) }
    }
}

impl DerefMut for ArenaSlice {
    fn deref_mut(&mut self) -> &mut [CacheLine] {
        // SAFETY: as above, and this is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_zero_aligned_and_apart() {
        let arena = Arena::default();
        let mut parts: Vec<ArenaSlice> = [1, 7, 0, 3, REGION / 64, 2].map(|count| arena.lines(count)).into();
        for (n, part) in parts.iter_mut().enumerate() {
            assert!(part.iter().all(|line| line.0 == [0; 64]));
            assert_eq!(part.as_ptr() as usize % 64, 0);
            part.iter_mut().for_each(|line| line.0 = [n as u8 + 1; 64]);
        }
        drop(arena);
        for (n, part) in parts.iter().enumerate() {
            assert!(part.iter().all(|line| line.0 == [n as u8 + 1; 64]), "part {n}");
        }
        assert_eq!(
            parts.iter().map(|p| p.len()).collect::<Vec<_>>(),
            [1, 7, 0, 3, REGION / 64, 2]
        );
    }

    #[test]
    fn a_part_larger_than_a_region_has_one_of_its_own() {
        let arena = Arena::default();
        let mut large = arena.lines(REGION / 64 + 1);
        large.last_mut().unwrap().0 = [9; 64];
        assert_eq!(arena.lines(5).len(), 5);
        assert_eq!(large[REGION / 64].0, [9; 64]);
    }
}
