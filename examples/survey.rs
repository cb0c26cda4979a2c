use drllm::engine::sequence::{LayerActions, Sequence};
use drllm::engine::{LoadRequest, RouterChoice, load_model};
use drllm::eval::{EncodedQuestion, Task};
use drllm::model::logsumexp;
use drllm::program::{Action, Program};
use std::io::Write;
// args: data out programs.txt limit : per question, per program: per row delta logp of next token (first-token row excluded)
fn main() -> anyhow::Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let task = Task::load(std::path::Path::new(&a[1]))?;
    let mut out = std::io::BufWriter::new(std::fs::File::create(&a[2])?);
    let progs: Vec<Vec<Action>> = std::fs::read_to_string(&a[3])?
        .lines()
        .map(|l| Program::parse(l, 30).unwrap().to_actions(30).unwrap())
        .collect();
    let limit: usize = a[4].parse()?;
    let request = LoadRequest {
        model: None,
        routers: RouterChoice::None,
        device: "cpu".into(),
        exact: false,
        threads: None,
    };
    let stop = std::sync::atomic::AtomicBool::new(false);
    let model = load_model(&request, &mut |_, _, _| (), &mut |_| (), &stop)?;
    for q in task.questions.iter().take(limit) {
        let e = EncodedQuestion::for_model(q, &model)?;
        let mut s = Sequence::new(&model.decoder, &stop);
        s.run_program(&e.prompt, &Program::standard(30))?;
        let branches: Vec<&[u32]> = e.choices.iter().map(|c| &c[..c.len() - 1]).collect();
        let targets: Vec<u32> = e.choices.iter().flat_map(|c| c[1..].to_vec()).collect();
        if targets.is_empty() {
            continue;
        }
        for p in &progs {
            let lg = s
                .run_branches(&branches, None, |l, _| LayerActions {
                    shared: p[l],
                    rows: None,
                })?
                .to_vec2::<f32>()?;
            for (r, t) in lg.iter().zip(&targets) {
                out.write_all(&((f64::from(r[*t as usize]) - logsumexp(r)) as f32).to_le_bytes())?;
            }
        }
    }
    Ok(())
}
