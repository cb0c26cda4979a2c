//! The example job files: their command lines are ones that the program takes.

use std::path::Path;

use clap::Parser;
use drllm::cli::search::SearchArgs;

#[derive(Parser)]
enum Program {
    #[allow(dead_code, reason = "only parsed")]
    Search(SearchArgs),
}

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// Parses a command line whose first word is the program's name.
fn parse(words: &[&str]) {
    assert_eq!(words[..2], ["drllm-tui", "search"]);
    if let Err(error) = Program::try_parse_from(words) {
        panic!("{words:?}: {error}");
    }
}

#[test]
fn slurm() {
    let script = example("slurm/search.sbatch").replace("\\\n", " ");
    let line = script.lines().find_map(|line| line.strip_prefix("exec ")).unwrap();
    let line = line
        .replace("\"${SLURM_CPUS_PER_TASK:-1}\"", "4")
        .replace("\"$@\"", "--limit 600");
    assert!(
        line.contains("'records-{shard}.jsonl'") && line.contains("--resume"),
        "{line}"
    );
    parse(&line.replace('\'', "").split_whitespace().collect::<Vec<_>>());
}

#[test]
fn kubernetes() {
    let job = example("kubernetes/search-job.yaml");
    let field = |name: &str| {
        let mut fields = job.lines().filter_map(|line| line.trim().strip_prefix(name));
        fields.next().unwrap_or_else(|| panic!("{name} is missing")).trim()
    };
    // A flow sequence of double-quoted strings is JSON as well.
    let command: Vec<&str> = serde_json::from_str(field("command:")).unwrap();
    assert!(command.contains(&"/data/records-{shard}.jsonl") && command.contains(&"--resume"));
    parse(&command);
    assert_eq!(field("completionMode:"), "Indexed");
    let completions = format!("{{name: JOB_COMPLETIONS, value: \"{}\"}}", field("completions:"));
    assert!(job.contains(&completions), "{completions}");
}
