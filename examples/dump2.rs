use drllm::engine::{LoadRequest, RouterChoice, load_model};
use drllm::eval::{ChoiceScorer, EncodedQuestion, Scoring, Task};
use std::io::Write;
// per question: n_choices, answer, per choice: rows, ll ; then per row features at layers
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
    let w = |out: &mut std::io::BufWriter<std::fs::File>, x: f32| out.write_all(&x.to_le_bytes());
    for q in &task.questions {
        let e = EncodedQuestion::for_model(q, &model)?;
        let s = ChoiceScorer::new(&model.decoder, &e)?;
        let mut h = s.embed()?;
        let mut feats = vec![];
        for l in 0..30 {
            if layers.contains(&l) {
                feats.push(h.to_vec2::<f32>()?);
            }
            h = s.run_block(l, &h)?;
        }
        let score = s.finish(&h, Scoring::Sum)?;
        w(&mut out, e.choices.len() as f32)?;
        w(&mut out, q.answer as f32)?;
        w(&mut out, e.prompt.len() as f32)?;
        for (c, ll) in e.choices.iter().zip(&score.scores) {
            w(&mut out, (c.len() - 1) as f32)?;
            w(&mut out, *ll as f32)?;
            w(&mut out, q.choices[0].len() as f32)?;
        }
        let p = e.prompt.len();
        for r in p - 1..feats[0].len() {
            for f in &feats {
                for x in &f[r] {
                    w(&mut out, *x)?;
                }
            }
        }
    }
    Ok(())
}
