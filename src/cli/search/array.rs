//! Which shard a job array gives this process: Slurm's environment or that of an indexed
//! Kubernetes Job.

use crate::cli::UsageError;
use crate::search::Shard;
use crate::text::escape_controls;

/// A shard, and the words for where it was found.
#[derive(Debug, PartialEq, Eq)]
pub struct FoundShards {
    pub shard: Shard,
    pub place: String,
}

/// The shard in the environment that `variable` reads; `None` where there is no array. A task of a
/// Slurm array inside a Kubernetes Job is Slurm's.
///
/// # Errors
/// An array that does not say which part of how many this is, with what to do about it.
pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Option<FoundShards>, UsageError> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let number = |name: &str| match variable(name) {
        None => Ok(None),
        Some(text) => text.parse::<usize>().map(Some).map_err(|_| {
            let text = escape_controls(&text);
            UsageError::new(format!("{name} is '{text}': expected a number; {CHOOSE}"))
        }),
    };
    if let Some(id) = number("SLURM_ARRAY_TASK_ID")? {
        let array = SlurmArray {
            id,
            count: number("SLURM_ARRAY_TASK_COUNT")?,
            min: number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0),
            max: number("SLURM_ARRAY_TASK_MAX")?,
            step: number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1),
        };
        return array.shard().map(Some);
    }
    match number("JOB_COMPLETION_INDEX")? {
        Some(index) => kubernetes(index, number("JOB_COMPLETIONS")?).map(Some),
        None => Ok(None),
    }
}

const CHOOSE: &str = "choose with --shard i/n, or search all questions with --shard all";

struct SlurmArray {
    id: usize,
    count: Option<usize>,
    min: usize,
    max: Option<usize>,
    step: usize,
}

impl SlurmArray {
    fn shard(&self) -> Result<FoundShards, UsageError> {
        let refused = |message: String| Err(UsageError::new(format!("{message}; {CHOOSE}")));
        let &SlurmArray { id, min, step, .. } = self;
        let Some(count) = self.count else {
            return refused(format!(
                "this is task {id} of a Slurm array, but SLURM_ARRAY_TASK_COUNT is not set"
            ));
        };
        if step != 1 {
            return refused(format!(
                "the Slurm array goes in steps of {step}: shards need an array without gaps, like --array=0-{}",
                count.saturating_sub(1)
            ));
        }
        // `--array=2` to do one part again looks like a search of one part.
        if count == 1 {
            return refused(format!(
                "the Slurm array has the one task {id}: that may be a whole search or one shard of an earlier array"
            ));
        }
        let gaps = self
            .max
            .is_some_and(|max| max.checked_sub(min) != Some(count.wrapping_sub(1)));
        match id.checked_sub(min).map(|index| Shard::new(index, count)) {
            Some(Ok(shard)) if !gaps => Ok(FoundShards {
                shard,
                place: format!("task {id} of the Slurm array {min}-{}", id - shard.index() + count - 1),
            }),
            _ => refused(format!(
                "the {count} tasks of the Slurm array are not {min} to {}: shards need an array without gaps, like \
                 --array=0-{}",
                min.saturating_add(count.saturating_sub(1)),
                count.saturating_sub(1)
            )),
        }
    }
}

fn kubernetes(index: usize, completions: Option<usize>) -> Result<FoundShards, UsageError> {
    let Some(completions) = completions else {
        return Err(UsageError::new(format!(
            "this is completion {index} of an indexed Kubernetes Job, but not of how many: add to the container's env \
             {{name: JOB_COMPLETIONS, value: \"N\"}} with the N of the Job's spec.completions; or {CHOOSE}"
        )));
    };
    let shard = Shard::new(index, completions).map_err(|e| {
        UsageError::new(format!(
            "JOB_COMPLETION_INDEX is {index}, JOB_COMPLETIONS {completions}: {e}"
        ))
    })?;
    Ok(FoundShards {
        shard,
        place: format!("completion {index} of {completions} of the Kubernetes Job"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The environment `A=1 B=2`.
    fn found(environment: &str) -> Result<Option<(String, String)>, String> {
        let variable = |name: &str| {
            let pairs = environment.split(' ').filter_map(|pair| pair.split_once('='));
            let mut values = pairs.filter(|(n, _)| *n == name).map(|(_, v)| v.to_owned());
            values.next()
        };
        let found = from_environment(variable).map_err(|e| e.to_string())?;
        Ok(found.map(|f| (f.shard.to_string(), f.place)))
    }

    fn slurm(id: usize, count: usize, min: usize, max: usize, step: usize) -> String {
        format!(
            "SLURM_ARRAY_TASK_ID={id} SLURM_ARRAY_TASK_COUNT={count} SLURM_ARRAY_TASK_MIN={min} \
             SLURM_ARRAY_TASK_MAX={max} SLURM_ARRAY_TASK_STEP={step}"
        )
    }

    #[test]
    fn without_an_array_there_is_no_shard() {
        assert_eq!(found(""), Ok(None));
        assert_eq!(found("SLURM_JOB_ID=7 JOB_COMPLETIONS=4"), Ok(None));
        assert_eq!(found("SLURM_ARRAY_TASK_ID= JOB_COMPLETION_INDEX="), Ok(None));
    }

    #[test]
    fn a_slurm_array_may_begin_anywhere() {
        let shard = |environment: &str| found(environment).unwrap().unwrap().0;
        assert_eq!(shard(&slurm(2, 4, 0, 3, 1)), "2/4");
        assert_eq!(shard(&slurm(4, 4, 1, 4, 1)), "3/4");
        assert_eq!(shard("SLURM_ARRAY_TASK_ID=1 SLURM_ARRAY_TASK_COUNT=3"), "1/3");
        let inside = format!("{} JOB_COMPLETION_INDEX=0 JOB_COMPLETIONS=9", slurm(1, 2, 0, 1, 1));
        assert_eq!(
            found(&inside).unwrap(),
            Some(("1/2".to_owned(), "task 1 of the Slurm array 0-1".to_owned()))
        );
    }

    #[test]
    fn slurm_arrays_with_gaps_are_refused() {
        let cases = [
            (slurm(2, 4, 0, 6, 2), "steps of 2"),
            (slurm(7, 3, 1, 7, 1), "not 1 to 3"),
            (slurm(3, 3, 1, 7, 1), "not 1 to 3"),
            (slurm(0, 3, 1, 3, 1), "not 1 to 3"),
            (slurm(2, 1, 2, 2, 1), "one task 2"),
            (slurm(0, 0, 0, 0, 1), "without gaps"),
            (
                "SLURM_ARRAY_TASK_ID=1".into(),
                "task 1 of a Slurm array, but SLURM_ARRAY_TASK_COUNT",
            ),
            ("SLURM_ARRAY_TASK_ID=x".into(), "SLURM_ARRAY_TASK_ID is 'x'"),
        ];
        for (environment, expected) in cases {
            let error = found(&environment).unwrap_err();
            assert!(
                error.contains(expected) && error.contains("--shard all"),
                "{environment}: {error}"
            );
        }
    }

    #[test]
    fn a_kubernetes_job_has_to_say_how_many() {
        let shard = found("JOB_COMPLETION_INDEX=3 JOB_COMPLETIONS=4").unwrap().unwrap().0;
        assert_eq!(shard, "3/4");
        let error = found("JOB_COMPLETION_INDEX=3").unwrap_err();
        assert!(error.contains("name: JOB_COMPLETIONS"), "{error}");
        let error = found("JOB_COMPLETION_INDEX=4 JOB_COMPLETIONS=4").unwrap_err();
        assert!(error.contains("JOB_COMPLETIONS 4") && error.contains("3/4"), "{error}");
    }
}
