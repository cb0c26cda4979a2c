use drllm::engine::{LoadRequest, RouterChoice, load_model};
use drllm::eval::{EncodedQuestion, Task};
use std::io::Write;
fn main() -> anyhow::Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let task = Task::load(std::path::Path::new(&a[1]))?;
    let mut out = std::io::BufWriter::new(std::fs::File::create(&a[2])?);
    let layers: Vec<usize> = a[3].split(',').map(|s| s.parse().unwrap()).collect();
    let request = LoadRequest {
        model: None,
        routers: RouterChoice::None,
        device: "cpu".into(),
        exact: false,
        threads: None,
    };
    let model = load_model(
        &request,
        &mut |_, _, _| (),
        &mut |_| (),
        &std::sync::atomic::AtomicBool::new(false),
    )?;
    let d = &model.decoder;
    for q in &task.questions {
        let e = EncodedQuestion::for_model(q, &model)?;
        let pos: Vec<u32> = (0..e.prompt.len() as u32).collect();
        let chunk = d.chunk(&pos)?;
        let mut h = d.embed(&e.prompt)?;
        for l in 0..30 {
            if layers.contains(&l) {
                let mean: Vec<f32> = drllm::router::pool_windows(&h, 8)?.mean(0)?.to_vec1()?;
                let last: Vec<f32> = h.get(e.prompt.len() - 1)?.to_vec1()?;
                for x in mean.iter().chain(&last) {
                    out.write_all(&x.to_le_bytes())?;
                }
            }
            h = d.run_block(l, &h, &chunk, None)?;
        }
    }
    Ok(())
}
