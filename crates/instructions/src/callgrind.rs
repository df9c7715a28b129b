//! Runs this program under valgrind's callgrind.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub type Error = Box<dyn std::error::Error + Send + Sync>;

const FEW: u64 = 1_000;
const MANY: u64 = 3_000;

/// Returns the instructions of one request. They are the difference of two runs, which contains
/// neither the start of the process nor the setup.
pub fn instructions(contender: &str) -> Result<u64, Error> {
    let few = total(&profile(contender, FEW)?)?;
    let many = total(&profile(contender, MANY)?)?;
    Ok((many - few).div_ceil(MANY - FEW))
}

/// Returns the instructions of each function for one request, by `callgrind_annotate`. `inclusive`
/// adds the functions that it calls.
pub fn functions(contender: &str, inclusive: bool) -> Result<BTreeMap<String, u64>, Error> {
    const REQUESTS: u64 = 20_000;
    let profile = profile(contender, REQUESTS)?;
    let output = Command::new("callgrind_annotate")
        .arg(format!("--inclusive={}", if inclusive { "yes" } else { "no" }))
        .args(["--auto=no", "--threshold=100", "--show-percs=no"])
        .arg(&profile)
        .output()
        .map_err(|error| format!("cannot run `callgrind_annotate`, which comes with valgrind: {error}"))?;
    if !output.status.success() {
        return Err(format!("callgrind_annotate: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let mut functions = BTreeMap::<String, u64>::new();
    for (function, count) in String::from_utf8(output.stdout)?.lines().filter_map(function) {
        let entry = functions.entry(function.to_owned()).or_default();
        // A function has a line for each file that was inlined into it. Inclusive lines of one
        // function overlap, so the largest counts. Other lines are added.
        *entry = if inclusive { count.max(*entry) } else { *entry + count };
    }
    functions.values_mut().for_each(|count| *count /= REQUESTS);
    Ok(functions)
}

/// Returns the function in a line such as `1,234  src/file.rs:module::function [program]`.
fn function(line: &str) -> Option<(&str, u64)> {
    let (count, place) = line.trim_start().split_once("  ")?;
    let (_, function) = place.split_once(':')?;
    let name = function.split(" [").next().unwrap_or(function);
    Some((name, count.replace(',', "").parse().ok()?))
}

fn profile(contender: &str, requests: u64) -> Result<PathBuf, Error> {
    let name: String = contender.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let directory =
        env::current_exe()?.parent().map(|parent| parent.join("callgrind")).ok_or("no place for results")?;
    fs::create_dir_all(&directory)?;
    let out = directory.join(format!("{name}.{requests}"));
    let run = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe()?)
        .args(["--run", contender, "--requests", &requests.to_string()])
        .stdout(Stdio::null())
        .output();
    match run {
        Ok(run) if run.status.success() => Ok(out),
        Ok(run) => Err(format!("{contender} failed under valgrind:\n{}", String::from_utf8_lossy(&run.stderr)).into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err("valgrind is not installed: `apt-get install valgrind`, or your system's way".into())
        }
        Err(error) => Err(error.into()),
    }
}

fn total(profile: &Path) -> Result<u64, Error> {
    let text = fs::read_to_string(profile)?;
    let summary = text.lines().find_map(|line| line.strip_prefix("summary:").or(line.strip_prefix("totals:")));
    Ok(summary.ok_or("callgrind wrote no summary")?.trim().parse()?)
}
