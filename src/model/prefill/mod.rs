//! What a chunk of tokens takes on a GPU besides products: attention that keeps no scores, and gates, each in one launch.
//!
//! The formulas are those of [`Block::forward`](super::block::Block::forward), which is what to read, and what runs where
//! the kernels do not: windows, other sizes of heads, exact mode, and everything where they are switched off
//! (`DRLLM_PREFILL_KERNEL=off`).

#[cfg(feature = "cuda")]
mod cuda;
mod plan;
#[cfg(all(test, target_os = "linux"))]
mod tests;

use candle_core::{DType, Device, Result, Tensor, bail};

use super::chunk::Chunk;
#[cfg(any(feature = "cuda", all(test, target_os = "linux")))]
use super::decoder::Decoder;
use super::gpu::{Address, address, bytes, start, upload};
use super::kernel::Gates;
use plan::{AttentionPlan, FloatType, GatePlan, HALF_SIZES, MOST_SIZE, NONE, Tile};

/// Starts the kernels.
trait LaunchPrefill: Send + Sync {
    /// Attention, by a block for each head of each tile.
    fn attend(&self, plan: AttentionPlan, blocks: u32) -> Result<()>;

    /// Gates.
    fn gate(&self, plan: GatePlan) -> Result<()>;
}

/// The kernels on one device.
pub struct PrefillKernels {
    launch: Box<dyn LaunchPrefill>,
}

/// The rows of a chunk as blocks take them, on the device.
#[derive(Clone, Debug)]
pub(super) struct Tiles {
    /// Earlier entries, and rows of a tile.
    made_for: (usize, usize),
    count: usize,
    tiles: Tensor,
    /// Whom rows see, where that is not all before them.
    seen: Option<Tensor>,
}

impl Tiles {
    /// For a chunk behind `past` earlier entries.
    pub(super) fn new(chunk: &Chunk, past: usize, rows: usize, device: &Device) -> Result<Self> {
        let (mut tiles, mut seen) = (Vec::new(), Vec::new());
        let mut start = 0;
        for part in chunk.parts() {
            let tokens = part.positions().len();
            let table = match part.table() {
                Some(table) => {
                    seen.extend(table.iter().map(|&sees| u8::from(sees)));
                    seen.len() - table.len()
                }
                None => NONE as usize,
            };
            for row in (0..tokens).step_by(rows) {
                tiles.push(Tile {
                    first: (start + row) as u32,
                    rows: rows.min(tokens - row) as u32,
                    from: start as u32,
                    entries: (past + tokens) as u32,
                    own: (past + row) as u32,
                    row: row as u32,
                    table: u32::try_from(table).map_err(candle_core::Error::wrap)?,
                    width: tokens as u32,
                });
            }
            start += tokens;
        }
        Ok(Tiles {
            made_for: (past, rows),
            count: tiles.len(),
            tiles: upload(bytes(&tiles), device)?,
            seen: match seen.len() {
                0 => None,
                count => Some(Tensor::from_vec(seen, count, device)?),
            },
        })
    }

    pub(super) fn are_for(&self, past: usize, rows: usize) -> bool {
        self.made_for == (past, rows)
    }
}

fn float_type(dtype: DType) -> Option<FloatType> {
    match dtype {
        DType::F32 => Some(FloatType::F32),
        DType::F16 => Some(FloatType::F16),
        DType::BF16 => Some(FloatType::Bf16),
        _ => None,
    }
}

impl PrefillKernels {
    /// Those of a CUDA device, held against candle's on a few numbers of a type; none elsewhere, and none where they are
    /// switched off.
    ///
    /// # Errors
    /// Why they do not run here.
    #[cfg(feature = "cuda")]
    pub fn on_cuda(decoder: &Decoder) -> Result<Option<Self>> {
        let Device::Cuda(cuda) = decoder.device() else {
            return Ok(None);
        };
        match std::env::var("DRLLM_PREFILL_KERNEL").as_deref() {
            Ok("off") => return Ok(None),
            Ok("" | "on") | Err(_) => {}
            Ok(other) => bail!(
                "DRLLM_PREFILL_KERNEL is '{}': expected on or off",
                other.escape_default()
            ),
        }
        decoder.device().synchronize()?;
        let kernels = PrefillKernels {
            launch: Box::new(cuda::CudaPrefill::new(cuda)?),
        };
        kernels.check(decoder)?;
        Ok(Some(kernels))
    }

    /// Whether attention and gates give what candle's operations give, but for rounding.
    ///
    /// # Errors
    /// Names how far they are apart.
    #[cfg(any(feature = "cuda", all(test, target_os = "linux")))]
    fn check(&self, decoder: &Decoder) -> Result<()> {
        const TOKENS: usize = 70;
        let (device, dtype) = (decoder.device(), decoder.activation_type());
        let most = if dtype == DType::F32 { 1e-4 } else { 2e-2 };
        let made = |heads: usize| Tensor::randn(0f32, 1.0, (heads, TOKENS, 64), device)?.to_dtype(dtype);
        let (query, keys, values) = (made(4)?, made(2)?, made(2)?);
        let positions: Vec<u32> = (0..TOKENS as u32).collect();
        let chunk = decoder.chunk(&positions).map_err(candle_core::Error::wrap)?;
        let found = self.attend((&query, &keys, &values), 0.125, &chunk, 0)?;
        let wide = |x: &Tensor| x.to_dtype(DType::F32);
        let twice = |x: &Tensor| {
            let shape = (2, 2, TOKENS, 64);
            wide(x)?.unsqueeze(1)?.broadcast_as(shape)?.reshape((4, TOKENS, 64))
        };
        let scores = ((wide(&query)? * 0.125)?.matmul(&twice(&keys)?.t()?)?)
            .broadcast_add(&chunk.mask(0)?.expect("more than a token").to_dtype(DType::F32)?)?;
        let expected = candle_nn::ops::softmax_last_dim(&scores)?.matmul(&twice(&values)?)?;
        let expected = expected.transpose(0, 1)?.reshape((TOKENS, 4 * 64))?;
        let off = |found: &Tensor, expected: &Tensor| -> Result<f32> {
            (wide(found)? - expected)?.abs()?.max_all()?.to_scalar::<f32>()
        };
        let far = off(&found, &expected)?;
        if far.is_nan() || far > most {
            bail!("attention is off by {far:.4}");
        }
        let both = made(1)?.squeeze(0)?;
        let (gates, through) = (wide(&both.narrow(1, 0, 32)?)?, wide(&both.narrow(1, 32, 32)?)?);
        let far = off(&self.gate(&both, Gates::Silu)?, &(gates.silu()? * through)?)?;
        if far.is_nan() || far > most {
            bail!("gates are off by {far:.4}");
        }
        Ok(())
    }

    /// Whether attention of such heads runs by them.
    pub(super) fn attends(&self, size: usize, dtype: DType) -> bool {
        match float_type(dtype) {
            Some(FloatType::F32) => size <= MOST_SIZE,
            Some(_) => HALF_SIZES.contains(&size),
            None => false,
        }
    }

    /// Attention of queries (heads, tokens, size) over keys and values (kv_heads, entries, size), of which all but the
    /// chunk's own are `past` ones: (tokens, heads · size).
    pub(super) fn attend(
        &self,
        (query, keys, values): (&Tensor, &Tensor, &Tensor),
        scale: f64,
        chunk: &Chunk,
        past: usize,
    ) -> Result<Tensor> {
        let (heads, tokens, size) = query.dims3()?;
        let (kv_heads, entries, _) = keys.dims3()?;
        let float_type = float_type(query.dtype()).filter(|_| self.attends(size, query.dtype()));
        let Some(float_type) = float_type else {
            bail!("the kernel takes no heads of {size} values of {:?}", query.dtype());
        };
        let rows = |x: &Tensor| x.stride()[1] == size && x.stride()[2] == 1;
        if keys.dims() != values.dims()
            || keys.stride() != values.stride()
            || !(rows(keys) && rows(values))
            || (keys.dtype(), values.dtype()) != (query.dtype(), query.dtype())
            || entries != past + tokens
            || tokens != chunk.positions().len()
            || !heads.is_multiple_of(kv_heads)
        {
            bail!(
                "the kernel takes no keys {:?} beside queries {:?}",
                keys.layout(),
                query.layout()
            );
        }
        let mixed = Tensor::zeros((tokens, heads * size), query.dtype(), query.device())?;
        let tiles = chunk.tiles(past, float_type.rows())?;
        let plan = AttentionPlan {
            queries: address(query)?,
            keys: start(keys)?,
            values: start(values)?,
            mixed: address(&mixed)?,
            query_stride: (tokens * size) as u64,
            key_stride: keys.stride()[0] as u64,
            tiles: address(&tiles.tiles)?,
            seen: tiles.seen.as_ref().map_or(Ok(0), address)?,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            size: size as u32,
            float_type,
            scale: scale as f32,
            unused: 0,
        };
        // Sixteen bytes are loaded at once.
        let aligned = |at: Address| at.is_multiple_of(16);
        if float_type != FloatType::F32 && !(aligned(plan.keys) && aligned(plan.values) && aligned(plan.key_stride * 2))
        {
            bail!("the kernel takes keys and values at multiples of 16 bytes");
        }
        self.launch.attend(plan, (tiles.count * heads) as u32)?;
        Ok(mixed)
    }

    /// gates(x) · y of rows [x; y] (tokens, 2 · width): (tokens, width).
    pub(super) fn gate(&self, both: &Tensor, gates: Gates) -> Result<Tensor> {
        let (rows, both_width) = both.dims2()?;
        let width = both_width / 2;
        let Some(float_type) = float_type(both.dtype()).filter(|_| both_width.is_multiple_of(4)) else {
            bail!("the kernel takes no gates of {width} values of {:?}", both.dtype());
        };
        let out = Tensor::zeros((rows, width), both.dtype(), both.device())?;
        self.launch.gate(GatePlan {
            both: address(both)?,
            out: address(&out)?,
            rows: rows as u64,
            width: width as u32,
            float_type,
            gelu: (gates == Gates::GeluTanh).into(),
            unused: 0,
        })?;
        Ok(out)
    }
}
